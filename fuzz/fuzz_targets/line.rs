//! Any bytes as one log: see `runchain_fuzz::line`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| runchain_fuzz::line::check(bytes));
