//! Arbitrary bytes into `leafcutter::fuzzing::sdp_offer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::sdp_offer(bytes));
