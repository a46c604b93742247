//! Arbitrary bytes into `leafcutter::fuzzing::opus`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::opus(bytes));
