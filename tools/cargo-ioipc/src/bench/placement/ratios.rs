//! What the project demands of the figures, and whether a record keeps to it.
//!
//! Throughput here is by instructions: with the processor as the limit, what the
//! kernel placement needs for an operation over what the user placement needs. It
//! is demanded of bursts; what a single operation on an idle system takes, which
//! wakes everybody for itself, is told beside it.

use std::fmt;

use super::cases::{LARGEST, MTU, OF_LARGEST};
use super::record::{Case, Passing, Pattern, Placement, Protocol, Record, Row};

/// Least throughput of the user placement, as a share of the kernel's: large
/// datagrams and streams, and 64 datagrams of 1400 bytes.
const LARGE: f64 = 0.97;
const SMALL: f64 = 0.85;
/// Most instructions of emulated copy, in those of share.
const OVER_SHARE: f64 = 1.05;
/// Most crossings of an operation in the kernel placement, and how many more in
/// the user placement. An echo is two operations.
const CROSSINGS: f64 = 2.0;
const MORE: f64 = 4.0;

/// How a value is bounded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// It is this at least.
    AtLeast(f64),
    /// It is this at most.
    AtMost(f64),
    /// Nothing is demanded: it is told.
    Told,
}

/// One demand, and how it is met.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What is bounded, in words.
    pub name: String,
    /// What was measured.
    pub value: f64,
    /// The bound.
    pub limit: Limit,
}

impl Check {
    /// Whether it is met.
    #[must_use]
    pub fn is_met(&self) -> bool {
        match self.limit {
            Limit::AtLeast(least) => self.value >= least,
            Limit::AtMost(most) => self.value <= most,
            Limit::Told => true,
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, value, .. } = self;
        write!(f, "{name}: {value:.3}, ")?;
        match self.limit {
            Limit::AtLeast(limit) => write!(f, "{limit:.2} at least")?,
            Limit::AtMost(limit) => write!(f, "{limit:.2} at most")?,
            Limit::Told => f.write_str("not demanded")?,
        }
        f.write_str(if self.is_met() { "" } else { "  MISSED" })
    }
}

/// The throughput of the user placement as a share of the kernel placement's, if
/// both were measured in the case of `row`, which is of one of them.
#[must_use]
pub fn throughput(record: &Record, row: &Row) -> Option<f64> {
    let of = |placement| {
        let case = Case {
            placement,
            ..row.case.clone()
        };
        find(record, &case).map(|row| row.instructions.median)
    };
    Some(of(Placement::Kernel)? / of(Placement::User)?)
}

/// All demands that the record has figures for, and what is told beside them.
#[must_use]
pub fn checks(record: &Record) -> Vec<Check> {
    let reference = record.rows.iter().filter(|row| {
        let case = &row.case;
        case.mtu == MTU && case.passing == Passing::EmulatedCopy
    });
    reference
        .flat_map(|row| {
            let all = [
                throughput_check(record, row),
                share_check(record, row),
                crossings_check(record, row),
            ];
            all.into_iter().flatten()
        })
        .collect()
}

/// Once for the two rows, at the user placement's.
fn throughput_check(record: &Record, row: &Row) -> Option<Check> {
    let case = &row.case;
    let limit = match (case.protocol, case.bytes, case.outstanding) {
        (_, LARGEST, OF_LARGEST) => Limit::AtLeast(LARGE),
        (_, LARGEST, 1) => Limit::Told,
        (Protocol::Udp, 1400, 64) => Limit::AtLeast(SMALL),
        _ => return None,
    };
    let user = case.placement == Placement::User;
    Some(Check {
        name: format!("user/kernel throughput, {}", load(case)),
        value: throughput(record, row).filter(|_| user)?,
        limit,
    })
}

fn share_check(record: &Record, row: &Row) -> Option<Check> {
    let case = Case {
        passing: Passing::Share,
        ..row.case.clone()
    };
    let limit = match (case.bytes, case.outstanding) {
        (LARGEST, OF_LARGEST) => Limit::AtMost(OVER_SHARE),
        (LARGEST, 1) => Limit::Told,
        _ => return None,
    };
    let share = find(record, &case)?;
    Some(Check {
        name: format!("emulated copy/share, {}, {}", place(&case), load(&case)),
        value: row.instructions.median / share.instructions.median,
        limit,
    })
}

fn crossings_check(record: &Record, row: &Row) -> Option<Check> {
    let case = &row.case;
    let echo = (Protocol::Udp, Pattern::Echo, 1);
    if (case.protocol, case.pattern, case.outstanding) != echo {
        return None;
    }
    // An echo takes a whole number; a deadline now and then adds a fraction.
    let of = |row: &Row| row.crossings.round() / 2.0;
    let most = match case.placement {
        Placement::Kernel => CROSSINGS,
        Placement::User => {
            let inside = Case {
                placement: Placement::Kernel,
                ..case.clone()
            };
            of(find(record, &inside)?) + MORE
        }
    };
    Some(Check {
        name: format!("crossings of an operation, {}, {}", place(case), load(case)),
        value: of(row),
        limit: Limit::AtMost(most),
    })
}

fn find<'a>(record: &'a Record, case: &Case) -> Option<&'a Row> {
    record.rows.iter().find(|row| row.case == *case)
}

fn place(case: &Case) -> &'static str {
    match case.placement {
        Placement::Kernel => "kernel",
        Placement::User => "user",
    }
}

fn load(case: &Case) -> String {
    let protocol = match case.protocol {
        Protocol::Udp => "UDP",
        Protocol::Tcp => "TCP",
    };
    let pattern = match case.pattern {
        Pattern::Out => "out",
        Pattern::In => "in",
        Pattern::Echo => "echo",
    };
    format!(
        "{protocol} {pattern} {} B x {}",
        case.bytes, case.outstanding
    )
}

#[cfg(test)]
mod tests {
    use super::super::record::{FORMAT, Figure};
    use super::*;

    fn row(
        (placement, passing): (Placement, Passing),
        (protocol, pattern): (Protocol, Pattern),
        (bytes, outstanding): (u32, u32),
        (instructions, crossings): (f64, f64),
    ) -> Row {
        let figure = |median| Figure {
            median,
            min: median,
            max: median,
        };
        Row {
            case: Case {
                placement,
                passing,
                protocol,
                pattern,
                bytes,
                outstanding,
                mtu: MTU,
            },
            operations: 1,
            payload: u64::from(bytes),
            instructions: figure(instructions),
            kernel: figure(0.0),
            nanoseconds: None,
            crossings,
            system_calls: 0.0,
            copied: 0.0,
            page_operations: 0.0,
            components: Default::default(),
        }
    }

    fn record(rows: Vec<Row>) -> Record {
        Record {
            format: FORMAT.to_owned(),
            version: String::new(),
            kernel: String::new(),
            accel: "tcg".to_owned(),
            quick: false,
            runs: 5,
            idle: Default::default(),
            rows,
        }
    }

    const COPY: Passing = Passing::EmulatedCopy;

    /// Both placements in one case, with what they cost.
    fn both(
        load: (Protocol, Pattern),
        burst: (u32, u32),
        kernel: (f64, f64),
        user: (f64, f64),
    ) -> Vec<Row> {
        vec![
            row((Placement::Kernel, COPY), load, burst, kernel),
            row((Placement::User, COPY), load, burst, user),
        ]
    }

    fn verdicts(rows: Vec<Row>) -> Vec<(f64, Limit, bool)> {
        let checks = checks(&record(rows));
        let verdict = |check: &Check| (check.value, check.limit, check.is_met());
        checks.iter().map(verdict).collect()
    }

    #[test]
    fn throughput_is_held_to_its_share() {
        let udp_in = (Protocol::Udp, Pattern::In);
        let none = (90.0, 0.0);
        let at = |load, burst, user| verdicts(both(load, burst, none, (user, 0.0)));
        let least = Limit::AtLeast;
        assert_eq!(at(udp_in, (LARGEST, 4), 100.0), [(0.9, least(0.97), false)]);
        assert_eq!(at(udp_in, (1400, 64), 100.0), [(0.9, least(0.85), true)]);
        let tcp = (Protocol::Tcp, Pattern::Out);
        assert_eq!(at(tcp, (LARGEST, 4), 90.0), [(1.0, least(0.97), true)]);
        assert_eq!(at(tcp, (LARGEST, 1), 100.0), [(0.9, Limit::Told, true)]);
        // Nothing is demanded of these, or of one alone.
        assert_eq!(at(udp_in, (1400, 1), 100.0), []);
        assert_eq!(at(tcp, (1400, 32), 100.0), []);
        let mut rows = both(udp_in, (LARGEST, 4), none, none);
        rows.pop();
        assert_eq!(verdicts(rows), []);
        let mut rows = both(udp_in, (LARGEST, 4), none, none);
        rows.iter_mut().for_each(|row| row.case.mtu = 9000);
        assert_eq!(verdicts(rows), []);
    }

    #[test]
    fn crossings_are_those_of_half_an_echo() {
        let echo = (Protocol::Udp, Pattern::Echo);
        let at = |kernel, user| verdicts(both(echo, (64, 1), (1.0, kernel), (1.0, user)));
        let most = Limit::AtMost;
        let expected = [(2.0, most(2.0), true), (6.0, most(6.0), true)];
        assert_eq!(at(4.0, 12.0), expected);
        assert_eq!(at(4.11, 11.9), expected);
        let expected = [(2.5, most(2.0), false), (7.0, most(6.5), false)];
        assert_eq!(at(5.0, 14.0), expected);
    }

    #[test]
    fn emulated_copy_is_held_against_share() {
        let load = (Protocol::Udp, Pattern::Out);
        let at = |copy, share| {
            let rows = [(COPY, copy), (Passing::Share, share)].map(|(passing, cost)| {
                row((Placement::User, passing), load, (LARGEST, 4), (cost, 0.0))
            });
            verdicts(rows.to_vec())
        };
        let most = Limit::AtMost(1.05);
        assert_eq!(at(105.0, 100.0), [(1.05, most, true)]);
        assert_eq!(at(106.0, 100.0), [(1.06, most, false)]);
    }

    #[test]
    fn a_miss_says_so() {
        let udp_in = (Protocol::Udp, Pattern::In);
        let rows = both(udp_in, (LARGEST, 4), (9.0, 0.0), (10.0, 0.0));
        let texts: Vec<_> = checks(&record(rows)).iter().map(Check::to_string).collect();
        let expected = "user/kernel throughput, UDP in 61440 B x 4: 0.900, 0.97 at least  MISSED";
        assert_eq!(texts, [expected]);
    }
}
