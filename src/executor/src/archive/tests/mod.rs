//! The promises of the step `archive`, on databases of both shapes.

mod content;
mod place;
mod quiet;
