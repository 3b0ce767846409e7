//! Data passing: what is copied and what goes by reference, on the very system,
//! by the counters and by what is on the wire.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::collections::BTreeMap;

use emulator_tests::capture::payload;
use emulator_tests::in_both_placements;
use emulator_tests::passer::{Answer, Order, Passer};
use emulator_tests::wire::{GUEST, Wired};
use emulator_tests::{Booted, options, system};
use frame_peer::Options;
use socket_api::{Semantics, Technique};

/// Ports of a component with one thread and of the one with two.
const SOLO: u16 = 12;
const DUO: u16 = 22;
const MEBIBYTE: usize = 1 << 20;
type Numbers = BTreeMap<String, u64>;

/// Nothing was copied, neither by the manager nor by the library.
fn assert_not_copied(answer: &Answer) {
    assert_eq!((answer.get("copied"), answer.get("library")), (0, 0));
}

fn a_mebibyte_goes_by_reference_and_comes_with_one_copy() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("capture");
    let recorded = cargo_ioipc::Options {
        pcap: Some(file.clone()),
        ..options(system("passing"))
    };
    let mut wired = Wired::boot(recorded, &Options::default().with_dhcp(GUEST));
    let solo = Passer::new(&wired.peer, SOLO);
    let order = Order::plain(MEBIBYTE, 1);
    let sent = solo.sends_stream(&order);
    println!("sent: {sent:?}");
    assert_eq!(sent.get("referenced_out"), MEBIBYTE as u64);
    assert!(sent.get("copied_tail") <= 64 << 10);
    assert_eq!(sent.get("copied"), sent.get("copied_tail"));
    assert_eq!((sent.get("library"), sent.get("refused")), (0, 0));
    assert_eq!(sent.get("pages"), 0);
    let received = solo.receives_stream(&order);
    println!("received: {received:?}");
    assert_eq!(received.get("copied_in"), MEBIBYTE as u64);
    assert_eq!(received.get("copied"), MEBIBYTE as u64);
    assert_eq!((received.get("library"), received.get("pages")), (0, 0));
    // No more than may wait for a reader.
    for (size, count) in [(8 << 10, 8), (16 << 10, 8), (65_507, 2)] {
        let order = Order::plain(size, count);
        let sent = solo.sends_datagrams(&order);
        assert_not_copied(&sent);
        assert_eq!(sent.get("referenced_out"), order.total() as u64);
        assert_eq!(sent.get("pages"), 0);
        let received = solo.receives_datagrams(&order);
        assert_eq!(received.get("copied"), order.total() as u64);
        assert_eq!((received.get("library"), received.get("pages")), (0, 0));
    }
    drop(solo);
    let out = payload(&file, GUEST);
    let came = payload(&file, wired.peer.address());
    assert_eq!(out.streams[&SOLO], MEBIBYTE as u64);
    assert_eq!(came.streams.values().sum::<u64>(), MEBIBYTE as u64);
    let counters = wired.system.numbers("counters");
    assert_eq!(counters["net.bytes_referenced_out"], out.bytes);
    assert_eq!(counters["net.bytes_copied"], 0);
    wired.assert_sound();
}

/// A semantics, a forced technique, and by which technique its sends and its
/// receives are carried out where a blocked client has one thread.
type Row = (Semantics, Option<Technique>, &'static str, &'static str);
const ROWS: [Row; 10] = {
    use Semantics as S;
    [
        (S::Copy, None, "output.copy-out", "input.copy-in"),
        (S::EmulatedCopy, None, "output.reference", "input.copy-in"),
        (S::Share, None, "output.reference", "input.copy-in"),
        (S::EmulatedShare, None, "output.reference", "input.copy-in"),
        (S::Move, None, "output.remove", "input.create"),
        (S::EmulatedMove, None, "output.hide", "input.reinstate"),
        (S::WeakMove, None, "output.reference", "input.copy-in"),
        (
            S::EmulatedWeakMove,
            None,
            "output.reference",
            "input.copy-in",
        ),
        (S::EmulatedCopy, Some(Technique::Tcow), "output.tcow", ""),
        (
            S::EmulatedCopy,
            Some(Technique::CopyOut),
            "output.copy-out",
            "",
        ),
    ]
};
/// Sizes of one call, over UDP and over TCP.
const DATAGRAMS: [usize; 5] = [1, 1472, 1473, 8192, 60_000];
const WRITES: [usize; 4] = [1, 1460, 4096, 50_000];
/// Calls for each size.
const CALLS: usize = 3;

/// The counters once they stand still: who has answered has still to ask for the
/// next order, and on a busy host that may take a while.
fn settled(system: &mut Booted) -> Numbers {
    let mut now = system.numbers("counters");
    for _ in 0..50 {
        let before = std::mem::replace(&mut now, system.numbers("counters"));
        if before["io.requests"] == now["io.requests"] {
            break;
        }
    }
    now
}

/// How often each technique was used from `before` to `now`, but for receives that
/// other components' sends became: echo's last ones do when the next frame comes.
fn uses(before: &Numbers, now: &Numbers) -> Numbers {
    let since = |name: &str| now[name] - before.get(name).copied().unwrap_or(0);
    let techniques = now
        .keys()
        .filter(|name| name.starts_with("io.output.") || name.starts_with("io.input."));
    let used = techniques.map(|name| {
        let others = match name.as_str() {
            "io.input.copy-in" => since("io.reposts"),
            _ => 0,
        };
        let short = name.trim_start_matches("io.").to_owned();
        (short, since(name) - others)
    });
    used.collect()
}

/// Wants `wanted` used `calls` times, or more often for a stream, and beside
/// it only what commands and answers need, of which there were `orders`.
fn assert_used(used: &Numbers, wanted: &str, calls: u64, orders: u64) {
    for (name, &count) in used {
        let talk = match name.as_str() {
            // An answer, and to receive datagrams another one before.
            "output.reference" => orders..=2 * orders,
            "input.copy-in" => orders..=orders,
            _ => 0..=0,
        };
        match name == wanted {
            true => assert!(count >= calls + talk.start(), "{name} of {used:?}"),
            false => assert!(talk.contains(&count), "{name} of {used:?} for {wanted}"),
        }
    }
}

/// All sizes, at several offsets in the page where the application has its
/// own memory; how many calls that were, and how many orders.
fn each_size(row: &Row, sizes: &[usize], work: &dyn Fn(&Order) -> u64) -> (u64, u64) {
    let offsets: &[usize] = match row.0.is_system_allocated() {
        true => &[0],
        false => &[0, 1, 4093],
    };
    let order = |(n, size): (usize, &usize)| Order {
        offset: offsets[n % offsets.len()],
        ..Order::plain(*size, CALLS).with(row.0, row.1)
    };
    let calls = sizes.iter().enumerate().map(|size| work(&order(size)));
    (calls.sum(), sizes.len() as u64)
}

/// Sends and receives with one semantics, over UDP and TCP.
fn check_row(system: &mut Booted, solo: &Passer<'_>, row: &Row) {
    let mut before = settled(system);
    let mut used = |wanted, sizes, work: &dyn Fn(&Order) -> u64| {
        let (calls, orders) = each_size(row, sizes, work);
        let now = settled(system);
        assert_used(&uses(&before, &now), wanted, calls, orders);
        before = now;
    };
    let calls = |_| CALLS as u64;
    used(row.2, &DATAGRAMS, &|o| calls(solo.sends_datagrams(o)));
    used(row.2, &WRITES, &|o| calls(solo.sends_stream(o)));
    if !row.3.is_empty() {
        used(row.3, &DATAGRAMS, &|o| calls(solo.receives_datagrams(o)));
        used(row.3, &WRITES, &|o| solo.receives_stream(o).get("calls"));
    }
}

fn every_semantics_is_carried_out_by_its_technique() {
    let mut wired = Wired::start("passing", &Options::default().with_dhcp(GUEST));
    let solo = Passer::new(&wired.peer, SOLO);
    for row in &ROWS {
        check_row(&mut wired.system, &solo, row);
    }
    drop(solo);
    // Nobody knows that the other thread does not write meanwhile.
    let duo = Passer::new(&wired.peer, DUO);
    let row = (
        Semantics::EmulatedCopy,
        None,
        "output.copy-out",
        "input.copy-in",
    );
    check_row(&mut wired.system, &duo, &row);
    drop(duo);
    wired.assert_sound();
}

/// Bytes that go in one frame where packets may have 9000.
const JUMBO: usize = 8 << 10;

fn a_jumbo_frame_goes_by_reference_and_comes_with_one_copy() {
    let jumbo = Options {
        mtu: 9000,
        ..Options::default()
    };
    let mut wired = Wired::start("jumbo", &jumbo);
    let solo = Passer::new(&wired.peer, SOLO);
    let order = Order::plain(JUMBO, 16);
    let before = wired.peer.stats();
    let sent = solo.sends_datagrams(&order);
    let after = wired.peer.stats();
    assert_not_copied(&sent);
    assert_eq!(sent.get("referenced_out"), order.total() as u64);
    assert_eq!(sent.get("pages"), 0);
    assert_eq!(after.fragments, before.fragments);
    // One frame each, and the answer.
    assert_eq!(after.udp - before.udp, 16 + 1);
    let before = wired.system.numbers("counters");
    let received = solo.receives_datagrams(&order);
    assert_eq!(received.get("copied"), order.total() as u64);
    assert_eq!((received.get("library"), received.get("pages")), (0, 0));
    let after = wired.system.numbers("counters");
    // One frame each, and the command.
    let frames = after["nic.rx.frames"] - before["nic.rx.frames"];
    assert!((17..=20).contains(&frames), "{frames} frames");
    assert_eq!(after["net.datagrams_reassembled"], 0);
    for order in [Order::plain(8972, 4), Order::plain(MEBIBYTE, 1)] {
        let received = solo.receives_stream(&order);
        assert_eq!(received.get("copied"), order.total() as u64);
        let sent = solo.sends_stream(&order);
        assert_eq!(sent.get("pages"), 0);
    }
    drop(solo);
    wired.assert_sound();
}

/// Who gives buffers away waits for some of them to come back, of which the
/// device is asked to tell, again and again.
fn datagrams_given_away_all_arrive() {
    let wired = Wired::with_dhcp("passing");
    let solo = Passer::new(&wired.peer, SOLO);
    for (_, size) in (0..50).flat_map(|round| DATAGRAMS.map(|size| (round, size))) {
        let order = Order::plain(size, CALLS).with(Semantics::WeakMove, None);
        assert_not_copied(&solo.sends_datagrams(&order));
    }
}

in_both_placements! {
    datagrams_given_away_all_arrive,
    a_mebibyte_goes_by_reference_and_comes_with_one_copy,
    every_semantics_is_carried_out_by_its_technique,
    a_jumbo_frame_goes_by_reference_and_comes_with_one_copy,
}
