//! Names of images and repositories.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| storage::fuzzing::name(bytes));
