//! Arbitrary bytes into `leafcutter::fuzzing::rewriter`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::rewriter(bytes));
