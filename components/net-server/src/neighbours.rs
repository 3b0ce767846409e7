//! Whose hardware address is which: what we asked, and whom we believe.
//!
//! Problem: ARP (RFC 826) has no proof of anything, and anybody may say anything
//! at any time, in any number. Invariant: an address stands here only because its
//! host answered our question; news of it either say the same again, or have us
//! ask the old address first, and only its silence makes us ask everybody anew
//! (RFC 1122, 2.3.2.1). The table is bounded: what is asked for has no more than
//! half of it, of which strangers' part gives way first, and who is in use gives
//! way last, the gateway never. Who does not answer is absent for a while, and
//! nobody waits for it.
//!
//! Nothing here sends: [`Neighbours::due`] says what is to be done.

use alloc::boxed::Box;

use smoltcp::wire::{EthernetAddress, Ipv4Address};

/// Entries: no more than smoltcp keeps.
pub(crate) const PLACES: usize = 64;
/// Of these, hosts that we do not have the address of.
const WITHOUT: usize = PLACES / 2;
/// Between two questions, in microseconds (RFC 1122, 2.3.2.1).
const AGAIN_US: u64 = 1_000_000;
/// Questions before a host is absent, or its address is not its own any more.
const QUESTIONS: u8 = 3;
/// Questions to the old address when somebody claims a new one.
const DOUBTS: u8 = 2;
/// How long an address is good without being confirmed. It is used on while the
/// host is asked.
const FRESH_US: u64 = 60_000_000;
/// How long nobody waits for a host that did not answer.
pub(crate) const ABSENT_US: u64 = 5_000_000;

/// What is known of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    /// Asked for; by a host that asked for us, of our own accord, or not.
    Asked {
        stranger: bool,
        /// What it said its address is.
        said: Option<EthernetAddress>,
    },
    Known {
        mac: EthernetAddress,
        fresh_until: u64,
        /// Questions that it has to answer; 0: none.
        doubts: u8,
        /// smoltcp has asked for it.
        wanted: bool,
    },
    Absent,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    host: Ipv4Address,
    state: State,
    /// Questions asked.
    asked: u8,
    /// When there is something to do, in microseconds; `u64::MAX` for never.
    next: u64,
    /// How many had been wanted when somebody last wanted it; 0: nobody did.
    used: u64,
    /// Not before this time is it asked again.
    quiet_until: u64,
}

const NONE: Entry = Entry {
    host: Ipv4Address::UNSPECIFIED,
    state: State::Free,
    asked: 0,
    next: u64::MAX,
    used: 0,
    quiet_until: 0,
};

/// The way to a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Known(EthernetAddress),
    /// It is being asked for.
    Asked,
    /// It did not answer a short time ago.
    Absent,
}

/// What became of what somebody said about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// It answers our question.
    Answer,
    /// It is what we know.
    Same,
    /// It is not what we know: the old address is asked.
    Other,
    /// We neither know nor asked.
    Unknown,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask for a host, at this address or all.
    Ask(Ipv4Address, Option<EthernetAddress>),
    /// Tell smoltcp.
    Tell(Ipv4Address, EthernetAddress),
    /// Its address is not its own any more: smoltcp is to forget it.
    Forget,
    /// It does not answer.
    GiveUp,
}

/// The table.
pub(crate) struct Neighbours {
    entries: Box<[Entry; PLACES]>,
    /// How many were wanted.
    wanted: u64,
    /// Not before this time is anything due.
    next: u64,
}

impl Neighbours {
    /// Nobody is known.
    pub fn new() -> Self {
        Self {
            entries: Box::new([NONE; PLACES]),
            wanted: 0,
            next: u64::MAX,
        }
    }

    /// Forgets everybody.
    pub fn clear(&mut self) {
        self.entries.fill(NONE);
        self.next = u64::MAX;
    }

    /// When something is to be done.
    pub fn deadline(&self) -> Option<u64> {
        (self.next != u64::MAX).then_some(self.next)
    }

    /// The neighbour in a place, if its address is known.
    pub fn known(&self, place: usize) -> Option<(Ipv4Address, EthernetAddress)> {
        let entry = self.entries.get(place)?;
        match entry.state {
            State::Known { mac, .. } => Some((entry.host, mac)),
            _ => None,
        }
    }

    fn find(&mut self, host: Ipv4Address) -> Option<&mut Entry> {
        let used = |e: &&mut Entry| e.state != State::Free && e.host == host;
        self.entries.iter_mut().find(used)
    }

    /// The way to a host that somebody wants to send to; asks for it if it is not
    /// known. `may_go` says of
    /// a neighbour whether nobody uses it.
    pub fn want(
        &mut self,
        host: Ipv4Address,
        now: u64,
        may_go: impl Fn(Ipv4Address, EthernetAddress) -> bool,
    ) -> Way {
        self.wanted += 1;
        let used = self.wanted;
        if let Some(entry) = self.find(host) {
            entry.used = used;
            match &mut entry.state {
                State::Known {
                    mac,
                    fresh_until,
                    doubts,
                    ..
                } => {
                    let mac = *mac;
                    if *fresh_until <= now && *doubts == 0 {
                        *doubts = QUESTIONS;
                        let next = entry.doubt(now);
                        self.next = self.next.min(next);
                    }
                    return Way::Known(mac);
                }
                State::Absent if now < entry.next => return Way::Absent,
                State::Asked { stranger, .. } => {
                    *stranger = false;
                    return Way::Asked;
                }
                State::Absent | State::Free => {}
            }
        }
        self.ask(host, None, false, now, may_go);
        Way::Asked
    }

    /// smoltcp is to be told a host's address, if it is known.
    pub fn tell_smoltcp(&mut self, host: Ipv4Address, now: u64) {
        if let Some(entry) = self.find(host)
            && let State::Known { wanted, .. } = &mut entry.state
        {
            *wanted = true;
            entry.next = now;
            self.next = self.next.min(now);
        }
    }

    /// A host that is not known has asked for us: it will have to answer, too.
    /// False if it is being asked, or there is no place for it.
    pub fn meet(&mut self, host: Ipv4Address, mac: EthernetAddress, now: u64) -> bool {
        let asked = |e: &mut Entry| matches!(e.state, State::Asked { .. });
        if self.find(host).is_some_and(asked) {
            return false;
        }
        self.ask(host, Some(mac), true, now, |_, _| false)
    }

    /// Begins to ask for a host.
    fn ask(
        &mut self,
        host: Ipv4Address,
        said: Option<EthernetAddress>,
        stranger: bool,
        now: u64,
        may_go: impl Fn(Ipv4Address, EthernetAddress) -> bool,
    ) -> bool {
        let Some(place) = self.place(host, stranger, may_go) else {
            return false;
        };
        self.entries[place] = Entry {
            host,
            state: State::Asked { stranger, said },
            asked: 0,
            next: now,
            used: if stranger { 0 } else { self.wanted },
            quiet_until: 0,
        };
        self.next = self.next.min(now);
        true
    }

    /// A place for a host that is asked for: its own, a free one, or that of
    /// whoever has to give way to it.
    fn place(
        &self,
        host: Ipv4Address,
        stranger: bool,
        may_go: impl Fn(Ipv4Address, EthernetAddress) -> bool,
    ) -> Option<usize> {
        let at = |f: &dyn Fn(&Entry) -> bool| self.entries.iter().position(f);
        let own = |e: &Entry| e.state != State::Free && e.host == host;
        if let Some(own) = at(&own) {
            return Some(own);
        }
        let without = |e: &&Entry| matches!(e.state, State::Asked { .. } | State::Absent);
        let known = match self.entries.iter().filter(without).count() < WITHOUT {
            true => at(&|e| e.state == State::Free).or_else(|| self.least_used(stranger, may_go)),
            false => None,
        };
        known.or_else(|| self.least_missed(stranger))
    }

    /// The place of a host that is asked for and may be forgotten.
    fn least_missed(&self, stranger: bool) -> Option<usize> {
        let rank = |e: &Entry| match e.state {
            State::Absent => Some(0),
            State::Asked { stranger: true, .. } => Some(1),
            State::Asked { .. } if !stranger => Some(2),
            _ => None,
        };
        let ranked = self.entries.iter().enumerate();
        let ranked = ranked.filter_map(|(i, e)| Some((i, (rank(e)?, e.used, e.next))));
        ranked.min_by_key(|(_, key)| *key).map(|(place, _)| place)
    }

    /// The place of the neighbour that is known and has not been used for
    /// longest, if it is not in use. For a stranger only one never used goes.
    fn least_used(
        &self,
        stranger: bool,
        may_go: impl Fn(Ipv4Address, EthernetAddress) -> bool,
    ) -> Option<usize> {
        let known = self.entries.iter().enumerate();
        let known = known.filter(|(_, e)| match e.state {
            State::Known { .. } if stranger => e.used == 0,
            State::Known { mac, .. } => may_go(e.host, mac),
            _ => false,
        });
        known.min_by_key(|(_, e)| e.used).map(|(place, _)| place)
    }

    /// A host says what its address is; with a reply, or with a question of its
    /// own.
    pub fn hear(
        &mut self,
        host: Ipv4Address,
        said: EthernetAddress,
        reply: bool,
        now: u64,
    ) -> Said {
        let Some(entry) = self.find(host) else {
            return Said::Unknown;
        };
        match &mut entry.state {
            State::Known { mac, .. } if *mac == said => {
                entry.confirm(said, now);
                Said::Same
            }
            State::Known { doubts, .. } => {
                if *doubts == 0 {
                    *doubts = DOUBTS;
                    let next = entry.doubt(now);
                    self.next = self.next.min(next);
                }
                Said::Other
            }
            State::Asked { .. } if reply && entry.asked != 0 => {
                entry.confirm(said, now);
                Said::Answer
            }
            State::Absent => {
                // So it is there again, if it answers.
                self.meet(host, said, now);
                Said::Unknown
            }
            State::Asked { .. } | State::Free => Said::Unknown,
        }
    }

    /// A packet came from a host, by way of an address: it is there, if that is
    /// the address that we know.
    pub fn confirm(&mut self, host: Ipv4Address, from: EthernetAddress, now: u64) {
        if let Some(entry) = self.find(host)
            && matches!(entry.state, State::Known { mac, .. } if mac == from)
        {
            entry.confirm(from, now);
        }
    }

    /// What is to be done now, one thing at a time; so `deadline` may be too early.
    pub fn due(&mut self, now: u64) -> Option<Step> {
        if now < self.next {
            return None;
        }
        while let Some(entry) = self.entries.iter_mut().find(|e| e.next <= now) {
            if let Some(step) = entry.step(now) {
                return Some(step);
            }
        }
        let next = self.entries.iter().map(|e| e.next).min();
        self.next = next.unwrap_or(u64::MAX);
        None
    }
}

impl Entry {
    /// It has to answer anew; when it is asked.
    fn doubt(&mut self, now: u64) -> u64 {
        self.asked = 0;
        self.next = now.max(self.quiet_until);
        self.next
    }

    /// The host has this address, as it says itself.
    fn confirm(&mut self, mac: EthernetAddress, now: u64) {
        let wanted = matches!(self.state, State::Known { wanted: true, .. });
        self.state = State::Known {
            mac,
            fresh_until: now + FRESH_US,
            doubts: 0,
            wanted,
        };
        self.asked = 0;
        self.next = if wanted { now } else { u64::MAX };
    }

    /// What is to be done, now that it is due.
    fn step(&mut self, now: u64) -> Option<Step> {
        self.next = now + AGAIN_US;
        match &mut self.state {
            State::Known {
                mac,
                wanted,
                doubts,
                ..
            } if *wanted => {
                *wanted = false;
                self.next = match *doubts {
                    0 => u64::MAX,
                    _ => now.max(self.quiet_until),
                };
                Some(Step::Tell(self.host, *mac))
            }
            State::Known { mac, doubts, .. } if self.asked < *doubts => {
                self.asked += 1;
                self.quiet_until = now + AGAIN_US;
                Some(Step::Ask(self.host, Some(*mac)))
            }
            State::Known { doubts: 0, .. } | State::Free => {
                self.next = u64::MAX;
                None
            }
            State::Known { .. } => {
                // The old address is silent: whoever answers all has it.
                self.state = State::Asked {
                    stranger: false,
                    said: None,
                };
                (self.asked, self.next) = (0, now);
                Some(Step::Forget)
            }
            State::Asked { said, .. } if self.asked < QUESTIONS => {
                self.asked += 1;
                Some(Step::Ask(self.host, said.take()))
            }
            State::Asked { .. } => {
                self.state = State::Absent;
                self.next = now + ABSENT_US;
                Some(Step::GiveUp)
            }
            State::Absent => {
                *self = NONE;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
