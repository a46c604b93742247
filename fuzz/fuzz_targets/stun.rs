//! Arbitrary bytes into `leafcutter::fuzzing::stun`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::stun(bytes));
