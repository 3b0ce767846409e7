//! What the bytes look like to those who must not see them, and that the tests
//! would notice.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod parties;

use data_passing::Mutations;
use parties::frames::udp;
use parties::{DATA, Parties, QUOTA};
use socket_api::{
    Completion, Op, Part, Passing, Request, Semantics, SocketKind, Status, Technique, flags,
};

fn passing(semantics: Semantics, technique: Option<Technique>) -> u32 {
    Passing {
        semantics,
        forced: technique,
    }
    .word()
}

/// Has a client send bytes, by `passing`; the frame goes out unless `keep`.
fn send(parties: &mut Parties, client: usize, word: u32, (address, len): (u32, u32)) -> Request {
    let (handle, _) = parties.open(client, SocketKind::Udp);
    let request = Request {
        passing: word,
        ..Request::new(Op::Send, handle, 5)
    };
    let request = parties.pass(client, request, (address, len));
    let part = Part {
        token: request.user_data,
        offset: 0,
        len: len.min(1000),
    };
    let entry = parties.servers[0].transmit(&[0; 42], &[part]);
    parties.say(0, entry);
    parties.complete(0, request.complete(Status::Ok));
    request
}

/// A client moves a page out, another one moves one in: what the second sees.
fn stale(mutations: Mutations) -> Vec<u8> {
    let mut parties = Parties::new(2, 1, QUOTA);
    parties.manager.memory().mutate(mutations);
    let mut secret = b"secret ".repeat(586);
    secret.truncate(4096);
    parties.store(0, DATA, &secret);
    let word = passing(Semantics::Move, None);
    for client in [1, 0] {
        send(&mut parties, client, word, (DATA, 4096));
        parties.drain();
        assert_eq!(parties.answer(client).status, Status::Ok as u16);
    }
    assert_eq!(parties.manager.memory().reserve(), parties::RESERVE + 2);
    let (handle, _) = parties.open(1, SocketKind::Udp);
    let request = Request {
        passing: word,
        ..Request::new(Op::Recv, handle, 6)
    };
    let request = parties.pass(1, request, (DATA, 4096));
    parties.drivers[0].receive(&udp(1, 2, b"public"), 0);
    parties.run();
    let packet = parties.servers[0].packets.pop_front().unwrap();
    let completion = Completion {
        len: 6,
        packet: packet.id,
        offset: 42,
        flags: flags::RELEASE,
        ..request.complete(Status::Ok)
    };
    parties.complete(0, completion);
    assert_eq!(parties.answer(1).len, 6);
    parties.load(1, DATA, 4096)
}

#[test]
fn a_frame_that_changes_owner_shows_nothing_old() {
    let bytes = stale(Mutations::default());
    assert_eq!(&bytes[..6], b"public");
    assert!(bytes[6..].iter().all(|b| *b == 0));
    // And it would be seen.
    let bytes = stale(Mutations {
        no_clearing: true,
        ..Mutations::default()
    });
    assert_eq!(bytes[..13], *b"public secret"[..13].as_ref());
}

/// A client overwrites what is being sent: what goes out.
fn overwritten(mutations: Mutations) -> Vec<u8> {
    let mut parties = Parties::one();
    parties.manager.memory().mutate(mutations);
    parties.store(0, DATA, &[1; 1000]);
    let word = passing(Semantics::EmulatedCopy, Some(Technique::Tcow));
    send(&mut parties, 0, word, (DATA, 1000));
    parties.store(0, DATA, &[2; 1000]);
    parties.drain().remove(0).split_off(42)
}

#[test]
fn what_is_written_while_it_is_sent_is_not_sent() {
    assert_eq!(overwritten(Mutations::default()), [1; 1000]);
    let unprotected = Mutations {
        no_protection: true,
        ..Mutations::default()
    };
    assert_eq!(overwritten(unprotected), [2; 1000]);
}

#[test]
fn a_page_moved_away_is_gone_until_something_comes() {
    let mut parties = Parties::one();
    parties.store(0, DATA, &[1; 4096]);
    let word = passing(Semantics::Move, None);
    send(&mut parties, 0, word, (DATA, 4096));
    parties.answer(0);
    // The device has it still.
    assert_eq!(parties.manager.memory().reserve(), parties::RESERVE);
    assert!(parties.machine.load(0, DATA, &mut [0]).is_err());
    let fault = parties.manager.fault(0, DATA, true);
    assert_eq!(fault, io_manager::Fault::NotOurs);
    assert_eq!(parties.count("faults.forwarded"), 1);
    // Nor can it be sent again.
    let (handle, _) = parties.open(0, SocketKind::Udp);
    let again = Request {
        extent: socket_api::Extent {
            address: DATA,
            len: 10,
        },
        ..Request::new(Op::Send, handle, 5)
    };
    let refused = parties.refused(0, again);
    assert_eq!(refused.status, Status::BadRequest as u16);
    parties.drain();
    assert_eq!(parties.manager.memory().reserve(), parties::RESERVE + 1);
}

#[test]
fn a_client_that_is_not_served_gets_nothing_resolved() {
    let mut parties = Parties::one();
    let word = passing(Semantics::EmulatedCopy, Some(Technique::Tcow));
    send(&mut parties, 0, word, (DATA, 1000));
    parties.manager.client_died(0);
    parties.run();
    let fault = parties.manager.fault(0, DATA, true);
    assert_eq!(fault, io_manager::Fault::NotOurs);
    assert_eq!(parties.manager.fault(9, DATA, true), fault);
}

#[test]
fn receiving_into_what_is_being_sent_does_not_change_it() {
    let mut parties = Parties::one();
    parties.store(0, DATA, &[1; 1000]);
    let word = passing(Semantics::EmulatedCopy, Some(Technique::Tcow));
    send(&mut parties, 0, word, (DATA, 1000));
    parties.answered(0);
    let (handle, _) = parties.open(0, SocketKind::Udp);
    let request = parties.pass(0, Request::new(Op::Recv, handle, 6), (DATA + 10, 100));
    parties.drivers[0].receive(&udp(1, 2, &[3; 50]), 0);
    parties.run();
    let packet = parties.servers[0].packets.pop_front().unwrap();
    let completion = Completion {
        len: 50,
        packet: packet.id,
        offset: 42,
        flags: flags::RELEASE,
        ..request.complete(Status::Ok)
    };
    parties.complete(0, completion);
    assert_eq!(parties.answer(0).len, 50);
    assert_eq!(parties.drain()[0][42..], [1; 1000]);
    let bytes = parties.load(0, DATA, 100);
    assert_eq!((bytes[9], bytes[10], bytes[59], bytes[60]), (1, 3, 3, 1));
    parties.assert_settled();
}
