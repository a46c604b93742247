//! Arbitrary bytes into `leafcutter::fuzzing::framing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::framing(bytes));
