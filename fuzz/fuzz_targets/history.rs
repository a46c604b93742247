//! Arbitrary bytes into `leafcutter::fuzzing::history`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::history(bytes));
