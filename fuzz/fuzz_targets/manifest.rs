//! Manifests and indexes as they are pushed.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| storage::fuzzing::pushed_manifest(bytes));
