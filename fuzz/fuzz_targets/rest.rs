//! Arbitrary bytes into `leafcutter::fuzzing::rest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::rest(bytes));
