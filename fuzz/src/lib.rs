//! What the fuzz targets check. Everything here goes through the public interface of the core, so that
//! the same checks run in its tests, on stable Rust, with the seeds and with random bytes.

pub mod line;
pub mod script;
mod store;
