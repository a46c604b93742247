//! Arbitrary bytes into `leafcutter::fuzzing::red`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::red(bytes));
