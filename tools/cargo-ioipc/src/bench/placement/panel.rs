//! What of a record is looked at together, and what it is called.
//!
//! Invariant: every row of a record is in exactly one [`Panel`]; panels are in
//! the order in which they are read, and so are the rows of each.

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

/// The rows that differ in placement, data passing and size only.
#[derive(Clone, Debug)]
pub struct Panel<'a> {
    /// What they have in common.
    pub shape: Shape,
    /// By data passing, size and placement.
    pub rows: Vec<&'a Row>,
}

/// What the rows of a panel have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// Transport.
    pub protocol: Protocol,
    /// What moves.
    pub pattern: Pattern,
    /// Operations of a burst.
    pub outstanding: u32,
    /// Largest IP packet.
    pub mtu: u32,
}

impl Shape {
    fn of(case: &Case) -> Self {
        Self {
            protocol: case.protocol,
            pattern: case.pattern,
            outstanding: case.outstanding,
            mtu: case.mtu,
        }
    }

    /// `UDP, sending, bursts of 16`; jumbo frames are named.
    #[must_use]
    pub fn title(&self) -> String {
        let burst = match self.outstanding {
            1 => "one at a time".to_owned(),
            more => format!("bursts of {more}"),
        };
        let jumbo = match self.mtu {
            1500 => String::new(),
            mtu => format!(", packets of {mtu} bytes"),
        };
        let (protocol, pattern) = (protocol(self.protocol), pattern(self.pattern));
        format!("{protocol}, {pattern}, {burst}{jumbo}")
    }
}

/// What a row measured, in a line.
#[must_use]
pub fn case_name(case: &Case) -> String {
    format!(
        "{}, {}, {}, {} placement",
        Shape::of(case).title(),
        passing(case.passing),
        size(case.bytes),
        placement(case.placement)
    )
}

/// The panels of a record.
#[must_use]
pub fn panels(record: &Record) -> Vec<Panel<'_>> {
    let mut shapes: Vec<Shape> = record.rows.iter().map(|row| Shape::of(&row.case)).collect();
    shapes.sort_unstable();
    shapes.dedup();
    let rows = |shape: &Shape| {
        let own = record.rows.iter();
        let mut rows: Vec<&Row> = own.filter(|row| Shape::of(&row.case) == *shape).collect();
        rows.sort_by_key(|row| (row.case.passing, row.case.bytes, row.case.placement));
        rows
    };
    let panel = |shape: Shape| Panel {
        rows: rows(&shape),
        shape,
    };
    shapes.into_iter().map(panel).collect()
}

impl<'a> Panel<'a> {
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
    use super::*;

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
