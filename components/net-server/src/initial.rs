//! Initial sequence numbers (RFC 6528) through smoltcp's own generator.
//!
//! Problem: smoltcp draws initial sequence numbers and DNS ids from a 64-bit
//! linear generator in the interface, whose state one output nearly gives
//! away. Invariant: every connection is opened through an interface of its
//! own, seeded so that its generator's second output is the number that
//! RFC 6528 asks for, `M + F(4-tuple, secret)`; nothing else is ever drawn
//! from it.
//!
//! The generator is a permuted linear one, so the state that gives a wanted
//! output is found by running it backwards. Should a later smoltcp change its
//! generator, the number is still a function of a fresh seed that nobody can
//! predict; the test at the end then fails and says that the exact form of
//! RFC 6528 is lost.

use core::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::random::Random;

const MULTIPLIER: u64 = 0xbb2e_fcec_3c39_611d;
const INCREMENT: u64 = 0x7590_ef39;
const INVERSE: u64 = inverse(MULTIPLIER);

/// The inverse of an odd number modulo 2^64: Newton's iteration doubles the
/// number of right bits, starting from three.
const fn inverse(odd: u64) -> u64 {
    let mut x = odd;
    let mut i = 0;
    while i < 5 {
        x = x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x)));
        i += 1;
    }
    x
}

const fn back(state: u64) -> u64 {
    state.wrapping_sub(INCREMENT).wrapping_mul(INVERSE)
}

/// A seed whose second 32-bit output is `wanted`, and whose first one, which
/// the interface takes as its IP identification, is not zero.
fn seed_for(wanted: u32, random: &mut Random) -> u64 {
    loop {
        // With the top three bits clear the output is bits 29 to 60.
        let second = u64::from(wanted) << 29 | random.next() >> 35;
        let first = back(second);
        let output = (first >> (29 - (first >> 61))) as u32;
        if (output ^ output >> 16) as u16 != 0 {
            return back(first);
        }
    }
}

/// The secret of F.
pub(crate) struct Initial {
    secret: [u8; 16],
}

impl Initial {
    /// A fresh secret.
    pub fn new(random: &mut Random) -> Self {
        Self {
            secret: random.key(),
        }
    }

    /// The number for the connection `flow` (all its addresses and ports) at
    /// `now_us`: M advances every 4 microseconds.
    fn number(&self, own: u32, flow: u64, now_us: u64) -> u32 {
        let mut hash = SipHasher24::new_with_key(&self.secret);
        hash.write_u64(flow);
        hash.write_u32(own);
        (hash.finish() as u32).wrapping_add((now_us >> 2) as u32)
    }

    /// The seed of the interface that opens the connection.
    pub fn seed(&self, own: u32, flow: u64, now_us: u64, random: &mut Random) -> u64 {
        seed_for(self.number(own, flow, now_us), random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::iface::{Config, Interface, SocketSet};
    use smoltcp::phy::{Loopback, Medium};
    use smoltcp::socket::tcp;
    use smoltcp::time::Instant;
    use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};
    use std::vec;

    #[test]
    fn smoltcp_uses_the_number_that_we_chose() {
        let mut random = Random::new([7; 32]);
        for wanted in [0, 1, 0xdead_beef, u32::MAX] {
            assert_eq!(first_syn(wanted, &mut random), wanted);
        }
    }

    /// The sequence number of the SYN of a connection opened with a seed for
    /// `wanted`, captured from the frames sent.
    fn first_syn(wanted: u32, random: &mut Random) -> u32 {
        use smoltcp::phy::{Device, TxToken};
        use smoltcp::wire::{EthernetFrame, Ipv4Packet, TcpPacket};
        let mut device = Loopback::new(Medium::Ethernet);
        let mac = HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 0, 1]));
        let mut config = Config::new(mac);
        config.random_seed = seed_for(wanted, random);
        let mut iface = Interface::new(config, &mut device, Instant::ZERO);
        let own = IpCidr::new(IpAddress::v4(10, 0, 0, 1), 8);
        iface.update_ip_addrs(|a| a.push(own).unwrap());
        let buffer = || tcp::SocketBuffer::new(vec![0; 64]);
        let mut sockets = SocketSet::new(vec![]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        // To the broadcast address no neighbour is needed.
        let peer = (IpAddress::v4(255, 255, 255, 255), 80);
        socket.connect(iface.context(), peer, 50000).unwrap();
        sockets.add(socket);
        iface.poll_egress(Instant::ZERO, &mut device, &mut sockets);
        let (rx, tx) = device.receive(Instant::ZERO).unwrap();
        tx.consume(0, |_| ());
        smoltcp::phy::RxToken::consume(rx, |frame| {
            let ip = EthernetFrame::new_checked(frame).unwrap();
            let ip = Ipv4Packet::new_checked(ip.payload()).unwrap();
            TcpPacket::new_checked(ip.payload()).unwrap().seq_number().0 as u32
        })
    }

    #[test]
    fn numbers_differ_by_connection_and_grow_with_time() {
        let mut random = Random::new([1; 32]);
        let initial = Initial::new(&mut random);
        let a = initial.number(1, 2, 0);
        assert_ne!(a, initial.number(1, 3, 0));
        assert_ne!(a, initial.number(2, 2, 0));
        assert_eq!(initial.number(1, 2, 4000), a.wrapping_add(1000));
    }
}
