//! One input to one parser: it may not panic, nor ask for more memory at once than the bound.

#[path = "../tests/lab/allocator.rs"]
mod allocator;

/// Gives `bytes` to `parse`.
pub fn drive(parse: fn(&[u8]), bytes: &[u8]) {
    allocator::forget();
    parse(bytes);
    let largest = allocator::largest();
    assert!(largest <= allocator::MOST, "asked for {largest} bytes at once");
}
