//! Arbitrary bytes into `leafcutter::fuzzing::dtls`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::dtls(bytes));
