//! Packets that nobody should send.
#![allow(clippy::unwrap_used, reason = "a test is to stop where it fails")]

mod support;

use net_server::Counter;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::*;
use support::*;

fn ip_frame(
    ident: u16,
    offset: usize,
    more: bool,
    protocol: IpProtocol,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = vec![0; 34 + payload.len()];
    EthernetRepr {
        src_addr: EthernetAddress(PEER_MAC),
        dst_addr: EthernetAddress(SERVER_MAC),
        ethertype: EthernetProtocol::Ipv4,
    }
    .emit(&mut EthernetFrame::new_unchecked(&mut frame));
    let caps = ChecksumCapabilities::default();
    let mut packet = Ipv4Packet::new_unchecked(&mut frame[14..]);
    Ipv4Repr {
        src_addr: PEER_IP,
        dst_addr: SERVER_IP,
        next_header: protocol,
        payload_len: payload.len(),
        hop_limit: 64,
    }
    .emit(&mut packet, &caps);
    packet.set_ident(ident);
    packet.set_dont_frag(false);
    packet.set_more_frags(more);
    packet.set_frag_offset(offset as u16);
    packet.fill_checksum();
    frame[34..].copy_from_slice(payload);
    frame
}

fn udp_bytes(dst_port: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8 + payload.len()];
    UdpRepr {
        src_port: 4000,
        dst_port,
    }
    .emit(
        &mut UdpPacket::new_unchecked(&mut bytes),
        &PEER_IP.into(),
        &SERVER_IP.into(),
        payload.len(),
        |b| b.copy_from_slice(payload),
        &ChecksumCapabilities::default(),
    );
    bytes
}

fn fragments(ident: u16, datagram: &[u8], step: usize) -> Vec<Vec<u8>> {
    let parts = datagram.chunks(step).enumerate();
    parts
        .map(|(i, part)| {
            let more = (i + 1) * step < datagram.len();
            ip_frame(ident, i * step, more, IpProtocol::Udp, part)
        })
        .collect()
}

#[test]
fn the_largest_datagram_goes_both_ways_in_fragments() {
    for offload in [false, true] {
        largest_datagram(udp_world_with(offload));
    }
}

fn largest_datagram(mut w: World) {
    let data = pattern(65507, 3);
    let mut parts = fragments(9, &udp_bytes(7, &data), 1480);
    parts.reverse();
    w.env.to_server.extend(parts);
    let got = w.call(World::recv(0, 0, 65507));
    assert_eq!((got.len, got.arg), (65507, 65507));
    assert!(w.region()[..65507] == data[..]);
    w.log = Some(vec![]);
    let mut send = World::send(0, 0, 65507);
    send.address = got.address;
    ok(&w.call(send));
    let mut back = vec![0; 65515];
    let (mut bytes, mut ended) = (0, false);
    for frame in w.log.take().unwrap() {
        assert!(frame.len() <= 1514);
        let ip = Ipv4Packet::new_checked(&frame[14..]).unwrap();
        assert!(ip.verify_checksum() && !ip.dont_frag());
        let at = ip.frag_offset() as usize;
        back[at..at + ip.payload().len()].copy_from_slice(ip.payload());
        bytes += ip.payload().len();
        ended |= !ip.more_frags();
    }
    assert!(ended && bytes == 65515);
    let udp = UdpPacket::new_checked(&back[..]).unwrap();
    assert!(udp.verify_checksum(&SERVER_IP.into(), &PEER_IP.into()));
    assert!(udp.payload() == data);
    assert_eq!(w.count(Counter::FragmentsSent), 45);
}

#[test]
fn fragments_reach_receives_of_all_lengths() {
    let mut w = udp_world();
    for (len, room, step) in [
        (3000u32, 3000u32, 1480usize),
        (3000, 1472, 1480),
        (3000, 1473, 1480),
        (3000, 5, 1480),
        (3000, 0, 1480),
        (10, 100, 8),
        (1, 100, 8),
        (2961, 4000, 1480),
    ] {
        let data = pattern(len as usize, len.into());
        for posted in [false, true] {
            w.region().fill(0xaa);
            let early = posted.then(|| w.submit(World::recv(0, 100, room)));
            w.step(100);
            w.env
                .to_server
                .extend(fragments(9, &udp_bytes(7, &data), step));
            w.step(100);
            let late = early.unwrap_or_else(|| w.submit(World::recv(0, 100, room)));
            w.step(100);
            let got = w.completion(late).unwrap();
            assert_eq!((got.len, got.arg), (len.min(room), len.into()));
            let got = got.len as usize;
            assert!(w.region()[100..100 + got] == data[..got]);
            assert!(w.region()[100 + got..].iter().all(|b| *b == 0xaa));
            w.run_server();
            assert_eq!(w.count(Counter::PacketsHeld), 0);
        }
    }
    assert_eq!(w.count(Counter::Copied), 0);
}

#[test]
fn datagrams_in_fragments_are_bounded_for_who_does_not_read() {
    let mut w = udp_world();
    let data = pattern(20_000, 1);
    for ident in 0..40 {
        let parts = fragments(ident, &udp_bytes(7, &data), 1480);
        w.env.to_server.extend(parts);
        w.step(100);
    }
    // 208 KiB of datagrams, each in 14 packets.
    assert_eq!(w.count(Counter::PacketsHeld), 10 * 14);
    assert_eq!(w.count(Counter::DropReceiveQueue), 30);
    for _ in 0..10 {
        assert_eq!(w.call(World::recv(0, 0, 20_000)).len, 20_000);
        assert!(w.region()[..20_000] == data[..]);
    }
    w.run_server();
    assert_eq!(w.count(Counter::PacketsHeld), 0);
}

#[test]
fn fragments_of_other_protocols_are_counted() {
    let mut w = udp_world();
    for (i, protocol) in [IpProtocol::Tcp, IpProtocol::Icmp].into_iter().enumerate() {
        let frame = ip_frame(1, 0, true, protocol, &[0; 64]);
        w.env.to_server.push_back(frame);
        w.step(100);
        assert_eq!(w.count(Counter::DropFragmentKind), i as u64 + 1);
    }
    assert_eq!(w.count(Counter::Reassembling), 0);
}

#[test]
fn a_wrong_checksum_spoils_a_datagram_in_fragments() {
    let mut w = udp_world();
    let mut bytes = udp_bytes(7, &pattern(3000, 1));
    bytes[2000] ^= 1;
    w.env.to_server.extend(fragments(9, &bytes, 1480));
    w.step(100);
    assert_eq!(w.count(Counter::DropChecksum), 1);
    assert_eq!(w.count(Counter::PacketsHeld), 0);
    // Without one (RFC 768) there is none to be wrong.
    bytes[6..8].fill(0);
    w.env.to_server.extend(fragments(9, &bytes, 1480));
    assert_eq!(w.call(World::recv(0, 0, 4000)).len, 3000);
}

#[test]
fn overlapping_fragments_are_dropped_whole() {
    let mut w = udp_world();
    let bytes = udp_bytes(7, &pattern(64, 1));
    let frames = [
        ip_frame(5, 0, true, IpProtocol::Udp, &bytes[..32]),
        ip_frame(5, 24, true, IpProtocol::Udp, &[0xff; 16]),
        ip_frame(5, 32, false, IpProtocol::Udp, &bytes[32..]),
    ];
    w.env.to_server.extend(frames);
    let token = w.submit(World::recv(0, 0, 100));
    w.step(1000);
    assert!(w.completion(token).is_none());
    assert_eq!(w.count(Counter::DropFragmentOverlap), 2);
    // Its number can be used again when its time is over.
    w.now_us += 31_000_000;
    w.step(1000);
    w.env.to_server.extend(fragments(5, &bytes, 24));
    w.step(1000);
    assert_eq!(w.completion(token).unwrap().len, 64);
}

#[test]
fn endless_fragments_are_bounded() {
    let mut w = udp_world();
    for ident in 0..5000 {
        w.env
            .to_server
            .push_back(ip_frame(ident, 0, true, IpProtocol::Udp, &[0; 1480]));
        w.step(100);
    }
    assert!(w.count(Counter::Reassembling) <= 8);
    assert!(w.count(Counter::DropFragmentTable) > 4000);
    w.now_us += 31_000_000;
    w.step(1000);
    w.step(1000);
    assert_eq!(w.count(Counter::Reassembling), 0);
}

#[test]
fn each_way_to_be_wrong_has_its_counter() {
    use Counter::*;
    let good = ip_frame(1, 0, false, IpProtocol::Udp, &udp_bytes(7, b"payload"));
    let change = |at: usize, to: &[u8]| {
        let mut frame = good.clone();
        frame[at..at + to.len()].copy_from_slice(to);
        frame
    };
    let fixed = |at: usize, to: &[u8]| {
        let mut frame = change(at, to);
        Ipv4Packet::new_unchecked(&mut frame[14..34]).fill_checksum();
        frame
    };
    let cases = [
        (good[..10].to_vec(), DropRunt),
        (change(0, &[2, 2, 2, 2, 2, 2]), DropNotOurMac),
        (change(12, &[0x86, 0xdd]), DropEthertype),
        (change(14, &[0x65]), DropBadIpHeader),
        (change(14, &[0x41]), DropBadIpHeader),
        (good[..30].to_vec(), DropBadIpHeader),
        (change(22, &[1]), DropIpChecksum),
        (fixed(26, &[224, 0, 0, 1]), DropBadSource),
        (fixed(26, &[10, 0, 0, 1]), DropBadSource),
        (fixed(26, &[10, 0, 0, 255]), DropBadSource),
        (fixed(30, &[10, 0, 0, 9]), DropNotOurAddress),
        (change(45, b"X"), DropChecksum),
        (change(38, &[0xff, 0xff]), DropBadTransport),
        (change(36, &[0, 0]), DropBadTransport),
        (fixed(23, &[6]), DropBadTransport),
        (fixed(23, &[99]), DropNoSocket),
        (
            ip_frame(1, 65528, false, IpProtocol::Udp, &[0; 100]),
            DropBadFragment,
        ),
        (
            ip_frame(1, 0, false, IpProtocol::Udp, &udp_bytes(99, b"")),
            DropNoSocket,
        ),
        (change(12, &[0x08, 0x06])[..20].to_vec(), DropBadArp),
    ];
    for (frame, counter) in cases {
        let mut w = udp_world();
        let before = w.count(counter);
        w.env.to_server.push_back(frame.clone());
        w.step(1000);
        assert_eq!(w.count(counter), before + 1, "{counter:?} {frame:02x?}");
    }
    let mut w = udp_world();
    w.env.to_server.push_back(good);
    assert_eq!(w.call(World::recv(0, 0, 10)).len, 7);
}

/// An ARP request of the peer's for the server's address.
fn arp_frame() -> Vec<u8> {
    let mut frame = vec![0; 14 + 28];
    frame[..6].copy_from_slice(&SERVER_MAC);
    frame[6..12].copy_from_slice(&PEER_MAC);
    frame[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame[22..28].copy_from_slice(&PEER_MAC);
    frame[28..32].copy_from_slice(&PEER_IP.octets());
    frame[38..42].copy_from_slice(&SERVER_IP.octets());
    frame
}

#[test]
fn arp_of_other_kinds_is_dropped_and_counted() {
    let counted = |frame: Vec<u8>| {
        let mut w = udp_world();
        let before = w.count(Counter::DropBadArp);
        w.env.to_server.push_back(frame);
        w.step(1000);
        w.count(Counter::DropBadArp) - before
    };
    assert_eq!(counted(arp_frame()), 0);
    for (at, value) in [
        (15, 6),
        (16, 0x86),
        (18, 255),
        (19, 16),
        (21, 9),
        (22, 0x33),
    ] {
        let mut frame = arp_frame();
        frame[at] = value;
        assert_eq!(counted(frame), 1, "byte {at}");
    }
    assert_eq!(counted(arp_frame()[..41].to_vec()), 1);
}

/// A SYN with these four bytes of options.
fn syn_with(options: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0; 24];
    bytes[1] = 9;
    bytes[3] = 7;
    bytes[12..14].copy_from_slice(&[6 << 4, 2]);
    bytes[20..].copy_from_slice(&options);
    let mut packet = TcpPacket::new_unchecked(&mut bytes[..]);
    packet.fill_checksum(&PEER_IP.into(), &SERVER_IP.into());
    ip_frame(1, 0, false, IpProtocol::Tcp, &bytes)
}

#[test]
fn tcp_options_that_cannot_be_read_are_counted() {
    let counted = |options| {
        let mut w = udp_world();
        let before = w.count(Counter::DropBadTransport);
        w.env.to_server.push_back(syn_with(options));
        w.step(1000);
        w.count(Counter::DropBadTransport) - before
    };
    for good in [[2, 4, 5, 0xb4], [1, 1, 1, 0], [0, 2, 0, 9], [77, 4, 0, 0]] {
        assert_eq!(counted(good), 0, "{good:?}");
    }
    for bad in [[2, 0, 5, 0xb4], [1, 1, 2, 4], [8, 10, 0, 0], [2, 3, 5, 0]] {
        assert_eq!(counted(bad), 1, "{bad:?}");
    }
}

#[test]
fn icmp_errors_that_quote_nonsense_are_counted() {
    let counted = |at: usize, value: u8, len: usize| {
        let mut quote = ip_frame(1, 0, false, IpProtocol::Udp, &[0; 8])[14..].to_vec();
        quote[12..16].copy_from_slice(&SERVER_IP.octets());
        quote[at] = value;
        let mut message = vec![3, 3, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(&quote[..len]);
        Icmpv4Packet::new_unchecked(&mut message[..]).fill_checksum();
        let mut w = udp_world();
        let before = w.count(Counter::DropBadTransport);
        let frame = ip_frame(1, 0, false, IpProtocol::Icmp, &message);
        w.env.to_server.push_back(frame);
        w.step(1000);
        w.count(Counter::DropBadTransport) - before
    };
    assert_eq!(counted(0, 0x45, 28), 0);
    assert_eq!(counted(2, 5, 28), 0, "a quote is shorter than its packet");
    for (at, value, len) in [
        (0, 0x4f, 28),
        (0, 0x40, 28),
        (0, 0x65, 28),
        (3, 0, 28),
        (0, 0x45, 27),
    ] {
        assert_eq!(counted(at, value, len), 1, "byte {at} = {value}");
    }
}

#[test]
fn a_frame_that_the_device_verified_is_not_verified_again() {
    let mut w = udp_world();
    let mut frame = ip_frame(1, 0, false, IpProtocol::Udp, &udp_bytes(7, b"payload"));
    frame[40..42].copy_from_slice(&[1, 2]);
    w.env.to_server.push_back(frame.clone());
    w.step(1000);
    assert_eq!(w.count(Counter::DropChecksum), 1);
    w.env.verified = true;
    w.env.to_server.push_back(frame);
    assert_eq!(w.call(World::recv(0, 0, 10)).len, 7);
}

#[test]
fn answers_to_strangers_are_limited() {
    let mut w = udp_world();
    w.log = Some(vec![]);
    for _ in 0..50 {
        for _ in 0..100 {
            let frame = ip_frame(1, 0, false, IpProtocol::Udp, &udp_bytes(99, b""));
            w.env.to_server.push_back(frame);
        }
        w.step(1000);
    }
    let answers = w.log.take().unwrap().len();
    assert!((1000..1200).contains(&answers), "{answers}");
    assert!(w.count(Counter::DropReplyRate) > 3000);
}

#[test]
fn pings_are_answered() {
    let mut w = udp_world();
    w.log = Some(vec![]);
    for len in [0, 56, 1472] {
        let data = pattern(len, 2);
        let echo = Icmpv4Repr::EchoRequest {
            ident: 1,
            seq_no: 2,
            data: &data,
        };
        let mut bytes = vec![0; echo.buffer_len()];
        echo.emit(
            &mut Icmpv4Packet::new_unchecked(&mut bytes),
            &ChecksumCapabilities::default(),
        );
        w.env
            .to_server
            .push_back(ip_frame(3, 0, false, IpProtocol::Icmp, &bytes));
        w.step(1000);
        let mut back = vec![];
        for frame in w.log.replace(vec![]).unwrap() {
            back.extend_from_slice(Ipv4Packet::new_checked(&frame[14..]).unwrap().payload());
        }
        let packet = Icmpv4Packet::new_checked(&back[..]).unwrap();
        let repr = Icmpv4Repr::parse(&packet, &ChecksumCapabilities::default()).unwrap();
        assert_eq!(
            repr,
            Icmpv4Repr::EchoReply {
                ident: 1,
                seq_no: 2,
                data: &data
            }
        );
    }
}

/// Fields that an attacker would choose: any, but with lengths and checksums
/// that lead further in.
fn hostile_frame(lcg: &mut Lcg) -> Vec<u8> {
    let len = lcg.below(200) as usize;
    let mut payload: Vec<u8> = (0..len).map(|_| lcg.next() as u8).collect();
    let protocol = [
        IpProtocol::Udp,
        IpProtocol::Tcp,
        IpProtocol::Icmp,
        IpProtocol::Unknown(77),
    ][lcg.below(4) as usize];
    let ports = [7u16, 8, 53, 67, 68, 48_128];
    if len >= 4 {
        payload[..2].copy_from_slice(&ports[lcg.below(6) as usize].to_be_bytes());
        payload[2..4].copy_from_slice(&ports[lcg.below(6) as usize].to_be_bytes());
    }
    match protocol {
        IpProtocol::Udp if len >= 8 => payload[4..6].copy_from_slice(&(len as u16).to_be_bytes()),
        IpProtocol::Tcp if len >= 20 => payload[12] = (5 + lcg.below(11) as u8) << 4,
        IpProtocol::Icmp if len >= 36 => {
            payload[0] = [3, 8, 0, 11][lcg.below(4) as usize];
            payload[8] = 0x45;
            payload[20..24].copy_from_slice(&SERVER_IP.octets());
        }
        _ => {}
    }
    let fragmented = lcg.below(4) == 0;
    let (offset, more) = if fragmented {
        (lcg.below(8192) as usize * 8, lcg.below(2) == 0)
    } else {
        (0, false)
    };
    let mut frame = ip_frame(lcg.next() as u16 & 3, offset, more, protocol, &payload);
    for _ in 0..lcg.below(3) {
        let at = lcg.below(frame.len() as u64) as usize;
        frame[at] = lcg.next() as u8;
    }
    frame
}

#[test]
fn fifty_thousand_hostile_frames_leave_a_working_server() {
    let mut w = udp_world();
    w.listen(1, 8, 4);
    w.env.verified = true;
    let mut lcg = Lcg(42);
    for i in 0..50_000 {
        let frame = hostile_frame(&mut lcg);
        w.env.to_server.push_back(frame);
        if i % 50 == 0 {
            w.step(1000);
        }
    }
    w.env.verified = false;
    w.step(1000);
    let accept = w.submit(World::accept(1, 10));
    w.now_us += 60_000_000;
    let peer = w.peer_connect(8, 45678);
    for _ in 0..3000 {
        w.step(1000);
    }
    ok(&w.completion(accept).unwrap());
    w.tcp(peer).send_slice(b"alive").unwrap();
    assert_eq!(w.call(World::recv(10, 0, 100)).len, 5);
    assert_eq!(w.count(Counter::HalfOpen), 0);
}
