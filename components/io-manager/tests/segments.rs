//! Long segments: who makes frames of them, and of what a lie about one comes
//! to.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod parties;

use nic_api::nic_features;
use parties::frames::{sum, tcp};
use parties::sending::{blocked, part, pattern, sending};
use parties::{DATA, Parties, Setup};
use socket_api::{Part, SEGMENT_FRAMES, SocketKind, Status, Transmit, packet_flags};

/// The headers of a segment with FIN and PSH, whose number is near the end of
/// the numbers, and where it is asked to be cut every 1460 bytes.
fn segment(parties: &mut Parties, parts: &[Part]) -> Vec<Transmit> {
    let mut headers = tcp(0, &[]);
    headers[38..42].copy_from_slice(&(u32::MAX - 3000).to_be_bytes());
    headers[47] = 0x19;
    let mut entries = parties.servers[0].transmits(&headers, parts);
    for entry in &mut entries {
        entry.segment_bytes = 1460;
        (entry.checksum_start, entry.checksum_offset) = (34, 16);
    }
    entries[0].flags |= packet_flags::CHECKSUM | packet_flags::SEGMENT;
    entries
}

fn say_all(parties: &mut Parties, entries: &[Transmit]) {
    for entry in entries {
        parties.servers[0].say(*entry);
    }
    parties.run();
}

/// The sum of the TCP pseudo-header and segment in a frame.
fn transport_sum(frame: &[u8]) -> u16 {
    let len = (frame.len() - 34) as u16;
    let pseudo = [&frame[26..34], &[0, 6], &len.to_be_bytes()].concat();
    sum(&[&pseudo, &frame[34..]].concat())
}

#[test]
fn segments_go_to_a_nic_that_makes_them() {
    let mut parties = Parties::with(Setup {
        features: nic_features::CHECKSUM | nic_features::SEGMENTATION,
        ..Setup::ONE
    });
    let request = sending(&mut parties, 0, SocketKind::Tcp, blocked(DATA, 40_000));
    let entries = segment(&mut parties, &[part(&request, 0, 40_000)]);
    say_all(&mut parties, &entries);
    assert_eq!(parties.drain()[0].len(), 40_054);
    parties.complete(0, request.complete(Status::Ok));
    parties.assert_settled();
}

#[test]
fn segments_are_cut_for_a_nic_that_makes_none() {
    // Lengths of two sends, and which bytes of them go.
    let cases = [
        ([3000, 4000], [(0, 3000), (0, 4000)]),
        ([1460, 1], [(0, 1460), (0, 1)]),
        ([20_000, 9000], [(17, 19_001), (3, 8_997)]),
        ([35_000, 5000], [(0, 35_000), (4000, 40)]),
        ([7, 900], [(0, 7), (1, 899)]),
    ];
    for (lens, ranges) in cases {
        for features in [0, nic_features::CHECKSUM] {
            let mut parties = Parties::with(Setup {
                features,
                ..Setup::ONE
            });
            let bytes = pattern(60_000);
            parties.store(0, DATA, &bytes);
            let (mut at, mut parts, mut payload, mut requests) = (0, vec![], vec![], vec![]);
            for (len, (from, count)) in lens.into_iter().zip(ranges) {
                let request = sending(&mut parties, 0, SocketKind::Tcp, blocked(DATA + at, len));
                parts.push(part(&request, from, count));
                payload.extend(&bytes[(at + from) as usize..][..count as usize]);
                requests.push(request);
                at += len;
            }
            let entries = segment(&mut parties, &parts);
            say_all(&mut parties, &entries);
            let slots = parties.servers[0].slots.len();
            let sent = parties.drain();
            assert_eq!(sent.len(), payload.len().div_ceil(1460));
            let mut done = 0u32;
            for (n, frame) in sent.iter().enumerate() {
                let last = n + 1 == sent.len();
                let total = (frame.len() - 14) as u16;
                assert_eq!(frame[16..18], total.to_be_bytes());
                assert!(last || frame.len() == 1514);
                assert_eq!(sum(&frame[14..34]), 0xffff, "the IP header");
                let seq = (u32::MAX - 3000).wrapping_add(done);
                assert_eq!(frame[38..42], seq.to_be_bytes());
                assert_eq!(frame[47], if last { 0x19 } else { 0x10 });
                assert!(frame[54..] == payload[done as usize..][..frame.len() - 54]);
                if features == 0 {
                    assert_eq!(transport_sum(frame), 0xffff, "frame {n}");
                } else {
                    let len = (frame.len() - 34) as u16;
                    let pseudo = [&frame[26..34], &[0, 6], &len.to_be_bytes()].concat();
                    assert_eq!(frame[50..52], sum(&pseudo).to_be_bytes());
                }
                done += frame.len() as u32 - 54;
            }
            assert_eq!(done as usize, payload.len());
            // One slot for all of it, back once.
            parties.servers[0].take();
            assert_eq!(parties.servers[0].slots.len(), slots + 1);
            for request in requests {
                parties.complete(0, request.complete(Status::Ok));
            }
            assert_eq!(parties.count("server.faults"), 0);
            parties.assert_settled();
        }
    }
}

#[test]
fn a_segment_that_is_cut_holds_its_bytes_until_the_last_frame_is_gone() {
    let mut parties = Parties::one();
    let request = sending(&mut parties, 0, SocketKind::Tcp, blocked(DATA, 4000));
    let entries = segment(&mut parties, &[part(&request, 0, 4000)]);
    say_all(&mut parties, &entries);
    parties.complete(0, request.complete(Status::Ok));
    for _ in 0..2 {
        parties.drivers[0].send().unwrap();
        parties.run();
        assert_eq!(parties.answered(0), None);
        assert_eq!(parties.manager.books().nics[0].slots_away, 1);
    }
    parties.drivers[0].send().unwrap();
    parties.run();
    assert_eq!(parties.answer(0).status, Status::Ok as u16);
    parties.assert_settled();
}

#[test]
fn each_lie_about_a_segment_sends_nothing_and_changes_nothing() {
    type Lie = fn(&mut [u8], &mut Vec<Transmit>);
    let lies: [(&str, Lie); 22] = [
        // What is no plain segment.
        ("header", |h, _| h[12] = 0x86),
        ("header", |h, _| h[14] = 0x46),
        ("header", |h, _| h[20] = 0x20),
        ("header", |h, _| h[21] = 1),
        ("header", |h, _| h[23] = 17),
        ("header", |h, _| h[46] = 0x60),
        ("header", |_, e| e[0].header_len = 53),
        ("header", |_, e| e[0].header_len = 55),
        ("header", |_, e| e[0].checksum_start = 35),
        ("header", |_, e| e[0].checksum_offset = 17),
        ("header", |_, e| e[0].segment_bytes = 0),
        ("header", |_, e| e[0].segment_bytes = 1461),
        ("header", |_, e| e[0].segment_bytes = u16::MAX),
        ("header", |_, e| e[0].flags &= !packet_flags::CHECKSUM),
        ("header", |_, e| e[1].flags |= packet_flags::SEGMENT),
        // More frames than headers fit the slot.
        ("size", |_, e| e[0].segment_bytes = 100),
        // More parts than there may be.
        ("size", |_, e| {
            let mut rest = e[1];
            rest.flags = packet_flags::MORE;
            for _ in 0..3 {
                e.insert(1, rest);
            }
        }),
        ("part", |_, e| e[0].count = 4),
        ("part", |_, e| e[1].parts[0].token ^= 1 << 17),
        ("part", |_, e| e[1].parts[0].len = 0),
        ("part", |_, e| e[1].parts[0].offset = u32::MAX),
        ("part", |_, e| {
            e.truncate(1);
            e[0].flags &= !packet_flags::MORE;
            e[0].count = 0;
        }),
    ];
    for (n, (why, lie)) in lies.into_iter().enumerate() {
        let mut parties = Parties::one();
        let request = sending(&mut parties, 0, SocketKind::Tcp, blocked(DATA, 8000));
        let parts: Vec<_> = (0..5).map(|n| part(&request, n * 1600, 1600)).collect();
        let honest = segment(&mut parties, &parts);
        let mut entries = honest.clone();
        let mut headers = parties.servers[0].slot(honest[0].slot, 54);
        lie(&mut headers, &mut entries);
        parties.servers[0].write_slot(honest[0].slot, &headers);
        say_all(&mut parties, &entries);
        assert!(parties.count(&format!("transmit.{why}")) >= 1, "lie {n}");
        assert!(parties.count("server.faults") >= 1, "lie {n}");
        assert!(parties.drivers[0].frames.is_empty(), "lie {n}");
        assert_eq!(parties.manager.books().nics[0].slots_away, 0, "lie {n}");
        let honest = segment(&mut parties, &parts);
        say_all(&mut parties, &honest);
        assert_eq!(parties.drain().len(), 6, "lie {n}");
        parties.complete(0, request.complete(Status::Ok));
        assert_eq!(parties.answer(0).status, Status::Ok as u16);
    }
}

#[test]
fn frames_of_segments_are_bounded() {
    let mut parties = Parties::one();
    let request = sending(&mut parties, 0, SocketKind::Tcp, blocked(DATA, 40_000));
    // 24 frames each: as many as headers fit a slot.
    let all = [part(&request, 0, 24 * 1460)];
    let most = SEGMENT_FRAMES as usize / 24;
    for n in 0..=most {
        let entries = segment(&mut parties, &all);
        say_all(&mut parties, &entries);
        assert_eq!(parties.count("transmit.frames"), u64::from(n == most));
    }
    assert_eq!(parties.drain().len(), most * 24);
    let entries = segment(&mut parties, &all);
    say_all(&mut parties, &entries);
    assert_eq!(parties.drain().len(), 24);
    parties.complete(0, request.complete(Status::Ok));
    assert_eq!(parties.count("server.faults"), 1);
}

#[test]
fn a_segment_goes_nowhere_without_a_nic() {
    let mut parties = Parties::one();
    let request = sending(&mut parties, 0, SocketKind::Tcp, blocked(DATA, 4000));
    parties.manager.driver_died(0);
    parties.run();
    let slots = parties.servers[0].slots.len();
    let entries = segment(&mut parties, &[part(&request, 0, 4000)]);
    say_all(&mut parties, &entries);
    assert_eq!(parties.count("transmit.no-nic"), 1);
    assert_eq!(parties.servers[0].slots.len(), slots);
    parties.complete(0, request.complete(Status::Ok));
    assert_eq!(parties.answer(0).status, Status::Ok as u16);
}
