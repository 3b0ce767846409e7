//! The same tests in each placement.
//!
//! Problem: that moving a server changes no byte of any reply is only shown by
//! the tests that hold for one placement holding for the other, unchanged.
//! Invariant: a test says nothing of the placement; all systems that it boots
//! are in the one that it runs in.

use std::cell::Cell;

use cargo_ioipc::Placement;

thread_local! {
    static PLACEMENT: Cell<Option<Placement>> = const { Cell::new(None) };
}

/// Runs `test` with all systems that its thread boots in `placement`.
pub fn placed(placement: Placement, test: impl FnOnce()) {
    PLACEMENT.set(Some(placement));
    test();
    PLACEMENT.set(None);
}

/// The placement that the tests of this thread run in; `None`: that of the
/// system's description.
#[must_use]
pub fn placement() -> Option<Placement> {
    PLACEMENT.get()
}

/// Makes two tests of each of these functions: `NAME::user` and `NAME::kernel`.
#[macro_export]
macro_rules! in_both_placements {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            use $crate::placed::placed;
            use $crate::Placement;

            #[test]
            fn user() {
                placed(Placement::User, super::$name);
            }

            #[test]
            fn kernel() {
                placed(Placement::Kernel, super::$name);
            }
        }
    )*};
}
