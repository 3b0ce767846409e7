//! A load in lock step against a peer with threads on the other end.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use frame_peer::lockstep::{Expected, Flow, Kind, Lockstep, Way};
use frame_peer::{FaultRates, Options, Peer, pattern};

const PATIENCE: Duration = Duration::from_secs(20);
const THERE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const PORT: u16 = 21;

/// The options of the guest's end.
fn there(mtu: usize) -> Options {
    Options {
        mac: [0x52, 0x54, 0, 0, 2, 15],
        address: THERE,
        mtu,
        ..Options::default()
    }
}

fn pair(mtu: usize) -> (Lockstep, Peer) {
    let (a, b) = UnixStream::pair().unwrap();
    let here = Options {
        mtu,
        ..Options::default()
    };
    let peer = Lockstep::over(a, &here).unwrap();
    (peer, Peer::over(b, &there(mtu)).unwrap())
}

fn open(peer: &mut Lockstep, kind: Kind, way: Way, burst: (usize, usize)) -> Flow {
    // One of its own for each flow: the word that ends one is echoed too.
    static NEXT: AtomicU16 = AtomicU16::new(5000);
    let port = NEXT.fetch_add(1, Ordering::Relaxed);
    let to = SocketAddrV4::new(THERE, PORT);
    Flow::open(peer, (kind, way), (port, to), burst, PATIENCE).unwrap()
}

#[test]
fn echoes_of_all_sizes_come_back_right() {
    for mtu in [1500, 9000] {
        let (mut peer, guest) = pair(mtu);
        guest.serve_echo(PORT).unwrap();
        for kind in [Kind::Datagrams, Kind::Stream] {
            for burst in [(1, 8), (64, 64), (64, 1400), (4, 16_384), (4, 61_440)] {
                let mut flow = open(&mut peer, kind, Way::Echo, burst);
                (0..5).for_each(|_| flow.burst(&mut peer).unwrap());
                assert_eq!(flow.done(), 5 * (burst.0 * burst.1) as u64);
                flow.end(&mut peer).unwrap();
            }
        }
    }
}

/// Serves one flow of datagrams as the guest's application does, with one byte
/// wrong if `at` is some.
fn serve(guest: &Peer, way: Way, count: usize, bytes: usize, at: Option<usize>) -> JoinHandle<()> {
    let socket = guest.udp_socket(PORT).unwrap();
    std::thread::spawn(move || {
        let mut done = 0;
        loop {
            for n in 0..if way == Way::In { count } else { 1 } {
                let (datagram, from) = socket.recv_from(PATIENCE).unwrap();
                if datagram == u64::MAX.to_le_bytes() {
                    return;
                }
                if way == Way::In {
                    let right = pattern::first_wrong(&datagram, done as u64).is_none();
                    done += if right { bytes } else { 0 };
                    let told = if at.is_some() { done - 1 } else { done } as u64;
                    if n + 1 == count {
                        socket.send_to(&told.to_le_bytes(), from).unwrap();
                    }
                    continue;
                }
                assert_eq!(datagram, (count as u64).to_le_bytes());
                for _ in 0..count {
                    let mut operation = vec![0; bytes];
                    pattern::fill(&mut operation, done as u64);
                    at.into_iter().for_each(|at| operation[at] ^= 1);
                    socket.send_to(&operation, from).unwrap();
                    done += bytes;
                }
            }
        }
    })
}

#[test]
fn one_way_is_confirmed_and_a_wrong_byte_is_an_error() {
    for way in [Way::In, Way::Out] {
        let (mut peer, guest) = pair(1500);
        let server = serve(&guest, way, 7, 3000, None);
        let mut flow = open(&mut peer, Kind::Datagrams, way, (7, 3000));
        (0..20).for_each(|_| flow.burst(&mut peer).unwrap());
        flow.end(&mut peer).unwrap();
        server.join().unwrap();
        let server = serve(&guest, way, 7, 3000, Some(2999));
        let mut flow = open(&mut peer, Kind::Datagrams, way, (7, 3000));
        let error = flow.burst(&mut peer).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
        flow.end(&mut peer).unwrap();
        server.join().unwrap();
    }
}

#[test]
fn what_does_not_come_is_an_error() {
    let (mut peer, _guest) = pair(1500);
    let to = SocketAddrV4::new(THERE, PORT);
    let soon = Duration::from_millis(200);
    let flow = Flow::open(
        &mut peer,
        (Kind::Datagrams, Way::Echo),
        (5000, to),
        (1, 64),
        soon,
    );
    let error = flow.unwrap().burst(&mut peer).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let refused = Flow::open(
        &mut peer,
        (Kind::Stream, Way::Echo),
        (5000, to),
        (1, 64),
        soon,
    );
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn streams_one_way_survive_a_bad_cable() {
    let (mut peer, guest) = pair(1500);
    let rates = FaultRates {
        loss: 10,
        duplicate: 10,
        reorder: 10,
        corrupt: 2,
    };
    guest.set_faults(rates, rates);
    let (count, bytes) = (15, 4096);
    let mut acceptor = guest.tcp_listen(PORT, 1).unwrap();
    let server = std::thread::spawn(move || {
        let mut stream = acceptor.accept(PATIENCE).unwrap();
        let mut burst = vec![0; count * bytes];
        for n in 1..=4 {
            stream.read_exact(&mut burst).unwrap();
            let at = (n - 1) * burst.len() as u64;
            assert_eq!(pattern::first_wrong(&burst, at), None);
            let done = n * burst.len() as u64;
            stream.write_all(&done.to_le_bytes()).unwrap();
        }
        assert_eq!(stream.read(&mut burst).unwrap(), 0);
    });
    let mut flow = open(&mut peer, Kind::Stream, Way::In, (count, bytes));
    (0..4).for_each(|_| flow.burst(&mut peer).unwrap());
    flow.end(&mut peer).unwrap();
    server.join().unwrap();
}

#[test]
fn a_burst_is_written_at_once() {
    // Frames of 1514 bytes at most, each behind four that say how long it is.
    let frame = |ip_payload: usize| 4 + 14 + 20 + ip_payload;
    assert_eq!(written_at_once((32, 1400)), 32 * frame(8 + 1400));
    let datagram = 41 * frame(1480) + frame(8 + 61_440 - 41 * 1480);
    assert_eq!(written_at_once((4, 61_440)), 4 * datagram);
}

/// The bytes that are on the link, though nobody reads there, after a burst of
/// datagrams: `burst.0` of `burst.1` bytes.
fn written_at_once(burst: (usize, usize)) -> usize {
    let (a, mut b) = UnixStream::pair().unwrap();
    let mut peer = Lockstep::over(a, &Options::default()).unwrap();
    let to = SocketAddrV4::new(THERE, PORT);
    let soon = Duration::from_millis(50);
    // Asks who has the address first; until then a datagram waits.
    let asks = (Kind::Datagrams, Way::Out);
    let mut flow = Flow::open(&mut peer, asks, (5000, to), (1, 64), soon).unwrap();
    flow.burst(&mut peer).unwrap_err();
    let mut request = [0; 256];
    let len = b.read(&mut request).unwrap();
    b.write_all(&arp_reply(&request[..len])).unwrap();
    flow.burst(&mut peer).unwrap_err();
    let mut all = vec![0; 1 << 20];
    assert!(b.read(&mut all).unwrap() > 0);
    let ways = (Kind::Datagrams, Way::Echo);
    let mut flow = Flow::open(&mut peer, ways, (5001, to), burst, soon).unwrap();
    flow.burst(&mut peer).unwrap_err();
    let mut had = 0;
    b.set_nonblocking(true).unwrap();
    while let Ok(len) = b.read(&mut all) {
        had += len;
    }
    had
}

/// What [`THERE`] answers to who asks for it, behind its length.
fn arp_reply(request: &[u8]) -> Vec<u8> {
    let asker = request[4 + 6..4 + 12].try_into().unwrap();
    let mac = there(1500).mac;
    let reply = frame_peer::wire::arp(2, (mac, THERE), (asker, Options::default().address));
    let frame = frame_peer::wire::ethernet(asker, mac, frame_peer::wire::TYPE_ARP, &reply);
    let mut out = Vec::new();
    frame_peer::enframe(&frame, &mut out);
    out
}

#[test]
fn the_guest_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("link");
    let expected = Expected::at(&path).unwrap();
    let nobody = expected.accept(&Options::default(), Duration::from_millis(50));
    assert_eq!(nobody.err().unwrap().kind(), ErrorKind::TimedOut);
    let guest = Peer::connect(&path, &there(1500), PATIENCE).unwrap();
    guest.serve_echo(PORT).unwrap();
    let mut peer = expected.accept(&Options::default(), PATIENCE).unwrap();
    let mut flow = open(&mut peer, Kind::Stream, Way::Echo, (1, 64));
    flow.burst(&mut peer).unwrap();
    flow.end(&mut peer).unwrap();
}
