//! UDP (RFC 768): sockets, and datagrams in.
//!
//! Problem: a datagram must reach its socket's client in a few steps, and a
//! client that does not read must not hold buffers that others need.
//! Invariant: each bound socket has a receive queue of its own, of pieces of
//! packets, bounded in datagrams and bytes; what does not fit is dropped and
//! counted, and so is what may not be held. smoltcp has no part in it.

use smoltcp::wire::Ipv4Address;
use socket_api::{Completion, Request, Status, flags};

use crate::checksum;
use crate::classify::{Arrived, Datagram};
use crate::counters::Counter;
use crate::datagram::UDP_HEADER;
use crate::deliver::End;
use crate::environment::Environment;
use crate::flows::Flow;
use crate::ingress::Fate;
use crate::lists::List;
use crate::packets::{Holder, Piece};
use crate::pending::Waiting;
use crate::reassembly::Slot;
use crate::requests::{Answer, Answered, Refusal, wire_address};
use crate::server::Server;
use crate::sockets::{Kind, UDP_DATAGRAMS, Udp, UdpQueue};

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
        self.flows.set_udp(port, Some(s));
        Ok(port)
    }

    /// Gives port and queue back.
    pub(crate) fn unbind_udp(&mut self, udp: Udp, env: &mut impl Environment) {
        if udp.port != 0 {
            self.flows.set_udp(udp.port, None);
            let mut queue = core::mem::replace(&mut self.udp[udp.queue as usize], UdpQueue::EMPTY);
            self.datagrams_queued -= queue.datagrams;
            self.drop_pieces(&mut queue.list, env);
            self.udp_free.push(udp.queue);
        }
    }

    /// Drops all pieces of a list.
    pub(crate) fn drop_pieces(&mut self, list: &mut List, env: &mut impl Environment) {
        while list.len != 0 {
            self.drop_first(list, env);
        }
    }

    /// Drops the first piece of a list.
    fn drop_first(&mut self, list: &mut List, env: &mut impl Environment) {
        let head = list.head;
        if let Some(id) = self.packets.remove(list, head) {
            env.release(id);
        }
    }

    /// Drops the piece behind what was handed out; a packet that has bytes of
    /// that goes back with them, not before.
    fn drop_behind(&mut self, list: &mut List, end: &mut End, env: &mut impl Environment) {
        let head = list.head;
        end.last = self.packets.piece(head).is_none_or(|piece| piece.last);
        match self.packets.remove(list, head) {
            Some(id) if id == end.packet => end.release = true,
            Some(id) => env.release(id),
            None => {}
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
    pub(crate) fn bound(&mut self, s: u32) -> Result<Udp, Refusal> {
        if let Kind::Udp(Udp { port: 0, .. }) = self.sockets[s as usize].kind {
            self.bind_udp(s, 0)?;
        }
        match self.sockets[s as usize].kind {
            Kind::Udp(udp) => Ok(udp),
            _ => Err(Status::InvalidState.into()),
        }
    }

    /// A datagram for a socket, in one packet.
    #[inline]
    pub(crate) fn udp_in(
        &mut self,
        s: u32,
        arrived: &Arrived<'_>,
        ip: &Datagram,
        (src_port, len): (u16, usize),
        env: &mut impl Environment,
    ) -> Fate {
        let from = (ip.src, src_port);
        let Some(udp) = self.udp_from(s, from) else {
            return Fate::Drop;
        };
        self.stack.hear(ip.src, ip.src_mac);
        let (at, len) = ((ip.payload_at + UDP_HEADER) as u32, len as u32);
        if self.udp[udp.queue as usize].datagrams == 0
            && let Some(request) = self.take_receive(s)
        {
            return self.straight(&request, (arrived.packet, at, len), from, env);
        }
        let queue = &mut self.udp[udp.queue as usize];
        let fits = queue.bytes + len <= self.config.udp_receive_queue as u32;
        if queue.datagrams == UDP_DATAGRAMS || !fits {
            return self.dropped(Counter::DropReceiveQueue);
        }
        let holder = Holder::client(self.sockets[s as usize].client);
        if !self.packets.may_hold(holder, arrived.whole, false) {
            return self.dropped(Counter::DropPinned);
        }
        let piece = Piece {
            packet: arrived.packet,
            at,
            len,
            word: len,
            from,
            last: true,
        };
        self.packets.push(&mut queue.list, piece, holder);
        queue.datagrams += 1;
        queue.bytes += len;
        self.datagrams_queued += 1;
        Fate::Kept
    }

    /// The socket, if it takes datagrams from there.
    #[inline]
    fn udp_from(&mut self, s: u32, from: (Ipv4Address, u16)) -> Option<Udp> {
        let Kind::Udp(udp) = self.sockets[s as usize].kind else {
            return None;
        };
        if udp.peer.is_some_and(|peer| peer != from) {
            self.counters.add(Counter::DropNotPeer);
            return None;
        }
        Some(udp)
    }

    /// Gives a datagram that has just arrived to a receive that waits.
    #[inline]
    fn straight(
        &mut self,
        r: &Request,
        (packet, offset, len): (u32, u32, u32),
        from: (Ipv4Address, u16),
        env: &mut impl Environment,
    ) -> Fate {
        let mut completion = datagram(r, len, from);
        if completion.len != 0 {
            completion.packet = packet;
            completion.offset = offset;
            completion.flags |= flags::RELEASE;
            self.packets.depart(packet);
        }
        self.note_referenced(completion.len);
        self.complete(&completion, env);
        match completion.len {
            0 => Fate::Drop,
            _ => Fate::Kept,
        }
    }

    /// A datagram that was put together from fragments, the last of which had
    /// this IP header.
    pub(crate) fn reassembled_in(
        &mut self,
        mut whole: Slot,
        ip: &Datagram,
        env: &mut impl Environment,
    ) {
        if let Err(reason) = self.file_reassembled(&mut whole, ip, env) {
            self.counters.add(reason);
        }
        // What was not taken over.
        self.drop_pieces(&mut whole.list, env);
    }

    fn file_reassembled(
        &mut self,
        whole: &mut Slot,
        ip: &Datagram,
        env: &mut impl Environment,
    ) -> Result<(), Counter> {
        let (src_port, dst_port, len) = header(whole, ip)?;
        if !self.is_ours(ip) {
            return Err(Counter::DropNotOurAddress);
        }
        let Some(s) = self.flows.udp(dst_port) else {
            let ip = Datagram {
                payload_len: whole.len(),
                ..*ip
            };
            let _ = self.nobodys_datagram(&ip, whole.start, env);
            return Ok(());
        };
        let from = (ip.src, src_port);
        let Some(udp) = self.udp_from(s, from) else {
            return Ok(());
        };
        let queue = &self.udp[udp.queue as usize];
        let fits = queue.bytes + len <= self.config.udp_receive_queue as u32;
        if queue.datagrams == UDP_DATAGRAMS || !fits {
            return Err(Counter::DropReceiveQueue);
        }
        let holder = Holder::client(self.sockets[s as usize].client);
        if !self.packets.may_take_over(holder, whole.list.len) {
            return Err(Counter::DropPinned);
        }
        self.trim(&mut whole.list, len, from, env);
        let queue = &mut self.udp[udp.queue as usize];
        self.packets
            .take_over(&mut whole.list, &mut queue.list, holder);
        queue.datagrams += 1;
        queue.bytes += len;
        self.datagrams_queued += 1;
        self.deliver_udp(s, udp, env);
        Ok(())
    }

    /// Makes the pieces of an IP payload those of the datagram in it, of `len`
    /// bytes.
    fn trim(
        &mut self,
        list: &mut List,
        len: u32,
        from: (Ipv4Address, u16),
        env: &mut impl Environment,
    ) {
        let header = UDP_HEADER as u32;
        // The first fragment has at least 8 bytes.
        if let Some(first) = self.packets.piece_mut(list.head) {
            first.at += header;
            first.len = first.len.saturating_sub(header);
            if first.len == 0 && list.len > 1 {
                self.drop_first(list, env);
            }
        }
        let end = header + len;
        let mut slot = list.tail;
        while list.len > 1
            && let Some(last) = self.packets.piece(slot)
            && last.word.max(header) >= end
        {
            let before = self.packets.before(slot);
            if let Some(id) = self.packets.remove(list, slot) {
                env.release(id);
            }
            slot = before;
        }
        if let Some(last) = self.packets.piece_mut(slot) {
            last.len = last.len.min(end - last.word.max(header).min(end));
            last.last = true;
        }
        if let Some(first) = self.packets.piece_mut(list.head) {
            first.word = len;
            first.from = from;
        }
    }

    /// Fills waiting receives with queued datagrams.
    pub(crate) fn deliver_udp(&mut self, s: u32, udp: Udp, env: &mut impl Environment) {
        while udp.port != 0 && self.udp[udp.queue as usize].datagrams != 0 {
            let Some(request) = self.take_receive(s) else {
                return;
            };
            let completion = self.take_datagram(udp, &request, env);
            self.complete(&completion, env);
        }
    }

    /// Hands the first queued datagram out to a receive.
    fn take_datagram(&mut self, udp: Udp, r: &Request, env: &mut impl Environment) -> Completion {
        let queue = &mut self.udp[udp.queue as usize];
        let mut list = queue.list;
        let Some(&Piece { word, from, .. }) = self.packets.piece(list.head) else {
            return r.complete(Status::TimedOut);
        };
        queue.datagrams -= 1;
        self.datagrams_queued -= 1;
        queue.bytes -= word;
        let completion = datagram(r, word, from);
        let mut end = self.hand_out(&mut list, completion.len, r.user_data, env);
        while !end.last {
            self.drop_behind(&mut list, &mut end, env);
        }
        self.udp[udp.queue as usize].list = list;
        Completion {
            flags: completion.flags | end.flags(),
            packet: end.packet,
            offset: end.offset,
            ..completion
        }
    }

    pub(crate) fn recv_udp(
        &mut self,
        s: u32,
        udp: Udp,
        r: &Request,
        env: &mut impl Environment,
    ) -> Answered {
        if let Some(error) = self.take_error(s) {
            return Err(error.into());
        }
        if udp.port == 0 {
            return Err(Status::NotConnected.into());
        }
        if self.udp[udp.queue as usize].datagrams != 0 {
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

    /// An ICMP error about a datagram of ours: told to a connected socket
    /// only (RFC 1122, 4.1.3.3).
    pub(crate) fn udp_error(&mut self, flow: Flow, status: Status, env: &mut impl Environment) {
        let Some(s) = self.flows.udp(flow.port) else {
            return;
        };
        let Kind::Udp(udp) = self.sockets[s as usize].kind else {
            return;
        };
        if udp.peer != Some((flow.remote, flow.remote_port)) {
            return;
        }
        match self.take_receive(s) {
            Some(request) => self.answer(&request, status, env),
            None => self.note_error(s, status),
        }
    }
}

/// The completion of a receive with a datagram of `len` bytes, but for where
/// they are.
#[inline]
pub(crate) fn datagram(r: &Request, len: u32, (from, port): (Ipv4Address, u16)) -> Completion {
    let stored = len.min(r.extent.len);
    let truncated = stored < len;
    Completion {
        len: stored,
        arg: len.into(),
        flags: if truncated { flags::TRUNCATED } else { 0 },
        address: wire_address(from, port),
        ..r.complete(Status::Ok)
    }
}

/// The ports of a reassembled datagram, and the bytes of its payload.
fn header(whole: &Slot, ip: &Datagram) -> Result<(u16, u16, u32), Counter> {
    let [p, q, r, s, l, m, c, d] = whole.start;
    let dst_port = u16::from_be_bytes([r, s]);
    let len = usize::from(u16::from_be_bytes([l, m]));
    if dst_port == 0 || len < UDP_HEADER || len > whole.len() {
        return Err(Counter::DropBadTransport);
    }
    if [c, d] != [0, 0] && !is_sound(whole, ip, len) {
        return Err(Counter::DropChecksum);
    }
    let payload = (len - UDP_HEADER) as u32;
    Ok((u16::from_be_bytes([p, q]), dst_port, payload))
}

/// Whether the checksum of a reassembled datagram of `len` bytes is right: the
/// device vouches for every fragment, or the sum says so, which is of all
/// bytes: others than the datagram's spoil it.
fn is_sound(whole: &Slot, ip: &Datagram, len: usize) -> bool {
    if whole.verified == whole.list.len {
        return true;
    }
    let pseudo = checksum::pseudo(ip.src, ip.dst, ip.protocol, len);
    checksum::is_right(pseudo + whole.sum)
}
