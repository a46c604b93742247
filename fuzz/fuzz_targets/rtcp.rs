//! Arbitrary bytes into `leafcutter::fuzzing::rtcp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::rtcp(bytes));
