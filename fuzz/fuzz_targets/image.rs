//! Archives of images: OCI layouts and what docker save writes.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| storage::fuzzing::image_archive(bytes));
