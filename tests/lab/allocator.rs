//! The usual allocator, which remembers the largest request of each thread, and how much all
//! threads together asked for. A program of tests has it by naming this file as a module.
#![allow(dead_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most memory that one request may ask for: a small gzip may honestly hold a thousand times
/// its size.
pub const MOST: usize = 256 << 20;

struct Measured;

#[global_allocator]
static ALLOCATOR: Measured = Measured;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

static REQUESTED: AtomicUsize = AtomicUsize::new(0);

/// The bytes that all threads asked for while `work` was done, given back meanwhile or not.
pub fn requested(work: impl FnOnce()) -> usize {
    let before = REQUESTED.load(Ordering::SeqCst);
    work();
    REQUESTED.load(Ordering::SeqCst) - before
}

/// Begins to measure the largest request anew.
pub fn forget() {
    LARGEST.set(0);
}

/// The largest request of this thread since then, in bytes.
pub fn largest() -> usize {
    LARGEST.get()
}

fn note(bytes: usize) {
    REQUESTED.fetch_add(bytes, Ordering::SeqCst);
    // A thread that ends may ask for memory when its variables are gone.
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(bytes)));
}

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Measured {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}
