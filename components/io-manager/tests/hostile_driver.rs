//! Drivers that lie, or die: nobody gets a buffer or a slot twice, and nobody
//! waits for a device for ever.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod parties;

use nic_api::{
    NicInfo, RX_FILLED_OFFSET, RX_FREE_OFFSET, Received, TX_DONE_OFFSET, TX_READY_OFFSET,
    nic_features,
};
use parties::frames::{tcp, udp};
use parties::{DATA, MTU, Parties, QUOTA, Setup};
use socket_api::{Op, Part, Request, SocketKind, Status, flags};

const HEADER: [u8; 42] = [0xab; 42];

fn report(parties: &mut Parties, id: u32, len: u32, flags: u16) {
    parties.drivers[0].report(id, len, flags);
    parties.run();
}

#[test]
fn each_lie_about_a_frame_is_counted_and_passes_nothing() {
    // A buffer that exists, with a length or flags that cannot be.
    let wrong = [
        (5, 13, 0),
        (5, 0, 0),
        (5, 1515, 0),
        (5, u32::MAX, 0),
        (5, 60, 1 << 5),
        (5, 60, 1 << 15),
        (1024, 60, 0),
        (u32::MAX, 60, 0),
    ];
    for (n, (id, len, flags)) in wrong.into_iter().enumerate() {
        let mut parties = Parties::one();
        report(&mut parties, id, len, flags);
        assert_eq!(parties.count("driver.faults"), 1, "lie {n}");
        assert!(parties.servers[0].packets.is_empty(), "lie {n}");
        assert_eq!(parties.count("packets.in"), 0, "lie {n}");
        parties.assert_settled();
        parties.drivers[0].receive(&udp(1, 2, b"honest"), 0);
        parties.run();
        assert_eq!(parties.servers[0].packets.len(), 1, "lie {n}");
    }
}

#[test]
fn each_lie_about_a_long_frame_is_counted_and_passes_nothing() {
    type Lie = fn(&mut Vec<Received>);
    let lies: [(Lie, u32); 13] = [
        (|e| e[0].following = 3, 1),
        (|e| e.truncate(2), 1),
        (|e| e[0].following = 64, 4),
        (|e| e[0].following = u32::MAX, 4),
        (|e| e[0].len = 13, 1),
        (|e| e[0].len = 4080 + 4092, 1),
        (|e| e[0].len = 4080 + 2 * 4092 + 1, 1),
        (|e| e[0].len = u32::MAX, 1),
        (|e| e[0].flags = 1 << 5, 1),
        (|e| e[1].id = e[0].id, 1),
        (|e| e[2].id = e[1].id, 1),
        (|e| e[2].id = 1024, 1),
        (|e| e[1].id = u32::MAX, 1),
    ];
    for (n, (lie, least)) in lies.into_iter().enumerate() {
        for long in [nic_features::LONG_RECEIVE, 0] {
            let mut parties = Parties::with(Setup {
                features: long,
                ..Setup::ONE
            });
            let (_, mut entries) = parties.drivers[0].long(&tcp(0, &[0; 9000]), 0);
            if long != 0 {
                lie(&mut entries);
            }
            for entry in &entries {
                parties.drivers[0].filled.push(entry).unwrap();
            }
            let _ = parties.drivers[0].filled.publish();
            parties.run();
            let faults = parties.count("driver.faults");
            // What follows what cannot be is read as what it is not.
            let most = if long == 0 { 3 } else { least.into() };
            assert!((1..=most).contains(&faults), "lie {n}: {faults}");
            assert!(parties.servers[0].packets.is_empty(), "lie {n}");
            assert_eq!(parties.manager.books().nics[0].with_server, 0, "lie {n}");
            parties.drivers[0].receive(&udp(1, 2, b"honest"), 0);
            parties.run();
            assert_eq!(parties.servers[0].packets.len(), 1, "lie {n}");
        }
    }
}

#[test]
fn a_buffer_is_filled_once() {
    let mut parties = Parties::one();
    parties.drivers[0].receive(&udp(1, 2, b"honest"), 0);
    parties.run();
    let id = parties.servers[0].packets[0].id - 1;
    report(&mut parties, id, 60, 0);
    assert_eq!(parties.count("driver.faults"), 1);
    assert_eq!(parties.servers[0].packets.len(), 1);
    assert_eq!(parties.manager.books().nics[0].with_server, 1);
}

#[test]
fn a_frame_is_sent_once() {
    let mut parties = Parties::one();
    let entry = parties.servers[0].transmit(&HEADER, &[]);
    parties.say(0, entry);
    for id in [7, 256, u32::MAX] {
        parties.drivers[0].tell_sent(id);
    }
    parties.run();
    assert_eq!(parties.count("driver.faults"), 3);
    assert_eq!(parties.manager.books().nics[0].slots_away, 1);
    let id = parties.drivers[0].frames[0].first.id;
    parties.drivers[0].tell_sent(id);
    parties.drivers[0].tell_sent(id);
    parties.run();
    assert_eq!(parties.count("driver.faults"), 4);
    assert_eq!(parties.servers[0].slots.len(), 256);
    parties.assert_settled();
}

/// A client that waits for the device, and one whose request the server has.
fn waiting() -> (Parties, Request) {
    let mut parties = Parties::new(2, 1, QUOTA);
    let mut other = None;
    for client in [0, 1] {
        let (handle, _) = parties.open(client, SocketKind::Udp);
        let mut send = Request::new(Op::Send, handle, 3);
        send.flags = flags::BLOCKED;
        let request = parties.pass(client, send, (DATA, 1000));
        let part = Part {
            token: request.user_data,
            offset: 0,
            len: 1000,
        };
        let entry = parties.servers[0].transmit(&HEADER, &[part]);
        parties.say(0, entry);
        other = Some(request);
        if client == 0 {
            parties.complete(0, request.complete(Status::Ok));
        }
    }
    assert_eq!(parties.answered(0), None);
    (parties, other.unwrap())
}

/// Nobody waits for the NIC any more; its server is served.
fn is_given_up(parties: &mut Parties, other: Request) {
    parties.run();
    assert_eq!(parties.count("drivers.gone"), 1);
    assert_eq!(parties.answer(0).status, Status::Ok as u16);
    parties.complete(0, other.complete(Status::Ok));
    assert_eq!(parties.answer(1).status, Status::Ok as u16);
    // The bytes are never given to anybody else: the device may have them.
    let books = parties.manager.books();
    assert_eq!(books.nics[0].slots_away, 2);
    assert_eq!((books.clients[0].slots, books.clients[1].slots), (1, 1));
    // Frames to send are dropped, and their slots come back.
    let before = parties.servers[0].slots.len();
    let entry = parties.servers[0].transmit(&HEADER, &[]);
    parties.say(0, entry);
    assert_eq!(parties.servers[0].slots.len(), before);
    assert_eq!(parties.count("transmit.no-nic"), 1);
    assert_eq!(parties.count("server.faults"), 0);
    parties.drivers[0].report(5, 60, 0);
    parties.run();
    assert!(parties.servers[0].packets.is_empty());
}

#[test]
fn death_ends_it() {
    let (mut parties, other) = waiting();
    parties.manager.driver_died(0);
    parties.manager.driver_died(0);
    is_given_up(&mut parties, other);
}

/// Its server never starts: who waits for it, and who asks later, hears that the
/// network is down.
#[test]
fn one_that_ends_before_it_was_ready_leaves_nobody_waiting() {
    let mut parties = Parties::with(Setup {
        ready: false,
        ..Setup::ONE
    });
    let open = Request {
        arg: SocketKind::Udp as u64,
        ..Request::new(Op::Open, 0, 1)
    };
    parties.pass(0, open, (0, 0));
    assert_eq!(parties.answered(0), None);
    parties.manager.driver_died(0);
    parties.run();
    assert_eq!(parties.answer(0).status, Status::NetworkDown as u16);
    let later = parties.refused(
        0,
        Request {
            user_data: 2,
            ..open
        },
    );
    assert_eq!(later.status, Status::NetworkDown as u16);
    assert_eq!(parties.count("drivers.gone"), 1);
    assert_eq!(parties.count("servers.gone"), 0);
    parties.assert_settled();
}

#[test]
fn too_many_lies_end_it() {
    let (mut parties, other) = waiting();
    for n in 0..16 {
        match n % 2 {
            0 => parties.drivers[0].tell_sent(77),
            _ => parties.drivers[0].report(9999, 60, 0),
        }
    }
    is_given_up(&mut parties, other);
}

#[test]
fn an_index_that_jumps_ends_it() {
    for ring in [RX_FILLED_OFFSET, TX_DONE_OFFSET] {
        let (mut parties, other) = waiting();
        let control = parties.drivers[0].control;
        control.store32(ring + 64, 1 << 30).unwrap();
        is_given_up(&mut parties, other);
    }
}

#[test]
fn an_index_that_jumps_in_what_it_takes_ends_it_too() {
    // The manager looks at these when it believes the rings full.
    for ring in [RX_FREE_OFFSET, TX_READY_OFFSET] {
        let mut parties = Parties::one();
        let control = parties.drivers[0].control;
        control.store32(ring + 128, 1 << 30).unwrap();
        for n in 0..1100u32 {
            if ring == RX_FREE_OFFSET {
                parties.drivers[0].report(n, 60, 0);
            }
            let entry = parties.servers[0].transmit(&HEADER, &[]);
            parties.servers[0].say(entry);
            parties.manager.turn(&mut parties.rung);
            parties.drivers[0].tell_sent(entry.slot.into());
            // Without anybody who takes the driver's entries.
            parties.manager.turn(&mut parties.rung);
            parties.servers[0].take();
            if parties.count("drivers.gone") != 0 {
                break;
            }
        }
        assert_eq!(parties.count("drivers.gone"), 1);
        assert_eq!(parties.count("driver.faults"), 0);
        assert_eq!(parties.count("server.faults"), 0);
        let answered = parties.refused(0, Request::default());
        assert_eq!(answered.status, Status::BadRequest as u16);
    }
}

#[test]
fn what_the_nic_can_do_is_told_once_it_is_known() {
    let mut parties = Parties::with(Setup {
        ready: false,
        ..Setup::ONE
    });
    parties.run();
    let told = |p: &Parties| NicInfo::read(&p.servers[0].control).unwrap();
    assert_eq!(told(&parties), None);
    assert!(parties.drivers[0].buffers.is_empty());
    // Before that, frames go nowhere.
    let entry = parties.servers[0].transmit(&HEADER, &[]);
    parties.say(0, entry);
    assert_eq!(parties.count("transmit.no-nic"), 1);
    parties.rung.servers.clear();
    let info = NicInfo {
        mac: [2, 0, 0, 7, 7, 7],
        mtu: 9000,
        features: 3,
    };
    info.publish(&parties.drivers[0].control).unwrap();
    parties.run();
    // But for what our buffers do not hold.
    assert_eq!(told(&parties), Some(NicInfo { mtu: MTU, ..info }));
    assert_eq!(parties.rung.servers, [0]);
    assert_eq!(parties.drivers[0].buffers.len(), 1024);
    parties.assert_settled();
}

#[test]
fn slots_are_where_the_server_has_them_with_a_smaller_mtu() {
    let mut parties = Parties::with(Setup {
        ready: false,
        ..Setup::ONE
    });
    let info = NicInfo {
        mac: [2, 0, 0, 7, 7, 7],
        mtu: 576,
        features: 0,
    };
    info.publish(&parties.drivers[0].control).unwrap();
    parties.run();
    let mut entry = parties.servers[0].transmit(&[0; 42], &[]);
    entry.slot = 5;
    let at = 5 * socket_api::whole_slot_bytes(576);
    let slots = parties.servers[0].send_slots.memory;
    slots.write(at, &HEADER).unwrap();
    parties.say(0, entry);
    assert_eq!(parties.drain(), [HEADER]);
}
