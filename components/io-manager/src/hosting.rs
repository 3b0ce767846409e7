//! Whose turn is next in the manager's thread.
//!
//! Problem: servers and drivers may run in the thread of the manager, where
//! nobody wakes them; and that thread has faults of clients to resolve, which
//! must not wait for ever. Invariant: the thread sleeps only when all of them
//! have looked since the last turn of anybody, and nobody found anything; and
//! after [`BUDGET`] turns at most, and after one in which a guest has ended, it
//! looks for faults and deaths, whatever there is to do.
//!
//! All that guests say to each other goes through the manager. So that looks
//! after each turn of a guest, each guest looks after a turn of the manager
//! before that has another, and a turn is taken only by who has something to do.

use alloc::vec::Vec;

/// Turns, of whomever, after which deaths and faults are looked for even when
/// there is no rest: who floods the manager must not keep it from burying
/// others, nor others' threads standing still.
pub const BUDGET: u32 = 64;

/// Who takes turns.
pub trait Resident {
    /// Does a bounded amount of work; `signals` are those for it since its last
    /// turn. True if there is more to do at once.
    fn turn(&mut self, signals: u64) -> bool;

    /// True if nothing is left to do until another resident has had a turn, or a
    /// signal comes from outside.
    fn arm(&mut self) -> bool;
}

/// The manager in it.
pub trait Host: Resident {
    /// Whether a guest has said something. Cheaper than [`Resident::arm`], which
    /// looks at the clients too.
    fn hears_guests(&self) -> bool;

    /// Whether a guest is to have a turn to see what the manager wants, which no
    /// ring says; since the last time that this was asked.
    fn wakes_guests(&mut self) -> bool;
}

/// A server or driver in it.
pub trait Guest: Resident {
    /// Badge bits of the signals that are for it.
    fn hears(&self) -> u64;

    /// The thread sleeps next.
    fn settle(&mut self);

    /// Whether it has given up. It takes no more turns then.
    fn has_ended(&self) -> bool;
}

/// What the thread does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Sleep until a signal or a fault comes.
    Sleep,
    /// Look for faults and deaths, and go on.
    Look,
    /// Go on.
    Work,
}

/// What one resident has to do.
#[derive(Clone, Copy, Debug)]
struct Due {
    more: bool,
    signals: u64,
}

impl Due {
    /// A first turn.
    const START: Self = Self {
        more: true,
        signals: 0,
    };

    fn is_due(&self) -> bool {
        self.more || self.signals != 0
    }

    /// Gives the resident a turn.
    #[inline]
    fn give(&mut self, resident: &mut impl Resident) {
        let signals = core::mem::take(&mut self.signals);
        self.more = resident.turn(signals);
    }
}

/// The manager's thread. See the module's documentation.
#[derive(Debug)]
pub struct Domain<G> {
    guests: Vec<(G, Due)>,
    manager: Due,
    /// Which guest looks next.
    at: usize,
    /// Guests that have looked since the last turn of anybody.
    quiet: usize,
    /// Guests that look before the manager has another turn.
    owed: usize,
    /// Turns since faults were looked for.
    taken: u32,
}

impl<G: Guest> Domain<G> {
    /// One in which the manager and then each guest is due for a first turn.
    #[must_use]
    pub fn new(guests: Vec<G>) -> Self {
        Self {
            guests: guests.into_iter().map(|g| (g, Due::START)).collect(),
            manager: Due::START,
            at: 0,
            quiet: 0,
            owed: 0,
            taken: 0,
        }
    }

    /// Signals have arrived.
    #[inline]
    pub fn signalled(&mut self, signals: u64) {
        self.manager.signals |= signals;
        for (guest, due) in &mut self.guests {
            let own = signals & guest.hears();
            due.signals |= own;
            // What is a guest's alone is no reason for the manager.
            self.manager.signals &= !own;
        }
    }

    /// The guests.
    pub fn guests(&self) -> impl Iterator<Item = &G> {
        self.guests.iter().map(|(guest, _)| guest)
    }

    /// The manager has been told something otherwise.
    pub fn told(&mut self) {
        self.manager.more = true;
    }

    /// Who is to have a turn whether or not it finds something to do.
    fn wake_guests(&mut self) {
        self.guests.iter_mut().for_each(|(_, due)| due.more = true);
    }

    /// Gives the next turn, if anybody has something to do.
    #[inline]
    pub fn step(&mut self, manager: &mut impl Host) -> Next {
        if self.guests.is_empty() {
            return self.alone(manager);
        }
        loop {
            if self.owed == 0 && (self.manager.is_due() || manager.hears_guests()) {
                self.manager.give(manager);
                self.owed = self.guests.len();
                return self.took();
            }
            if self.quiet == self.guests.len() {
                let idle = manager.arm();
                if manager.wakes_guests() {
                    self.wake_guests();
                    self.quiet = 0;
                } else if idle {
                    return self.settle();
                }
                self.manager.more = !idle;
            } else if self.guest_took() {
                return self.took();
            }
        }
    }

    /// [`Domain::step`] where there are no guests: the manager always has a turn.
    #[inline]
    fn alone(&mut self, manager: &mut impl Host) -> Next {
        let signals = core::mem::take(&mut self.manager.signals);
        if manager.turn(signals) || !manager.arm() {
            return self.took();
        }
        self.taken = 0;
        Next::Sleep
    }

    /// Lets the next guest look; whether it had something to do, and did it.
    #[inline]
    fn guest_took(&mut self) -> bool {
        let count = self.guests.len();
        let (guest, due) = &mut self.guests[self.at];
        self.owed = self.owed.saturating_sub(1);
        self.at += 1;
        if self.at == count {
            self.at = 0;
        }
        let needed = due.is_due() || !guest.arm();
        if needed {
            due.give(guest);
            if guest.has_ended() {
                self.taken = BUDGET;
            }
        } else {
            self.quiet += 1;
        }
        needed
    }

    /// Somebody had a turn.
    #[inline]
    fn took(&mut self) -> Next {
        self.quiet = 0;
        self.taken += 1;
        if self.taken < BUDGET {
            return Next::Work;
        }
        self.taken = 0;
        Next::Look
    }

    fn settle(&mut self) -> Next {
        self.quiet = 0;
        self.taken = 0;
        self.guests.iter_mut().for_each(|(guest, _)| guest.settle());
        Next::Sleep
    }
}
