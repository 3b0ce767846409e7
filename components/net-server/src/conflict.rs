//! Our hold on the own address (RFC 5227): is it anybody else's?
//!
//! Problem: two hosts with one address take each other's packets away, and RFC
//! 5227 has a host wait for seven seconds before it uses an address, which a
//! server that is waited for must not. Invariant: an address is used at once; it
//! is asked for three times meanwhile, in nobody's name, and announced only when
//! nobody has answered; whoever claims it later is answered by at most one
//! announcement in ten seconds, counted and logged. A lease that turns out to be
//! somebody's before it is announced is declined (RFC 2131, 3.1.5).

use smoltcp::wire::{EthernetAddress, Ipv4Address};

use crate::counters::Counter;
use crate::environment::Environment;
use crate::ingress::Fate;
use crate::server::Server;

/// Questions for the address (RFC 5227, 1.1: PROBE_NUM).
const QUESTIONS: u8 = 3;
/// Between two, in microseconds (PROBE_MIN).
const QUESTION_US: u64 = 1_000_000;
/// From the last question to the first announcement (ANNOUNCE_WAIT), and between
/// announcements (ANNOUNCE_INTERVAL).
const ANNOUNCE_US: u64 = 2_000_000;
/// Announcements (ANNOUNCE_NUM).
const ANNOUNCEMENTS: u8 = 2;
/// Between two defences (DEFEND_INTERVAL).
const DEFEND_US: u64 = 10_000_000;

/// What is still to be said about the own address.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    questions: u8,
    announcements: u8,
    next: Option<u64>,
    /// When it was defended last.
    defended: Option<u64>,
}

impl Guard {
    /// There is an address, or none.
    pub fn begin(&mut self, address: bool, now: u64) {
        *self = Self {
            questions: QUESTIONS,
            announcements: ANNOUNCEMENTS,
            next: address.then_some(now),
            defended: None,
        };
    }

    /// When there is something to be said.
    pub fn deadline(&self) -> Option<u64> {
        self.next
    }

    /// Nobody has been told yet that it is ours.
    fn is_new(&self) -> bool {
        self.next.is_some() && self.announcements == ANNOUNCEMENTS
    }

    /// Whether to defend it now.
    fn may_defend(&mut self, now: u64) -> bool {
        let may = self.defended.is_none_or(|last| now >= last + DEFEND_US);
        if may {
            self.defended = Some(now);
        }
        may
    }

    /// Whether a question is due (true) or an announcement (false), or nothing.
    fn due(&mut self, now: u64) -> Option<bool> {
        self.next.filter(|next| *next <= now)?;
        if self.questions != 0 {
            self.questions -= 1;
            let wait = if self.questions == 0 {
                ANNOUNCE_US
            } else {
                QUESTION_US
            };
            self.next = Some(now + wait);
            return Some(true);
        }
        self.announcements -= 1;
        self.next = (self.announcements != 0).then_some(now + ANNOUNCE_US);
        Some(false)
    }
}

impl Server {
    /// Begins to look after another address.
    pub(crate) fn begin_guard(&mut self) {
        let now = self.now();
        self.guard.begin(self.stack.address.is_some(), now);
        self.tend_neighbours();
    }

    /// Says what is due about the own address.
    pub(crate) fn guard_address(&mut self, env: &mut impl Environment) {
        let now = self.now();
        let Some(own) = self.stack.own() else {
            return;
        };
        match self.guard.due(now) {
            Some(true) => self.say(Ipv4Address::UNSPECIFIED, own, env),
            Some(false) => self.say(own, own, env),
            None => {}
        }
    }

    /// Asks everybody for `own`, as `from`.
    fn say(&mut self, from: Ipv4Address, own: Ipv4Address, env: &mut impl Environment) {
        self.stack.ask(from, own, None, env, &mut self.counters);
    }

    /// Somebody says that our address is his.
    #[cold]
    pub(crate) fn conflict(&mut self, mac: EthernetAddress, env: &mut impl Environment) -> Fate {
        self.counters.add(Counter::AddressConflicts);
        let now = self.now();
        let Some(own) = self.stack.own() else {
            return Fate::Drop;
        };
        if self.guard.is_new() && self.decline(env) {
            log::warn!("declined {own}, which is the address of {mac}");
            return Fate::Drop;
        }
        if self.guard.may_defend(now) {
            log::warn!("our address {own} is also that of {mac}");
            self.say(own, own, env);
        }
        if self.guard.is_new() {
            // It is said that it is ours, and not more often than that.
            self.guard.next = None;
        }
        Fate::Drop
    }
}
