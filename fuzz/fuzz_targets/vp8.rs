//! Arbitrary bytes into `leafcutter::fuzzing::vp8`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::vp8(bytes));
