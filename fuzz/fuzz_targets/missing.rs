//! Arbitrary bytes into `leafcutter::fuzzing::missing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::missing(bytes));
