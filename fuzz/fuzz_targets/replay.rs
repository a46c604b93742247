//! Arbitrary bytes into `leafcutter::fuzzing::replay`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::replay(bytes));
