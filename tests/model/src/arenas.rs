//! Physical memory that one world after another uses.
//!
//! Problem: memory that rings lie in must live for ever, and a property test
//! builds hundreds of worlds. Invariant: a world gets memory that no other
//! world uses, full of `0xee` as if it were new.

use std::sync::{Mutex, MutexGuard};

use model_platform::{BASE, Physical};

/// Bytes of each.
const BYTES: usize = 56 << 20;
/// Bytes written at a time.
const PIECE: usize = 1 << 20;

static FREE: Mutex<Vec<Physical>> = Mutex::new(Vec::new());

fn free() -> MutexGuard<'static, Vec<Physical>> {
    // A test that panicked has failed already.
    FREE.lock().unwrap_or_else(|e| e.into_inner())
}

/// Memory for a host.
pub(crate) fn take() -> Physical {
    let used = free().pop();
    used.map_or_else(|| Physical::new(BYTES), refill)
}

/// Gives it back, once nothing uses it any more.
pub(crate) fn give_back(physical: Physical) {
    free().push(physical);
}

fn refill(physical: Physical) -> Physical {
    let piece = vec![0xee; PIECE];
    for at in (0..BYTES).step_by(PIECE) {
        physical.write(BASE + at as u64, &piece);
    }
    physical
}
