//! Arbitrary bytes into `leafcutter::fuzzing::layers_allocation`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::layers_allocation(bytes));
