//! Drives `parsers::pickle` with what cargo-fuzz finds.
#![no_main]

#[path = "../drive.rs"]
mod drive;
#[allow(dead_code)]
#[path = "../parsers.rs"]
mod parsers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drive::drive(parsers::pickle, bytes));
