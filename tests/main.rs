//! Black-box tests: the binary as its users meet it.

// clippy.toml allows these in tests, but clippy doesn't see that helpers of an integration test
// are part of one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod config;
