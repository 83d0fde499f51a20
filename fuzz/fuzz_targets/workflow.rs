//! Drives `records::workflow` with what cargo-fuzz finds.
#![no_main]

#[path = "../drive.rs"]
mod drive;
#[allow(dead_code)]
#[path = "../records.rs"]
mod records;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drive::drive(records::workflow, bytes));
