//! See `tests/fuzzing/lock_path.rs`, which holds what is checked.
#![no_main]

#[path = "../../tests/fuzzing/lock_path.rs"]
mod lock_path;

libfuzzer_sys::fuzz_target!(|data: &[u8]| lock_path::check(data));
