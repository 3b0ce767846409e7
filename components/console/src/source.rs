//! One component, as the console sees it.

use log::Level;
use monitor_api::{CounterReader, Line, LogReader};
use shared_ring::SharedMemory;

use crate::limit::Limit;

/// A component's log and counters.
#[derive(Debug)]
pub struct Source {
    pub(crate) name: &'static str,
    /// Its number in the lifecycle page; the root task has none.
    pub(crate) index: Option<u16>,
    /// `None` once it proved unreadable.
    log: Option<LogReader>,
    counters: Option<CounterReader>,
    limit: Limit,
    /// Lines kept back by the limit, not told yet.
    suppressed: u64,
}

/// What a component had to say.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "one at a time, on the stack; there is no heap to box it on"
)]
pub(crate) enum Said {
    /// A line; and how many were lost before it: dropped by itself for want
    /// of room, and suppressed here.
    Line(Line, u32, u64),
    /// A line that the limit keeps back.
    Suppressed,
    /// Its log cannot be read any more: it damaged the ring.
    Damaged,
}

impl Source {
    /// The component `name`, number `index` (`None` for the root task, which
    /// runs as long as anything does), with its monitor region.
    #[must_use]
    pub fn new(name: &'static str, index: Option<u16>, region: SharedMemory) -> Self {
        Self {
            name,
            index,
            log: LogReader::attach(region).ok(),
            counters: CounterReader::attach(region).ok(),
            limit: Limit::new(),
            suppressed: 0,
        }
    }

    /// Its counters, if it has a readable page.
    pub(crate) fn counters(&self) -> Option<&CounterReader> {
        self.counters.as_ref()
    }

    /// What it has to say next, at time-stamp count `now`.
    pub(crate) fn next(&mut self, now: u64) -> Option<Said> {
        let line = match self.log.as_mut()?.next_line() {
            Ok(line) => line?,
            Err(_) => {
                self.log = None;
                return Some(Said::Damaged);
            }
        };
        if !self.limit.take(now) {
            self.suppressed += 1;
            return Some(Said::Suppressed);
        }
        let suppressed = core::mem::take(&mut self.suppressed);
        Some(Said::Line(line, line.dropped, suppressed))
    }

    /// Asks for a signal at the next line; true if there is none now.
    pub(crate) fn arm(&mut self) -> bool {
        // An unreadable ring shows when it is read.
        self.log
            .as_mut()
            .is_none_or(|log| log.arm().unwrap_or(false))
    }
}

/// A level in five characters.
pub(crate) const fn level_name(level: Level) -> &'static str {
    match level {
        Level::Error => "ERROR",
        Level::Warn => "WARN ",
        Level::Info => "INFO ",
        Level::Debug => "DEBUG",
        Level::Trace => "TRACE",
    }
}
