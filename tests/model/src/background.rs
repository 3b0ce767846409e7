//! What other threads and other hosts do while a client waits.
//!
//! Problem: a blocking call returns only when others have done something, and
//! a test has one thread. Invariant: the work set here runs once after each
//! step that a waiting client makes the world take, on the test's own thread,
//! when no lock is held; it does not run again inside itself.

use std::cell::RefCell;

thread_local! {
    static WORK: RefCell<Option<Box<dyn FnMut()>>> = const { RefCell::new(None) };
}

/// Ends the work that was set when dropped.
#[derive(Debug)]
#[must_use = "the work ends with it"]
pub struct Background(());

impl Drop for Background {
    fn drop(&mut self) {
        drop(WORK.take());
    }
}

/// Has `work` done while clients wait, instead of what was set before.
pub fn set(work: impl FnMut() + 'static) -> Background {
    WORK.set(Some(Box::new(work)));
    Background(())
}

/// Does it once.
pub(crate) fn run() {
    let Some(mut work) = WORK.take() else {
        return;
    };
    work();
    WORK.with_borrow_mut(|place| {
        place.get_or_insert(work);
    });
}
