//! The channel against a manager that obeys, and one that does not.
#![allow(clippy::unwrap_used, reason = "a test is to stop where it fails")]

use net_server::channel::{Channel, ChannelError};
use net_server::environment::{ManagerFault, Outgoing, PartialChecksum};
use net_server::{Config, Counter, Environment, Server};
use nic_api::NicInfo;
use shared_ring::{AttachError, Consumer, Producer, RingLayout, SharedMemory};
use socket_api::{
    FROM_SERVER, FROM_SERVER_OFFSET, Message, Op, PACKET_BUFFERS, Packet, Part, Release, Request,
    SEGMENT_FRAMES, SEND_SLOTS, SERVER_CONTROL_BYTES, SERVER_PACKETS, SLOTS_DONE,
    SLOTS_DONE_OFFSET, SlotDone, TO_SERVER, TO_SERVER_OFFSET, Transmit, headers_bytes, kind,
    packet_flags, segments_in_slot, send_slots_bytes, whole_slot_bytes,
};

const MTU: usize = 1500;
const INFO: NicInfo = NicInfo {
    mac: [2; 6],
    mtu: MTU as u32,
    features: 0,
};

/// Memory that lives for the rest of the test process, as regions do.
/// What the manager says next.
fn next(channel: &mut Channel) -> Result<Option<Message>, ManagerFault> {
    let mut message = Message::default();
    Ok(channel.next(&mut message)?.then_some(message))
}

fn region(bytes: usize) -> SharedMemory {
    let words: &'static mut [u64] = vec![0u64; bytes.div_ceil(8)].leak();
    SharedMemory::from_static(words)
}

struct Manager {
    control: SharedMemory,
    headers: SharedMemory,
    slots: SharedMemory,
    to_server: Producer<Message>,
    from_server: Consumer<Message>,
    done: Producer<SlotDone>,
}

fn pair() -> (Manager, Channel) {
    pair_of(false)
}

/// The ends; the manager may be in the channel's thread.
fn pair_of(near: bool) -> (Manager, Channel) {
    let control = region(SERVER_CONTROL_BYTES);
    let headers = region(headers_bytes(MTU));
    let slots = region(send_slots_bytes(MTU));
    let ring = |offset, layout: RingLayout| {
        let at = control.slice(offset, layout.bytes()).unwrap();
        layout.format(&at).unwrap();
        at
    };
    let manager = Manager {
        to_server: Producer::attach(ring(TO_SERVER_OFFSET, TO_SERVER), TO_SERVER).unwrap(),
        from_server: Consumer::attach(ring(FROM_SERVER_OFFSET, FROM_SERVER), FROM_SERVER).unwrap(),
        done: Producer::attach(ring(SLOTS_DONE_OFFSET, SLOTS_DONE), SLOTS_DONE).unwrap(),
        control,
        headers,
        slots,
    };
    let channel = Channel::attach(&control, headers, slots, &INFO, near).unwrap();
    (manager, channel)
}

/// From a manager in the same thread no signal is asked for but the one that says
/// what no ring shows: that send slots are missed.
#[test]
fn a_near_manager_is_looked_at_and_not_asked() {
    let (mut manager, mut channel) = pair_of(true);
    assert_eq!(channel.arm(false, false), Ok(true));
    manager.to_server.push(&Packet::default().into()).unwrap();
    assert!(!manager.to_server.publish(), "nobody is signalled");
    assert_eq!(channel.arm(false, false), Ok(false), "the packet is found");
    assert!(next(&mut channel).unwrap().is_some());
    assert_eq!(channel.arm(true, false), Ok(true));
    assert!(manager.done.is_asked_for_anything());
    while channel.transmit(&Outgoing::whole(&[0; 60])) {}
    manager.give_back(0);
    assert_eq!(channel.arm(true, false), Ok(false), "the slot is found");
}

impl Manager {
    /// What the server says, but for frames of its own.
    fn hears(&mut self) -> Option<Message> {
        loop {
            let message = self.from_server.pop().unwrap()?;
            if message.kind() != kind::TRANSMIT {
                return Some(message);
            }
        }
    }

    fn say(&mut self, message: impl Into<Message>) {
        self.to_server.push(&message.into()).unwrap();
        let _ = self.to_server.publish();
    }

    fn give_back(&mut self, slot: u32) {
        let done = SlotDone { slot, reserved: 0 };
        self.done.push(&done).unwrap();
        let _ = self.done.publish();
    }
}

fn part(token: u64) -> Part {
    Part {
        token,
        offset: 1,
        len: 2,
    }
}

#[test]
fn entries_headers_and_frames_pass() {
    let (mut manager, mut channel) = pair();
    manager.headers.write(512, b"a header").unwrap();
    manager.say(Packet {
        kind: kind::PACKET,
        id: 3,
        ..Packet::default()
    });
    let packet = Packet::from(next(&mut channel).unwrap().unwrap());
    assert_eq!(packet.id, 3);
    assert_eq!(next(&mut channel), Ok(None));
    let mut header = [0; 8];
    assert!(channel.read_header(512, &mut header));
    assert_eq!(&header, b"a header");
    let parts: Vec<_> = (0..7).map(part).collect();
    assert!(channel.transmit(&Outgoing {
        header: b"headers",
        parts: &parts,
        checksum: Some(PartialChecksum {
            start: 34,
            offset: 16
        }),
        segment: Some(1460),
        done: false,
        frames: 0,
    }));
    assert!(channel.transmit(&Outgoing::whole(b"all of it")));
    for id in 1..=20 {
        channel.release(id);
    }
    let _ = channel.publish();
    let entry = |manager: &mut Manager| manager.from_server.pop().unwrap().unwrap();
    let mut seen = vec![];
    for i in 0..3 {
        let transmit = Transmit::from(entry(&mut manager));
        assert_eq!((transmit.slot, transmit.header_len), (0, 7));
        let asked = (
            transmit.checksum_start,
            transmit.checksum_offset,
            transmit.segment_bytes,
        );
        assert_eq!(asked, if i == 0 { (34, 16, 1460) } else { (0, 0, 0) });
        let more = transmit.flags & packet_flags::MORE != 0;
        assert_eq!(more, i < 2);
        seen.extend_from_slice(&transmit.parts[..usize::from(transmit.count)]);
    }
    assert_eq!(seen, parts);
    let whole = Transmit::from(entry(&mut manager));
    assert_eq!((whole.slot, whole.count, whole.header_len), (1, 0, 9));
    let mut bytes = [0; 9];
    manager
        .slots
        .read(whole_slot_bytes(MTU), &mut bytes)
        .unwrap();
    assert_eq!(&bytes, b"all of it");
    let (first, second) = (
        Release::from(entry(&mut manager)),
        Release::from(entry(&mut manager)),
    );
    assert_eq!(
        (first.kind, first.count, second.count),
        (kind::RELEASE, 14, 6)
    );
    assert_eq!((first.packets[0], second.packets[5]), (1, 20));
}

#[test]
fn slots_run_out_and_come_back() {
    let (mut manager, mut channel) = pair();
    let mut sent = 0;
    while channel.transmit(&Outgoing::whole(&[0; 60])) {
        sent += 1;
    }
    assert_eq!(sent, SEND_SLOTS);
    assert!(!channel.has_room(1));
    manager.give_back(9);
    assert!(channel.has_room(1) && !channel.has_room(2));
    assert!(channel.transmit(&Outgoing::whole(&[0; 60])));
    assert!(!channel.has_room(1));
    // What does not fit a slot takes none.
    manager.give_back(9);
    assert!(!channel.transmit(&Outgoing::whole(&vec![0; whole_slot_bytes(MTU) + 1])));
    assert!(channel.has_room(1));
}

/// Also by who never asks for room: answers that nobody waits for, and cuts of a
/// segment.
#[test]
fn what_came_back_is_found_by_who_sends() {
    let (mut manager, mut channel) = pair();
    for _ in 0..SEND_SLOTS {
        assert!(channel.transmit(&Outgoing::whole(&[0; 60])));
    }
    manager.give_back(9);
    assert!(channel.transmit(&Outgoing::whole(&[0; 60])));
    assert!(!channel.transmit(&Outgoing::whole(&[0; 60])));
    let (mut manager, mut channel) = pair();
    let most = channel.segment_room();
    let parts = [part(1)];
    let segment = |frames| Outgoing {
        header: &[0; 54],
        parts: &parts,
        checksum: None,
        segment: Some(1460),
        frames,
        done: false,
    };
    for _ in 0..SEGMENT_FRAMES / most {
        assert!(channel.transmit(&segment(most)));
    }
    assert!(!channel.transmit(&segment(most)));
    manager.give_back(0);
    assert!(channel.transmit(&segment(most)));
}

#[test]
fn segments_take_frames_that_come_back_with_their_slot() {
    let (mut manager, mut channel) = pair();
    let most = channel.segment_room();
    assert_eq!(most, segments_in_slot(MTU));
    let parts = [part(1)];
    let segment = |frames| Outgoing {
        header: &[0; 54],
        parts: &parts,
        checksum: None,
        segment: Some(1460),
        frames,
        done: false,
    };
    assert!(!channel.transmit(&segment(most + 1)));
    let (mut left, mut slots) = (SEGMENT_FRAMES, 0);
    while left != 0 {
        assert_eq!(channel.segment_room(), most.min(left));
        assert!(channel.transmit(&segment(most.min(left))));
        left -= most.min(left);
        slots += 1;
    }
    assert_eq!(channel.segment_room(), 0);
    assert!(!channel.transmit(&segment(1)));
    assert!(channel.has_room(1) && channel.transmit(&Outgoing::whole(&[0; 60])));
    manager.give_back(3);
    assert_eq!(channel.segment_room(), most);
    // One that was no segment, and then the last of them.
    manager.give_back(slots);
    assert_eq!(channel.segment_room(), most);
    manager.give_back(slots - 1);
    let rest = SEGMENT_FRAMES % most;
    assert!(channel.transmit(&segment(most)));
    assert_eq!(channel.segment_room(), rest);
    // Without a slot there is no room for frames.
    while channel.transmit(&Outgoing::whole(&[0; 60])) {}
    assert_eq!(channel.segment_room(), 0);
}

#[test]
fn a_slot_that_the_manager_does_not_have_is_refused() {
    let (mut manager, mut channel) = pair();
    while channel.transmit(&Outgoing::whole(&[0; 60])) {}
    for slot in [5, 5, SEND_SLOTS, u32::MAX] {
        manager.give_back(slot);
        let fault = if channel.has_room(1) {
            assert!(channel.transmit(&Outgoing::whole(&[0; 60])));
            None
        } else {
            next(&mut channel).err()
        };
        match slot {
            5 => assert_eq!(fault, None),
            _ => assert_eq!(fault, Some(ManagerFault::NotItsSlot(slot))),
        }
    }
    // The same slot twice while we have it.
    manager.give_back(7);
    manager.give_back(7);
    assert!(channel.has_room(1) && !channel.has_room(2));
    assert_eq!(next(&mut channel), Err(ManagerFault::NotItsSlot(7)));
    assert_eq!(next(&mut channel), Ok(None));
}

#[test]
fn an_impossible_index_ends_nothing() {
    let (manager, mut channel) = pair();
    for offset in [TO_SERVER_OFFSET, SLOTS_DONE_OFFSET] {
        manager.control.store32(offset + 64, 50_000).unwrap();
    }
    assert!(matches!(next(&mut channel), Err(ManagerFault::Ring(_))));
    while channel.transmit(&Outgoing::whole(&[0; 60])) {}
    assert!(!channel.has_room(1));
    assert!(matches!(next(&mut channel), Err(ManagerFault::Ring(_))));
}

#[test]
fn what_does_not_fit_is_refused_at_the_start() {
    let (headers, slots) = (region(headers_bytes(MTU)), region(send_slots_bytes(MTU)));
    let control = region(SERVER_CONTROL_BYTES);
    for mtu in [9000, 65536, u32::MAX] {
        let refused = Channel::attach(&control, headers, slots, &NicInfo { mtu, ..INFO }, false);
        assert_eq!(refused.err(), Some(ChannelError::Mtu(mtu)));
    }
    let unformatted = Channel::attach(&control, headers, slots, &INFO, false);
    assert_eq!(
        unformatted.err(),
        Some(ChannelError::Ring(AttachError::Magic(0)))
    );
    let small = Channel::attach(&region(64), headers, slots, &INFO, false);
    assert_eq!(small.err(), Some(ChannelError::Region));
}

#[test]
fn packets_that_cannot_be_are_faults_and_go_back() {
    let (mut manager, mut channel) = pair();
    let mut config = Config::default();
    config.set("ip", "10.0.0.1/24").unwrap();
    let mut server = Server::new(config, INFO.mac, 1500, false, [1; 32]).unwrap();
    let good = Packet {
        kind: kind::PACKET,
        id: 1,
        header: 0,
        header_len: 60,
        len: 60,
        ..Packet::default()
    };
    let whole = packet_flags::WHOLE;
    let region = headers_bytes(MTU) as u32;
    let bad = [
        // No such packet.
        Packet { id: 0, ..good },
        Packet {
            id: SERVER_PACKETS + 1,
            ..good
        },
        Packet {
            id: u32::MAX,
            ..good
        },
        // Headers outside their region.
        Packet {
            header: region - 10,
            ..good
        },
        Packet {
            header: u32::MAX,
            ..good
        },
        // Lengths that contradict one another, or what may be.
        Packet {
            header_len: 61,
            ..good
        },
        Packet {
            flags: whole,
            header_len: 59,
            ..good
        },
        Packet {
            header_len: u32::MAX,
            len: u32::MAX,
            ..good
        },
        Packet {
            len: 70_000,
            ..good
        },
        Packet {
            flags: whole,
            header_len: 10_000,
            len: 10_000,
            ..good
        },
        // More buffers than a packet has.
        Packet {
            following: PACKET_BUFFERS,
            ..good
        },
        Packet {
            following: u32::MAX,
            ..good
        },
    ];
    for (i, packet) in bad.iter().enumerate() {
        manager.say(*packet);
        server.poll(i as u64 * 1000, &mut channel);
        let faults = server.counters().get(Counter::ManagerFaults);
        assert_eq!(faults, i as u64 + 1, "{packet:?}");
        let _ = channel.publish();
        let released = manager.hears().map(Release::from);
        let id = packet.id;
        match released {
            Some(release) => assert_eq!((release.count, release.packets[0]), (1, id)),
            None => assert!(id == 0 || id > SERVER_PACKETS),
        }
    }
    // It still works.
    manager.say(good);
    manager.say(Request::new(Op::AwaitAddress, 0, 7));
    server.poll(100_000, &mut channel);
    let _ = channel.publish();
    let answer = manager.hears().unwrap();
    assert_eq!(answer.kind(), Op::AwaitAddress as u16);
    let release = Release::from(manager.hears().unwrap());
    assert_eq!((release.count, release.packets[0]), (1, 1));
}

#[test]
fn random_entries_never_break_the_server() {
    let (mut manager, mut channel) = pair();
    let mut config = Config::default();
    config.set("ip", "10.0.0.1/24").unwrap();
    let mut server = Server::new(config, INFO.mac, 1500, false, [1; 32]).unwrap();
    let mut state = 11u64;
    let mut random = move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
        state >> 33
    };
    // Headers that lead further in than noise: UDP and TCP to us.
    for at in 0..64 {
        let mut bytes: Vec<u8> = (0..256).map(|_| random() as u8).collect();
        bytes[..6].copy_from_slice(&INFO.mac);
        bytes[6..16].copy_from_slice(&[2, 0, 0, 0, 0, 9, 8, 0, 0x45, 0]);
        bytes[16] = (random() & 3) as u8;
        bytes[20..24].copy_from_slice(&[0x40, 0, 64, [6, 17][at & 1]]);
        bytes[26..34].copy_from_slice(&[10, 0, 0, 2, 10, 0, 0, 1]);
        bytes[24..26].fill(0);
        let sum = !smoltcp::wire::checksum::data(&bytes[14..34]);
        bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        manager.headers.write(at * 256, &bytes).unwrap();
    }
    for round in 0..30_000u64 {
        let mut entry = [0u8; 64];
        entry.fill_with(|| random() as u8);
        let kind = match random() % 4 {
            0 => 1 + random() % 16,
            1 => kind::NAME.into(),
            _ => kind::PACKET.into(),
        };
        entry[..2].copy_from_slice(&(kind as u16).to_le_bytes());
        if random() % 8 != 0 {
            // A packet that can be.
            let len = 42 + random() as u32 % 1400;
            let whole = random() % 4 == 0;
            let have = if whole { len } else { len.min(134) };
            entry[2] = u8::from(random() % 2 == 0) | u8::from(whole) << 1;
            entry[3] = 0;
            entry[4..8].copy_from_slice(&(1 + random() as u32 % 1100).to_le_bytes());
            entry[8..12].copy_from_slice(&(random() as u32 % 64 * 256).to_le_bytes());
            entry[12..16].copy_from_slice(&have.to_le_bytes());
            entry[16..20].copy_from_slice(&len.to_le_bytes());
        }
        let message: Message = zerocopy::transmute!(entry);
        manager.say(message);
        server.poll(round * 1_000_000, &mut channel);
        let _ = channel.publish();
        while let Ok(Some(message)) = manager.from_server.pop() {
            if message.kind() == kind::TRANSMIT {
                manager.give_back(Transmit::from(message).slot.into());
            }
        }
    }
    assert!(server.counters().get(Counter::FramesReceived) > 10_000);
    assert_eq!(server.counters().get(Counter::OutOfStep), 0);
    manager.say(Request::new(Op::AwaitAddress, 0, 7));
    server.poll(u64::MAX / 2, &mut channel);
    let _ = channel.publish();
    let answers = std::iter::from_fn(|| manager.from_server.pop().unwrap());
    let kinds: Vec<_> = answers.map(|message| message.kind()).collect();
    assert!(kinds.contains(&(Op::AwaitAddress as u16)));
}

#[test]
fn the_manager_is_woken_for_packets_only_when_many_have_gone_back() {
    let (mut manager, mut channel) = pair();
    manager.from_server.arm().unwrap();
    let mut given = 0;
    let woken = loop {
        for _ in 0..10 {
            given += 1;
            channel.release(given);
        }
        if channel.publish() || given > 1000 {
            break given;
        }
    };
    assert!((64..100).contains(&woken), "{woken}");
}
