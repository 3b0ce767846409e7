//! Conventional IPC on the very system: what arrives is right, and how often
//! each byte is copied, by the counters and by what is on the wire.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::collections::BTreeMap;

use emulator_tests::capture::payload;
use emulator_tests::passer::{Answer, Order, Passer};
use emulator_tests::wire::{GUEST, Wired};
use emulator_tests::{options, system};
use frame_peer::Options;
use socket_api::Semantics;

/// Ports of a component with one thread and of the one with two.
const SOLO: u16 = 12;
const DUO: u16 = 22;
const MEBIBYTE: usize = 1 << 20;
/// Sizes of datagrams, and of what is sent and received over a connection.
const DATAGRAMS: [usize; 8] = [1, 64, 512, 1472, 1473, 8192, 16_384, 61_440];
const WRITES: [usize; 6] = [1, 64, 1460, 4096, 16_384, 61_440];
type Numbers = BTreeMap<String, u64>;

/// What an order cost was one copy by the manager, and nothing else.
fn assert_copied_once(answer: &Answer, which: &str, order: &Order) {
    let total = order.total() as u64;
    assert_eq!(answer.get(which), total, "{order:?}: {answer:?}");
    assert_eq!(answer.get("referenced_out"), 0, "{order:?}: {answer:?}");
    assert_eq!(answer.get("pages"), 0, "{order:?}: {answer:?}");
}

/// All sizes, each way, over UDP and TCP.
fn pass_all_sizes(solo: &Passer<'_>) {
    for size in DATAGRAMS {
        let order = Order::plain(size, 2);
        assert_copied_once(&solo.sends_datagrams(&order), "copied_out", &order);
        assert_copied_once(&solo.receives_datagrams(&order), "copied_in", &order);
    }
    for order in WRITES
        .map(|size| Order::plain(size, 4))
        .into_iter()
        .chain([Order::plain(MEBIBYTE, 1)])
    {
        assert_copied_once(&solo.sends_stream(&order), "copied_out", &order);
        assert_copied_once(&solo.receives_stream(&order), "copied_in", &order);
    }
}

#[test]
fn each_byte_is_copied_three_times_each_way() {
    three_copies_in("conventional");
}

/// Where the server runs makes no difference to what is copied.
#[test]
fn a_server_inside_the_manager_copies_as_much() {
    three_copies_in("conventional-kernel");
}

fn three_copies_in(name: &str) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("capture");
    let recorded = cargo_ioipc::Options {
        pcap: Some(file.clone()),
        ..options(system(name))
    };
    let mut wired = Wired::boot(recorded, &Options::default().with_dhcp(GUEST));
    let solo = Passer::new(&wired.peer, SOLO);
    pass_all_sizes(&solo);
    drop(solo);
    let numbers = wired.system.numbers("counters");
    let sent = payload(&file, GUEST);
    let came = payload(&file, wired.peer.address()).bytes;
    // Answers and commands included, which are sockets' payload too.
    let out = sent.bytes - sent.again;
    for copied in ["io.copied.out", "net.copied_message_to_socket"] {
        assert_eq!(numbers[copied], out, "{copied}");
    }
    assert_eq!(numbers["net.copied_socket_to_frame"], sent.bytes);
    for copied in [
        "io.copied.in",
        "net.copied_socket_to_message",
        "net.copied_frame_to_socket",
    ] {
        assert_eq!(numbers[copied], came, "{copied}");
    }
    assert!(out > 1_500_000 && came > 1_500_000, "{out} out, {came} in");
    nothing_else_was_done(&numbers);
    wired.assert_sound();
}

fn nothing_else_was_done(numbers: &Numbers) {
    for never in [
        "io.referenced.out",
        "io.referenced.in",
        "io.pages.mapped",
        "io.pages.unmapped",
        "io.pages.protected",
        "io.copied.tail",
        "io.tails",
        "io.output.reference",
        "io.messages.full",
        "io.server.faults",
        "net.manager_faults",
        "net.drop_socket_buffer",
        "net.refused_socket_buffer",
        "net.completions_lost",
    ] {
        assert_eq!(numbers[never], 0, "{never}");
    }
}

/// Semantics say what the caller sees; by value they are all kept.
#[test]
fn every_semantics_is_kept_by_copying() {
    let mut wired = Wired::start("conventional", &Options::default().with_dhcp(GUEST));
    for port in [SOLO, DUO] {
        let passer = Passer::new(&wired.peer, port);
        for semantics in Semantics::ALL {
            for size in [1, 1473, 8192, 50_000] {
                let order = Order::plain(size, 3).with(*semantics, None);
                for (sent, received) in [
                    (
                        passer.sends_datagrams(&order),
                        passer.receives_datagrams(&order),
                    ),
                    (passer.sends_stream(&order), passer.receives_stream(&order)),
                ] {
                    let total = order.total() as u64;
                    assert_eq!(sent.get("copied_out"), total, "{order:?}: {sent:?}");
                    assert_eq!(sent.get("referenced_out"), 0, "{order:?}: {sent:?}");
                    assert_eq!(received.get("copied_in"), total, "{order:?}");
                    let moves = matches!(semantics, Semantics::Move | Semantics::EmulatedMove);
                    assert_eq!(sent.get("pages") != 0, moves, "{order:?}: {sent:?}");
                }
            }
        }
    }
    wired.assert_sound();
}
