//! UDP (RFC 768): datagrams in and out.
//!
//! Problem: a datagram must reach its socket's client in a few steps, and a
//! client that does not read must not hold buffers that others need.
//! Invariant: each bound socket has a receive queue of its own, made at
//! start-up; what does not fit is dropped and counted. Sending goes through
//! one smoltcp socket for all, which is empty between any two sends: bytes
//! that cannot go out now stay in the client's region, and the request waits.

use core::mem::offset_of;

use smoltcp::socket::udp::UdpMetadata;
use smoltcp::wire::{IpEndpoint, Ipv4Address};
use socket_api::{Completion, Request, Status, WireAddress, flags};

use crate::classify::Datagram;
use crate::counters::{Counter, Counters};
use crate::environment::Environment;
use crate::flows::Flow;
use crate::pending::Waiting;
use crate::requests::{Answer, Answered, Refusal, bad, endpoint, wire_address};
use crate::server::{Id, Run, Server};
use crate::sockets::{Kind, UDP_DATAGRAMS, Udp};
use crate::stack::{Via, ip};

/// Bytes of the longest datagram (RFC 768 in RFC 791: 65535 - 20 - 8).
const LONGEST: u32 = 65507;
/// How long a datagram waits for an ARP answer, in microseconds.
const NEIGHBOUR_US: u64 = 4_000_000;
/// How often it is tried meanwhile.
const RETRY_US: u64 = 1_000_000;

/// What came of trying to send.
enum Sent {
    Done,
    /// The driver has no room.
    Blocked,
    /// The neighbour's hardware address is being asked for.
    Neighbour,
    Failed(Status),
}

impl Server {
    /// Binds a socket that is not bound; 0 picks a port.
    pub(crate) fn bind_udp(&mut self, s: u32, port: u16) -> Result<u16, Refusal> {
        let port = match port {
            0 => self
                .flows
                .ephemeral_udp(&mut self.random)
                .ok_or(Status::AddressInUse)?,
            68 if self.dhcp.is_some() => return Err(Status::AddressInUse.into()),
            port if self.flows.udp(port).is_some() => return Err(Status::AddressInUse.into()),
            port => port,
        };
        let Kind::Udp(udp) = &mut self.sockets[s as usize].kind else {
            return Err(Status::InvalidState.into());
        };
        let queue = self.udp_free.pop().ok_or(Status::NoResources)?;
        udp.port = port;
        udp.queue = queue;
        let queue = &mut self.udp[queue as usize];
        queue.reset();
        if queue.udp().bind(port).is_err() {
            return Err(Status::InvalidState.into());
        }
        self.flows.set_udp(port, Some(s));
        Ok(port)
    }

    /// Gives port and queue back.
    pub(crate) fn unbind_udp(&mut self, udp: Udp) {
        if udp.port != 0 {
            self.flows.set_udp(udp.port, None);
            self.udp[udp.queue as usize].reset();
            self.udp_free.push(udp.queue);
        }
    }

    pub(crate) fn connect_udp(
        &mut self,
        s: u32,
        peer: (Ipv4Address, u16),
        r: &Request,
    ) -> Answered {
        let udp = self.bound(s)?;
        self.sockets[s as usize].kind = Kind::Udp(Udp {
            peer: Some(peer),
            ..udp
        });
        let own = self.stack.own().unwrap_or(Ipv4Address::UNSPECIFIED);
        Ok(Answer::Now(Completion {
            address: wire_address(own, udp.port),
            ..r.complete(Status::Ok)
        }))
    }

    /// The socket, bound to an ephemeral port if it was not bound.
    fn bound(&mut self, s: u32) -> Result<Udp, Refusal> {
        if let Kind::Udp(Udp { port: 0, .. }) = self.sockets[s as usize].kind {
            self.bind_udp(s, 0)?;
        }
        match self.sockets[s as usize].kind {
            Kind::Udp(udp) => Ok(udp),
            _ => Err(Status::InvalidState.into()),
        }
    }

    /// A datagram for a socket.
    pub(crate) fn udp_in(
        &mut self,
        s: u32,
        frame: &[u8],
        ip: &Datagram,
        (src_port, len): (u16, usize),
        env: &mut impl Environment,
    ) {
        let Kind::Udp(udp) = self.sockets[s as usize].kind else {
            return;
        };
        if udp.peer.is_some_and(|peer| peer != (ip.src, src_port)) {
            self.counters.add(Counter::DropNotPeer);
            return;
        }
        let queue = &mut self.udp[udp.queue as usize];
        if queue.queued == 0
            && self.stack.knows(ip.src, ip.src_mac)
            && let Some(waiting) = self.pending.pop(&mut self.sockets[s as usize].recvs)
        {
            // Somebody waits, and smoltcp would learn nothing: straight there.
            let payload = frame.get(ip.payload_at + 8..).and_then(|p| p.get(..len));
            let from = (ip.src, src_port);
            let completion = place(
                payload.unwrap_or(&[]),
                from,
                &waiting.request,
                env,
                &mut self.counters,
            );
            self.complete(&completion, env);
            return;
        }
        let queue = &mut self.udp[udp.queue as usize];
        if queue.queued == UDP_DATAGRAMS {
            self.counters.add(Counter::DropReceiveQueue);
            return;
        }
        let before = queue.udp().recv_queue();
        self.stack
            .ingress(Via::Wide, frame, &mut queue.set, env, &mut self.counters);
        if len != 0 && queue.udp().recv_queue() == before {
            self.counters.add(Counter::DropReceiveQueue);
            return;
        }
        queue.queued += 1;
        self.deliver_udp(s, udp, env);
    }

    /// Fills waiting receives with queued datagrams.
    fn deliver_udp(&mut self, s: u32, udp: Udp, env: &mut impl Environment) {
        while self.udp[udp.queue as usize].queued != 0 {
            let Some(waiting) = self.pending.pop(&mut self.sockets[s as usize].recvs) else {
                return;
            };
            let completion = self.take_datagram(udp, &waiting.request, env);
            self.complete(&completion, env);
        }
    }

    /// Moves the first queued datagram to where a receive wants it.
    fn take_datagram(&mut self, udp: Udp, r: &Request, env: &mut impl Environment) -> Completion {
        let queue = &mut self.udp[udp.queue as usize];
        queue.queued -= 1;
        let Ok((payload, meta)) = queue.udp().recv() else {
            // A datagram of no bytes can have been dropped unnoticed.
            return r.complete(Status::TimedOut);
        };
        let smoltcp::wire::IpAddress::Ipv4(from) = meta.endpoint.addr;
        let from = (from, meta.endpoint.port);
        place(payload, from, r, env, &mut self.counters)
    }

    pub(crate) fn recv_udp(
        &mut self,
        s: u32,
        udp: Udp,
        r: &Request,
        env: &mut impl Environment,
    ) -> Answered {
        if let Some(error) = self.sockets[s as usize].error.take() {
            return Err(error.into());
        }
        if udp.port == 0 {
            return Err(Status::NotConnected.into());
        }
        if self.udp[udp.queue as usize].queued != 0 {
            return Ok(Answer::Now(self.take_datagram(udp, r, env)));
        }
        if r.flags & flags::NO_WAIT != 0 {
            return Err(Status::TimedOut.into());
        }
        self.wait(
            |socket| &mut socket.recvs,
            s,
            Waiting {
                request: *r,
                ..Waiting::default()
            },
        )?;
        Ok(Answer::Later)
    }

    pub(crate) fn send_udp(
        &mut self,
        s: u32,
        udp: Udp,
        r: &Request,
        env: &mut impl Environment,
    ) -> Answered {
        if let Some(error) = self.sockets[s as usize].error.take() {
            return Err(error.into());
        }
        if r.extent.len > LONGEST {
            return Err(Refusal {
                status: Status::MessageTooLong,
                arg: LONGEST.into(),
            });
        }
        destination(r, udp.peer)?;
        let udp = self.bound(s)?;
        if self.sockets[s as usize].sends.len == 0 {
            match self.try_send(udp, r, env) {
                Sent::Done => return Ok(Answer::Now(sent(r))),
                Sent::Failed(status) => return Err(status.into()),
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
            let outcome = match self.try_send(udp, &waiting.request, env) {
                Sent::Neighbour if waiting.deadline != 0 && waiting.deadline <= now => {
                    Sent::Failed(Status::Unreachable)
                }
                outcome => outcome,
            };
            let completion = match outcome {
                Sent::Done => sent(&waiting.request),
                Sent::Failed(status) => waiting.request.complete(status),
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

    fn try_send(&mut self, udp: Udp, r: &Request, env: &mut impl Environment) -> Sent {
        let Ok(to) = destination(r, udp.peer) else {
            return Sent::Failed(Status::BadRequest);
        };
        let Some(address) = self.stack.address else {
            return Sent::Failed(Status::NetworkDown);
        };
        if !address.reaches(to.0) || to.0 == address.cidr.address() {
            return Sent::Failed(Status::Unreachable);
        }
        let len = r.extent.len as usize;
        if env.frame_room() < self.stack.facts().frames_for(len + 28) {
            return Sent::Blocked;
        }
        let ends = (udp.port, to.0, to.1);
        let fast = self
            .stack
            .send_datagram(ends, len, env, &mut self.counters, |env, room| {
                env.read_client(r.client, r.extent.offset as usize, room)
            });
        match fast {
            Some(true) => {
                self.counters.add_n(Counter::BytesFromClients, len as u64);
                return Sent::Done;
            }
            Some(false) => return Sent::Failed(Status::BadRequest),
            None => {}
        }
        let mut meta = UdpMetadata::from(IpEndpoint::new(ip(to.0), to.1));
        meta.local_address = Some(ip(address.cidr.address()));
        let out = self.udp_out.udp();
        if out.endpoint().port != udp.port {
            out.close();
            if out.bind(udp.port).is_err() {
                return Sent::Failed(Status::InvalidState);
            }
        }
        let Ok(buffer) = out.send(len, meta) else {
            return Sent::Failed(Status::NoResources);
        };
        if !env.read_client(r.client, r.extent.offset as usize, buffer) {
            self.udp_out.reset();
            return Sent::Failed(Status::BadRequest);
        }
        let (sent, _) =
            self.stack
                .egress(Via::Wide, &mut self.udp_out.set, env, &mut self.counters);
        if !sent {
            self.udp_out.reset();
            return Sent::Neighbour;
        }
        self.counters.add_n(Counter::BytesFromClients, len as u64);
        Sent::Done
    }

    /// An ICMP error about a datagram of ours: told to a connected socket
    /// only (RFC 1122, 4.1.3.3).
    pub(crate) fn udp_error(&mut self, flow: Flow, status: Status, env: &mut impl Environment) {
        let Some(s) = self.flows.udp(flow.port) else {
            return;
        };
        let socket = &mut self.sockets[s as usize];
        let Kind::Udp(udp) = socket.kind else {
            return;
        };
        if udp.peer != Some((flow.remote, flow.remote_port)) {
            return;
        }
        match self.pending.pop(&mut socket.recvs) {
            Some(waiting) => self.answer_waiting(&waiting, status, env),
            None => socket.error = Some(status),
        }
    }
}

/// Puts a datagram where a receive wants it.
#[inline]
fn place(
    payload: &[u8],
    (from, port): (Ipv4Address, u16),
    r: &Request,
    env: &mut impl Environment,
    counters: &mut Counters,
) -> Completion {
    let stored = payload.len().min(r.extent.len as usize);
    if !env.write_client(r.client, r.extent.offset as usize, &payload[..stored]) {
        return r.complete(Status::BadRequest);
    }
    counters.add_n(Counter::BytesToClients, stored as u64);
    let truncated = stored < payload.len();
    Completion {
        len: stored as u32,
        arg: payload.len() as u64,
        flags: if truncated { flags::TRUNCATED } else { 0 },
        address: wire_address(from, port),
        ..r.complete(Status::Ok)
    }
}

fn sent(r: &Request) -> Completion {
    Completion {
        len: r.extent.len,
        ..r.complete(Status::Ok)
    }
}

/// Where a datagram goes: the request's address, or the peer.
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
