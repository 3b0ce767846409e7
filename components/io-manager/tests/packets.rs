//! Packets: what servers see of them, who has them, and what becomes of them
//! when a server lies.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod parties;

use nic_api::{frame_flags, nic_features};
use parties::frames::{sum, tcp, udp};
use parties::{DATA, MTU, Parties, QUOTA, Setup};
use socket_api::{
    Completion, Deliver, Further, Op, Packet, RELEASE_MOST, RESOLVER_PORTS, Release, Request,
    SocketKind, Status, flags, kind, packet_flags,
};

const GONE: u16 = Status::ServerGone as u16;

/// What the server gets of a frame.
fn arrive(parties: &mut Parties, frame: &[u8]) -> Packet {
    parties.drivers[0].receive(frame, 0);
    parties.run();
    let packet = parties.servers[0].packets.pop_front();
    packet.expect("a packet")
}

fn release(parties: &mut Parties, ids: &[u32]) {
    let mut release = Release {
        kind: kind::RELEASE,
        count: ids.len() as u16,
        ..Release::default()
    };
    release.packets[..ids.len()].copy_from_slice(ids);
    parties.say(0, release);
}

/// A client with a receive of `len` bytes on its way.
fn receiving(parties: &mut Parties, client: usize, len: u32) -> Request {
    let (handle, _) = parties.open(client, SocketKind::Udp);
    parties.pass(client, Request::new(Op::Recv, handle, 7), (DATA + 100, len))
}

fn deliver(request: &Request, packet: &Packet, (offset, len): (u32, u32)) -> Deliver {
    Deliver {
        kind: kind::DELIVER,
        flags: 0,
        packet: packet.id,
        token: request.user_data,
        offset,
        len,
        ..Deliver::default()
    }
}

#[test]
fn a_server_sees_all_headers_and_the_sum_of_the_rest() {
    let mut parties = Parties::one();
    let payload: Vec<u8> = (0..99).collect();
    let mut with_options = udp(5, 6, &payload);
    with_options.splice(34..34, [1; 40]);
    with_options[14] = 0x4f;
    let total = (with_options.len() - 14) as u16;
    with_options[16..18].copy_from_slice(&total.to_be_bytes());
    let mut fragment = udp(5, 6, &payload);
    fragment[21] = 100;
    let mut padded = udp(5, 6, b"abc");
    padded.resize(60, 0xff);
    let cases = [
        (udp(5, 6, &payload), 42, 34),
        (udp(5, 6, &[]), 42, 34),
        (tcp(0, &payload), 54, 34),
        (tcp(40, &payload), 94, 34),
        (with_options, 82, 74),
        (fragment, 42, 34),
        (padded, 42, 34),
    ];
    for (n, (frame, headers, start)) in cases.into_iter().enumerate() {
        let packet = arrive(&mut parties, &frame);
        assert_eq!(packet.header_len, headers, "case {n}");
        let seen = parties.servers[0].header(&packet);
        assert_eq!(seen, frame[..headers as usize], "case {n}");
        let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
        let right = sum(&frame[start..14 + total]);
        let bytes = (packet.sum as u16).to_ne_bytes();
        assert_eq!(u16::from_be_bytes(bytes), right, "case {n}");
        assert_eq!((packet.flags, packet.len), (0, frame.len() as u32));
        release(&mut parties, &[packet.id]);
    }
    assert_eq!(parties.count("copied.in"), 0);
    assert_eq!(parties.count("server.faults"), 0);
    parties.assert_settled();
}

/// A NIC that splits frames puts 42 bytes of each into a header slot; senders
/// may end theirs anywhere.
#[test]
fn frames_that_end_in_the_header_slot_are_taken_as_they_are() {
    for features in [0, nic_features::STEERING] {
        let mut parties = Parties::with(Setup {
            features,
            ..Setup::ONE
        });
        for total in 20..=28u8 {
            let mut frame = udp(5, 6, b"abc");
            frame[16..18].copy_from_slice(&[0, total]);
            let end = 14 + usize::from(total);
            for frame in [&frame[..], &frame[..end]] {
                let packet = arrive(&mut parties, frame);
                assert_eq!((packet.end, packet.flags), (end as u32, 0));
                let bytes = (packet.sum as u16).to_ne_bytes();
                assert_eq!(u16::from_be_bytes(bytes), sum(&frame[34..end]), "{total}");
                release(&mut parties, &[packet.id]);
            }
        }
        for len in 14..=42 {
            let frame: Vec<u8> = (0..len).collect();
            let packet = arrive(&mut parties, &frame);
            assert_eq!(parties.servers[0].header(&packet), frame);
            release(&mut parties, &[packet.id]);
        }
        assert_eq!(parties.count("drop.malformed"), 0);
        parties.assert_settled();
    }
}

#[test]
fn what_the_device_has_verified_is_not_summed() {
    let mut parties = Parties::one();
    for flags in [frame_flags::CHECKSUM_VALID, frame_flags::NEEDS_CHECKSUM] {
        parties.drivers[0].receive(&udp(5, 6, b"abc"), flags);
        parties.run();
        let packet = parties.servers[0].packets.pop_front().unwrap();
        assert_eq!(packet.flags, packet_flags::VERIFIED);
        release(&mut parties, &[packet.id]);
    }
    parties.assert_settled();
}

/// What the device vouches for has no checksum of its own: whoever loses the
/// mark drops the packet.
#[test]
fn what_the_device_vouches_for_is_marked_whole_or_not() {
    let mut parties = Parties::one();
    let mut icmp = udp(1, 2, &[9; 100]);
    icmp[23] = 1;
    let mut arp = udp(1, 2, b"who has");
    arp[13] = 6;
    for flags in [frame_flags::CHECKSUM_VALID, frame_flags::NEEDS_CHECKSUM] {
        for frame in [&udp(53, 2, b"name"), &udp(67, 68, b"lease"), &icmp, &arp] {
            parties.drivers[0].receive(frame, flags);
            parties.run();
            let packet = parties.servers[0].packets.pop_front().unwrap();
            assert_eq!(packet.flags, packet_flags::WHOLE | packet_flags::VERIFIED);
            release(&mut parties, &[packet.id]);
        }
    }
    parties.assert_settled();
}

/// Of another fragment the device may say nothing.
#[test]
fn fragments_are_summed_whatever_the_device_says() {
    let mut parties = Parties::one();
    for (at, value) in [(20, 0x20), (21, 100)] {
        let mut fragment = udp(5, 6, &[7; 99]);
        fragment[at] = value;
        for (flags, mark) in [
            (0, 0),
            (frame_flags::CHECKSUM_VALID, packet_flags::VERIFIED),
        ] {
            parties.drivers[0].receive(&fragment, flags);
            parties.run();
            let packet = parties.servers[0].packets.pop_front().unwrap();
            let bytes = (packet.sum as u16).to_ne_bytes();
            assert_eq!(u16::from_be_bytes(bytes), sum(&fragment[34..]));
            assert_eq!(packet.flags, mark);
            release(&mut parties, &[packet.id]);
        }
    }
    parties.assert_settled();
}

#[test]
fn what_is_for_the_server_comes_whole() {
    let mut parties = Parties::one();
    let mut arp = udp(1, 2, b"not IPv4");
    arp[13] = 6;
    let mut icmp = udp(1, 2, &[9; 1000]);
    icmp[23] = 1;
    let mut longest = udp(53, 2, &[7; 1472]);
    longest[40] = 3;
    let mut segment = tcp(0, &[4; 1460]);
    segment[34..36].copy_from_slice(&53u16.to_be_bytes());
    segment[36..38].copy_from_slice(&RESOLVER_PORTS.start().to_be_bytes());
    let frames = [arp, icmp, udp(67, 68, b"lease"), longest, segment];
    let mut bytes = 0;
    for frame in &frames {
        let packet = arrive(&mut parties, frame);
        assert_eq!(packet.flags, packet_flags::WHOLE);
        assert_eq!(parties.servers[0].header(&packet), *frame);
        bytes += frame.len() as u64;
        release(&mut parties, &[packet.id]);
    }
    assert_eq!(parties.count("copied.control"), bytes);
    // Which does not keep a client from receiving it.
    let request = receiving(&mut parties, 0, 50);
    let packet = arrive(&mut parties, &frames[2]);
    let completion = Completion {
        len: 5,
        packet: packet.id,
        offset: 42,
        flags: flags::RELEASE,
        ..request.complete(Status::Ok)
    };
    parties.complete(0, completion);
    assert_eq!(parties.answer(0).len, 5);
    assert_eq!(parties.load(0, DATA + 100, 5), b"lease");
    parties.assert_settled();
}

#[test]
fn whole_slots_run_out_and_come_back() {
    let mut parties = Parties::one();
    let mut arp = udp(1, 2, b"who has");
    arp[13] = 6;
    for _ in 0..70 {
        parties.drivers[0].receive(&arp, 0);
    }
    parties.run();
    assert_eq!(parties.servers[0].packets.len(), 64);
    assert_eq!(parties.count("drop.whole"), 6);
    while let Some(packet) = parties.servers[0].packets.pop_front() {
        release(&mut parties, &[packet.id]);
    }
    parties.assert_settled();
}

#[test]
fn malformed_frames_go_nowhere() {
    let mut parties = Parties::one();
    let good = udp(5, 6, b"payload");
    let changes: [(usize, u8); 4] = [(14, 0x65), (14, 0x44), (17, 19), (14, 0x4f)];
    for (at, value) in changes {
        let mut frame = good.clone();
        frame[at] = value;
        frame[16] = 0;
        parties.drivers[0].receive(&frame, 0);
    }
    parties.run();
    assert!(parties.servers[0].packets.is_empty());
    assert_eq!(parties.count("drop.malformed"), 4);
    parties.assert_settled();
}

#[test]
fn bytes_come_from_several_packets_in_pieces() {
    let mut parties = Parties::one();
    let request = receiving(&mut parties, 0, 300);
    let first = arrive(&mut parties, &tcp(0, &[1; 100]));
    let second = arrive(&mut parties, &tcp(12, &[2; 100]));
    // From bytes that lie in both halves of the frame.
    parties.say(0, deliver(&request, &first, (30, 20)));
    let mut last = deliver(&request, &first, (54, 100));
    last.flags = packet_flags::RELEASE;
    parties.say(0, last);
    let completion = Completion {
        len: 180,
        packet: second.id,
        offset: 66,
        flags: flags::RELEASE,
        ..request.complete(Status::Ok)
    };
    parties.complete(0, completion);
    assert_eq!(parties.answer(0).len, 180);
    let bytes = parties.load(0, DATA + 100, 182);
    let head = &tcp(0, &[])[30..50];
    let expected: Vec<u8> = [head, &[1; 100], &[2; 60], &[0, 0]].concat();
    assert_eq!(bytes, expected);
    assert_eq!(parties.count("copied.in"), 180);
    parties.assert_settled();
}

#[test]
fn each_lie_about_a_delivery_delivers_nothing() {
    type Lie = fn(&mut Deliver);
    let lies: [Lie; 14] = [
        |d| d.packet = 0,
        |d| d.packet += 1,
        |d| d.packet = u32::MAX,
        |d| d.token ^= 1,
        |d| d.token ^= 1 << 16,
        |d| d.token ^= 1 << 32,
        |d| d.len = 0,
        |d| d.len = 41,
        |d| d.len = u32::MAX,
        |d| d.offset = 46,
        |d| d.offset = u32::MAX,
        |d| d.flags = 1,
        |d| d.flags |= 1 << 15,
        |d| (d.offset, d.len) = (0, 50),
    ];
    for (n, lie) in lies.into_iter().enumerate() {
        let mut parties = Parties::new(2, 1, QUOTA);
        let request = receiving(&mut parties, 0, 40);
        // Ethernet padding is no payload.
        let mut frame = udp(5, 6, b"abcd");
        frame.resize(90, 0xdd);
        let packet = arrive(&mut parties, &frame);
        let mut entry = deliver(&request, &packet, (42, 4));
        lie(&mut entry);
        parties.say(0, entry);
        assert_eq!(parties.count("server.faults"), 1, "lie {n}");
        assert_eq!(parties.count("copied.in"), 0, "lie {n}");
        // It was nothing but that entry.
        let completion = Completion {
            len: 4,
            packet: packet.id,
            offset: 42,
            flags: flags::RELEASE,
            ..request.complete(Status::Ok)
        };
        parties.complete(0, completion);
        assert_eq!(parties.answer(0).status, Status::Ok as u16);
        assert_eq!(parties.load(0, DATA + 100, 5), b"abcd\0");
        parties.assert_settled();
    }
}

/// Packets with 10 bytes each, and one message that delivers all of them.
fn train(parties: &mut Parties, request: &Request) -> (Vec<Packet>, Deliver) {
    let packets: Vec<_> = (0..6)
        .map(|n| arrive(parties, &udp(5, 6, &[n; 10])))
        .collect();
    let mut entry = deliver(request, &packets[0], (42, 10));
    entry.flags = packet_flags::RELEASE;
    for (further, packet) in entry.more.iter_mut().zip(&packets[1..]) {
        *further = Further {
            packet: packet.id as u16,
            offset: 42,
            len: 10,
            flags: packet_flags::RELEASE,
        };
    }
    (packets, entry)
}

#[test]
fn bytes_of_six_packets_come_in_one_message() {
    // Into one page, where the straight way is taken, and across two.
    for address in [DATA + 100, DATA + 4096 - 25] {
        let mut parties = Parties::one();
        let (handle, _) = parties.open(0, SocketKind::Tcp);
        let recv = Request::new(Op::Recv, handle, 7);
        let request = parties.pass(0, recv, (address, 100));
        let (_, entry) = train(&mut parties, &request);
        let mut short = entry;
        short.more[2] = Further::default();
        // What is behind one that names none is not looked at.
        short.more[4].packet = u16::MAX;
        parties.say(0, short);
        assert_eq!(parties.manager.books().nics[0].with_server, 3);
        for further in &entry.more[2..] {
            let mut rest = entry;
            rest.packet = further.packet.into();
            rest.more = [Further::default(); 5];
            parties.say(0, rest);
        }
        assert_eq!(parties.count("server.faults"), 0);
        let done = Completion {
            len: 60,
            ..request.complete(Status::Ok)
        };
        parties.complete(0, done);
        assert_eq!(parties.answer(0).len, 60);
        let expected: Vec<u8> = (0..60).map(|n| n / 10).collect();
        assert_eq!(parties.load(0, address, 60), expected);
        parties.assert_settled();
    }
}

#[test]
fn a_lie_about_a_further_packet_delivers_nothing_from_there_on() {
    type Lie = fn(&mut Further);
    let lies: [Lie; 8] = [
        |f| f.packet = 1025,
        |f| f.packet = u16::MAX,
        |f| f.packet -= 1,
        |f| f.offset = 43,
        |f| f.offset = u16::MAX,
        |f| f.len = 0,
        |f| f.len = 11,
        |f| f.flags = 1,
    ];
    for (n, lie) in lies.into_iter().enumerate() {
        let mut parties = Parties::one();
        let request = receiving(&mut parties, 0, 100);
        let (packets, mut entry) = train(&mut parties, &request);
        lie(&mut entry.more[2]);
        parties.say(0, entry);
        assert_eq!(parties.count("server.faults"), 1, "lie {n}");
        assert_eq!(parties.count("copied.in"), 30, "lie {n}");
        let rest: Vec<_> = packets[3..].iter().map(|p| p.id).collect();
        release(&mut parties, &rest);
        assert_eq!(parties.count("server.faults"), 1, "lie {n}");
        let done = Completion {
            len: 30,
            ..request.complete(Status::Ok)
        };
        parties.complete(0, done);
        assert_eq!(parties.answer(0).len, 30, "lie {n}");
        parties.assert_settled();
    }
}

#[test]
fn each_lie_about_the_last_bytes_fails_the_request() {
    type Lie = fn(&mut Completion);
    let lies: [Lie; 7] = [
        |c| c.packet = 999,
        |c| c.packet = 0,
        |c| c.offset = 43,
        |c| c.offset = u32::MAX,
        |c| c.len = 5,
        |c| c.len = 41,
        |c| c.flags |= flags::HELD,
    ];
    for (n, lie) in lies.into_iter().enumerate() {
        let mut parties = Parties::one();
        let request = receiving(&mut parties, 0, 40);
        let packet = arrive(&mut parties, &udp(5, 6, b"abcd"));
        let mut completion = Completion {
            len: 4,
            packet: packet.id,
            offset: 42,
            flags: flags::RELEASE,
            ..request.complete(Status::Ok)
        };
        lie(&mut completion);
        parties.complete(0, completion);
        let answer = parties.answer(0);
        assert_eq!((answer.status, answer.len), (GONE, 0), "lie {n}");
        assert_eq!(parties.count("server.faults"), 1, "lie {n}");
        assert_eq!(parties.load(0, DATA + 100, 4), [0; 4], "lie {n}");
        release(&mut parties, &[packet.id]);
        assert_eq!(parties.count("server.faults"), 1, "lie {n}");
        parties.assert_settled();
    }
}

#[test]
fn a_packet_is_released_once() {
    let mut parties = Parties::one();
    let first = arrive(&mut parties, &udp(5, 6, b"a"));
    let second = arrive(&mut parties, &udp(5, 6, b"b"));
    release(&mut parties, &[first.id, first.id, 0, u32::MAX, 1025, 700]);
    assert_eq!(parties.count("server.faults"), 1);
    // What is released cannot be delivered.
    let request = receiving(&mut parties, 0, 40);
    parties.say(0, deliver(&request, &first, (42, 1)));
    assert_eq!(parties.count("server.faults"), 2);
    // The others in the same entry are back.
    release(&mut parties, &[first.id, second.id]);
    assert_eq!(parties.manager.books().nics[0].with_server, 0);
    let mut long = Release {
        kind: kind::RELEASE,
        count: RELEASE_MOST as u16 + 1,
        ..Release::default()
    };
    parties.say(0, long);
    long.count = u16::MAX;
    parties.say(0, long);
    assert_eq!(parties.count("server.faults"), 5);
    parties.complete(0, request.complete(Status::TimedOut));
    parties.assert_settled();
}

#[test]
fn a_server_that_keeps_everything_starves_itself_only() {
    let mut parties = Parties::one();
    for _ in 0..1000 {
        parties.drivers[0].receive(&udp(5, 6, b"a"), 0);
        parties.run();
    }
    let books = parties.manager.books();
    assert_eq!(books.nics[0].with_server, 1024 - 128);
    assert_eq!(books.nics[0].with_driver, 128);
    assert_eq!(parties.count("drop.held"), 1000 - (1024 - 128));
    let all: Vec<u32> = parties.servers[0].packets.iter().map(|p| p.id).collect();
    for some in all.chunks(RELEASE_MOST) {
        release(&mut parties, some);
    }
    parties.assert_settled();
}

#[test]
fn bytes_for_a_dead_client_are_dropped_and_the_packet_comes_back() {
    let mut parties = Parties::new(2, 1, QUOTA);
    let request = receiving(&mut parties, 0, 40);
    let packet = arrive(&mut parties, &udp(5, 6, b"abcd"));
    parties.manager.client_died(0);
    parties.run();
    let completion = Completion {
        len: 4,
        packet: packet.id,
        offset: 42,
        flags: flags::RELEASE,
        ..request.complete(Status::Ok)
    };
    parties.complete(0, completion);
    assert_eq!(parties.count("copied.in"), 0);
    let drop = parties.forwarded(0);
    parties.complete(0, drop.complete(Status::Ok));
    assert_eq!(parties.count("server.faults"), 0);
    parties.assert_settled();
}

#[test]
fn pieces_for_a_dead_client_leave_no_packet_behind() {
    let mut parties = Parties::new(2, 1, QUOTA);
    let request = receiving(&mut parties, 0, 200);
    let first = arrive(&mut parties, &tcp(0, &[1; 100]));
    let second = arrive(&mut parties, &tcp(0, &[2; 100]));
    parties.manager.client_died(0);
    parties.run();
    let mut piece = deliver(&request, &first, (54, 100));
    piece.flags = packet_flags::RELEASE;
    parties.say(0, piece);
    let completion = Completion {
        len: 150,
        packet: second.id,
        offset: 54,
        flags: flags::RELEASE,
        ..request.complete(Status::Ok)
    };
    parties.complete(0, completion);
    let drop = parties.forwarded(0);
    parties.complete(0, drop.complete(Status::Ok));
    assert_eq!(parties.count("server.faults"), 0);
    parties.assert_settled();
}

#[test]
fn a_dead_server_gives_everything_back() {
    let mut parties = Parties::one();
    receiving(&mut parties, 0, 40);
    let mut arp = udp(1, 2, b"who has");
    arp[13] = 6;
    arrive(&mut parties, &arp);
    arrive(&mut parties, &udp(5, 6, b"abcd"));
    parties.manager.server_died(0);
    parties.run();
    assert_eq!(parties.answer(0).status, GONE);
    // Frames that come later are nobody's.
    parties.drivers[0].receive(&udp(5, 6, b"abcd"), 0);
    parties.run();
    assert!(parties.servers[0].packets.is_empty());
    parties.assert_settled();
}

#[test]
fn truncation_is_told() {
    let mut parties = Parties::one();
    let request = receiving(&mut parties, 0, 3);
    let packet = arrive(&mut parties, &udp(5, 6, b"abcd"));
    let completion = Completion {
        len: 3,
        arg: 4,
        packet: packet.id,
        offset: 42,
        flags: flags::RELEASE | flags::TRUNCATED,
        ..request.complete(Status::Ok)
    };
    parties.complete(0, completion);
    let answer = parties.answer(0);
    let seen = (answer.len, answer.arg, answer.flags);
    assert_eq!(seen, (3, 4, flags::TRUNCATED));
    assert_eq!(parties.load(0, DATA + 100, 4), b"abc\0");
    parties.assert_settled();
}

#[test]
fn a_name_is_read_and_its_addresses_written() {
    let mut parties = Parties::one();
    parties.store(0, DATA + 8190, b"example.org");
    let resolve = Request {
        arg: 16,
        ..Request::new(Op::Resolve, 0, 9)
    };
    let request = parties.pass(0, resolve, (DATA + 8190, 11));
    assert_eq!((request.extent.len, request.arg), (11, 16));
    let name = std::mem::take(&mut parties.servers[0].name);
    assert_eq!(name, b"example.org");
    let mut completion = request.complete(Status::Ok);
    completion.len = 8;
    completion.address.octets[..8].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8]);
    parties.complete(0, completion);
    let answer = parties.answer(0);
    assert_eq!((answer.status, answer.len), (0, 8));
    assert_eq!(answer.address, socket_api::WireAddress::NONE);
    let bytes = parties.load(0, DATA + 8190, 11);
    assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8, b'o', b'r', b'g']);
    // A long one comes in several entries.
    let long: Vec<u8> = (0..253).map(|n| b'a' + n % 26).collect();
    parties.store(0, DATA, &long);
    let request = parties.pass(
        0,
        Request {
            arg: 253,
            ..resolve
        },
        (DATA, 253),
    );
    assert_eq!(std::mem::take(&mut parties.servers[0].name), long);
    parties.complete(0, request.complete(Status::NotFound));
    assert_eq!(parties.answer(0).status, Status::NotFound as u16);
    parties.store(0, DATA + 8190, b"example.org");
    // More than there is, or half an address.
    for len in [3, 17, 20, u32::MAX] {
        let request = parties.pass(0, resolve, (DATA + 8190, 11));
        let mut completion = request.complete(Status::Ok);
        completion.len = len;
        parties.complete(0, completion);
        assert_eq!(parties.answer(0).status, GONE);
    }
    parties.assert_settled();
}

#[test]
fn frames_have_the_length_that_the_tests_use() {
    assert_eq!(MTU, 1500);
}

/// Parties whose NIC gives long frames.
fn with_long_frames() -> Parties {
    Parties::with(Setup {
        features: nic_features::GUEST_CHECKSUM | nic_features::LONG_RECEIVE,
        ..Setup::ONE
    })
}

/// Bytes of a frame in its first buffer, and in each that follows.
const FIRST: usize = 4096 - 16;
const NEXT: usize = FIRST + 12;

#[test]
fn a_long_segment_is_one_packet_in_several_buffers() {
    for (len, buffers) in [
        (1600, 1),
        (FIRST, 1),
        (FIRST + 1, 2),
        (FIRST + NEXT, 2),
        (FIRST + NEXT + 1, 3),
        (65549, 17),
    ] {
        for (flags, verified) in [(frame_flags::NEEDS_CHECKSUM, true), (0, false)] {
            let mut parties = with_long_frames();
            let payload: Vec<u8> = (0..len - 54).map(|n| ((n * 5) >> 2) as u8).collect();
            let frame = tcp(0, &payload);
            let ids = parties.drivers[0].receive_long(&frame, flags);
            parties.run();
            let packet = parties.servers[0].packets.pop_front().unwrap();
            assert_eq!((packet.id - 1, packet.following), (ids[0], buffers - 1));
            assert_eq!((packet.len as usize, packet.header_len), (len, 54));
            assert_eq!(parties.servers[0].header(&packet), frame[..54]);
            if verified {
                assert_eq!(packet.flags, packet_flags::VERIFIED);
            } else {
                let bytes = (packet.sum as u16).to_ne_bytes();
                assert_eq!(u16::from_be_bytes(bytes), sum(&frame[34..]), "{len}");
            }
            assert_eq!(parties.manager.books().nics[0].with_server, buffers);
            // Its bytes, in pieces that begin and end anywhere.
            let mut at = 54;
            let (handle, _) = parties.open(0, SocketKind::Udp);
            for part in [1000, 1, 4096, 2043, 9000, 60_000] {
                let part = part.min(len - at);
                if part == 0 {
                    break;
                }
                let recv = Request::new(Op::Recv, handle, 7);
                let request = parties.pass(0, recv, (DATA + 100, part as u32));
                let completion = Completion {
                    len: part as u32,
                    packet: packet.id,
                    offset: at as u32,
                    flags: if at + part == len { flags::RELEASE } else { 0 },
                    ..request.complete(Status::Ok)
                };
                parties.complete(0, completion);
                assert_eq!(parties.answer(0).len, part as u32);
                assert!(parties.load(0, DATA + 100, part) == frame[at..at + part]);
                at += part;
                if at == len {
                    break;
                }
            }
            assert_eq!(at, len);
            assert_eq!(parties.count("driver.faults"), 0);
            parties.drivers[0].take();
            assert_eq!(parties.drivers[0].buffers.len(), 1024);
            parties.assert_settled();
        }
    }
}

#[test]
fn nothing_but_segments_is_longer_than_the_link_takes() {
    for len in [1600, 9000] {
        let mut parties = with_long_frames();
        let mut arp = udp(1, 2, &vec![0; len]);
        arp[13] = 6;
        for frame in [udp(1, 2, &vec![0; len]), udp(53, 2, &vec![0; len]), arp] {
            parties.drivers[0].receive_long(&frame, 0);
            parties.run();
        }
        assert_eq!(parties.count("drop.malformed"), 3);
        assert_eq!(parties.count("driver.faults"), 0);
        assert!(parties.servers[0].packets.is_empty());
        parties.assert_settled();
    }
}

#[test]
fn bytes_beyond_a_long_packet_are_not_delivered() {
    let mut parties = with_long_frames();
    let frame = tcp(0, &[7; 9000]);
    let ids = parties.drivers[0].receive_long(&frame, frame_flags::NEEDS_CHECKSUM);
    parties.run();
    let packet = parties.servers[0].packets.pop_front().unwrap();
    let request = receiving(&mut parties, 0, 9000);
    for (id, offset, len) in [
        (packet.id, 54, 9001),
        (packet.id, 9054, 1),
        (packet.id, u32::MAX, 2),
        // A buffer that the packet goes on in is none by itself.
        (ids[1] + 1, 0, 10),
    ] {
        let wrong = Packet { id, ..packet };
        parties.say(0, deliver(&request, &wrong, (offset, len)));
    }
    release(&mut parties, &[ids[2] + 1]);
    assert_eq!(parties.count("server.faults"), 5);
    assert_eq!(parties.count("copied.in"), 0);
    release(&mut parties, &[packet.id]);
    parties.complete(0, request.complete(Status::Ok));
    parties.assert_settled();
}

/// The NIC has merged what is for the server itself: it fits no whole slot.
#[test]
fn a_long_segment_never_comes_whole() {
    let mut parties = with_long_frames();
    for len in [1600, 5000] {
        let mut frame = tcp(0, &vec![4; len]);
        frame[34..36].copy_from_slice(&53u16.to_be_bytes());
        frame[36..38].copy_from_slice(&RESOLVER_PORTS.start().to_be_bytes());
        parties.drivers[0].receive_long(&frame, frame_flags::NEEDS_CHECKSUM);
        parties.run();
        let packet = parties.servers[0].packets.pop_front().unwrap();
        assert_eq!(packet.flags, packet_flags::VERIFIED);
        assert_eq!((packet.len as usize, packet.header_len), (len + 54, 54));
        release(&mut parties, &[packet.id]);
    }
    parties.assert_settled();
}
