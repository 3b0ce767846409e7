//! What a run of a generator came to.
//!
//! Units differ (datagrams, messages, bytes, connections) and are named by the
//! generator; the three counts always add up to the number asked for.

use std::fmt;
use std::io;
use std::time::Duration;

/// The result of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Units that came back complete and right.
    pub done: u64,
    /// Units that did not come back in time.
    pub lost: u64,
    /// Units that came back changed. Replies nobody waits for, a duplicate for
    /// instance, count here too, on top of the number asked for.
    pub wrong: u64,
    /// From the first unit sent to the last one received.
    pub elapsed: Duration,
    /// Median time of one exchange (for bursts, of one whole burst); none
    /// where exchanges overlap.
    pub median: Option<Duration>,
}

impl Outcome {
    /// Whether everything asked for was done and nothing was wrong.
    pub fn is_perfect(&self) -> bool {
        self.done > 0 && self.lost == 0 && self.wrong == 0
    }

    /// Units done per second of elapsed time; 0 if nothing was done.
    pub fn per_second(&self) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 {
            self.done as f64 / seconds
        } else {
            0.0
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "done {} lost {} wrong {}",
            self.done, self.lost, self.wrong
        )?;
        if let Some(median) = self.median {
            write!(f, ", median {:.1} us", median.as_secs_f64() * 1e6)?;
        }
        write!(f, ", {:.0}/s", self.per_second())
    }
}

/// Why a run could not be made at all.
#[derive(Debug)]
pub enum LoadError {
    /// The host's socket layer refused; says what was being done.
    Io(&'static str, io::Error),
    /// The service closed a connection in the middle of an exchange.
    ClosedEarly,
    /// The service sent bytes that nobody sent to it.
    Excess,
    /// The caller asked for a message too small to carry its number, or for
    /// none at all.
    BadRequest(&'static str),
}

impl LoadError {
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io(what, error)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(what, error) => write!(f, "could not {what}: {error}"),
            Self::ClosedEarly => write!(f, "the service closed the connection in mid-exchange"),
            Self::Excess => write!(f, "the service sent more than it was given"),
            Self::BadRequest(why) => write!(f, "the load asked for makes no sense: {why}"),
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            _ => None,
        }
    }
}

/// The median of `samples`, which is left sorted; none if it is empty.
pub(crate) fn median(samples: &mut [Duration]) -> Option<Duration> {
    samples.sort_unstable();
    samples.get(samples.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_one() {
        let ms = Duration::from_millis;
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [ms(9), ms(1), ms(5)]), Some(ms(5)));
    }

    #[test]
    fn perfect_means_something_was_done() {
        assert!(!Outcome::default().is_perfect());
        let fine = Outcome {
            done: 1,
            ..Outcome::default()
        };
        assert!(fine.is_perfect());
        assert!(!Outcome { lost: 1, ..fine }.is_perfect());
        assert!(!Outcome { wrong: 1, ..fine }.is_perfect());
    }
}
