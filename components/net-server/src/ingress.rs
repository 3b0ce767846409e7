//! What a packet does.
//!
//! Problem: most packets are for somebody in particular, some for nobody,
//! some are lies, and each is a receive buffer that must come back. Invariant:
//! a packet reaches smoltcp only together with the socket that it is for, or
//! alone where an answer to strangers is due and within the rate; every other
//! way out of this module counts why; and whoever handles a packet says its
//! [`Fate`], by which [`Server::packet_in`] gives it back or not.

use smoltcp::wire::{Icmpv4Message, Icmpv4Packet, IpProtocol, Ipv4Packet};
use socket_api::{PACKET_BUFFERS, Packet, Status, packet_flags};

use crate::checksum;
use crate::classify::{self, Arrived, Class, Datagram, ETHERNET, Sum, Transport, is_host};
use crate::counters::Counter;
use crate::datagram::UDP_HEADER;
use crate::environment::{Environment, ManagerFault};
use crate::flows::Flow;
use crate::reassembly::{Fragment, Outcome};
use crate::server::{Id, MOST_FRAME, MOST_LONG, Server};
use crate::stack::{Io, Via};

/// Bytes of all headers of most packets: Ethernet, IPv4, TCP.
const USUAL: usize = ETHERNET + 40;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Fate {
    /// Nobody needs it any more.
    Drop,
    /// It is filed, or has been given back with its bytes.
    Kept,
}

impl Server {
    /// Takes a packet from the manager.
    #[inline]
    pub(crate) fn packet_in(
        &mut self,
        packet: &Packet,
        env: &mut impl Environment,
    ) -> Result<(), ManagerFault> {
        let whole = packet.flags & packet_flags::WHOLE != 0;
        self.packets.arrive(packet.id, whole, packet.following)?;
        if self.express_in(packet, env) || self.train_in(packet, env) {
            return Ok(());
        }
        self.show_train(env);
        let buffer = if whole {
            &mut self.whole
        } else {
            &mut self.frame
        };
        let mut buffer = core::mem::take(buffer);
        let have = read(packet, whole, &mut buffer, env);
        let fate = match have {
            Some(have) => {
                let mut arrived = Arrived {
                    frame: &mut buffer[..packet.len as usize],
                    have,
                    packet: packet.id,
                    whole,
                    sum: sum_of(packet, whole),
                };
                self.frame_in(&mut arrived, env)
            }
            None => Fate::Drop,
        };
        *(if whole {
            &mut self.whole
        } else {
            &mut self.frame
        }) = buffer;
        if fate == Fate::Drop {
            self.packets.depart(packet.id);
            env.release(packet.id);
        }
        have.map(|_| ()).ok_or(ManagerFault::Header(packet.id))
    }

    #[inline]
    fn frame_in(&mut self, arrived: &mut Arrived<'_>, env: &mut impl Environment) -> Fate {
        if arrived.whole {
            self.counters.add_n(Counter::Control, arrived.have as u64);
        }
        match classify::frame(arrived, self.stack.facts().mac) {
            Ok(Class::Ipv4(ip)) => self.ipv4_in(arrived, &ip, env),
            Ok(Class::Arp) => self.arp_in(arrived, env),
            Err(reason) => self.dropped(reason),
        }
    }

    /// Counts why a packet is dropped.
    pub(crate) fn dropped(&mut self, reason: Counter) -> Fate {
        self.counters.add(reason);
        Fate::Drop
    }

    #[inline]
    fn ipv4_in(
        &mut self,
        arrived: &mut Arrived<'_>,
        ip: &Datagram,
        env: &mut impl Environment,
    ) -> Fate {
        if let Err(reason) = self.check_addresses(ip) {
            return self.dropped(reason);
        }
        if ip.more_fragments || ip.fragment_offset != 0 {
            return self.fragment_in(arrived, ip, env);
        }
        match classify::transport(arrived, ip) {
            Ok(Transport::Udp {
                src_port,
                dst_port,
                len,
            }) => {
                self.note_copied(arrived, ip.payload_at + UDP_HEADER);
                self.udp_datagram_in(arrived, ip, (src_port, dst_port, len), env)
            }
            Ok(Transport::Tcp(segment)) => {
                self.note_copied(arrived, segment.header_len as usize);
                self.tcp_in(arrived, ip, &segment, env)
            }
            Ok(Transport::Icmp) => self.icmp_in(arrived, ip, env),
            Ok(Transport::Other) => self.reply_to_stranger(Via::Wide, arrived, ip, env),
            Err(reason) => self.dropped(reason),
        }
    }

    /// Counts payload that came along with the headers.
    #[inline]
    fn note_copied(&mut self, arrived: &Arrived<'_>, headers: usize) {
        if !arrived.whole && arrived.have > headers {
            let bytes = arrived.have - headers;
            self.counters.add_n(Counter::Copied, bytes as u64);
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

    fn fragment_in(
        &mut self,
        arrived: &Arrived<'_>,
        ip: &Datagram,
        env: &mut impl Environment,
    ) -> Fate {
        if ip.protocol != IpProtocol::Udp {
            return self.dropped(Counter::DropFragmentKind);
        }
        let Some(fragment) = fragment_of(arrived, ip) else {
            return self.dropped(Counter::DropBadFragment);
        };
        let before = self.reassembly.active;
        let now = self.stack.now;
        let outcome = self
            .reassembly
            .add(ip, &fragment, now, &mut self.packets, |id| env.release(id));
        let evicted = core::mem::take(&mut self.reassembly.evicted);
        self.counters.add_n(Counter::DropFragmentTable, evicted);
        if before != self.reassembly.active {
            self.set_timer(Id::Reassembly, self.reassembly.deadline());
        }
        match outcome {
            Outcome::Kept => Fate::Kept,
            Outcome::Again => Fate::Drop,
            Outcome::Dropped(reason) => self.dropped(reason),
            Outcome::Whole(slot) => {
                self.counters.add(Counter::Reassembled);
                let whole = self.reassembly.whole(slot);
                self.reassembled_in(whole, ip, env);
                Fate::Kept
            }
        }
    }

    #[inline]
    fn udp_datagram_in(
        &mut self,
        arrived: &mut Arrived<'_>,
        ip: &Datagram,
        (src_port, dst_port, len): (u16, u16, usize),
        env: &mut impl Environment,
    ) -> Fate {
        if dst_port == 68 && src_port == 67 && self.dhcp.is_some() {
            return match arrived.whole {
                true => {
                    let at = ip.payload_at + UDP_HEADER;
                    self.dhcp_in(arrived.frame.get(at..at + len).unwrap_or(&[]), env)
                }
                false => self.dropped(Counter::DropBadTransport),
            };
        }
        if !self.is_ours(ip) {
            self.dropped(Counter::DropNotOurAddress)
        } else if let Some(s) = self.flows.udp(dst_port) {
            self.udp_in(s, arrived, ip, (src_port, len), env)
        } else if src_port == 53 && arrived.whole && self.resolver.expects(ip.src) {
            let at = ip.payload_at + UDP_HEADER;
            let message = arrived.frame.get(at..at + len).unwrap_or(&[]);
            self.dns_in(message, (ip.src, dst_port), env)
        } else {
            let start = arrived.frame[ip.payload_at..].first_chunk().copied();
            self.nobodys_datagram(ip, start.unwrap_or_default(), env)
        }
    }

    /// Whether a datagram is from a host to us, or to all of our net.
    #[inline]
    pub(crate) fn is_ours(&self, ip: &Datagram) -> bool {
        let ours = |a: crate::stack::Address| a.cidr.address() == ip.dst || a.is_broadcast(ip.dst);
        self.stack.address.is_some_and(ours) && is_host(ip.src)
    }

    /// Tells the sender of a datagram, of which `start` are the first bytes,
    /// that nobody has the port.
    pub(crate) fn nobodys_datagram(
        &mut self,
        ip: &Datagram,
        start: [u8; 8],
        env: &mut impl Environment,
    ) -> Fate {
        if self.may_answer(ip) {
            self.stack.unreachable(ip, &start, env, &mut self.counters);
        }
        Fate::Drop
    }

    /// Whether the sender of a packet that nobody wants is to be told.
    fn may_answer(&mut self, ip: &Datagram) -> bool {
        self.counters.add(Counter::DropNoSocket);
        if self.stack.own() != Some(ip.dst) || !is_host(ip.src) {
            return false;
        }
        self.within_rate()
    }

    /// Whether one more unsolicited answer is within the rate.
    pub(crate) fn within_rate(&mut self) -> bool {
        let within = self.reply_rate.take(self.now());
        if !within {
            self.counters.add(Counter::DropReplyRate);
        }
        within
    }

    /// Lets smoltcp answer a packet that nobody wants: with a reset, or an
    /// ICMP error.
    pub(crate) fn reply_to_stranger(
        &mut self,
        via: Via,
        arrived: &Arrived<'_>,
        ip: &Datagram,
        env: &mut impl Environment,
    ) -> Fate {
        // An ICMP error quotes bytes that must be here; a reset does not.
        if self.may_answer(ip) && (arrived.whole || via == Via::Narrow) {
            let io = Io::new(env, &mut self.counters);
            self.stack.ingress_none(via, arrived.frame, io);
            self.tend_neighbours();
        }
        Fate::Drop
    }

    fn icmp_in(
        &mut self,
        arrived: &Arrived<'_>,
        ip: &Datagram,
        env: &mut impl Environment,
    ) -> Fate {
        let payload = arrived.frame.get(ip.payload_at..).unwrap_or(&[]);
        let payload = payload.get(..ip.payload_len).unwrap_or(&[]);
        let Ok(packet) = Icmpv4Packet::new_checked(payload) else {
            return Fate::Drop;
        };
        match packet.msg_type() {
            Icmpv4Message::EchoRequest if self.stack.own() == Some(ip.dst) => {
                self.answer_echo(arrived, env);
            }
            Icmpv4Message::DstUnreachable => {
                let status = match packet.msg_code() {
                    // RFC 1122, 4.2.3.9: protocol and port are hard errors;
                    // 4, "fragmentation needed", is none.
                    2 | 3 => Status::ConnectionRefused,
                    4 => return Fate::Drop,
                    _ => Status::Unreachable,
                };
                self.icmp_error(packet.data(), status, env);
            }
            _ => {}
        }
        Fate::Drop
    }

    fn answer_echo(&mut self, arrived: &Arrived<'_>, env: &mut impl Environment) {
        if self.within_rate() {
            let io = Io::new(env, &mut self.counters);
            self.stack.ingress_none(Via::Wide, arrived.frame, io);
            self.tend_neighbours();
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
}

/// What is known of the sum of a packet's payload.
#[inline]
fn sum_of(packet: &Packet, whole: bool) -> Sum {
    match (packet.flags & packet_flags::VERIFIED != 0, whole) {
        (true, _) => Sum::Verified(packet.sum as u16),
        (false, true) => Sum::Bytes,
        (false, false) => Sum::Is(packet.sum as u16),
    }
}

/// The fragment in a packet; `None` if the UDP header that it begins with is
/// not complete.
fn fragment_of(arrived: &Arrived<'_>, ip: &Datagram) -> Option<Fragment> {
    let here = arrived
        .frame
        .get(ip.payload_at..arrived.have)
        .unwrap_or(&[]);
    let start = match here.first_chunk() {
        Some(start) => *start,
        None if ip.fragment_offset == 0 => return None,
        None => [0; 8],
    };
    let sum = match arrived.sum {
        Sum::Is(sum) | Sum::Verified(sum) if !arrived.whole => sum,
        _ => {
            let payload = here.get(..ip.payload_len).unwrap_or(&[]);
            checksum::fold(checksum::add(0, payload))
        }
    };
    Some(Fragment {
        packet: arrived.packet,
        whole: arrived.whole,
        sum,
        verified: matches!(arrived.sum, Sum::Verified(_)),
        start,
    })
}

/// Copies the first bytes of a packet into private memory: all of them if it
/// is whole, and no more than its headers otherwise. How many; `None` if what
/// the manager says of it cannot be.
#[inline]
fn read(
    packet: &Packet,
    whole: bool,
    into: &mut [u8],
    env: &mut impl Environment,
) -> Option<usize> {
    let (len, there) = (packet.len as usize, packet.header_len as usize);
    let most = if whole { MOST_FRAME } else { MOST_LONG };
    let many = packet.following >= PACKET_BUFFERS;
    if there > len || packet.len > most || many || (whole && there != len) {
        return None;
    }
    let first = if whole { len } else { there.min(USUAL) };
    if !env.read_header(packet.header, into.get_mut(..first)?) {
        return None;
    }
    let all = headers(into.get(..first)?, whole).min(there);
    if all <= first {
        return Some(first);
    }
    let at = packet.header.checked_add(first as u32)?;
    env.read_header(at, into.get_mut(first..all)?)
        .then_some(all)
}

/// Bytes of all headers of a packet that begins so.
#[inline]
fn headers(start: &[u8], whole: bool) -> usize {
    let Some(start) = start.first_chunk::<USUAL>().filter(|_| !whole) else {
        return 0;
    };
    // With options in the IP header it is not worth while to look where TCP's
    // begin: the manager gives no more than headers can be.
    match (start[ETHERNET], start[ETHERNET + 9]) {
        (0x45, 6) => ETHERNET + 20 + usize::from(start[ETHERNET + 32] >> 4) * 4,
        (0x45, _) => 0,
        _ => usize::MAX,
    }
}
