//! UDP (RFC 768): datagrams out.
//!
//! Problem: a datagram can be sent when there are send slots for all its
//! frames and the next hop is known, and not before; and of many hosts that a
//! socket serves some are not there. Invariant: what cannot go out now stays in
//! the client's memory, and the request waits, behind those before it to the same
//! host, and behind all others only if it waits for send slots. Few wait for
//! neighbours: where one more would be too many, the oldest fails; and nothing
//! waits for a host that has just been found absent.

use core::mem::offset_of;

use smoltcp::wire::Ipv4Address;
use socket_api::{Completion, Request, Status, WireAddress, flags};

use crate::counters::Counter;
use crate::datagram::{self, Payload};
use crate::environment::Environment;
use crate::pending::Waiting;
use crate::requests::{Answer, Answered, Refusal, bad, endpoint};
use crate::server::{Id, Run, Server};
use crate::sockets::Udp;

/// Bytes of the longest datagram (RFC 768 in RFC 791: 65535 - 20 - 8).
const LONGEST: u32 = 65507;
/// How long a datagram waits for an ARP answer at most, in microseconds: a
/// neighbour is given up before.
const NEIGHBOUR_US: u64 = 4_000_000;
/// Datagrams of a socket that wait for neighbours at a time, and for one host.
const WAITING: usize = 32;
const FOR_ONE: usize = 16;
/// In [`Waiting::tag`]: what it waits for.
const SLOTS: u32 = 0;
const NEIGHBOUR: u32 = 1;

type Peer = Option<(Ipv4Address, u16)>;

/// What came of trying to send.
enum Sent {
    Done,
    /// There are too few send slots.
    Blocked,
    /// The neighbour's hardware address is being asked for.
    Neighbour,
    Failed(Refusal),
}

impl Server {
    pub(crate) fn send_udp(
        &mut self,
        s: u32,
        udp: Udp,
        r: &Request,
        env: &mut impl Environment,
    ) -> Answered {
        if let Some(error) = self.take_error(s) {
            return Err(error.into());
        }
        if r.extent.len > LONGEST {
            return Err(Refusal {
                status: Status::MessageTooLong,
                arg: LONGEST.into(),
            });
        }
        if r.flags & flags::SUMMED != 0 && r.arg > 0xffff {
            return Err(bad(offset_of!(Request, arg)));
        }
        let to = destination(r, udp.peer)?;
        let udp = if udp.port == 0 { self.bound(s)? } else { udp };
        let behind = match self.sockets[s as usize].sends.len {
            0 => None,
            _ => self.waits_behind(s, udp.peer, to.0),
        };
        let behind = match behind {
            Some(behind) => behind,
            None => match self.try_send(udp.port, to, r, env) {
                Sent::Done => return Ok(Answer::Now(sent(r))),
                Sent::Failed(refusal) => return Err(refusal),
                Sent::Blocked => {
                    self.wake(Id::Socket(s));
                    SLOTS
                }
                Sent::Neighbour => NEIGHBOUR,
            },
        };
        if r.flags & flags::NO_WAIT != 0 {
            return Err(Status::TimedOut.into());
        }
        let waiting = Waiting {
            request: *r,
            ..Waiting::default()
        };
        let slot = self.wait(|socket| &mut socket.sends, s, waiting)?;
        if behind == NEIGHBOUR {
            self.wait_for_neighbour(s, slot, (udp, to.0), env);
            self.time_waiting(s);
        }
        Ok(Answer::Later)
    }

    /// What a send to a host has to wait for because others of its socket do.
    #[cold]
    fn waits_behind(&self, s: u32, peer: Peer, to: Ipv4Address) -> Option<u32> {
        let mut behind = None;
        let mut slot = self.sockets[s as usize].sends.head;
        while let Some(before) = self.pending.get(slot) {
            if before.tag == SLOTS {
                return Some(SLOTS);
            }
            if host(before, peer) == Some(to) {
                behind = Some(NEIGHBOUR);
            }
            slot = self.pending.after(slot);
        }
        behind
    }

    /// A send waits for its neighbour; if that makes too many that do so, the
    /// oldest to the same host fails, or of all.
    #[cold]
    fn wait_for_neighbour(
        &mut self,
        s: u32,
        slot: u32,
        (udp, to): (Udp, Ipv4Address),
        env: &mut impl Environment,
    ) {
        self.await_neighbour(Id::Socket(s));
        let deadline = self.now() + NEIGHBOUR_US;
        match self.pending.get_mut(slot) {
            Some(waiting) if waiting.tag == SLOTS => {
                (waiting.tag, waiting.deadline) = (NEIGHBOUR, deadline);
            }
            _ => return,
        }
        let for_one = |w: &Waiting| host(w, udp.peer) == Some(to);
        let oldest = match self.oldest_of(s, FOR_ONE, for_one) {
            None => self.oldest_of(s, WAITING, |_| true),
            oldest => oldest,
        };
        if let Some(oldest) = oldest {
            let waiting = self
                .pending
                .remove(&mut self.sockets[s as usize].sends, oldest);
            self.counters.add(Counter::DropNoNeighbour);
            let completion = waiting.request.complete(Status::Unreachable);
            self.finish(&waiting.request, &completion, env);
        }
    }

    /// The oldest send that waits for a neighbour, if there are more than `most`
    /// such.
    fn oldest_of(&self, s: u32, most: usize, such: impl Fn(&Waiting) -> bool) -> Option<u32> {
        let (mut count, mut oldest) = (0, None);
        let mut slot = self.sockets[s as usize].sends.head;
        while let Some(waiting) = self.pending.get(slot) {
            if waiting.tag == NEIGHBOUR && such(waiting) {
                count += 1;
                oldest = oldest.or(Some(slot));
            }
            slot = self.pending.after(slot);
        }
        oldest.filter(|_| count > most)
    }

    /// Has the sends looked at when the first has waited for long enough.
    fn time_waiting(&mut self, s: u32) {
        let mut slot = self.sockets[s as usize].sends.head;
        let mut deadline = None;
        while let Some(waiting) = self.pending.get(slot) {
            if waiting.tag == NEIGHBOUR {
                deadline = Some(waiting.deadline);
                break;
            }
            slot = self.pending.after(slot);
        }
        self.set_timer(Id::Socket(s), deadline);
    }

    /// Tries the sends that wait, those to one host in order.
    pub(crate) fn service_udp(&mut self, s: u32, udp: Udp, env: &mut impl Environment) -> Run {
        let mut kept = Kept::default();
        let mut slot = self.sockets[s as usize].sends.head;
        let mut run = Run::Done;
        while let Some(&waiting) = self.pending.get(slot) {
            let next = self.pending.after(slot);
            let to = host(&waiting, udp.peer);
            if to.is_some_and(|to| kept.has(to)) || !self.try_waiting(s, slot, udp, &mut run, env) {
                if run == Run::Blocked {
                    break;
                }
                let to = to.unwrap_or(Ipv4Address::UNSPECIFIED);
                kept.push(to);
                self.wait_for_neighbour(s, slot, (udp, to), env);
            }
            slot = next;
        }
        self.time_waiting(s);
        run
    }

    /// Tries a send that waits; false if it has to wait on, for send slots if
    /// `run` says so then.
    fn try_waiting(
        &mut self,
        s: u32,
        slot: u32,
        udp: Udp,
        run: &mut Run,
        env: &mut impl Environment,
    ) -> bool {
        let Some(&waiting) = self.pending.get(slot) else {
            return true;
        };
        let outcome = match destination(&waiting.request, udp.peer) {
            Ok(to) => self.try_send(udp.port, to, &waiting.request, env),
            Err(refusal) => Sent::Failed(refusal),
        };
        let over = waiting.tag == NEIGHBOUR && waiting.deadline <= self.now();
        let completion = match outcome {
            Sent::Done => sent(&waiting.request),
            Sent::Blocked => {
                *run = Run::Blocked;
                return false;
            }
            Sent::Neighbour if !over => return false,
            Sent::Neighbour => waiting.request.complete(Status::Unreachable),
            Sent::Failed(refusal) => Completion {
                arg: refusal.arg,
                ..waiting.request.complete(refusal.status)
            },
        };
        self.pending
            .remove(&mut self.sockets[s as usize].sends, slot);
        self.finish(&waiting.request, &completion, env);
        true
    }

    #[inline]
    fn try_send(
        &mut self,
        port: u16,
        (to, to_port): (Ipv4Address, u16),
        r: &Request,
        env: &mut impl Environment,
    ) -> Sent {
        let Some(address) = self.stack.address else {
            return Sent::Failed(Status::NetworkDown.into());
        };
        if !address.reaches(to) || to == address.cidr.address() {
            return Sent::Failed(Status::Unreachable.into());
        }
        if !env.has_room(self.stack.facts().frames_for(r.extent.len as usize + 28)) {
            return Sent::Blocked;
        }
        let payload = Payload {
            token: r.user_data,
            len: r.extent.len,
            sum: (r.flags & flags::SUMMED != 0).then_some(r.arg as u16),
            done: false,
        };
        let ends = (port, to, to_port);
        let counters = &mut self.counters;
        match self.stack.send_datagram(ends, &payload, env, counters) {
            datagram::Sent::Done => Sent::Done,
            datagram::Sent::Neighbour => Sent::Neighbour,
            datagram::Sent::Absent => {
                self.counters.add(Counter::DropNoNeighbour);
                Sent::Failed(Status::Unreachable.into())
            }
            datagram::Sent::NoSum => Sent::Failed(bad(offset_of!(Request, flags))),
        }
    }
}

/// Hosts to which sends wait on; of too many, anyone may be one.
#[derive(Default)]
struct Kept {
    hosts: [Option<Ipv4Address>; WAITING],
    count: usize,
}

impl Kept {
    fn has(&self, host: Ipv4Address) -> bool {
        self.count > WAITING || self.hosts.contains(&Some(host))
    }

    fn push(&mut self, host: Ipv4Address) {
        if self.hosts.contains(&Some(host)) {
            return;
        }
        if let Some(place) = self.hosts.get_mut(self.count) {
            *place = Some(host);
        }
        self.count += 1;
    }
}

/// The host that a send that waits is for.
fn host(waiting: &Waiting, peer: Peer) -> Option<Ipv4Address> {
    let to = destination(&waiting.request, peer);
    to.ok().map(|(host, _)| host)
}

fn sent(r: &Request) -> Completion {
    Completion {
        len: r.extent.len,
        ..r.complete(Status::Ok)
    }
}

/// Where a datagram goes: the request's address, or the peer.
#[inline]
fn destination(r: &Request, peer: Peer) -> Result<(Ipv4Address, u16), Refusal> {
    if r.address.family == 0 {
        return peer.ok_or(Status::NotConnected.into());
    }
    let (to, port) = endpoint(&r.address)?;
    let at = offset_of!(Request, address);
    if to.is_unspecified() || to.is_multicast() || to.is_loopback() {
        return Err(bad(at));
    }
    if port == 0 {
        return Err(bad(at + offset_of!(WireAddress, port)));
    }
    Ok((to, port))
}
