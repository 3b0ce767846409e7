//! What is sent is what it was when the send began, whatever becomes of the
//! memory or of the client meanwhile.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::net::SocketAddrV4;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use emulator_tests::in_both_placements;
use emulator_tests::passer::{Answer, Order, Passer, pattern};
use emulator_tests::wire::{GUEST, Wired};
use emulator_tests::{Booted, options, system};
use frame_peer::wire::{Located, PROTO_UDP, UDP};
use frame_peer::{Options, Peer, UdpHandle};
use socket_api::{Semantics, Technique};

/// Ports of the components with one thread and of the one with two.
const SOLO: u16 = 12;
const OTHER: u16 = 32;
const DUO: u16 = 22;
/// Where datagrams go.
const SINK: u16 = 6000;
const PATIENCE: Duration = Duration::from_secs(20);
const MEBIBYTE: usize = 1 << 20;
/// Bytes of one of several datagrams, whole pages; together more than a link
/// takes whose other end is stalled.
const LARGE: usize = 15 << 12;
const MANY: usize = 16;

/// `count` sends of `size` bytes with copy semantics.
fn order(size: usize, count: usize, technique: Technique) -> Order {
    Order::plain(size, count).with(Semantics::EmulatedCopy, Some(technique))
}

/// How many sends were on their way when the component said `what`.
fn outstanding(system: &mut Booted, what: &str) -> u64 {
    let line = system.next_line(what);
    let (_, number) = line.split_once("outstanding=").unwrap();
    number.trim().parse().unwrap()
}

fn sink(peer: &Peer) -> (UdpHandle, SocketAddrV4) {
    let socket = peer.udp_socket(SINK).unwrap();
    (socket, SocketAddrV4::new(peer.address(), SINK))
}

/// What the host got to see: bytes of the first pattern, bytes of the second,
/// which the client has written over it, how many bytes arrived as data that is
/// right by its checksums, and what the client says.
#[derive(Debug)]
struct Seen {
    first: usize,
    second: usize,
    arrived: usize,
    answer: Answer,
}

/// Bytes of both patterns, from byte `at` on.
fn both(bytes: &[u8], at: usize) -> (usize, usize) {
    let pairs = || (at..).zip(bytes);
    let first = pairs().filter(|(n, byte)| **byte == pattern(*n)).count();
    let second = pairs().filter(|(n, byte)| **byte == !pattern(*n)).count();
    (first, second)
}

/// Has a mebibyte rewritten while it is sent over a connection that nobody
/// reads from.
fn rewritten_stream(system: &mut Booted, peer: &Peer) -> Seen {
    let duo = Passer::new(peer, DUO);
    let mut stream = duo.connect();
    let order = order(MEBIBYTE, 1, Technique::Tcow);
    duo.tell("rewrite tcp", &order, None);
    assert_eq!(outstanding(system, "rewritten, outstanding="), 1);
    let mut bytes = vec![0; MEBIBYTE];
    stream.read_exact(&mut bytes).unwrap();
    let (first, second) = both(&bytes, 0);
    Seen {
        first,
        second,
        arrived: MEBIBYTE,
        answer: duo.answer(),
    }
}

/// Has datagrams rewritten while they are sent over a stalled link. Each begins
/// in the page in which the one before ends.
fn rewritten_datagrams(system: &mut Booted, peer: &Peer) -> Seen {
    let duo = Passer::new(peer, DUO);
    let (socket, there) = sink(peer);
    let tap = peer.tap();
    peer.set_stalled(true);
    let order = Order {
        offset: 1000,
        ..order(LARGE, MANY, Technique::Tcow)
    };
    duo.tell("rewrite udp", &order, Some(there));
    let late = outstanding(system, "rewritten, outstanding=");
    assert!(late >= 4, "{late}");
    peer.set_stalled(false);
    let (first, second) = on_the_wire(&tap);
    let mut arrived = 0;
    while let Ok((datagram, _)) = socket.recv_from(Duration::from_secs(1)) {
        arrived += datagram.len();
    }
    Seen {
        first,
        second,
        arrived,
        answer: duo.answer(),
    }
}

/// Bytes of both patterns in the frames of all datagrams to the sink, whatever
/// their checksums say.
fn on_the_wire(tap: &Receiver<Vec<u8>>) -> (usize, usize) {
    let mut numbers = BTreeMap::new();
    let (mut first, mut second, mut bytes) = (0, 0, 0);
    while bytes < LARGE * MANY {
        let frame = tap.recv_timeout(PATIENCE).unwrap();
        let Some(found) = Located::find(&frame).filter(|f| f.protocol == PROTO_UDP) else {
            continue;
        };
        let offset = usize::from(found.fragment() & 0x1fff) * 8;
        let (id, mut payload) = (found.header[4..6].to_vec(), found.payload);
        if offset == 0 && payload[2..4] == SINK.to_be_bytes() {
            numbers.insert(id.clone(), numbers.len());
        }
        let Some(n) = numbers.get(&id) else {
            continue;
        };
        if offset == 0 {
            payload = &payload[UDP..];
        }
        let counts = both(payload, n * LARGE + offset.saturating_sub(UDP));
        (first, second) = (first + counts.0, second + counts.1);
        bytes += payload.len();
    }
    (first, second)
}

type Rewritten = fn(&mut Booted, &Peer) -> Seen;
const SCENARIOS: [(&str, Rewritten, usize); 2] = [
    ("stream", rewritten_stream, MEBIBYTE),
    ("datagrams", rewritten_datagrams, LARGE * MANY),
];

fn memory_rewritten_while_it_is_sent_arrives_as_it_was() {
    let mut wired = Wired::start("passing", &Options::default().with_dhcp(GUEST));
    for (name, scenario, bytes) in SCENARIOS {
        let seen = scenario(&mut wired.system, &wired.peer);
        println!("{name}: {seen:?}");
        assert_eq!((seen.first, seen.second), (bytes, 0), "{name}");
        assert_eq!(seen.arrived, bytes, "{name}");
        let answer = &seen.answer;
        // Done in full, and the client has what it wrote.
        assert_eq!(answer.get("bytes"), bytes as u64);
        assert_eq!(answer.get("wrong"), 0);
        assert!(answer.get("faults") >= 1);
        assert_eq!(answer.get("copied_out") + answer.get("library"), 0);
    }
    wired.assert_sound();
}

/// The mutation: without protection the host sees what was written later, and
/// the test above would fail. Datagrams do not even arrive: their checksums are
/// those of what they were.
#[test]
fn without_protection_memory_arrives_as_it_was_rewritten() {
    let mut mutated = options(system("passing"));
    mutated.features = vec!["io-manager/mutation-no-protection".to_owned()];
    let mut wired = Wired::boot(mutated, &Options::default().with_dhcp(GUEST));
    for (name, scenario, bytes) in SCENARIOS {
        let seen = scenario(&mut wired.system, &wired.peer);
        println!("{name}: {seen:?}");
        assert!(seen.second > 0, "{name}");
        assert_eq!(seen.first + seen.second, bytes, "{name}");
        assert_eq!(seen.answer.get("faults"), 0);
    }
}

/// With hardly any frames in reserve the writer has to wait for them; what is
/// sent stays what it was all the same.
fn who_writes_waits_for_frames() {
    let description = std::fs::read_to_string(system("passing")).unwrap();
    let short = description.replace("frames = \"8 MiB\"", "frames = \"64 KiB\"");
    assert_ne!(short, description);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("system.toml");
    std::fs::write(&file, short).unwrap();
    let mut wired = Wired::boot(options(file), &Options::default().with_dhcp(GUEST));
    let duo = Passer::new(&wired.peer, DUO);
    let mut stream = duo.connect();
    let order = order(MEBIBYTE, 1, Technique::Tcow);
    duo.tell("rewrite tcp", &order, None);
    // As long as nobody reads, nothing frees frames.
    let system = &mut wired.system;
    system.wait_numbers("counters", PATIENCE, |now| now["io.faults.busy"] > 0);
    // Nobody else has to wait.
    let solo = Passer::new(&wired.peer, SOLO);
    let _sent = solo.sends_datagrams(&Order::plain(1400, 16));
    drop(solo);
    let mut bytes = vec![0; MEBIBYTE];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(both(&bytes, 0), (MEBIBYTE, 0));
    let answer = duo.answer();
    println!("{answer:?}");
    assert_eq!(answer.get("wrong"), 0);
    drop(duo);
    wired.assert_sound();
}

/// Has a component die with datagrams on their way over a stalled link, and
/// gives how many arrive once it is not: whole, and as they were.
fn die(wired: &mut Wired, port: u16, name: &str, technique: Technique, check: Check) -> usize {
    let (socket, there) = sink(&wired.peer);
    let system = &mut wired.system;
    wired.peer.set_stalled(true);
    let passer = Passer::new(&wired.peer, port);
    passer.tell("die udp", &order(LARGE, MANY, technique), Some(there));
    let late = outstanding(system, "dies, ");
    assert!(late >= 4, "{late}");
    let report = system.next_line("FAULT component=");
    for part in [name, "thread=main", "kind=write", "address=0x8 "] {
        assert!(report.contains(part), "{report}");
    }
    let sockets = format!("io.sockets.{name}");
    check(&system.wait_numbers("resources", PATIENCE, |now| now.get(&sockets) == Some(&0)));
    wired.peer.set_stalled(false);
    let mut whole = 0;
    while let Ok((datagram, _)) = socket.recv_from(Duration::from_secs(2)) {
        assert_eq!(both(&datagram, whole * LARGE).0, LARGE);
        whole += 1;
    }
    whole
}

/// The same over a connection that nobody reads from: it is reset.
fn die_streaming(wired: &mut Wired) {
    let other = Passer::new(&wired.peer, OTHER);
    let mut stream = other.connect();
    other.tell("die tcp", &order(MEBIBYTE, 1, Technique::Tcow), None);
    assert_eq!(outstanding(&mut wired.system, "dies, "), 1);
    let report = wired.system.next_line("FAULT component=");
    assert!(report.contains("other"), "{report}");
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    assert_eq!(both(&bytes, 0).0, bytes.len());
}

/// What is looked at while the frames wait.
type Check<'a> = &'a dyn Fn(&BTreeMap<String, u64>);

fn frames_of_the_dead_wait_for_the_device() {
    let mut wired = Wired::start("passing", &Options::default().with_dhcp(GUEST));
    let before = wired.system.numbers("resources")["io.reserve"];
    // Frames of the manager's.
    let wait = |now: &BTreeMap<_, _>| assert!(now["io.reserve"] < before, "{now:#?}");
    let copied = die(&mut wired, SOLO, "solo", Technique::CopyOut, &wait);
    // By reference: the memory that the dead client had.
    let named = die(&mut wired, DUO, "duo", Technique::Tcow, &|_| ());
    println!("{copied} and {named} of {MANY} datagrams");
    die_streaming(&mut wired);
    // Those that nobody had begun to send are gone.
    assert!((2..MANY).contains(&copied) && (2..MANY).contains(&named));
    let back = |now: &BTreeMap<_, _>| now.get("io.reserve") == Some(&before);
    wired.system.wait_numbers("resources", PATIENCE, back);
    wired.assert_echo(1400, PATIENCE);
    wired.assert_stream(100_000, PATIENCE);
    wired.assert_sound_without(&["solo", "duo", "other"]);
}

in_both_placements! {
    memory_rewritten_while_it_is_sent_arrives_as_it_was,
    who_writes_waits_for_frames,
    frames_of_the_dead_wait_for_the_device,
}
