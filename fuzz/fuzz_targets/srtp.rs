//! Arbitrary bytes into `leafcutter::fuzzing::srtp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::srtp(bytes));
