//! A door for libFuzzer; the target itself, and its oracles, are `src/fuzz/differ.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pointsman::fuzz::differ::run(data));
