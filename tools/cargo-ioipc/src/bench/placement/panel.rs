//! What of a record is looked at together, and what it is called.
//!
//! Problem: bursts get shorter as operations get larger. So a line by size is of
//! operations one at a time, or of the largest bursts that there are of each
//! size, or of the next smaller ones.
//!
//! Invariant: every row of a record is in one [`Panel`], and a panel has bursts or
//! single operations, never both; within it, placement, data passing and size
//! name one row. Panels are in the order in which they are read, and so are the
//! rows of each.

use std::collections::{BTreeMap, BTreeSet};

use super::record::{Case, Passing, Pattern, Placement, Protocol, Record, Row};

/// The figures' caveat; stands beside every ratio.
pub const CAVEAT: &str = "Instruction counts: caches, TLB and DMA are not in them.";

/// The placements, in the order in which they are shown.
pub const PLACEMENTS: [Placement; 2] = [Placement::Kernel, Placement::User];
/// The ways of passing data, in the order in which they are shown.
pub const PASSINGS: [Passing; 5] = [
    Passing::Copy,
    Passing::EmulatedCopy,
    Passing::Share,
    Passing::EmulatedMove,
    Passing::Conventional,
];

/// The rows that are compared with each other.
#[derive(Clone, Debug)]
pub struct Panel<'a> {
    /// What they have in common.
    pub shape: Shape,
    /// By data passing, size and placement.
    pub rows: Vec<&'a Row>,
    /// The size that tells most: the largest.
    pub telling: u32,
}

/// What the rows of a panel have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Transport.
    pub protocol: Protocol,
    /// What moves.
    pub pattern: Pattern,
    /// Largest IP packet.
    pub mtu: u32,
    /// How operations are bundled.
    pub bundle: Bundle,
}

/// How the operations of a panel are bundled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bundle {
    /// Each when the one before is done.
    One,
    /// All bursts are of so many.
    Even(u32),
    /// Bursts are of so many at most.
    UpTo(u32),
}

impl Shape {
    /// `UDP, sending, bursts of 16`; jumbo frames are named.
    #[must_use]
    pub fn title(&self) -> String {
        let bundle = match self.bundle {
            Bundle::One => "one at a time".to_owned(),
            Bundle::Even(burst) => format!("bursts of {burst}"),
            Bundle::UpTo(burst) => format!("bursts of up to {burst}"),
        };
        let jumbo = match self.mtu {
            1500 => String::new(),
            mtu => format!(", packets of {mtu} bytes"),
        };
        let (protocol, pattern) = (protocol(self.protocol), pattern(self.pattern));
        format!("{protocol}, {pattern}, {bundle}{jumbo}")
    }
}

/// What a row measured, in a line.
#[must_use]
pub fn case_name(case: &Case) -> String {
    let bundle = match case.outstanding {
        0 | 1 => Bundle::One,
        burst => Bundle::Even(burst),
    };
    let shape = Shape {
        protocol: case.protocol,
        pattern: case.pattern,
        mtu: case.mtu,
        bundle,
    };
    format!(
        "{}, {}, {}, {} placement",
        shape.title(),
        passing(case.passing),
        size(case.bytes),
        placement(case.placement)
    )
}

/// The panels of a record.
#[must_use]
pub fn panels(record: &Record) -> Vec<Panel<'_>> {
    let mut families: BTreeMap<(Protocol, Pattern, u32), Vec<&Row>> = BTreeMap::new();
    for row in &record.rows {
        let case = &row.case;
        let family = (case.protocol, case.pattern, case.mtu);
        families.entry(family).or_default().push(row);
    }
    families.into_values().flat_map(family).collect()
}

/// The panels of one protocol, pattern and packet size.
fn family(rows: Vec<&Row>) -> Vec<Panel<'_>> {
    let (ones, many): (Vec<&Row>, Vec<&Row>) =
        rows.into_iter().partition(|row| row.case.outstanding <= 1);
    // Of each size, largest last.
    let mut bursts: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for row in &many {
        let of_size = bursts.entry(row.case.bytes).or_default();
        of_size.insert(row.case.outstanding);
    }
    let levels = bursts.values().map(BTreeSet::len).max().unwrap_or(0);
    let of_level = |level| {
        let own = |row: &&Row| {
            let burst = bursts[&row.case.bytes].iter().nth_back(level);
            burst == Some(&row.case.outstanding)
        };
        Panel::of(many.iter().copied().filter(own).collect())
    };
    let ones = (!ones.is_empty()).then(|| Panel::of(ones));
    ones.into_iter().chain((0..levels).map(of_level)).collect()
}

impl<'a> Panel<'a> {
    /// Of rows, at least one.
    fn of(mut rows: Vec<&'a Row>) -> Self {
        rows.sort_by_key(|row| (row.case.passing, row.case.bytes, row.case.placement));
        let burst = |row: &&Row| row.case.outstanding;
        let most = rows.iter().map(burst).max().unwrap_or(1);
        let even = rows.iter().all(|row| row.case.outstanding == most);
        let telling = rows.iter().map(|row| row.case.bytes).max();
        let case = &rows[0].case;
        Self {
            shape: Shape {
                protocol: case.protocol,
                pattern: case.pattern,
                mtu: case.mtu,
                bundle: match (most, even) {
                    (0 | 1, _) => Bundle::One,
                    (_, true) => Bundle::Even(most),
                    (_, false) => Bundle::UpTo(most),
                },
            },
            telling: telling.unwrap_or(0),
            rows,
        }
    }

    /// A size, with its burst where bursts differ: `4 KiB × 15`.
    #[must_use]
    pub fn operation(&self, bytes: u32) -> String {
        let row = self.rows.iter().find(|row| row.case.bytes == bytes);
        match (self.shape.bundle, row) {
            (Bundle::UpTo(_), Some(row)) => format!("{} × {}", size(bytes), row.case.outstanding),
            _ => size(bytes),
        }
    }

    /// The row of a placement, way and size.
    #[must_use]
    pub fn find(&self, placement: Placement, passing: Passing, bytes: u32) -> Option<&'a Row> {
        let wanted = |row: &&&Row| {
            let case = &row.case;
            (case.placement, case.passing, case.bytes) == (placement, passing, bytes)
        };
        self.rows.iter().find(wanted).copied()
    }

    /// Its rows of a placement and way, by size.
    pub fn series(&self, placement: Placement, passing: Passing) -> impl Iterator<Item = &'a Row> {
        let own = move |row: &&Row| (row.case.placement, row.case.passing) == (placement, passing);
        self.rows.iter().copied().filter(own)
    }

    /// Every size, ascending.
    #[must_use]
    pub fn sizes(&self) -> Vec<u32> {
        let mut sizes: Vec<u32> = self.rows.iter().map(|row| row.case.bytes).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }
}

/// For people.
#[must_use]
pub fn placement(placement: Placement) -> &'static str {
    match placement {
        Placement::Kernel => "kernel",
        Placement::User => "user",
    }
}

/// For people.
#[must_use]
pub fn passing(passing: Passing) -> &'static str {
    match passing {
        Passing::Copy => "copy",
        Passing::EmulatedCopy => "emulated copy",
        Passing::Share => "share",
        Passing::EmulatedMove => "emulated move",
        Passing::Conventional => "conventional",
    }
}

/// For people.
#[must_use]
pub fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Udp => "UDP",
        Protocol::Tcp => "TCP",
    }
}

/// For people.
#[must_use]
pub fn pattern(pattern: Pattern) -> &'static str {
    match pattern {
        Pattern::Out => "sending",
        Pattern::In => "receiving",
        Pattern::Echo => "echo",
    }
}

/// A number of bytes: `64 B`, `1400 B`, `16 KiB`.
#[must_use]
pub fn size(bytes: u32) -> String {
    match bytes {
        0x10_0000.. if bytes.is_multiple_of(0x10_0000) => format!("{} MiB", bytes >> 20),
        1024.. if bytes.is_multiple_of(1024) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} B"),
    }
}

/// A number with as many digits as it is worth, thousands apart.
#[must_use]
pub fn number(value: f64) -> String {
    if value.abs() < 10.0 {
        return format!("{value:.2}");
    }
    if value.abs() < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value < 0.0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::record::Figure;
    use super::*;

    fn record(cases: &[(Protocol, Pattern, u32, u32)]) -> Record {
        let figure = Figure {
            median: 1.0,
            min: 1.0,
            max: 1.0,
        };
        let row = |&(protocol, pattern, bytes, outstanding): &_| Row {
            case: Case {
                placement: Placement::User,
                passing: Passing::Share,
                protocol,
                pattern,
                bytes,
                outstanding,
                mtu: 1500,
            },
            operations: 1,
            payload: 1,
            instructions: figure,
            kernel: figure,
            nanoseconds: None,
            crossings: 0.0,
            system_calls: 0.0,
            copied: 0.0,
            page_operations: 0.0,
            components: BTreeMap::new(),
        };
        Record {
            format: String::new(),
            version: String::new(),
            kernel: String::new(),
            accel: String::new(),
            quick: false,
            runs: 1,
            idle: BTreeMap::new(),
            rows: cases.iter().map(row).collect(),
        }
    }

    /// Title, telling size and operations of each panel.
    fn described(record: &Record) -> Vec<(String, u32, Vec<String>)> {
        let describe = |panel: &Panel<'_>| {
            let sizes = panel.sizes();
            let operations = sizes.iter().map(|bytes| panel.operation(*bytes));
            (panel.shape.title(), panel.telling, operations.collect())
        };
        panels(record).iter().map(describe).collect()
    }

    #[test]
    fn a_line_is_of_bursts_or_of_single_operations() {
        use Pattern::{Echo, Out};
        use Protocol::{Tcp, Udp};
        let record = record(&[
            (Udp, Out, 64, 1),
            (Udp, Out, 64, 64),
            (Udp, Out, 1400, 64),
            (Udp, Out, 4096, 16),
            (Udp, Out, 4096, 1),
            (Udp, Out, 61_440, 4),
            (Tcp, Out, 4096, 15),
            (Tcp, Out, 61_440, 1),
            (Tcp, Echo, 64, 8),
            (Tcp, Echo, 64, 2),
        ]);
        let panel = |title: &str, telling, operations: &[&str]| {
            let words = operations.iter().map(|word| (*word).to_owned());
            (title.to_owned(), telling, words.collect())
        };
        let bursts = ["64 B × 64", "1400 B × 64", "4 KiB × 16", "60 KiB × 4"];
        assert_eq!(
            described(&record),
            [
                panel("UDP, sending, one at a time", 4096, &["64 B", "4 KiB"]),
                panel("UDP, sending, bursts of up to 64", 61_440, &bursts),
                panel("TCP, sending, one at a time", 61_440, &["60 KiB"]),
                panel("TCP, sending, bursts of 15", 4096, &["4 KiB"]),
                panel("TCP, echo, bursts of 8", 64, &["64 B"]),
                panel("TCP, echo, bursts of 2", 64, &["64 B"]),
            ]
        );
        let all: usize = panels(&record).iter().map(|panel| panel.rows.len()).sum();
        assert_eq!(all, record.rows.len());
    }

    #[test]
    fn numbers_have_the_digits_that_they_are_worth() {
        let said = [0.0, 9.996, 12.34, 999.6, 1234.5, 1_234_567.0, -1234.0].map(number);
        assert_eq!(
            said,
            [
                "0.00",
                "10.00",
                "12.3",
                "1 000",
                "1 234",
                "1 234 567",
                "-1 234"
            ]
        );
        assert_eq!(
            [64, 1400, 2048, 1 << 20].map(size),
            ["64 B", "1400 B", "2 KiB", "1 MiB"]
        );
    }
}
