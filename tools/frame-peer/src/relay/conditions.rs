//! What a wire does to frames, and how people write it down.
//!
//! `loss=1%,delay=10ms,seed=7`: words KEY=VALUE between commas, in any order,
//! each key once. [`KEYS`] has all of them. An error begins with the key that
//! is wrong.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::faults::FaultRates;

/// The keys with what their values mean.
pub const KEYS: &[(&str, &str)] = &[
    ("loss", "frames lost, each way on its own: 1% or 0.5%"),
    ("duplicate", "frames that come twice, each way: 1%"),
    (
        "reorder",
        "frames that the next one overtakes, each way: 1%",
    ),
    ("corrupt", "frames with one bit flipped, each way: 1%"),
    (
        "delay",
        "there and back, half of it each way: 10ms or 500us",
    ),
    ("rate", "bits a second, each way: 100mbit, 64kbit or 1gbit"),
    (
        "room",
        "bytes that are on their way at most, each way: 64KiB",
    ),
    ("seed", "of what happens at random: a number"),
];

/// Bytes on their way at most, each way, if nobody says otherwise.
pub const ROOM: usize = 4 << 20;
/// Longest delay that is taken for one.
const LONGEST: Duration = Duration::from_secs(60);

/// What a wire does to frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// What goes wrong, each way on its own.
    pub faults: FaultRates,
    /// Delay there and back; half of it each way.
    pub delay: Duration,
    /// Bits a second, each way; as many as come if there is none.
    pub rate: Option<u64>,
    /// Bytes on their way at most, each way; frames over that are dropped.
    pub room: usize,
    /// Seed of what happens at random.
    pub seed: u64,
}

impl Default for Conditions {
    /// A perfect wire.
    fn default() -> Self {
        Self {
            faults: FaultRates::default(),
            delay: Duration::ZERO,
            rate: None,
            room: ROOM,
            seed: 1,
        }
    }
}

/// Why a description of a wire is refused: the key, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadConditions {
    key: String,
    why: String,
}

impl fmt::Display for BadConditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.why)
    }
}

impl std::error::Error for BadConditions {}

impl FromStr for Conditions {
    type Err = BadConditions;

    fn from_str(text: &str) -> Result<Self, BadConditions> {
        let (mut conditions, mut seen) = (Self::default(), Vec::new());
        for word in text.split(',').map(str::trim) {
            let bad = |key: &str, why: &str| BadConditions {
                key: key.to_owned(),
                why: why.to_owned(),
            };
            let Some((key, value)) = word.split_once('=') else {
                return Err(bad(word, &format!("no KEY=VALUE; keys are {}", names())));
            };
            if seen.contains(&key) {
                return Err(bad(key, "more than once"));
            }
            seen.push(key);
            conditions.set(key, value).map_err(|why| bad(key, &why))?;
        }
        Ok(conditions)
    }
}

impl Conditions {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "loss" => self.faults.loss = share(value)?,
            "duplicate" => self.faults.duplicate = share(value)?,
            "reorder" => self.faults.reorder = share(value)?,
            "corrupt" => self.faults.corrupt = share(value)?,
            "delay" => self.delay = delay(value)?,
            "rate" => self.rate = Some(rate(value)?),
            "room" => self.room = room(value)?,
            "seed" => {
                let bad = |_| format!("{value} is no whole number");
                self.seed = value.parse().map_err(bad)?;
            }
            _ => return Err(format!("unknown; keys are {}", names())),
        }
        Ok(())
    }
}

fn names() -> String {
    let names: Vec<_> = KEYS.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

/// Thousandths: `1%` or `0.5%`.
fn share(value: &str) -> Result<u16, String> {
    let Some(number) = value.strip_suffix('%') else {
        return Err(format!("{value} is no percentage such as 1% or 0.5%"));
    };
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    if tenth.len() > 1 {
        return Err(format!("{value} has more than one decimal"));
    }
    match (digits(whole), digits(tenth)) {
        (Some(whole), Some(tenth)) if whole * 10 + tenth <= 1000 => Ok((whole * 10 + tenth) as u16),
        (Some(_), Some(_)) => Err(format!("{value} is more than 100%")),
        _ => Err(format!("{value} is no percentage such as 1% or 0.5%")),
    }
}

/// A number of up to nine digits and nothing else.
fn digits(text: &str) -> Option<u64> {
    let fits = (1..=9).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| fits)
}

/// The number before one of `units`, times what the unit stands for.
fn with_unit(value: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = value.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = value.split_at(end.unwrap_or(value.len()));
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    digits(number)?.checked_mul(*factor)
}

fn delay(value: &str) -> Result<Duration, String> {
    let units = [("us", 1), ("ms", 1000), ("s", 1_000_000)];
    let micros = with_unit(value, &units)
        .ok_or_else(|| format!("{value} is no time such as 10ms, 500us or 1s"))?;
    match Duration::from_micros(micros) {
        delay if delay > LONGEST => Err(format!("{value} is more than {LONGEST:?}")),
        delay => Ok(delay),
    }
}

fn rate(value: &str) -> Result<u64, String> {
    let units = [("kbit", 1000), ("mbit", 1_000_000), ("gbit", 1_000_000_000)];
    with_unit(value, &units)
        .filter(|rate| *rate > 0)
        .ok_or_else(|| format!("{value} is no rate such as 100mbit, 64kbit or 1gbit"))
}

fn room(value: &str) -> Result<usize, String> {
    let units = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20)];
    with_unit(value, &units)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| format!("{value} is no size such as 64KiB or 4MiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        text.parse::<Conditions>().unwrap_err().to_string()
    }

    #[test]
    fn every_key_is_understood() {
        let text = "loss=1%,duplicate=0.5%,reorder=100%,corrupt=0%,delay=10ms,rate=100mbit,\
                    room=64KiB,seed=7";
        let keys = text.split(',').map(|word| word.split_once('=').unwrap().0);
        assert!(keys.eq([
            "loss",
            "duplicate",
            "reorder",
            "corrupt",
            "delay",
            "rate",
            "room",
            "seed"
        ]));
        assert_eq!(KEYS.len(), 8);
        let wanted = Conditions {
            faults: FaultRates {
                loss: 10,
                duplicate: 5,
                reorder: 1000,
                corrupt: 0,
            },
            delay: Duration::from_millis(10),
            rate: Some(100_000_000),
            room: 65_536,
            seed: 7,
        };
        assert_eq!(text.parse(), Ok(wanted));
        assert_eq!("delay=0us".parse(), Ok(Conditions::default()));
    }

    #[test]
    fn a_mistake_is_reported_with_its_key() {
        assert_eq!(
            refused("delay=1ms,loss=101%"),
            "loss: 101% is more than 100%"
        );
        assert_eq!(
            refused("loss=1"),
            "loss: 1 is no percentage such as 1% or 0.5%"
        );
        assert_eq!(
            refused("loss=0.25%"),
            "loss: 0.25% has more than one decimal"
        );
        assert_eq!(refused("loss=1%,loss=2%"), "loss: more than once");
        assert!(refused("latency=1ms").starts_with("latency: unknown; keys are loss, "));
        assert!(refused("").starts_with(": no KEY=VALUE"));
        assert_eq!(refused("seed=-1"), "seed: -1 is no whole number");
        assert_eq!(refused("delay=2000s"), "delay: 2000s is more than 60s");
        for bad in [
            "loss=%",
            "loss=-1%",
            "loss=1.%",
            "loss=+1%",
            "delay=10",
            "delay=ms",
            "delay=1.5ms",
            "rate=0mbit",
            "rate=9999999999gbit",
            "room=0B",
            "room=1kb",
        ] {
            let (key, _) = bad.split_once('=').unwrap();
            assert!(refused(bad).starts_with(&format!("{key}: ")), "{bad}");
        }
    }
}
