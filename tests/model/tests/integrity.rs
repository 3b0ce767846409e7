//! Strong integrity while a second thread rewrites what is being sent, and
//! frames that change owner.
//!
//! Each property is shown to be the work of the mechanism behind it: with that
//! switched off, the same run shows what it must never show.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use data_passing::Mutations;
use ioipc::queue::Queue;
use ioipc::{Buffer, Passing, Semantics, Technique, UserBuffer};
use model_tests::pairs::{Pair, Reader, address, direct};
use model_tests::{HEAP, HostConfig, World, pattern};
use nic_api::nic_features;
use socket_api::Extent;

const MIB: usize = 1 << 20;
const TCOW: Passing = forced(Semantics::EmulatedCopy, Technique::Tcow);
const MOVE: Passing = Passing::new(Semantics::Move);
const UNPROTECTED: Mutations = Mutations {
    no_protection: true,
    no_clearing: false,
};

const fn forced(semantics: Semantics, technique: Technique) -> Passing {
    Passing {
        semantics,
        forced: Some(technique),
    }
}

/// The client with threads sends, on hosts of which the first has this
/// switched off.
fn with_threads<R>(off: Mutations, change: HostConfig, run: impl FnOnce(Pair) -> R) -> R {
    let hosts = [1, 2].map(|number| HostConfig {
        mutations: off,
        number,
        ..change.clone()
    });
    World::with(hosts, |world| run(Pair::new(world, 1, direct())))
}

/// Sends a mebibyte without waiting, rewrites it all while it is on its way,
/// and returns what the other host got, and how many faults were resolved by a
/// copy.
fn rewritten_stream(off: Mutations) -> (Vec<u8>, u64) {
    with_threads(off, HostConfig::stock(1), |pair| {
        let [from, to] = pair.connection(80);
        let room = Extent {
            address: HEAP,
            len: 30_000,
        };
        let mut reader = Reader::new(pair, 1, &to, room);
        pair.store(0, HEAP, &pattern(MIB, 1));
        let mut queue = Queue::<1>::new_on(pair.stacks[0]).unwrap();
        let memory = UserBuffer::at(HEAP, MIB as u32);
        queue.send(&from, memory, Some(TCOW), 0).unwrap();
        queue.flush();
        pair.world.lock().frames = 3;
        for _ in 0..10 {
            pair.world.step();
            reader.poll();
        }
        assert!(queue.poll().is_none(), "it has not been completed");
        pair.store(0, HEAP, &pattern(MIB, 2));
        reader.wait_for(MIB);
        assert_eq!(queue.wait(None).unwrap().unwrap().result, Ok(MIB));
        assert!(pair.load(0, HEAP, MIB) == pattern(MIB, 2));
        let account = pair.stacks[0].account().unwrap();
        (reader.got.clone(), account.faults_copied)
    })
}

#[test]
fn a_stream_is_what_it_was_when_it_was_sent() {
    let (got, faults) = rewritten_stream(Mutations::default());
    assert!(got == pattern(MIB, 1));
    assert!(faults >= 1);
}

#[test]
fn without_protection_a_stream_changes_on_its_way() {
    let (got, faults) = rewritten_stream(UNPROTECTED);
    assert_eq!((got.len(), faults), (MIB, 0));
    let new = pattern(MIB, 2);
    assert!(got != pattern(MIB, 1));
    assert!(got[MIB / 2..] == new[MIB / 2..], "what left late is new");
}

/// As `rewritten_stream`, with datagrams of `len` bytes; what came of each.
fn rewritten_datagrams(off: Mutations, hosts: HostConfig, len: usize) -> (Vec<Vec<u8>>, u64) {
    with_threads(off, hosts, |pair| {
        let [from, to] = pair.datagrams(7);
        // The way is known then.
        from.send_to(b"", address(1, 7)).unwrap();
        let room = UserBuffer::at(HEAP, 65_507);
        to.recv_memory_from(room, None).unwrap();
        let mut queue = Queue::<4>::new_on(pair.stacks[0]).unwrap();
        pair.store(0, HEAP, &pattern(2 * len, 1));
        pair.world.lock().frames = 0;
        for n in 0..2 {
            let memory = UserBuffer::at(HEAP + n * len as u32, len as u32);
            let to = address(1, 7);
            queue.send_to(&from, memory, to, Some(TCOW), 0).unwrap();
        }
        queue.flush();
        for _ in 0..3 {
            pair.world.step();
        }
        // Of 2 frames none has left, of 82 a few.
        pair.world.lock().frames = len / 10_000;
        pair.world.step();
        pair.world.lock().frames = 1;
        pair.store(0, HEAP, &pattern(2 * len, 2));
        let mut came = Vec::new();
        while let Ok((got, _)) = to.recv_memory_from(room, None) {
            came.push(pair.load(1, HEAP, got));
        }
        while queue.outstanding() != 0 {
            assert_eq!(queue.wait(None).unwrap().unwrap().result, Ok(len));
        }
        (came, pair.stacks[0].account().unwrap().faults_copied)
    })
}

/// Hosts with NICs that fill in checksums as frames leave, and room for 8000
/// bytes in one.
fn checksumming() -> HostConfig {
    HostConfig {
        features: nic_features::CHECKSUM,
        mtu: 9000,
        ..HostConfig::stock(1)
    }
}

#[test]
fn datagrams_are_what_they_were_when_they_were_sent() {
    for (hosts, len) in [(HostConfig::stock(1), 60_000), (checksumming(), 8001)] {
        let (came, faults) = rewritten_datagrams(Mutations::default(), hosts, len);
        let sent = pattern(2 * len, 1);
        assert!(came.concat() == sent && came.len() == 2);
        assert!(faults >= 1);
    }
}

#[test]
fn without_protection_datagrams_change_on_their_way() {
    let (came, _) = rewritten_datagrams(UNPROTECTED, checksumming(), 8001);
    assert!(came.concat() == pattern(2 * 8001, 2));
    // A checksum that was made before notices, and nothing comes.
    let (came, _) = rewritten_datagrams(UNPROTECTED, HostConfig::stock(1), 60_000);
    assert!(came.is_empty());
}

/// A client's secret goes through frames of the system, or goes away with its
/// own frames; then another client on the same host gets ten bytes in a new
/// page. The page.
fn inherited(off: Mutations, semantics: Semantics) -> Vec<u8> {
    let hosts = [1, 2].map(|number| HostConfig {
        mutations: off,
        ..HostConfig::stock(number)
    });
    World::with(hosts, |world| {
        let rich = Pair::new(world, 1, direct());
        let heir = Pair::new(world, 0, direct());
        let [_far, from] = rich.datagrams(7);
        let [sender, to] = heir.datagrams(8);
        // A page that has no frame of its own any more.
        let page = Buffer::alloc_on(heir.stacks[1], 4096).unwrap();
        let moved = to.send_buffer_to_with(page, address(0, 8), MOVE);
        moved.unwrap();
        world.settle(1000);
        assert_eq!(heir.stacks[1].account().unwrap().unmapped, 1);
        for _ in 0..4 {
            let mut secret = Buffer::alloc_on(rich.stacks[1], 8192).unwrap();
            assert!(secret.write(0, &[0xaa; 8192]));
            let there = address(0, 7);
            let sent = from.send_buffer_to_with(secret, there, Passing::new(semantics));
            sent.unwrap();
            world.settle(1000);
        }
        sender.send_to(b"ten bytes.", address(1, 8)).unwrap();
        let mut buffer = to.recv_buffer_with(MOVE).unwrap().into_buffer();
        assert_eq!(buffer.len(), 10);
        buffer.set_len(4096);
        let mut page = vec![0; 4096];
        assert!(buffer.read(0, &mut page));
        page
    })
}

#[test]
fn frames_that_change_owner_show_nothing_old() {
    for semantics in [Semantics::Copy, Semantics::Move] {
        let page = inherited(Mutations::default(), semantics);
        assert_eq!(&page[..10], b"ten bytes.");
        assert!(page[10..].iter().all(|b| *b == 0), "{semantics}");
    }
}

#[test]
fn without_clearing_frames_show_what_was_there() {
    let off = Mutations {
        no_protection: false,
        no_clearing: true,
    };
    for semantics in [Semantics::Copy, Semantics::Move] {
        let page = inherited(off, semantics);
        assert!(page[10..].contains(&0xaa), "{semantics}");
    }
}
