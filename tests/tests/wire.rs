//! The protocol server on a wire of the test's own: what no ordinary network
//! shows at will.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use emulator_tests::in_both_placements;
use emulator_tests::wire::{GUEST, Wired, exchange};
use frame_peer::wire::{Ipv4, PROTO_UDP, TYPE_IPV4, ethernet, udp};
use frame_peer::{DnsConfig, DnsMood, FaultRates, Options, Rng};

const PATIENCE: Duration = Duration::from_secs(30);
/// Connections opened at once; no network of QEMU's own holds any of them back.
const CROWD: usize = 64;

fn datagrams_of_every_size_and_pings_come_back() {
    let mut wired = Wired::with_dhcp("wire");
    for len in [0, 1, 17, 18, 19, 1471, 1472, 1473, 2048] {
        assert!(wired.try_echo(GUEST, len), "{len} bytes");
    }
    // In fragments both ways, as far as IPv4 goes.
    for len in [1472, 1473, 2960, 4096, 8192, 16_000, 32_768, 65_507] {
        assert!(wired.try_large(len, PATIENCE), "{len} bytes");
    }
    for len in [0, 56, 1472] {
        let payload = Rng::new(1).bytes(len);
        wired.peer.ping(GUEST, &payload, PATIENCE).unwrap();
    }
    // More than there are send slots, none of which anybody asks for.
    for _ in 0..300 {
        wired.peer.ping(GUEST, &[7; 56], PATIENCE).unwrap();
    }
    who_is_not_there_stops_nobody_else(&mut wired);
    wired.assert_sound();
}

/// An echo for hosts that are not there, and one for us: ours comes before the
/// guest has asked for them twice.
fn who_is_not_there_stops_nobody_else(wired: &mut Wired) {
    let mac = wired.peer.resolve(GUEST, PATIENCE).unwrap();
    let frames = wired.peer.tap();
    for n in 101..111 {
        let absent = Ipv4Addr::new(10, 0, 2, n);
        let datagram = udp((absent, 4000), (GUEST, 7), b"forged");
        let packet = Ipv4::new(absent, GUEST, PROTO_UDP).packet(&datagram);
        let frame = ethernet(mac, wired.peer.mac(), TYPE_IPV4, &packet);
        wired.peer.send_frame(&frame).unwrap();
    }
    assert!(wired.try_echo(GUEST, 33));
    let (mut echoed, mut asked) = (false, 0);
    while asked < 2 {
        let frame = frames.recv_timeout(PATIENCE).unwrap();
        asked += usize::from(frame[12..14] == [8, 6] && frame[38..42] == [10, 0, 2, 101]);
        // Our echo, by the length of its datagram.
        echoed |= frame[12..14] == [8, 0] && frame[23] == 17 && frame[38..40] == [0, 41];
    }
    assert!(echoed, "it waited for who is not there");
    // And a stream, which another component of the same server serves.
    wired.assert_stream(10_000, PATIENCE);
}

fn jumbo_packets_go_as_they_are() {
    let options = Options {
        mtu: 9000,
        ..Options::default()
    };
    let mut wired = Wired::start("jumbo", &options);
    assert_eq!(wired.call("address", PATIENCE), "10.0.2.15/24 9000");
    for len in [1, 1472, 1473, 8971, 8972, 8973, 30_000, 65_507] {
        assert!(wired.try_large(len.max(4), PATIENCE), "{len} bytes");
    }
    let before = wired.peer.stats();
    assert!(wired.try_large(8972, PATIENCE));
    wired.assert_stream(1 << 20, PATIENCE);
    let (after, longest) = (wired.peer.stats(), 9000 + 14);
    assert_eq!(after.fragments, before.fragments);
    // A mebibyte in packets of 1500 bytes would be 700 of them.
    assert!(
        after.tcp - before.tcp < 500,
        "{before:?} {after:?} {longest}"
    );
    wired
        .peer
        .ping(GUEST, &Rng::new(1).bytes(8972), PATIENCE)
        .unwrap();
    wired.assert_sound();
}

fn many_connections_opened_at_once_are_all_served() {
    let mut wired = Wired::with_dhcp("wire");
    let peer = &wired.peer;
    let to = SocketAddrV4::new(GUEST, 7);
    std::thread::scope(|scope| {
        let opening: Vec<_> = (0..CROWD)
            .map(|_| scope.spawn(|| peer.tcp_connect(to, PATIENCE).unwrap()))
            .collect();
        let open: Vec<_> = opening.into_iter().map(|t| t.join().unwrap()).collect();
        for mut stream in open {
            scope.spawn(move || exchange(&mut stream, 10_000, PATIENCE));
        }
    });
    let counters = wired.system.numbers("counters");
    assert_eq!(counters["net.drop_backlog_overflow"], 0, "{counters:#?}");
    wired.assert_sound();
}

fn a_bad_cable_costs_time_but_no_byte() {
    let mut wired = Wired::with_dhcp("wire");
    let bad = FaultRates {
        loss: 10,
        duplicate: 20,
        reorder: 50,
        corrupt: 5,
    };
    wired.peer.set_faults(bad, bad);
    wired.assert_stream(512 << 10, Duration::from_secs(60));
    wired.assert_echo(1000, PATIENCE);
    wired
        .peer
        .set_faults(FaultRates::default(), FaultRates::default());
    let counters = wired.system.numbers("counters");
    assert!(counters["net.drop_bad_checksum"] + counters["net.drop_ip_checksum"] > 0);
    wired.assert_stream(512 << 10, PATIENCE);
    wired.assert_sound();
}

fn a_slow_reader_is_waited_for() {
    let mut wired = Wired::with_dhcp("wire");
    let before = wired.settled(None);
    let mut slow = wired.connect(PATIENCE);
    slow.set_patience(Duration::from_secs(2));
    // Written until nothing moves any more: both windows are shut.
    let bytes = Rng::new(9).bytes(4 << 20);
    let mut sent = 0;
    loop {
        match slow.write(&bytes[sent..]) {
            Ok(count) => sent += count,
            Err(error) => break assert_eq!(error.kind(), ErrorKind::TimedOut),
        }
        assert!(sent < bytes.len(), "the windows never shut");
    }
    // More than the peer's send buffer holds: the rest was taken.
    assert!(sent > 256 << 10, "{sent}");
    // Nobody else has to wait.
    wired.assert_echo(1000, PATIENCE);
    wired.assert_stream(100_000, PATIENCE);
    // Longer than a probe of the shut window takes.
    std::thread::sleep(Duration::from_secs(3));
    slow.set_patience(PATIENCE);
    let mut back = vec![0; sent];
    slow.read_exact(&mut back).unwrap();
    assert!(back == bytes[..sent]);
    slow.close();
    assert_eq!(slow.read(&mut [0; 1]).unwrap(), 0);
    drop(slow);
    wired.settled(Some(&before));
    wired.assert_sound();
}

fn components_call_out() {
    let mut wired = Wired::with_dhcp("wire");
    assert_eq!(wired.call("address", PATIENCE), "10.0.2.15/24 1500");
    wired.peer.serve_echo(5000).unwrap();
    assert_eq!(
        wired.call("connect 10.0.2.2:5000 300000", PATIENCE),
        "echoed 300000"
    );
    assert_eq!(wired.call("connect 10.0.2.2:5000 0", PATIENCE), "echoed 0");
    assert_eq!(
        wired.call("connect 10.0.2.2:5001 10", PATIENCE),
        "ConnectionRefused"
    );
    // Nobody has this address: no answer to ARP, and nobody to refuse.
    let nobody = wired.call("connect 10.0.2.99:5000 10", PATIENCE);
    assert!(
        ["HostUnreachable", "TimedOut"].contains(&&nobody[..]),
        "{nobody}"
    );
    wired.assert_sound();
}

fn names_are_looked_up_and_lies_are_not_believed() {
    let many = |dns: DnsConfig, n| dns.with("many.test", Ipv4Addr::new(198, 18, 0, n));
    let dns = (1..=250).fold(DnsConfig::default(), many);
    let dns = dns
        .with("one.test", Ipv4Addr::new(192, 0, 2, 1))
        .with("two.test", Ipv4Addr::new(192, 0, 2, 2))
        .with("two.test", Ipv4Addr::new(192, 0, 2, 3));
    let options = Options {
        dns: Some(dns),
        ..Options::default().with_dhcp(GUEST)
    };
    let mut wired = Wired::start("wire", &options);
    assert_eq!(wired.call("lookup one.test", PATIENCE), "found 192.0.2.1");
    assert_eq!(
        wired.call("lookup TWO.test", PATIENCE),
        "found 192.0.2.2 192.0.2.3"
    );
    assert_eq!(wired.call("lookup 10.1.2.3", PATIENCE), "found 10.1.2.3");
    assert_eq!(wired.call("lookup none.test", PATIENCE), "NotFound");
    assert_eq!(wired.call("lookup a..b", PATIENCE), "InvalidInput");
    let truth = ["found 192.0.2.1", "NotFound", "Other", "TimedOut"];
    for mood in [
        DnsMood::Failing,
        DnsMood::PointerLoop,
        DnsMood::Truncated,
        DnsMood::WrongId,
    ] {
        let answer = lied_to(&wired, mood);
        assert!(truth.contains(&&answer[..]), "{mood:?}: {answer}");
        assert_eq!(
            wired.call("lookup one.test", PATIENCE),
            "found 192.0.2.1",
            "{mood:?}"
        );
    }
    // What is truncated is not believed, and asked for over TCP.
    assert!(wired.peer.change_dns(|dns| dns.mood = DnsMood::OverTcp));
    assert_eq!(wired.call("lookup one.test", PATIENCE), "TimedOut");
    wired.peer.serve_dns_over_tcp().unwrap();
    assert_eq!(wired.call("lookup one.test", PATIENCE), "found 192.0.2.1");
    assert_eq!(
        wired.call("lookup many.test", PATIENCE),
        "found 198.18.0.1 198.18.0.2 198.18.0.3 198.18.0.4"
    );
    assert_eq!(wired.call("lookup none.test", PATIENCE), "NotFound");
    wired.assert_sound();
}

/// What a look-up yields whose first query is answered by a liar.
fn lied_to(wired: &Wired, mood: DnsMood) -> String {
    let tell = |address: [u8; 4], mood| {
        let names = |dns: &mut DnsConfig| {
            dns.names
                .insert("one.test".to_owned(), vec![address.into()]);
            dns.mood = mood;
        };
        assert!(wired.peer.change_dns(names));
    };
    tell([6, 6, 6, 6], mood);
    let queries = wired.peer.dns_queries();
    std::thread::scope(|scope| {
        let answer = scope.spawn(|| wired.call("lookup one.test", PATIENCE));
        let deadline = Instant::now() + PATIENCE;
        while wired.peer.dns_queries() == queries {
            assert!(Instant::now() < deadline, "nobody asked");
            std::thread::sleep(Duration::from_millis(1));
        }
        tell([192, 0, 2, 1], DnsMood::Honest);
        answer.join().unwrap()
    })
}

fn an_address_is_renewed_changed_lost_and_found() {
    let mut options = Options::default().with_dhcp(GUEST);
    if let Some(dhcp) = &mut options.dhcp {
        (dhcp.lease, dhcp.renew, dhcp.rebind) = (8, Some(2), Some(6));
    }
    let mut wired = Wired::start("wire", &options);
    let mut held = wired.connect(PATIENCE);
    // Renewed in time, without a new question and without anybody noticing.
    assert!(wired.peer.wait_dhcp(PATIENCE, |stats| stats.acks >= 3));
    assert_eq!(wired.peer.dhcp_stats().discovers, 1);
    held.write_all(b"still here").unwrap();
    held.read_exact(&mut [0; 10]).unwrap();
    // Another address from now on: the old one is refused at its renewal.
    let other = Ipv4Addr::new(10, 0, 2, 77);
    wired.peer.change_dhcp(|dhcp| dhcp.address = other);
    wired.system.next_line("address 10.0.2.77/24");
    assert!(wired.peer.dhcp_stats().naks >= 1);
    assert!(wired.try_echo(other, 100) || wired.try_echo(other, 100));
    assert!(!wired.try_echo(GUEST, 100), "the old address still answers");
    // The lease ends when nobody renews it.
    wired.peer.change_dhcp(|dhcp| dhcp.silent = true);
    wired.system.next_line("no address");
    assert!(
        !wired.try_echo(other, 100),
        "the address outlives its lease"
    );
    wired
        .peer
        .change_dhcp(|dhcp| (dhcp.silent, dhcp.lease) = (false, 3600));
    wired.system.next_line("address 10.0.2.77/24");
    assert!(wired.try_echo(other, 100) || wired.try_echo(other, 100));
    wired.assert_sound();
}

in_both_placements! {
    datagrams_of_every_size_and_pings_come_back,
    jumbo_packets_go_as_they_are,
    many_connections_opened_at_once_are_all_served,
    a_bad_cable_costs_time_but_no_byte,
    a_slow_reader_is_waited_for,
    components_call_out,
    names_are_looked_up_and_lies_are_not_believed,
    an_address_is_renewed_changed_lost_and_found,
}
