//! One deadline a client.
//!
//! Invariant: a client has at most one deadline, so the table is bounded by
//! the number of clients whatever they ask for, and finding the nearest costs
//! the same each time.

use core::fmt;

/// Most clients of the timer.
pub const MAX_CLIENTS: usize = 64;

/// A client number that is out of range; the caller is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoSuchClient(pub u16);

impl fmt::Display for NoSuchClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the timer has no client {}", self.0)
    }
}

impl core::error::Error for NoSuchClient {}

/// The deadlines in nanoseconds, by client.
#[derive(Debug)]
pub struct Deadlines {
    at: [u64; MAX_CLIENTS],
    clients: usize,
}

const NONE: u64 = u64::MAX;

impl Deadlines {
    /// No deadline for any of `clients` clients, at most [`MAX_CLIENTS`].
    #[must_use]
    pub fn new(clients: usize) -> Self {
        Self {
            at: [NONE; MAX_CLIENTS],
            clients: clients.min(MAX_CLIENTS),
        }
    }

    /// Sets a client's deadline in nanoseconds; 0 takes it away.
    ///
    /// # Errors
    /// [`NoSuchClient`].
    pub fn set(&mut self, client: u16, at: u64) -> Result<(), NoSuchClient> {
        let known = self.at.get_mut(..self.clients);
        let slot = known.and_then(|k| k.get_mut(client as usize));
        *slot.ok_or(NoSuchClient(client))? = if at == 0 { NONE } else { at };
        Ok(())
    }

    /// The nearest deadline.
    #[must_use]
    pub fn nearest(&self) -> Option<u64> {
        self.at.iter().copied().min().filter(|at| *at != NONE)
    }

    /// Takes away the deadlines that `now` has reached; one bit for each
    /// client that had one.
    pub fn expire(&mut self, now: u64) -> u64 {
        let mut due = 0;
        for (client, at) in self.at.iter_mut().enumerate() {
            if *at <= now && *at != NONE {
                *at = NONE;
                due |= 1 << client;
            }
        }
        due
    }

    /// Clients that wait for something.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.at.iter().filter(|at| **at != NONE).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn numbers_are_checked() {
        let mut deadlines = Deadlines::new(3);
        assert_eq!(deadlines.set(3, 1), Err(NoSuchClient(3)));
        assert_eq!(deadlines.set(u16::MAX, 1), Err(NoSuchClient(u16::MAX)));
        let mut most = Deadlines::new(1000);
        assert_eq!(most.set(63, 1), Ok(()));
        assert_eq!(most.set(64, 1), Err(NoSuchClient(64)));
        assert_eq!(most.expire(1), 1 << 63);
    }

    #[test]
    fn the_end_of_time_never_comes() {
        let mut deadlines = Deadlines::new(1);
        deadlines.set(0, u64::MAX).unwrap();
        assert_eq!((deadlines.nearest(), deadlines.expire(u64::MAX)), (None, 0));
    }

    proptest! {
        #[test]
        fn it_is_a_map_from_client_to_deadline(
            steps in prop::collection::vec((any::<bool>(), 0u16..8, 0u64..50), 1..100)
        ) {
            let (mut deadlines, mut model) = (Deadlines::new(8), BTreeMap::new());
            for (set, client, time) in steps {
                if set {
                    deadlines.set(client, time).unwrap();
                    model.insert(client, time);
                    model.retain(|_, at| *at != 0);
                } else {
                    let due = deadlines.expire(time);
                    let expected: u64 = model.iter().filter(|(_, at)| **at <= time)
                        .map(|(client, _)| 1u64 << client).sum();
                    prop_assert_eq!(due, expected);
                    model.retain(|_, at| *at > time);
                }
                prop_assert_eq!(deadlines.nearest(), model.values().min().copied());
                prop_assert_eq!(deadlines.waiting(), model.len());
            }
        }
    }
}
