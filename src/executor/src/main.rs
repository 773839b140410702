//! The executor of runchain.
#![allow(dead_code)]
mod monitor;
mod projector;

fn main() {}
