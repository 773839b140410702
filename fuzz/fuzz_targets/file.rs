//! Any bytes as a script of what happens to a log: see `runchain_fuzz::script`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| runchain_fuzz::script::check(bytes));
