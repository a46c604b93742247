//! Arbitrary bytes into `leafcutter::fuzzing::h264`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::h264(bytes));
