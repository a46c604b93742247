//! Arbitrary bytes into `leafcutter::fuzzing::sdp_answer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::sdp_answer(bytes));
