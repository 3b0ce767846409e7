//! One way of passing bytes at all sizes, as the measuring client said.

use std::fmt;

use serde_json::{Value, json};
use socket_api::{Semantics, Technique};

/// Sizes in bytes, in the order that figures come in.
pub const SIZES: [u32; 9] = [
    64,
    256,
    1 << 10,
    4 << 10,
    16 << 10,
    64 << 10,
    256 << 10,
    1 << 20,
    2 << 20,
];

/// The clients, and the page size of their memory.
pub const GRAINS: [(&str, &str); 2] = [("small", "4 KiB"), ("large", "2 MiB")];

/// Which way, past what NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client.
    Out,
    /// To the client, past a NIC that fills the next buffer whatever the flow.
    InStock,
    /// To the client, past one that demultiplexes early.
    InEarly,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Out, Self::InStock, Self::InEarly];

    fn parse(name: &str) -> Option<Self> {
        match name {
            "out" => Some(Self::Out),
            "in-stock" => Some(Self::InStock),
            "in-early" => Some(Self::InEarly),
            _ => None,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Out => "out",
            Self::InStock => "in, stock NIC",
            Self::InEarly => "in, early demultiplexing",
        })
    }
}

/// The rounds of one size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Counts, the median.
    pub median: f64,
    /// The fewest and the most.
    pub range: (f64, f64),
    /// How it was done.
    pub technique: Technique,
}

/// What a caller asked for, and what that took.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Which of [`GRAINS`].
    pub grain: usize,
    /// Which way.
    pub way: Way,
    /// What the caller relies on.
    pub semantics: Semantics,
    /// Whether its only thread waits.
    pub blocked: bool,
    /// The technique; none: the model chose.
    pub forced: Option<Technique>,
    /// One for each of [`SIZES`], where that was measured and is legal.
    pub points: Vec<Option<Point>>,
}

impl Series {
    /// The series in a line of the log, if there is one.
    pub fn parse(line: &str) -> Option<Self> {
        let (head, json) = line.split_at(line.find("{\"way\"")?);
        let value: Value = serde_json::from_str(json.trim_end()).ok()?;
        let number = |value: &Value| u16::try_from(value.as_u64()?).ok();
        let named = |(name, _): &(&str, &str)| head.contains(&format!(" {name}]"));
        let forced = match number(&value["forced"])? {
            0 => None,
            forced => Some(Technique::from_number(forced)?),
        };
        let points = value["points"].as_array()?.iter();
        Some(Self {
            grain: GRAINS.iter().position(named)?,
            way: Way::parse(value["way"].as_str()?)?,
            semantics: Semantics::from_number(number(&value["semantics"])?)?,
            blocked: value["blocked"].as_bool()?,
            forced,
            points: points.map(point).collect(),
        })
    }

    /// Whether it is of the same caller.
    pub fn is_beside(&self, other: &Self) -> bool {
        let caller = |s: &Self| (s.grain, s.way, s.semantics, s.blocked);
        caller(self) == caller(other)
    }

    /// What the caller asked for, in words.
    pub fn caller(&self) -> String {
        match (self.semantics, self.blocked) {
            (Semantics::EmulatedCopy, true) => format!("{}, blocked", self.semantics),
            _ => self.semantics.to_string(),
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let points = self.points.iter().zip(SIZES).filter_map(|(point, bytes)| {
            let point = (*point)?;
            Some(json!({
                "bytes": bytes,
                "median": point.median,
                "least": point.range.0,
                "most": point.range.1,
                "technique": point.technique.to_string(),
            }))
        });
        json!({
            "grain": GRAINS[self.grain].1,
            "way": self.way.to_string(),
            "semantics": self.semantics.to_string(),
            "blocked": self.blocked,
            "forced": self.forced.map(|t| t.to_string()),
            "points": points.collect::<Vec<_>>(),
        })
    }
}

fn point(value: &Value) -> Option<Point> {
    let number = |n: usize| value.get(n)?.as_f64();
    let technique = u16::try_from(value.get(3)?.as_u64()?).ok()?;
    Some(Point {
        median: number(0)?,
        range: (number(1)?, number(2)?),
        technique: Technique::from_number(technique)?,
    })
}

/// Nanoseconds a count, in the line of a client that is done.
pub(super) fn rate(line: &str) -> Option<f64> {
    let (_, rest) = line.split_once(" is done: ")?;
    let number = |what: &str| {
        let part = rest.split(", ").find_map(|part| part.strip_suffix(what))?;
        part.trim().parse::<f64>().ok()
    };
    Some(number(" ns")? / number(" counts")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_say_is_understood() {
        let line = "[   0.1 INFO  small] {\"way\":\"out\",\"semantics\":2,\"blocked\":true,\
                    \"forced\":0,\"points\":[[4182,4180,4184,1],0]}";
        let series = Series::parse(line).expect("a series");
        assert_eq!(
            (series.grain, series.way, series.forced),
            (0, Way::Out, None)
        );
        assert_eq!(series.caller(), "emulated copy, blocked");
        let point = series.points[0].expect("a point");
        assert_eq!(
            (point.median, point.technique),
            (4182.0, Technique::Reference)
        );
        assert_eq!(series.points[1], None);
        assert_eq!(Series::parse("[ 0.1 INFO small] no series"), None);
        let done = "[ 1.0 INFO  large] passing-bench large is done: 54 series, 2000 counts, 500 ns";
        assert_eq!(rate(done), Some(0.25));
        assert_eq!(rate(line), None);
    }
}
