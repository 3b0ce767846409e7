//! UDP (RFC 768): datagrams out.
//!
//! Problem: a datagram can be sent when there are send slots for all its
//! frames and the next hop is known, and not before. Invariant: what cannot go
//! out now stays in the client's memory, and the request waits, in order.

use core::mem::offset_of;

use smoltcp::wire::Ipv4Address;
use socket_api::{Completion, Request, Status, WireAddress, flags};

use crate::datagram::{self, Payload};
use crate::environment::Environment;
use crate::pending::Waiting;
use crate::requests::{Answer, Answered, Refusal, bad, endpoint};
use crate::server::{Id, Run, Server};
use crate::sockets::Udp;

/// Bytes of the longest datagram (RFC 768 in RFC 791: 65535 - 20 - 8).
const LONGEST: u32 = 65507;
/// How long a datagram waits for an ARP answer, in microseconds.
const NEIGHBOUR_US: u64 = 4_000_000;
/// How often it is tried meanwhile.
const RETRY_US: u64 = 1_000_000;

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
        if self.sockets[s as usize].sends.len == 0 {
            match self.try_send(udp.port, to, r, env) {
                Sent::Done => return Ok(Answer::Now(sent(r))),
                Sent::Failed(refusal) => return Err(refusal),
                Sent::Blocked => self.wake(Id::Socket(s)),
                Sent::Neighbour => self.retry_send(s),
            }
        }
        if r.flags & flags::NO_WAIT != 0 {
            return Err(Status::TimedOut.into());
        }
        let waiting = Waiting {
            request: *r,
            ..Waiting::default()
        };
        self.wait(|socket| &mut socket.sends, s, waiting)?;
        Ok(Answer::Later)
    }

    fn retry_send(&mut self, s: u32) {
        self.await_neighbour(Id::Socket(s));
        self.set_timer(Id::Socket(s), Some(self.now() + RETRY_US));
    }

    /// Tries the sends that wait.
    pub(crate) fn service_udp(&mut self, s: u32, udp: Udp, env: &mut impl Environment) -> Run {
        self.set_timer(Id::Socket(s), None);
        let now = self.now();
        while let Some(waiting) = self.pending.first(&self.sockets[s as usize].sends) {
            let outcome = match destination(&waiting.request, udp.peer) {
                Ok(to) => self.try_send(udp.port, to, &waiting.request, env),
                Err(refusal) => Sent::Failed(refusal),
            };
            let completion = match outcome {
                Sent::Done => sent(&waiting.request),
                Sent::Neighbour if waiting.deadline != 0 && waiting.deadline <= now => {
                    waiting.request.complete(Status::Unreachable)
                }
                Sent::Failed(refusal) => Completion {
                    arg: refusal.arg,
                    ..waiting.request.complete(refusal.status)
                },
                Sent::Blocked => return Run::Blocked,
                Sent::Neighbour => {
                    if let Some(first) = self.pending.first_mut(&self.sockets[s as usize].sends)
                        && first.deadline == 0
                    {
                        first.deadline = now + NEIGHBOUR_US - RETRY_US;
                    }
                    self.retry_send(s);
                    return Run::Done;
                }
            };
            self.pending.pop(&mut self.sockets[s as usize].sends);
            self.finish(&waiting.request, &completion, env);
        }
        Run::Done
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
        let own = address.cidr.address();
        if !address.reaches(to) || to == own {
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
        match self.stack.send_datagram(own, ends, &payload, env, counters) {
            datagram::Sent::Done => Sent::Done,
            datagram::Sent::Neighbour => Sent::Neighbour,
            datagram::Sent::NoSum => Sent::Failed(bad(offset_of!(Request, flags))),
        }
    }
}

fn sent(r: &Request) -> Completion {
    Completion {
        len: r.extent.len,
        ..r.complete(Status::Ok)
    }
}

/// Where a datagram goes: the request's address, or the peer.
#[inline]
fn destination(
    r: &Request,
    peer: Option<(Ipv4Address, u16)>,
) -> Result<(Ipv4Address, u16), Refusal> {
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
