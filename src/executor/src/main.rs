//! x
mod command;
fn main() {}
