//! Arbitrary bytes into `leafcutter::fuzzing::sctp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::sctp(bytes));
