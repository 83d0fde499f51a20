//! Drives `parsers::archive` with what cargo-fuzz finds.
#![no_main]

#[path = "../checksums.rs"]
mod checksums;
#[path = "../drive.rs"]
mod drive;
#[allow(dead_code)]
#[path = "../parsers.rs"]
mod parsers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| drive::drive(parsers::archive, bytes));

libfuzzer_sys::fuzz_mutator!(|bytes: &mut [u8], size: usize, most: usize, seed: u32| {
    let size = libfuzzer_sys::fuzzer_mutate(bytes, size, most);
    if seed % 4 > 0 {
        checksums::set(&mut bytes[..size]);
    }
    size
});
