//! Arbitrary bytes into `leafcutter::fuzzing::transport_feedback`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::transport_feedback(bytes));
