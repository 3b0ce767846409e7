//! Cases in words, and a plain table of the figures.

use std::fmt::Write;

use super::record::{Case, Passing, Pattern, Placement, Protocol, Record};

/// A case in words.
pub(super) fn name(case: &Case) -> String {
    let placement = match case.placement {
        Placement::Kernel => "kernel",
        Placement::User => "user",
    };
    let passing = match case.passing {
        Passing::Copy => "copy",
        Passing::EmulatedCopy => "emulated copy",
        Passing::Share => "share",
        Passing::EmulatedMove => "emulated move",
        Passing::Conventional => "conventional",
    };
    let protocol = match case.protocol {
        Protocol::Udp => "UDP",
        Protocol::Tcp => "TCP",
    };
    let pattern = match case.pattern {
        Pattern::Out => "out",
        Pattern::In => "in",
        Pattern::Echo => "echo",
    };
    let jumbo = if case.mtu == super::cases::MTU {
        ""
    } else {
        ", jumbo"
    };
    format!(
        "{placement}, {passing}, {protocol} {pattern} {} B x {}{jumbo}",
        case.bytes, case.outstanding
    )
}

/// All rows, one a line.
#[must_use]
pub fn plain(record: &Record) -> String {
    let mut text = format!(
        "{:52} {:>10} {:>7} {:>8} {:>9} {:>9} {:>8} {:>7}\n",
        "instructions of an operation",
        "median",
        "spread",
        "kernel",
        "a byte",
        "crossings",
        "copied",
        "pages"
    );
    for row in &record.rows {
        let all = row.instructions;
        let spread = (all.max - all.min) / all.median * 100.0;
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:52} {:>10.0} {spread:>6.1}% {:>8.0} {:>9.2} {:>9.2} {:>8.0} {:>7.2}",
            name(&row.case),
            all.median,
            row.kernel.median,
            row.per_byte(),
            row.crossings,
            row.copied,
            row.page_operations,
        );
    }
    text
}
