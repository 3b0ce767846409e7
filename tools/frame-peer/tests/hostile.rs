//! The catalogue against a sound receiver, another peer: it is not disturbed,
//! and what is labelled as dropped is dropped.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use frame_peer::hostile::{Aim, Reason, catalogue, storm};
use frame_peer::{MAX_FRAME, Options, Peer};

const PATIENCE: Duration = Duration::from_secs(10);
const VICTIM: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const PORT: u16 = 5001;

/// What smoltcp by itself lets through; a guest in front of it can know better.
const LENIENT: &[&str] = &[
    "ethernet-multicast-source",
    "ethernet-broadcast-source",
    "ip-source-loopback",
    "ip-source-unspecified",
    "ip-source-own-udp",
];

fn scene() -> (Peer, Peer) {
    let victim = Options {
        mac: [0x52, 0x54, 0, 1, 2, 3],
        address: VICTIM,
        ..Options::default()
    };
    Peer::pair(&Options::default(), &victim).unwrap()
}

fn aim(attacker: &Peer, victim: &Peer, seed: u64) -> Aim {
    let from = (attacker.mac(), attacker.address());
    Aim::new(from, (victim.mac(), victim.address()), PORT, seed)
}

fn echo_works(attacker: &Peer) {
    let mut stream = attacker
        .tcp_connect(SocketAddrV4::new(VICTIM, PORT + 1), PATIENCE)
        .unwrap();
    stream.write_all(b"still there?").unwrap();
    let mut back = [0; 12];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"still there?");
}

#[test]
fn names_are_unique_and_every_reason_has_a_case() {
    let names: BTreeSet<_> = catalogue().map(|case| case.name).collect();
    assert_eq!(names.len(), catalogue().count());
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    assert!(names.iter().all(|name| name.chars().all(plain)));
    let reasons: BTreeSet<_> = catalogue().map(|case| case.reason).collect();
    assert_eq!(reasons.len(), Reason::Any as usize + 1);
}

#[test]
fn the_seed_decides_and_frames_fit_the_link() {
    let (attacker, victim) = scene();
    for case in catalogue() {
        let build = |seed| case.frames(&mut aim(&attacker, &victim, seed));
        assert!(!build(1).is_empty() && build(1) == build(1), "{case:?}");
        assert!(
            build(1).iter().all(|frame| frame.len() <= MAX_FRAME),
            "{case:?}"
        );
    }
    let build = |seed| storm(&mut aim(&attacker, &victim, seed), 500);
    assert!(build(1) == build(1) && build(1) != build(2) && build(1).len() == 500);
}

#[test]
fn a_sound_receiver_drops_what_is_labelled_so_and_goes_on() {
    let (attacker, victim) = scene();
    victim.serve_echo(PORT + 1).unwrap();
    let _listener = victim.tcp_listen(PORT, 4).unwrap();
    let socket = victim.udp_socket(PORT).unwrap();
    let mut aim = aim(&attacker, &victim, 7);
    let mut delivered = Vec::new();
    for case in catalogue() {
        for frame in case.frames(&mut aim) {
            attacker.send_frame(&frame).unwrap();
        }
        // Frames keep their order: when this is answered, the case is over.
        attacker
            .ping(VICTIM, case.name.as_bytes(), PATIENCE)
            .unwrap();
        let got = socket.recv_from(Duration::ZERO);
        if case.reason.is_drop() && got.is_ok() {
            delivered.push(case.name);
        }
        while socket.recv_from(Duration::ZERO).is_ok() {}
        echo_works(&attacker);
    }
    assert_eq!(delivered, LENIENT);
}

#[test]
fn storms_of_several_seeds_do_not_disturb() {
    let (attacker, victim) = scene();
    victim.serve_echo(PORT + 1).unwrap();
    for seed in 0..5 {
        let mut aim = aim(&attacker, &victim, seed);
        for frame in storm(&mut aim, 2000) {
            attacker.send_frame(&frame).unwrap();
        }
        echo_works(&attacker);
    }
}
