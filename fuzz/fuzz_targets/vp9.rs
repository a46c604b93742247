//! Arbitrary bytes into `leafcutter::fuzzing::vp9`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::vp9(bytes));
