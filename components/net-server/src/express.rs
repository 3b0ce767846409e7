//! The usual datagram, both ways, in few steps.
//!
//! Problem: most packets of a busy server are small datagrams from and to
//! hosts that it knows, and the general way decides one thing at a time.
//! Invariant: what goes this way is all usual, every check of the general way
//! among the conditions; of what is not, nothing has changed here, and the
//! general way decides it anew, from its own copy.

use smoltcp::wire::{EthernetAddress, Ipv4Address};
use socket_api::{Packet, Request, Status, flags, packet_flags};

use crate::checksum;
use crate::classify::is_host;
use crate::counters::Counter;
use crate::datagram::{self, HEADERS, Payload};
use crate::environment::Environment;
use crate::pending::Waiting;
use crate::server::{MOST_FRAME, Server};
use crate::sockets::{Kind, Udp};
use crate::udp::datagram;

/// Flags that need nothing else done.
const SEND: u16 = flags::NO_WAIT | flags::QUIET | flags::BLOCKED | flags::SUMMED;
const RECV: u16 = flags::QUIET | flags::BLOCKED;

#[inline]
pub(crate) fn half<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[inline]
pub(crate) fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    let [a, b, c, d] = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    u64::from(u32::from_ne_bytes([a, b, c, d]))
}

#[inline]
pub(crate) fn address<const N: usize>(bytes: &[u8; N], at: usize) -> Ipv4Address {
    Ipv4Address::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3])
}

#[inline]
pub(crate) fn mac<const N: usize>(bytes: &[u8; N], at: usize) -> [u8; 6] {
    [
        bytes[at],
        bytes[at + 1],
        bytes[at + 2],
        bytes[at + 3],
        bytes[at + 4],
        bytes[at + 5],
    ]
}

/// The IP packet of one datagram, whole and sound: how many bytes it has.
#[inline]
fn sound(h: &[u8; HEADERS], packet: &Packet) -> Option<u16> {
    let total = half(h, 16);
    let usual = half(h, 12) == 0x0800
        && h[14] == 0x45
        && half(h, 20) & 0x3fff == 0
        && h[23] == 17
        && total >= 28
        && u32::from(total) + 14 <= packet.len
        && half(h, 38) == total - 20
        && h[6] & 1 == 0;
    let header = word(h, 14) + word(h, 18) + word(h, 22) + word(h, 26) + word(h, 30);
    if !usual || !checksum::is_right(header) {
        return None;
    }
    let sum = word(h, 26)
        + word(h, 30)
        + u64::from(17u16.swap_bytes())
        + u64::from(half(h, 38).swap_bytes())
        + u64::from(packet.sum as u16);
    let verified = packet.flags & packet_flags::VERIFIED != 0 || half(h, 40) == 0;
    (verified || checksum::is_right(sum)).then_some(total)
}

/// Where a datagram goes, if that is usual. What is no host's address is not
/// among the known hops.
#[inline]
fn to_of(r: &Request, udp: &Udp) -> Option<(Ipv4Address, u16)> {
    match r.address.family {
        4 if r.address.nic == 0 && r.address.port != 0 => {
            let [a, b, c, d, ..] = r.address.octets;
            Some((Ipv4Address::new(a, b, c, d), r.address.port))
        }
        0 => udp.peer.filter(|(_, port)| *port != 0),
        _ => None,
    }
}

impl Server {
    /// Takes a packet, which is ours, if it is a datagram that somebody waits
    /// for.
    #[inline]
    pub(crate) fn express_in(&mut self, packet: &Packet, env: &mut impl Environment) -> bool {
        if packet.header_len != HEADERS as u32 {
            return false;
        }
        if packet.flags & packet_flags::WHOLE != 0 || packet.len > MOST_FRAME {
            return false;
        }
        let Some(h) = env.header(packet.header) else {
            return false;
        };
        let (Some(own), Some(total)) = (self.stack.address, sound(&h, packet)) else {
            return false;
        };
        let (src, src_mac) = (address(&h, 26), EthernetAddress(mac(&h, 6)));
        let (own_ip, port) = (own.cidr.address(), half(&h, 36));
        if mac(&h, 0) != self.stack.facts().mac
            || address(&h, 30) != own_ip
            || src == own_ip
            || !is_host(src)
            || own.is_broadcast(src)
            || (port == 68 && self.dhcp.is_some())
            || self.stack.hops.should_hear(src, src_mac, self.stack.now)
        {
            return false;
        }
        self.express_deliver(packet.id, total, (src, half(&h, 34)), port, env)
    }

    /// Gives a datagram to the first receive that waits at a port.
    #[inline]
    fn express_deliver(
        &mut self,
        packet: u32,
        total: u16,
        from: (Ipv4Address, u16),
        port: u16,
        env: &mut impl Environment,
    ) -> bool {
        let Some(s) = self.flows.udp(port) else {
            return false;
        };
        let Some(socket) = self.sockets.get(s as usize) else {
            return false;
        };
        let Kind::Udp(Udp { peer, queue, .. }) = socket.kind else {
            return false;
        };
        // Port 0 stands for none.
        if port == 0
            || peer.is_some_and(|peer| peer != from)
            || self.udp[queue as usize].datagrams != 0
        {
            return false;
        }
        let Some(r) = self.take_receive(s) else {
            return false;
        };
        let mut completion = datagram(&r, u32::from(total) - 28, from);
        if completion.len != 0 {
            completion.packet = packet;
            completion.offset = HEADERS as u32;
            completion.flags |= flags::RELEASE;
        } else {
            env.release(packet);
        }
        self.packets.depart(packet);
        self.counters
            .add_n(Counter::ReferencedIn, completion.len.into());
        self.complete(&completion, env);
        true
    }

    /// Sends a datagram, if it fits a frame and we know the way.
    #[inline]
    pub(crate) fn express_send(&mut self, r: &Request, env: &mut impl Environment) -> bool {
        let Some(udp) = self.express_socket(r, SEND) else {
            return false;
        };
        let Some((to, to_port)) = to_of(r, &udp) else {
            return false;
        };
        let summed = r.flags & flags::SUMMED != 0;
        if self.sockets[r.socket as usize].sends.len != 0
            || (summed && r.arg > 0xffff)
            || r.extent.len as usize + 28 > self.stack.facts().mtu
        {
            return false;
        }
        let Some(hop) = self.stack.hops.find(to, self.stack.now) else {
            return false;
        };
        if !env.has_room(1) {
            return false;
        }
        let payload = Payload {
            token: r.user_data,
            len: r.extent.len,
            sum: summed.then_some(r.arg as u16),
            done: r.extent.len != 0,
        };
        let ports = (udp.port, to_port);
        if datagram::send_frame(hop, ports, &payload, env, &mut self.counters) && payload.done {
            self.counters.add(Counter::Completions);
            return true;
        }
        let mut completion = r.complete(Status::Ok);
        completion.len = r.extent.len;
        self.finish(r, &completion, env);
        true
    }

    /// Lets a receive wait, if there is nothing for it.
    #[inline]
    pub(crate) fn express_recv(&mut self, r: &Request) -> bool {
        let Some(udp) = self.express_socket(r, RECV) else {
            return false;
        };
        if self.udp[udp.queue as usize].datagrams != 0 {
            return false;
        }
        let waiting = Waiting {
            request: *r,
            ..Waiting::default()
        };
        let recvs = &mut self.sockets[r.socket as usize].recvs;
        self.pending.push(recvs, waiting).is_ok()
    }

    /// The bound UDP socket of a request without anything unusual.
    #[inline]
    fn express_socket(&self, r: &Request, allowed: u16) -> Option<Udp> {
        let socket = self.sockets.get(r.socket as usize)?;
        let Kind::Udp(udp) = socket.kind else {
            return None;
        };
        let usual = r.flags & !allowed == 0
            && r.passing == 0
            && udp.port != 0
            && socket.client == r.client
            && socket.control.len == 0
            && socket.error.is_none();
        usual.then_some(udp)
    }
}
