//! See `tests/fuzzing/durations.rs`, which holds what is checked.
#![no_main]

#[path = "../../tests/fuzzing/durations.rs"]
mod durations;

libfuzzer_sys::fuzz_target!(|data: &[u8]| durations::check(data));
