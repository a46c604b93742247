//! Arbitrary bytes into `leafcutter::fuzzing::rtp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::rtp(bytes));
