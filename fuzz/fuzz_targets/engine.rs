//! Arbitrary bytes into `leafcutter::fuzzing::engine`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::engine(bytes));
