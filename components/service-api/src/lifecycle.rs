//! States of all components, written by the root task, read-only for watchers.
//!
//! One `u32` a component, in the order of the system description. The root
//! task writes the state first and signals the watchers afterwards.

use core::sync::atomic::Ordering;

use shared_ring::{OutOfRange, SharedMemory};

/// What a component is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not started yet.
    NotStarted = 0,
    /// Runs.
    Running = 1,
    /// Faulted, panicked or was stopped; its resources are reclaimed.
    Dead = 2,
}

impl State {
    /// The word in the shared region; anything unknown counts as dead.
    #[must_use]
    pub const fn from_word(word: u32) -> Self {
        match word {
            0 => Self::NotStarted,
            1 => Self::Running,
            _ => Self::Dead,
        }
    }

    /// A lower-case word for reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "not started",
            Self::Running => "running",
            Self::Dead => "dead",
        }
    }
}

/// Bytes of the region for `components` components.
#[must_use]
pub const fn region_bytes(components: usize) -> usize {
    components * 4
}

/// The state of component `index`.
///
/// # Errors
/// [`OutOfRange`] if the region has no such component.
pub fn read(region: &SharedMemory, index: u16) -> Result<State, OutOfRange> {
    let word = region.word32(index as usize * 4)?;
    Ok(State::from_word(word.load(Ordering::Acquire)))
}

/// Sets the state of component `index`; the root task only.
///
/// # Errors
/// As [`read`].
pub fn write(region: &SharedMemory, index: u16, state: State) -> Result<(), OutOfRange> {
    let word = region.word32(index as usize * 4)?;
    word.store(state as u32, Ordering::Release);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;

    #[test]
    fn states_are_kept_apart() {
        let region = SharedMemory::from_static(Box::leak(Box::new([0u64; 2])));
        write(&region, 1, State::Running).unwrap();
        write(&region, 3, State::Dead).unwrap();
        let states = [0, 1, 2, 3].map(|n| read(&region, n).unwrap());
        use State::{Dead, NotStarted, Running};
        assert_eq!(states, [NotStarted, Running, NotStarted, Dead]);
        assert_eq!(read(&region, 4), Err(OutOfRange));
        region.store32(0, 99).unwrap();
        assert_eq!(read(&region, 0), Ok(Dead));
    }
}
