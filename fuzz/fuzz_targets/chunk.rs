//! A door for libFuzzer; the target itself, and its oracles, are `src/fuzz/chunk.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman::fuzz::chunk::run(data));
