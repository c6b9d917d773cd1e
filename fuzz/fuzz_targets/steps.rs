//! See `tests/fuzzing/steps.rs`, which holds what is checked.
#![no_main]

#[path = "../../tests/fuzzing/steps.rs"]
mod steps;

libfuzzer_sys::fuzz_target!(|data: &[u8]| steps::check(data));
