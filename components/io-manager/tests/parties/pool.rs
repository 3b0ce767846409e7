//! Memory for parties, used again by the next ones.

use std::sync::Mutex;

use model_platform::Physical;

static POOL: Mutex<Vec<Physical>> = Mutex::new(Vec::new());

/// Memory that nobody uses.
pub fn take() -> Physical {
    let free = POOL.lock().unwrap_or_else(|e| e.into_inner()).pop();
    free.unwrap_or_else(|| Physical::new(16 << 20))
}

/// Gives memory back; what is still in it will be seen by the next.
pub fn put(physical: Physical) {
    let mut pool = POOL.lock().unwrap_or_else(|e| e.into_inner());
    pool.push(physical);
}
