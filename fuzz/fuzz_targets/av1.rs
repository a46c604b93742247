//! Arbitrary bytes into `leafcutter::fuzzing::av1`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::av1(bytes));
