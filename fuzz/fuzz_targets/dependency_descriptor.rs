//! Arbitrary bytes into `leafcutter::fuzzing::dependency_descriptor`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::dependency_descriptor(bytes));
