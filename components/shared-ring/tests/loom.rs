//! The signalling protocol and the bytes of a ring under loom: every order in
//! which two processors may see each other's loads and stores.
//!
//! The rings here live in loom's atomics; the code of the two ends is the
//! very code that runs on shared pages.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use shared_ring::{Consumer, Producer, RingMemory, Word};

const CAPACITY: usize = 2;

struct Shared {
    words: [AtomicU32; 3],
    /// Two halves an entry, so that a torn read shows.
    entries: [[AtomicU32; 2]; CAPACITY],
}

#[derive(Clone)]
struct Modelled {
    shared: Arc<Shared>,
    /// Leaves the fence out: the mutation that the test must notice.
    fenceless: bool,
}

impl Modelled {
    fn new(fenceless: bool) -> Self {
        let word = |value| AtomicU32::new(value);
        let entry = || [word(0), word(0)];
        Self {
            shared: Arc::new(Shared {
                words: [word(0), word(0), word(1)],
                entries: [entry(), entry()],
            }),
            fenceless,
        }
    }

    fn word(&self, word: Word) -> &AtomicU32 {
        match word {
            Word::Tail => &self.shared.words[0],
            Word::Head => &self.shared.words[1],
            Word::WantsSignal => &self.shared.words[2],
        }
    }
}

impl RingMemory for Modelled {
    fn load(&self, word: Word, order: Ordering) -> u32 {
        self.word(word).load(order)
    }

    fn store(&self, word: Word, value: u32, order: Ordering) {
        self.word(word).store(value, order);
    }

    fn fence(&self) {
        if !self.fenceless {
            fence(Ordering::SeqCst);
        }
    }

    fn read_entry(&self, index: u32, into: &mut [u8]) {
        let halves = &self.shared.entries[index as usize % CAPACITY];
        for (half, bytes) in halves.iter().zip(into.chunks_mut(4)) {
            bytes.copy_from_slice(&half.load(Ordering::Relaxed).to_le_bytes());
        }
    }

    fn write_entry(&self, index: u32, from: &[u8]) {
        let halves = &self.shared.entries[index as usize % CAPACITY];
        for (half, bytes) in halves.iter().zip(from.chunks(4)) {
            let mut word = [0; 4];
            word.copy_from_slice(bytes);
            half.store(u32::from_le_bytes(word), Ordering::Relaxed);
        }
    }
}

/// A notification as seL4 has it: a signal that comes before the wait is kept.
struct Notification {
    signalled: Mutex<bool>,
    changed: Condvar,
}

impl Notification {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            signalled: Mutex::new(false),
            changed: Condvar::new(),
        })
    }

    fn signal(&self) {
        *self.signalled.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let mut signalled = self.signalled.lock().unwrap();
        while !*signalled {
            signalled = self.changed.wait(signalled).unwrap();
        }
        *signalled = false;
    }
}

fn entry(n: u32) -> [u32; 2] {
    [n, !n]
}

/// Sends `count` entries, one publish each, to a consumer that sleeps whenever
/// it may, having asked `times` times. A lost wake-up is a deadlock, which loom
/// reports.
fn exchange(count: u32, times: u32) {
    let memory = Modelled::new(false);
    let bell = Notification::new();
    let (their_memory, their_bell) = (memory.clone(), bell.clone());
    let producer = thread::spawn(move || {
        let mut producer = Producer::<[u32; 2], _>::over(their_memory, CAPACITY as u32);
        for n in 1..=count {
            producer.push(&entry(n)).unwrap();
            if producer.publish() {
                their_bell.signal();
            }
        }
    });
    let mut consumer = Consumer::<[u32; 2], _>::over(memory, CAPACITY as u32);
    let mut next = 1;
    while next <= count {
        match consumer.pop().unwrap() {
            Some(got) => {
                assert_eq!(got, entry(next), "torn, or out of order");
                next += 1;
            }
            None => {
                if (0..times).all(|_| consumer.arm().unwrap()) {
                    bell.wait();
                }
            }
        }
    }
    producer.join().unwrap();
}

#[test]
fn no_wake_up_is_lost_and_no_entry_is_torn() {
    // Unbounded this takes a minute; three forced switches are enough for
    // every protocol error that has been tried (see below for one).
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| exchange(2, 1));
}

#[test]
fn what_was_asked_for_stands_until_it_is_answered() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| exchange(2, 2));
}

#[test]
fn a_slot_is_reused_only_after_it_was_read() {
    loom::model(|| {
        let memory = Modelled::new(false);
        let mut producer = Producer::<[u32; 2], _>::over(memory.clone(), CAPACITY as u32);
        for n in 1..=CAPACITY as u32 {
            producer.push(&entry(n)).unwrap();
        }
        assert!(producer.publish(), "nobody has looked yet");
        let writer = thread::spawn(move || {
            // Full until the consumer has taken the first.
            let wrote = producer.push(&entry(3)).is_ok();
            let _ = producer.publish();
            wrote
        });
        let mut consumer = Consumer::<[u32; 2], _>::over(memory, CAPACITY as u32);
        for n in 1..=CAPACITY as u32 {
            assert_eq!(consumer.pop(), Ok(Some(entry(n))));
        }
        if writer.join().unwrap() {
            assert_eq!(consumer.pop(), Ok(Some(entry(3))));
        }
    });
}

#[test]
fn waking_for_another_reason_loses_nothing() {
    // The consumer withdraws its request and asks again while the producer
    // may be in the middle of answering the first one.
    loom::model(|| {
        let memory = Modelled::new(false);
        let bell = Notification::new();
        let (their_memory, their_bell) = (memory.clone(), bell.clone());
        let producer = thread::spawn(move || {
            let mut producer = Producer::<[u32; 2], _>::over(their_memory, CAPACITY as u32);
            producer.push(&entry(1)).unwrap();
            if producer.publish() {
                their_bell.signal();
            }
        });
        let mut consumer = Consumer::<[u32; 2], _>::over(memory, CAPACITY as u32);
        consumer.disarm();
        let mut got = None;
        while got.is_none() {
            if consumer.arm().unwrap() {
                bell.wait();
            }
            got = consumer.pop().unwrap();
        }
        assert_eq!(got, Some(entry(1)));
        producer.join().unwrap();
    });
}

/// Whether in some order the consumer goes to sleep, an entry is there, and
/// nobody signals.
fn can_be_lost(fenceless: bool, quiet: bool) -> bool {
    // Not loom's: it outlives the orders that loom tries.
    let lost = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = lost.clone();
    loom::model(move || {
        let memory = Modelled::new(fenceless);
        let their_memory = memory.clone();
        let mut consumer = Consumer::<[u32; 2], _>::over(memory, CAPACITY as u32);
        consumer.disarm();
        let producer = thread::spawn(move || {
            let mut producer = Producer::<[u32; 2], _>::over(their_memory, CAPACITY as u32);
            match quiet {
                true => producer.push_quietly(&entry(1)).unwrap(),
                false => producer.push(&entry(1)).unwrap(),
            }
            producer.publish()
        });
        let sleeps = match quiet {
            true => consumer.arm_for_anything().unwrap(),
            false => consumer.arm().unwrap(),
        };
        let signalled = producer.join().unwrap();
        if sleeps && !signalled {
            lost.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    });
    seen.load(std::sync::atomic::Ordering::Relaxed)
}

#[test]
fn the_fences_are_what_keeps_wake_ups() {
    for quiet in [false, true] {
        assert!(!can_be_lost(false, quiet));
        let noticed = can_be_lost(true, quiet);
        assert!(noticed, "a lost wake-up would go unnoticed");
    }
}
