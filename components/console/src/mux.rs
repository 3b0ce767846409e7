//! All components' lines on one serial line, in turns, and the monitor.

use core::fmt::{self, Write};

use heapless::Vec;
use log::Level;
use monitor_api::{Kind, Line, MAX_LINE};
use service_api::Clock;
use shared_ring::SharedMemory;

use crate::command::Command;
use crate::editor::{Editor, Typed};
use crate::report;
use crate::source::{Said, Source, level_name};
use crate::uart::{Ports, Uart};

/// Most components, the root task included.
pub const MAX_SOURCES: usize = 33;
/// Lines taken from one component in a turn.
const TURN: usize = 8;
/// Queue room without which no line is taken: the longest line, its prefix,
/// and remarks before it.
const ROOM: usize = MAX_LINE + 512;

/// What the caller is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sleep until somebody signals.
    Sleep,
    /// Call again: there is more.
    Again,
    /// End the system; the farewell is on the line.
    Shutdown,
}

/// The console.
#[derive(Debug)]
pub struct Console<P> {
    uart: Uart<P>,
    editor: Editor,
    sources: Vec<Source, MAX_SOURCES>,
    /// Whose turn comes first.
    first: usize,
    states: Option<SharedMemory>,
    clock: Option<Clock>,
    lines: u64,
    suppressed: u64,
}

impl<P: Ports> Console<P> {
    /// A console on `uart`; `states` is the lifecycle page.
    pub fn new(uart: Uart<P>, states: Option<SharedMemory>) -> Self {
        Self {
            uart,
            editor: Editor::default(),
            sources: Vec::new(),
            first: 0,
            states,
            clock: None,
            lines: 0,
            suppressed: 0,
        }
    }

    /// Adds a component; false if there are [`MAX_SOURCES`] already.
    pub fn add(&mut self, source: Source) -> bool {
        self.sources.push(source).is_ok()
    }

    /// From now on, lines show the time.
    pub fn set_clock(&mut self, clock: Clock) {
        self.clock = Some(clock);
    }

    /// Whether lines show the time.
    #[must_use]
    pub fn has_clock(&self) -> bool {
        self.clock.is_some()
    }

    /// Lines shown, lines suppressed, and bytes that the serial line did not
    /// take.
    #[must_use]
    pub fn totals(&self) -> [u64; 3] {
        [self.lines, self.suppressed, self.uart.dropped()]
    }

    /// Takes what was typed, then shows lines: a few of each component.
    /// `now` is the time-stamp counter.
    pub fn step(&mut self, now: u64) -> Step {
        if self.typed() {
            self.uart.flush();
            return Step::Shutdown;
        }
        let more = self.round(now);
        self.uart.pump();
        match more || self.uart.pending() {
            true => Step::Again,
            false => Step::Sleep,
        }
    }

    /// Lets each component say a few lines; true if there may be more now.
    fn round(&mut self, now: u64) -> bool {
        let (mut spoke, mut full) = (false, false);
        let count = self.sources.len();
        for turn in 0..count {
            let at = (self.first + turn) % count;
            for _ in 0..TURN {
                if self.uart.room() < ROOM {
                    self.uart.pump();
                }
                if self.uart.room() < ROOM {
                    // The serial line interrupts when it has room again.
                    full = true;
                    self.first = at;
                    break;
                }
                if !self.speak(at, now, spoke) {
                    break;
                }
                spoke = true;
            }
            if full {
                break;
            }
        }
        if spoke && !self.editor.text().is_empty() {
            self.uart.write_str(self.editor.text()).ok();
        }
        if full {
            return false;
        }
        self.first = if count == 0 {
            0
        } else {
            (self.first + 1) % count
        };
        // All must be asked, also once one has more to say.
        let mut idle = true;
        for source in &mut self.sources {
            idle &= source.arm();
        }
        !idle
    }

    /// Shows the next line of component `at`; false if it has none.
    fn speak(&mut self, at: usize, now: u64, spoke: bool) -> bool {
        let Some(source) = self.sources.get_mut(at) else {
            return false;
        };
        let (name, Some(said)) = (source.name, source.next(now)) else {
            return false;
        };
        if !spoke && !self.editor.text().is_empty() {
            self.uart.write_str("\n").ok();
        }
        self.show(name, &said, now).ok();
        true
    }

    fn show(&mut self, name: &str, said: &Said, now: u64) -> fmt::Result {
        match said {
            Said::Suppressed => self.suppressed += 1,
            Said::Damaged => {
                self.remark(name, now)?;
                writeln!(self.uart, "its log is damaged and no longer shown")?;
            }
            Said::Line(line, dropped, suppressed) => {
                if *dropped != 0 {
                    self.remark(name, now)?;
                    writeln!(self.uart, "{dropped} lines dropped, the log was full")?;
                }
                if *suppressed != 0 {
                    self.remark(name, now)?;
                    writeln!(self.uart, "{suppressed} lines suppressed, too many at once")?;
                }
                self.line(name, line)?;
            }
        }
        Ok(())
    }

    /// Begins a line of our own about component `name`.
    fn remark(&mut self, name: &str, now: u64) -> fmt::Result {
        self.prefix(now, Level::Warn, name)
    }

    fn line(&mut self, name: &str, line: &Line) -> fmt::Result {
        self.lines += 1;
        self.prefix(line.tsc, line.level, name)?;
        let end = if line.cut { "…" } else { "" };
        writeln!(self.uart, "{}{end}", line.text())
    }

    /// `[seconds.micros LEVEL component] `
    fn prefix(&mut self, tsc: u64, level: Level, name: &str) -> fmt::Result {
        let ns = self.clock.map_or(0, |clock| clock.ns_since_start(tsc));
        let (seconds, micros) = (ns / 1_000_000_000, ns / 1000 % 1_000_000);
        let level = level_name(level);
        write!(self.uart, "[{seconds:4}.{micros:06} {level} {name}] ")
    }

    /// Takes typed bytes; true if the system is to end.
    fn typed(&mut self) -> bool {
        // More than fits the FIFO comes with the next interrupt.
        for _ in 0..64 {
            let Some(byte) = self.uart.receive() else {
                break;
            };
            let shown = match self.editor.byte(byte) {
                Typed::Nothing => Ok(()),
                Typed::Show(c) => self.uart.write_char(c),
                Typed::Erase => self.uart.write_str("\x08 \x08"),
                Typed::EraseAll(n) => (0..n).try_for_each(|_| self.uart.write_str("\x08 \x08")),
                Typed::Line(line) => {
                    self.uart.write_str("\n").ok();
                    let command = line.trim();
                    if command.is_empty() {
                        continue;
                    }
                    let answered = self.answer(command);
                    self.uart.write_str("\n").ok();
                    if Command::parse(command) == Some(Command::Shutdown) {
                        return true;
                    }
                    answered
                }
            };
            // The port's queue takes or drops; it does not fail.
            shown.ok();
        }
        false
    }

    fn answer(&mut self, command: &str) -> fmt::Result {
        let out = &mut self.uart;
        match Command::parse(command) {
            Some(Command::Help) => report::help(out),
            Some(Command::Resources) => report::numbers(out, &self.sources, Kind::Gauge),
            Some(Command::Counters) => report::numbers(out, &self.sources, Kind::Counter),
            Some(Command::Components) => {
                report::components(out, &self.sources, self.states.as_ref())
            }
            Some(Command::Shutdown) => report::shutdown(out),
            None => report::unknown(out, command),
        }
    }
}

#[cfg(test)]
#[path = "mux_tests.rs"]
mod tests;
