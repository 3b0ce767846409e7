//! The whole catalogue of hostile frames, floods and storms of them, against
//! the running system: nobody faults, memory stays bounded, every drop is
//! counted under its reason, and echo goes on.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use emulator_tests::in_both_placements;
use emulator_tests::wire::{ECHO, GUEST, Wired};
use frame_peer::hostile::{Aim, Case, Reason, catalogue, storm};

/// What is sent follows from this; shown by every failure.
const SEED: u64 = 0x5eed;
const PATIENCE: Duration = Duration::from_secs(20);
type Numbers = BTreeMap<String, u64>;

/// A case without any frame that this emulator's network cannot carry: it
/// takes a frame of no bytes for a full queue and waits for ever.
fn frames(case: &Case, aim: &mut Aim) -> Vec<Vec<u8>> {
    let mut frames = case.frames(aim);
    frames.retain(|frame| !frame.is_empty());
    frames
}

fn moved(before: &Numbers, now: &Numbers, names: &[&str]) -> u64 {
    let difference = |name: &&str| now[*name] - before[*name];
    names.iter().map(difference).sum()
}

/// Sends a case and wants it counted. False if what it left behind is counted
/// only when it is given up.
fn throw(wired: &mut Wired, case: &Case, aim: &mut Aim) -> bool {
    let names = case.reason.counters();
    let before = wired.system.numbers("counters");
    let frames = frames(case, aim);
    for frame in &frames {
        wired.peer.send_frame(frame).unwrap();
    }
    // Frames keep their order: after this, all of them were looked at.
    wired.assert_echo(200, PATIENCE);
    if names.is_empty() || frames.is_empty() {
        return true;
    }
    let deadline = Instant::now() + Duration::from_secs(3);
    loop {
        let now = wired.system.numbers("counters");
        if moved(&before, &now, names) > 0 {
            return true;
        }
        // Parts of datagrams that are not whole yet.
        if case.reason == Reason::Fragment {
            return false;
        }
        assert!(
            Instant::now() < deadline,
            "{case:?} moved none of {names:?}: {now:#?}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn hostile_frames_are_dropped_counted_and_survived() {
    println!("seed {SEED:#x}");
    let mut wired = Wired::with_dhcp("wire");
    // So that answers to forged senders come out instead of waiting for ARP.
    wired.peer.set_proxy_arp(true);
    wired.assert_stream(10_000, PATIENCE);
    let before = wired.settled(None);
    let mac = wired.peer.resolve(GUEST, PATIENCE).unwrap();
    let from = (wired.peer.mac(), wired.peer.address());
    let mut aim = Aim::new(from, (mac, GUEST), ECHO, SEED);
    let start = wired.system.numbers("counters");
    let mut held = wired.connect(PATIENCE);
    let mut late = Vec::new();
    for (n, case) in catalogue().enumerate() {
        if !throw(&mut wired, case, &mut aim) {
            late.push(case.name);
        }
        if n % 8 == 0 || case.name.starts_with("flood") {
            wired.assert_stream(5_000, PATIENCE);
        }
    }
    // A connection from before lives through it all.
    emulator_tests::wire::exchange(&mut held, 50_000, PATIENCE);
    drop(held);
    wired.assert_sound();
    // What nobody completed is given up, and counted then.
    wired.settled(Some(&before));
    let now = wired.system.numbers("counters");
    let given_up = moved(&start, &now, &["net.drop_fragment_timeout"]);
    assert!(given_up >= late.len() as u64, "{given_up} of {late:?}");
}

fn storms_of_several_seeds_are_survived() {
    let mut wired = Wired::with_dhcp("wire");
    wired.peer.set_proxy_arp(true);
    wired.assert_stream(10_000, PATIENCE);
    let before = wired.settled(None);
    let mac = wired.peer.resolve(GUEST, PATIENCE).unwrap();
    let from = (wired.peer.mac(), wired.peer.address());
    for seed in SEED..SEED + 4 {
        println!("seed {seed:#x}");
        let mut aim = Aim::new(from, (mac, GUEST), ECHO, seed);
        for part in storm(&mut aim, 5_000).chunks(1000) {
            for frame in part.iter().filter(|frame| !frame.is_empty()) {
                wired.peer.send_frame(frame).unwrap();
            }
            wired.assert_echo(200, PATIENCE);
            wired.assert_stream(2_000, PATIENCE);
        }
    }
    wired.assert_sound();
    wired.settled(Some(&before));
    wired.assert_echo(1400, PATIENCE);
    wired.assert_stream(100_000, PATIENCE);
}

in_both_placements! {
    hostile_frames_are_dropped_counted_and_survived,
    storms_of_several_seeds_are_survived,
}
