//! Arbitrary bytes into `leafcutter::fuzzing::config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::config(bytes));
