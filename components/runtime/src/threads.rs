//! Threads beyond the first.
//!
//! The root task starts all threads of a component; every one but the first
//! sleeps on a notification of its own until [`spawn`] gives it a function.
//! Invariant: which thread runs is told by the stack it runs on, so nothing
//! here needs thread-local storage.

use core::fmt;
use core::mem;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use system_description::map;

use crate::Component;
use crate::component::slot;

const MAX: usize = map::MAX_THREADS as usize;

/// What each thread is to run next; null: nothing.
static JOBS: [AtomicPtr<()>; MAX] = [const { AtomicPtr::new(ptr::null_mut()) }; MAX];

/// Why a thread was not given a function; the caller is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpawnError {
    /// The first thread, or one that system.toml does not give.
    NoSuchThread,
    /// It has not taken up the function it was given before.
    Busy,
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSuchThread => "no such thread",
            Self::Busy => "the thread was given something else to do",
        })
    }
}

impl core::error::Error for SpawnError {}

/// Has thread `index` (1 or above) run `job`, once it is done with what it
/// runs now.
///
/// # Errors
/// [`SpawnError`]; nothing changes then. A number that system.toml does not
/// give but is below [`map::MAX_THREADS`] is not noticed.
pub fn spawn(index: usize, job: fn()) -> Result<(), SpawnError> {
    let place = JOBS.get(index).filter(|_| index != 0);
    let place = place.ok_or(SpawnError::NoSuchThread)?;
    // Release: the thread sees what was written before it was given the job.
    place
        .compare_exchange(
            ptr::null_mut(),
            job as *mut (),
            Ordering::Release,
            Ordering::Relaxed,
        )
        .map_err(|_| SpawnError::Busy)?;
    notification(index).signal();
    Ok(())
}

/// The number of the thread that runs, from 0.
#[must_use]
pub fn thread_index() -> usize {
    let here: usize;
    // SAFETY: reads the stack pointer only.
    unsafe {
        core::arch::asm!("mov {}, rsp", out(reg) here, options(nomem, nostack, preserves_flags));
    }
    here.wrapping_sub(map::THREADS as usize) / map::THREAD_STRIDE as usize
}

fn notification(index: usize) -> sel4::cap::Notification {
    slot(map::slot::THREAD_NOTIFICATION + index as u32)
}

/// Sleeps until [`wake`] wakes this thread, `index`; may return for no reason.
/// Not for the first thread, which waits on the component's notification.
pub fn wait(index: usize) {
    notification(index).wait();
}

/// Wakes thread `index` from its wait; the first thread as a signal without
/// badge bits does.
pub fn wake(component: &Component, index: usize) {
    match index {
        0 => component.notification().signal(),
        index => notification(index).signal(),
    }
}

/// Lets other threads of the same priority run.
pub fn yield_now() {
    sel4::r#yield();
}

/// Runs jobs as they come; sleeps while there is none.
pub(crate) fn serve(index: usize) -> ! {
    loop {
        let job = JOBS.get(index).map_or(ptr::null_mut(), |j| {
            j.swap(ptr::null_mut(), Ordering::Acquire)
        });
        if job.is_null() {
            // A job's own waits may take a signal for the next job, which is
            // why the place is looked at first.
            wait(index);
            continue;
        }
        // SAFETY: only `spawn` stores there, and only function pointers of
        // this type.
        let job: fn() = unsafe { mem::transmute::<*mut (), fn()>(job) };
        job();
    }
}
