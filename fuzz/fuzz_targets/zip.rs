//! Zips of code.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| storage::fuzzing::zip(bytes));
