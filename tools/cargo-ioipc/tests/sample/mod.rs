//! A record with made-up figures, for tests of what shows one: plausible in
//! shape, and the same every time.
//!
//! An operation costs so much a wake-up, shared by its burst, so much a packet
//! and so much a byte copied; placement and data passing say how many of each.

use std::collections::BTreeMap;

use cargo_ioipc::bench::placement::record::{
    Case, FORMAT, Figure, Passing, Pattern, Placement, Protocol, Record, Row,
};

/// The largest operation, and a burst.
const LARGEST: u32 = 60 << 10;
/// Runs of each row.
const RUNS: u32 = 5;
/// Every way of passing data.
pub const PASSINGS: [Passing; 5] = [
    Passing::Copy,
    Passing::EmulatedCopy,
    Passing::Share,
    Passing::EmulatedMove,
    Passing::Conventional,
];

/// A record of every case.
pub fn record() -> Record {
    let mut rows = Vec::new();
    for placement in [Placement::Kernel, Placement::User] {
        for passing in PASSINGS {
            for (protocol, pattern, mtu) in series() {
                for (bytes, outstanding) in operations(protocol, mtu) {
                    rows.push(row(Case {
                        placement,
                        passing,
                        protocol,
                        pattern,
                        bytes,
                        outstanding,
                        mtu,
                    }));
                }
            }
        }
    }
    Record {
        format: FORMAT.to_owned(),
        version: "0.1.0".to_owned(),
        kernel: "seL4 5.0.0".to_owned(),
        accel: "tcg".to_owned(),
        quick: false,
        runs: RUNS,
        idle: BTreeMap::from([
            ("kernel/io".to_owned(), 76_400.0),
            ("user/io".to_owned(), 77_100.0),
        ]),
        rows,
    }
}

fn series() -> impl Iterator<Item = (Protocol, Pattern, u32)> {
    let patterns = [Pattern::Out, Pattern::In, Pattern::Echo];
    let protocols = [Protocol::Udp, Protocol::Tcp];
    protocols.into_iter().flat_map(move |protocol| {
        let with = move |mtu| patterns.map(|pattern| (protocol, pattern, mtu));
        [1500, 9000].into_iter().flat_map(with)
    })
}

/// Sizes and bursts: one at a time, and so many that large ones are several.
fn operations(protocol: Protocol, mtu: u32) -> Vec<(u32, u32)> {
    let sizes: &[u32] = match mtu {
        1500 => &[64, 512, 1400, 4096, 16_384, LARGEST],
        _ => &[4096, 16_384, LARGEST],
    };
    let stream = protocol == Protocol::Tcp;
    let burst = |bytes: u32| match (stream, bytes) {
        (true, _) => (4 * LARGEST / bytes).min(32),
        (false, ..=1500) => 64,
        (false, _) => (LARGEST / bytes).max(4),
    };
    let bursts = sizes.iter().map(|bytes| (*bytes, burst(*bytes)));
    bursts
        .chain(sizes.iter().map(|bytes| (*bytes, 1)))
        .collect()
}

/// The row of a case.
pub fn row(case: Case) -> Row {
    let ways = if case.pattern == Pattern::Echo {
        2.0
    } else {
        1.0
    };
    let user = case.placement == Placement::User;
    let burst = f64::from(case.outstanding);
    let bytes = f64::from(case.bytes);
    let packets = (bytes / f64::from(case.mtu - 52)).ceil() * ways;
    let crossings = if user { 6.0 } else { 2.0 } * ways / burst;
    let copies = match (case.passing, case.pattern) {
        (Passing::Conventional, _) if user => 3.0,
        (Passing::Conventional, _) => 2.0,
        (Passing::Copy, _) | (_, Pattern::In) => 1.0,
        (_, Pattern::Echo) => 0.5,
        (_, Pattern::Out) => 0.0,
    };
    let copied = copies * bytes * ways;
    let page_operations = match case.passing {
        Passing::EmulatedCopy | Passing::EmulatedMove => (bytes / 4096.0).floor() * ways,
        _ => 0.0,
    };
    let kernel = crossings * 1030.0 + page_operations * 420.0;
    let server = packets * 900.0;
    let driver = packets * 380.0;
    let manager = packets * if user { 950.0 } else { 620.0 } + copied * 0.3;
    let promise = match case.passing {
        Passing::EmulatedCopy => 240.0,
        Passing::EmulatedMove => 390.0,
        Passing::Copy | Passing::Share => 0.0,
        Passing::Conventional => 60.0,
    };
    let client = 700.0 + promise + packets * 60.0;
    let components = BTreeMap::from([
        ("kernel".to_owned(), kernel),
        ("io-manager".to_owned(), manager),
        ("net-server".to_owned(), server),
        ("virtio-net-driver".to_owned(), driver),
        ("placement-client".to_owned(), client),
    ]);
    let total: f64 = components.values().sum();
    let operations = 1000;
    Row {
        payload: operations * u64::from(case.bytes) * ways as u64,
        case,
        operations,
        instructions: figure(total),
        kernel: figure(kernel),
        nanoseconds: None,
        crossings,
        system_calls: crossings * 1.5,
        copied,
        page_operations,
        components,
    }
}

/// A median with one per cent to each side.
fn figure(median: f64) -> Figure {
    Figure {
        median,
        min: median * 0.99,
        max: median * 1.01,
    }
}
