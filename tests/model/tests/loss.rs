//! Streams over a wire that loses frames and takes time, in a time of the
//! world's own: the relay's lines join two hosts of ours.
//!
//! Invariant: a run is determined by its seed alone, so its figures may be
//! asserted on; they say nothing of how long anything takes elsewhere.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use frame_peer::relay::{Conditions, Tally};
use ioipc::UserBuffer;
use ioipc::queue::Queue;
use model_tests::pairs::{Pair, Reader, direct};
use model_tests::{HEAP, HostConfig, World, pattern};
use socket_api::Extent;

/// Bytes of a stream.
const BYTES: usize = 1 << 20;
/// Steps that a stream takes at most.
const PATIENCE: usize = 2_000_000;
/// The longest time without new bytes that is allowed.
const SILENCE: Duration = Duration::from_secs(3);

/// What a stream took.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Took {
    time: Duration,
    /// The longest time without new bytes at the receiver.
    silence: Duration,
    tally: Tally,
}

/// Moves a stream from a host to the other; every byte has to be right.
fn stream(conditions: &Conditions, from: usize) -> Took {
    let hosts = [1, 2].map(HostConfig::stock);
    World::with(hosts, |world| {
        let pair = Pair::new(world, 1, direct());
        let ends = pair.connection(80);
        let room = Extent {
            address: HEAP,
            len: 30_000,
        };
        let mut reader = Reader::new(pair, 1 - from, &ends[1 - from], room);
        pair.store(from, HEAP, &pattern(BYTES, 1));
        let mut queue = Queue::<1>::new_on(pair.stacks[from]).unwrap();
        let memory = UserBuffer::at(HEAP, BYTES as u32);
        world.set_conditions(conditions);
        let begin = world.lock().now_ns;
        queue.send(&ends[from], memory, None, 0).unwrap();
        queue.flush();
        let (end, silence) = watch(world, &mut reader, begin);
        assert!(reader.got == pattern(BYTES, 1));
        assert_eq!(queue.wait(None).unwrap().unwrap().result, Ok(BYTES));
        Took {
            time: Duration::from_nanos(end - begin),
            silence: Duration::from_nanos(silence),
            tally: world.tally(),
        }
    })
}

/// Lets the world go on until everything has come: when, and the longest time
/// without new bytes.
fn watch(world: &World, reader: &mut Reader, begin: u64) -> (u64, u64) {
    let (mut last, mut silence, mut had) = (begin, 0, 0);
    for _ in 0..PATIENCE {
        reader.poll();
        let now = world.lock().now_ns;
        if reader.got.len() > had {
            silence = silence.max(now - last);
            (had, last) = (reader.got.len(), now);
        }
        if had == BYTES {
            return (now, silence);
        }
        assert_eq!(reader.end, None, "after {had} bytes");
        world.step();
    }
    panic!("{had} bytes of {BYTES} came");
}

fn wire(text: &str) -> Conditions {
    text.parse().unwrap()
}

#[test]
fn a_wire_takes_its_time_and_changes_nothing() {
    let took = stream(&wire("delay=10ms"), 0);
    assert!(took.time > Duration::from_millis(10), "{took:?}");
    assert!(took.silence < Duration::from_millis(100), "{took:?}");
    let Tally { there, back } = took.tally;
    assert_eq!(there.lost + there.no_room + back.lost + back.no_room, 0);
    assert!(there.passed as usize >= BYTES / 1460, "{took:?}");
}

#[test]
fn every_byte_arrives_where_frames_are_lost_and_nobody_is_silent_for_long() {
    for seed in [1, 2, 3] {
        for (loss, from) in [(1, 0), (1, 1), (5, 0), (5, 1)] {
            let conditions = wire(&format!("loss={loss}%,delay=10ms,seed={seed}"));
            let took = stream(&conditions, from);
            let lost = took.tally.there.lost + took.tally.back.lost;
            assert!(lost > 0, "{conditions:?}: {took:?}");
            assert!(took.silence <= SILENCE, "{conditions:?}: {took:?}");
            eprintln!(
                "loss {loss} %, seed {seed}, from {from}: {:?}, silent {:?}",
                took.time, took.silence
            );
        }
    }
}

#[test]
fn every_byte_arrives_where_everything_goes_wrong() {
    let bad = "loss=2%,duplicate=2%,reorder=2%,corrupt=1%,delay=10ms,rate=20mbit,room=64KiB,seed=4";
    let took = stream(&wire(bad), 0);
    let there = took.tally.there;
    let faults = [
        there.lost,
        there.duplicated,
        there.reordered,
        there.corrupted,
    ];
    assert!(faults.iter().all(|count| *count > 0), "{took:?}");
}

#[test]
fn a_seed_decides_a_run() {
    let run = |seed| stream(&wire(&format!("loss=3%,delay=10ms,seed={seed}")), 0);
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
