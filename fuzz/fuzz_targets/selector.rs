//! Arbitrary bytes into `leafcutter::fuzzing::selector`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::selector(bytes));
