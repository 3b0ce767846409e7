//! A global allocator over the memory that system.toml calls `heap`.

use linked_list_allocator::Heap;
use spin::Mutex;

use core::alloc::{GlobalAlloc, Layout};
use core::fmt;
use core::ptr::{self, NonNull};

use crate::Component;

/// The allocator behind `Box` and `Vec`. Empty until [`init`].
struct Locked(Mutex<Heap>);

#[cfg_attr(not(test), global_allocator)]
static HEAP: Locked = Locked(Mutex::new(Heap::empty()));

// SAFETY: `Heap` hands out disjoint spans of the memory given to `init`, and
// the lock makes every operation exclusive.
unsafe impl GlobalAlloc for Locked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let got = self.0.lock().allocate_first_fit(layout);
        got.map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if let Some(at) = NonNull::new(at) {
            // SAFETY: the caller got `at` from `alloc` with this layout.
            unsafe { self.0.lock().deallocate(at, layout) };
        }
    }
}

/// Why there is no heap; system.toml is at fault, or `init` was called twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHeap;

impl fmt::Display for NoHeap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the component has no memory called \"heap\"")
    }
}

impl core::error::Error for NoHeap {}

/// Gives the allocator the component's heap.
///
/// # Errors
/// [`NoHeap`] if the component has none or was here before.
pub fn init(component: &Component) -> Result<(), NoHeap> {
    init_with(component.memory("heap").ok_or(NoHeap)?)
}

/// Gives the allocator `memory`; for the root task, which no page describes.
///
/// # Errors
/// [`NoHeap`] if it has memory already.
pub fn init_with(memory: &'static mut [u8]) -> Result<(), NoHeap> {
    let mut heap = HEAP.0.lock();
    if heap.size() != 0 {
        return Err(NoHeap);
    }
    // SAFETY: the span is exclusive and lasts for good, and the heap is empty.
    unsafe { heap.init(memory.as_mut_ptr(), memory.len()) };
    Ok(())
}

/// Bytes of the heap in use and free.
#[must_use]
pub fn usage() -> (usize, usize) {
    let heap = HEAP.0.lock();
    (heap.used(), heap.free())
}
