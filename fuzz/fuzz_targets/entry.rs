//! See `tests/fuzzing/entry.rs`, which holds what is checked.
#![no_main]

#[path = "../../tests/fuzzing/entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::check(data));
