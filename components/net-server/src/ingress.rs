//! What a packet does.
//!
//! Problem: most packets are for somebody in particular, some for nobody,
//! some are lies. Invariant: a packet reaches smoltcp only together with the
//! socket that it is for, or alone where an answer to strangers is due and
//! within the rate; every other way out of this module counts why.

use smoltcp::socket::tcp::State;
use smoltcp::wire::{ArpOperation, IpProtocol};
use smoltcp::wire::{Icmpv4Message, Icmpv4Packet, Ipv4Packet};
use socket_api::Status;

use crate::classify::{self, Class, Datagram, Segment, Transport, is_host};
use crate::counters::Counter;
use crate::environment::Environment;
use crate::flows::{Flow, Target};
use crate::reassembly::Outcome;
use crate::server::{Id, Server};
use crate::sockets::{Kind, Owner};
use crate::stack::Via;
use crate::time_wait::Verdict;

impl Server {
    /// Takes a frame, which is in private memory.
    pub(crate) fn frame_in(&mut self, frame: &[u8], verified: bool, env: &mut impl Environment) {
        match classify::frame(frame, self.stack.facts().mac) {
            Ok(Class::Ipv4(ip)) => self.ipv4_in(frame, &ip, verified, env),
            Ok(Class::Arp) => self.arp_in(frame, env),
            Err(reason) => self.counters.add(reason),
        }
    }

    fn arp_in(&mut self, frame: &[u8], env: &mut impl Environment) {
        let Some(operation) = classify::arp(frame) else {
            self.counters.add(Counter::DropBadArp);
            return;
        };
        if !self.arp_rate.take(self.now()) {
            self.counters.add(Counter::DropArpFlood);
            return;
        }
        self.stack.arp(frame, env, &mut self.counters);
        if operation == ArpOperation::Reply {
            self.neighbour_found();
        }
    }

    fn ipv4_in(&mut self, frame: &[u8], ip: &Datagram, verified: bool, env: &mut impl Environment) {
        if let Err(reason) = self.check_addresses(ip) {
            self.counters.add(reason);
            return;
        }
        let payload = &frame[ip.payload_at..][..ip.payload_len];
        if ip.more_fragments || ip.fragment_offset != 0 {
            self.fragment_in(ip, payload, env);
        } else {
            self.datagram_in(frame, ip, verified, env);
        }
    }

    fn check_addresses(&self, ip: &Datagram) -> Result<(), Counter> {
        let Some(address) = self.stack.address else {
            // Only DHCP's answers are of use.
            let dhcp = self.dhcp.is_some() && ip.protocol == IpProtocol::Udp;
            return if dhcp {
                Ok(())
            } else {
                Err(Counter::DropNotOurAddress)
            };
        };
        let own = address.cidr.address();
        if ip.src == own || address.is_broadcast(ip.src) {
            return Err(Counter::DropBadSource);
        }
        let ours = ip.dst == own || address.is_broadcast(ip.dst);
        if ours || (self.dhcp.is_some() && ip.protocol == IpProtocol::Udp) {
            Ok(())
        } else {
            Err(Counter::DropNotOurAddress)
        }
    }

    fn fragment_in(&mut self, ip: &Datagram, payload: &[u8], env: &mut impl Environment) {
        let before = self.reassembly.active;
        match self.reassembly.add(ip, payload, self.stack.now) {
            Outcome::Kept => {}
            Outcome::Dropped(reason) => self.counters.add(reason),
            Outcome::Whole(slot) => {
                self.counters.add(Counter::Reassembled);
                let mac = self.stack.facts().mac;
                let (bytes, whole) = self.reassembly.take(slot, ip, mac);
                let frame = &bytes[..whole.payload_at + whole.payload_len];
                self.datagram_in(frame, &whole, false, env);
                self.reassembly.put_back(slot, bytes);
            }
        }
        let evicted = core::mem::take(&mut self.reassembly.evicted);
        self.counters.add_n(Counter::DropFragmentTable, evicted);
        if before != self.reassembly.active {
            self.set_timer(Id::Reassembly, self.reassembly.deadline());
        }
    }

    fn datagram_in(
        &mut self,
        frame: &[u8],
        ip: &Datagram,
        verified: bool,
        env: &mut impl Environment,
    ) {
        let payload = &frame[ip.payload_at..][..ip.payload_len];
        match classify::transport(payload, ip, verified) {
            Ok(Transport::Udp {
                src_port,
                dst_port,
                len,
            }) => {
                self.udp_datagram_in(frame, ip, (src_port, dst_port, len), env);
            }
            Ok(Transport::Tcp(segment)) => self.tcp_in(frame, ip, &segment, env),
            Ok(Transport::Icmp) => self.icmp_in(frame, payload, ip, env),
            Ok(Transport::Other) => self.reply_to_stranger(Via::Wide, frame, ip, env),
            Err(reason) => self.counters.add(reason),
        }
    }

    fn udp_datagram_in(
        &mut self,
        frame: &[u8],
        ip: &Datagram,
        (src_port, dst_port, len): (u16, u16, usize),
        env: &mut impl Environment,
    ) {
        if dst_port == 68 && src_port == 67 && self.dhcp.is_some() {
            self.dhcp_in(frame, env);
            return;
        }
        let ours = self
            .stack
            .address
            .is_some_and(|a| a.cidr.address() == ip.dst || a.is_broadcast(ip.dst));
        if !ours || !is_host(ip.src) {
            self.counters.add(Counter::DropNotOurAddress);
        } else if let Some(s) = self.flows.udp(dst_port) {
            self.udp_in(s, frame, ip, (src_port, len), env);
        } else if src_port == 53 && self.resolver.expects(ip.src) {
            self.dns_in(frame, env);
        } else {
            self.reply_to_stranger(Via::Wide, frame, ip, env);
        }
    }

    /// Lets smoltcp answer a packet that nobody wants: with a reset, or an
    /// ICMP error.
    fn reply_to_stranger(
        &mut self,
        via: Via,
        frame: &[u8],
        ip: &Datagram,
        env: &mut impl Environment,
    ) {
        self.counters.add(Counter::DropNoSocket);
        if self.stack.own() != Some(ip.dst) || !is_host(ip.src) {
            return;
        }
        if self.reply_rate.take(self.now()) {
            self.stack.ingress_none(via, frame, env, &mut self.counters);
        } else {
            self.counters.add(Counter::DropReplyRate);
        }
    }

    fn tcp_in(
        &mut self,
        frame: &[u8],
        ip: &Datagram,
        segment: &Segment,
        env: &mut impl Environment,
    ) {
        if self.stack.own() != Some(ip.dst) || !is_host(ip.src) {
            self.counters.add(Counter::DropNotOurAddress);
            return;
        }
        let flow = Flow {
            remote: ip.src,
            remote_port: segment.src_port,
            port: segment.dst_port,
        };
        match self.flows.find(flow) {
            Some(Target::Connection(c)) => self.segment_in(c, frame, segment, env),
            Some(Target::TimeWait(t)) => self.time_wait_in(t, frame, ip, segment, env),
            None => self.new_flow_in(flow, frame, ip, segment, env),
        }
    }

    fn new_flow_in(
        &mut self,
        flow: Flow,
        frame: &[u8],
        ip: &Datagram,
        segment: &Segment,
        env: &mut impl Environment,
    ) {
        let opens = segment.syn && segment.ack.is_none() && !segment.rst && !segment.fin;
        if opens
            && let Some(l) = self.flows.tcp(flow.port)
            && self.is_listener(l)
        {
            if !self.syn_in(l, flow, frame, env) {
                self.refuse(frame, env);
            }
            return;
        }
        self.reply_to_stranger(Via::Narrow, frame, ip, env);
    }

    /// Answers a SYN with a reset, within the rate.
    fn refuse(&mut self, frame: &[u8], env: &mut impl Environment) {
        if self.reply_rate.take(self.now()) {
            self.stack
                .ingress_none(Via::Narrow, frame, env, &mut self.counters);
        } else {
            self.counters.add(Counter::DropReplyRate);
        }
    }

    /// A segment for a connection.
    fn segment_in(&mut self, c: u32, frame: &[u8], segment: &Segment, env: &mut impl Environment) {
        let now = self.now();
        let connection = &mut self.connections[c as usize];
        let before = connection.state();
        let note = self.stack.ingress(
            Via::Narrow,
            frame,
            &mut connection.set,
            env,
            &mut self.counters,
        );
        connection.record(note.segment);
        connection.waiting_since = now;
        let after = connection.state();
        if after != before {
            if segment.fin && matches!(after, State::CloseWait | State::Closing | State::TimeWait) {
                connection.fin_end = Some(segment.end());
            }
            if after == State::Closed {
                connection.fate = Some(match (segment.rst, before) {
                    (true, State::SynSent) => Status::ConnectionRefused,
                    (true, _) => Status::ConnectionReset,
                    (false, _) => Status::Ok,
                });
            }
        }
        self.wake(Id::Connection(c));
    }

    fn time_wait_in(
        &mut self,
        t: u32,
        frame: &[u8],
        ip: &Datagram,
        segment: &Segment,
        env: &mut impl Environment,
    ) {
        self.counters.add(Counter::TimeWaitSegments);
        let now = self.now();
        let Some(entry) = self.time_wait.get(t) else {
            return;
        };
        match self.time_wait.judge(t, segment, now) {
            Verdict::Absorb => {}
            Verdict::Acknowledge => {
                self.stack.acknowledge(&entry, ip, env, &mut self.counters);
            }
            Verdict::Reopen => {
                self.forget(t);
                self.new_flow_in(entry.flow, frame, ip, segment, env);
            }
        }
        self.set_timer(Id::TimeWait, self.time_wait.deadline());
    }

    fn icmp_in(&mut self, frame: &[u8], payload: &[u8], ip: &Datagram, env: &mut impl Environment) {
        let Ok(packet) = Icmpv4Packet::new_checked(payload) else {
            return;
        };
        match packet.msg_type() {
            Icmpv4Message::EchoRequest if self.stack.own() == Some(ip.dst) => {
                if self.reply_rate.take(self.now()) {
                    self.stack
                        .ingress_none(Via::Wide, frame, env, &mut self.counters);
                } else {
                    self.counters.add(Counter::DropReplyRate);
                }
            }
            Icmpv4Message::DstUnreachable => {
                let status = match packet.msg_code() {
                    // RFC 1122, 4.2.3.9: protocol and port are hard errors;
                    // 4, "fragmentation needed", is none.
                    2 | 3 => Status::ConnectionRefused,
                    4 => return,
                    _ => Status::Unreachable,
                };
                self.icmp_error(packet.data(), status, env);
            }
            _ => {}
        }
    }

    /// An ICMP error: whose packet it quotes is told, when the quote shows
    /// that its sender saw the packet (RFC 5927, 4.1).
    fn icmp_error(&mut self, quote: &[u8], status: Status, env: &mut impl Environment) {
        if quote.len() < 28 {
            self.counters.add(Counter::DropBadTransport);
            return;
        }
        let ip = Ipv4Packet::new_unchecked(quote);
        let at = usize::from(ip.header_len());
        // The quoted packet may have been longer than its quote, not shorter
        // than its headers.
        let sound = ip.version() == 4 && at >= 20 && usize::from(ip.total_len()) >= at + 8;
        let Some(header) = quote.get(at..at + 8).filter(|_| sound) else {
            self.counters.add(Counter::DropBadTransport);
            return;
        };
        if self.stack.own() != Some(ip.src_addr()) {
            return;
        }
        let flow = Flow {
            remote: ip.dst_addr(),
            port: u16::from_be_bytes([header[0], header[1]]),
            remote_port: u16::from_be_bytes([header[2], header[3]]),
        };
        match ip.next_header() {
            IpProtocol::Udp => self.udp_error(flow, status, env),
            IpProtocol::Tcp => {
                let seq = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                self.tcp_error(flow, seq, status);
            }
            _ => {}
        }
    }

    /// Only a handshake gives up at an ICMP error (RFC 5927, 5.2).
    fn tcp_error(&mut self, flow: Flow, seq: u32, status: Status) {
        let Some(Target::Connection(c)) = self.flows.find(flow) else {
            return;
        };
        let connection = &mut self.connections[c as usize];
        let quoted = connection.sent && seq == connection.write_seq.wrapping_sub(1);
        if quoted
            && connection.state() == State::SynSent
            && matches!(connection.owner, Owner::Stream(_))
        {
            connection.fate = Some(status);
            connection.tcp().abort();
            connection.detached = true;
            self.wake(Id::Connection(c));
        }
    }

    fn is_listener(&self, s: u32) -> bool {
        matches!(self.sockets[s as usize].kind, Kind::Listener(_))
    }
}
