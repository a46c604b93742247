//! Arbitrary bytes into `leafcutter::fuzzing::conversation`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::conversation(bytes));
