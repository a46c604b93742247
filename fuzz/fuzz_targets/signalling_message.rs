//! Arbitrary bytes into `leafcutter::fuzzing::signalling_message`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| leafcutter::fuzzing::signalling_message(bytes));
