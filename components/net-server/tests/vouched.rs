//! Packets whose checksum is the device's word.
//!
//! Problem: a sender on the same machine leaves checksums to the device, and
//! the field then holds something else. Invariant: what the device vouches for
//! is taken on every way that a packet may go, and what it does not vouch for
//! is summed.
#![allow(clippy::unwrap_used, reason = "a test is to stop where it fails")]

mod support;

use net_server::Counter;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::*;
use support::*;

/// A packet of the peer's with this payload.
fn packet(protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 34 + payload.len()];
    EthernetRepr {
        src_addr: EthernetAddress(PEER_MAC),
        dst_addr: EthernetAddress(SERVER_MAC),
        ethertype: EthernetProtocol::Ipv4,
    }
    .emit(&mut EthernetFrame::new_unchecked(&mut frame));
    Ipv4Repr {
        src_addr: PEER_IP,
        dst_addr: SERVER_IP,
        next_header: protocol,
        payload_len: payload.len(),
        hop_limit: 64,
    }
    .emit(
        &mut Ipv4Packet::new_unchecked(&mut frame[14..]),
        &ChecksumCapabilities::default(),
    );
    frame[34..].copy_from_slice(payload);
    frame
}

/// A datagram to port 7 with the checksum of its pseudo-header, as a sender
/// leaves it for the device.
fn partial(from: u16, payload: &[u8]) -> Vec<u8> {
    let len = 8 + payload.len() as u16;
    let pseudo = checksum::pseudo_header_v4(&PEER_IP, &SERVER_IP, IpProtocol::Udp, len.into());
    let mut bytes = Vec::new();
    for field in [from, 7, len, pseudo] {
        bytes.extend(field.to_be_bytes());
    }
    bytes.extend(payload);
    bytes
}

/// Cuts a datagram in two packets.
fn fragments(datagram: &[u8]) -> [Vec<u8>; 2] {
    let part = |at: usize, bytes: &[u8], more| {
        let mut frame = packet(IpProtocol::Udp, bytes);
        let mut ip = Ipv4Packet::new_unchecked(&mut frame[14..]);
        ip.set_dont_frag(false);
        ip.set_ident(9);
        ip.set_more_frags(more);
        ip.set_frag_offset(at as u16);
        ip.fill_checksum();
        frame
    };
    let (first, second) = datagram.split_at(16);
    [part(0, first, true), part(16, second, false)]
}

#[test]
fn a_datagram_with_a_partial_checksum_arrives_from_any_port() {
    for port in [4000, 53, 67] {
        let mut w = udp_world();
        let frame = packet(IpProtocol::Udp, &partial(port, b"payload"));
        w.env.to_server.push_back(frame.clone());
        w.step(1000);
        assert_eq!(w.count(Counter::DropChecksum), 1, "port {port}");
        w.env.verified = true;
        w.env.to_server.push_back(frame);
        assert_eq!(w.call(World::recv(0, 0, 10)).len, 7, "port {port}");
        assert_eq!(w.count(Counter::DropChecksum), 1, "port {port}");
    }
}

#[test]
fn icmp_that_the_device_vouches_for_is_answered() {
    let mut w = udp_world();
    let mut request = vec![0; 16];
    Icmpv4Repr::EchoRequest {
        ident: 1,
        seq_no: 2,
        data: b"payload!",
    }
    .emit(
        &mut Icmpv4Packet::new_unchecked(&mut request),
        &ChecksumCapabilities::default(),
    );
    request[2] ^= 1;
    for (verified, answers) in [(false, 0), (true, 1)] {
        w.env.verified = verified;
        w.log = Some(vec![]);
        w.env
            .to_server
            .push_back(packet(IpProtocol::Icmp, &request));
        w.step(1000);
        let sent = w.log.take().unwrap();
        let echoes = sent.iter().filter(|f| f[23] == 1 && f[34] == 0);
        assert_eq!(echoes.count(), answers);
    }
}

#[test]
fn fragments_count_as_the_device_or_their_sum_says() {
    let right = {
        let mut bytes = partial(4000, b"in two pieces");
        bytes[6..8].fill(0);
        let pseudo = checksum::pseudo_header_v4(&PEER_IP, &SERVER_IP, IpProtocol::Udp, 21);
        let sum = !checksum::combine(&[pseudo, checksum::data(&bytes)]);
        bytes[6..8].copy_from_slice(&sum.to_be_bytes());
        bytes
    };
    let left_out = partial(4000, b"in two pieces");
    for (datagram, marks, arrives) in [
        (&right, [false, false], true),
        (&right, [true, false], true),
        (&right, [false, true], true),
        (&left_out, [true, true], true),
        (&left_out, [true, false], false),
        (&left_out, [false, false], false),
    ] {
        let mut w = udp_world();
        for (frame, mark) in fragments(datagram).into_iter().zip(marks) {
            w.env.verified = mark;
            w.env.to_server.push_back(frame);
            w.step(1000);
        }
        let received = w.submit(World::recv(0, 0, 20));
        w.step(1000);
        assert_eq!(w.completion(received).is_some(), arrives, "{marks:?}");
        assert_eq!(w.count(Counter::DropChecksum), u64::from(!arrives));
    }
}
