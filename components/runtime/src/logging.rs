//! The back-end of the `log` crate: the log ring of whoever runs.
//!
//! Logging never waits for another component: a full ring drops the line and
//! counts it. Only threads of this component contend, for one line at a time;
//! a panic inside the logger itself drops its line. Where a component has
//! guests, each has a ring, a level and so a name of its own in the log; the
//! host says whose turn it is ([`speak_as`]).

use core::sync::atomic::{AtomicUsize, Ordering};

use log::{LevelFilter, Log, Metadata, Record};
use monitor_api::LogWriter;
use spin::{Mutex, Once};
use system_description::{Protocol, Role};

use crate::component::PLACES;
use crate::{Component, Link, clock};

struct Ring {
    writer: Mutex<LogWriter>,
    console: Link,
    level: LevelFilter,
}

/// The rings of the component and its guests, by place.
struct Rings([Once<Ring>; PLACES]);

static RINGS: Rings = Rings([const { Once::new() }; PLACES]);
/// Whose turn it is.
static SPEAKER: AtomicUsize = AtomicUsize::new(0);

impl Log for Rings {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let speaker = self.0.get(SPEAKER.load(Ordering::Relaxed));
        if let Some(ring) = speaker.and_then(Once::get)
            && record.level() <= ring.level
        {
            ring.log(record);
        }
    }

    fn flush(&self) {}
}

impl Ring {
    fn log(&self, record: &Record<'_>) {
        // A thread of lower priority may hold the lock: spinning for it could
        // last for ever, so give up after a while.
        for _ in 0..1000 {
            if let Some(mut writer) = self.writer.try_lock() {
                let wake = writer.write(record.level(), clock::tsc(), *record.args());
                drop(writer);
                if wake {
                    self.console.signal();
                }
                return;
            }
            sel4::r#yield();
        }
    }
}

/// Attaches to the log rings of the component and its guests, as far as they
/// have monitor links. The level is the configuration value `log.level`
/// (default `info`).
pub(crate) fn start(component: &Component) {
    let guests = component.guests().copied();
    let levels = core::iter::once(*component)
        .chain(guests)
        .filter_map(attach);
    if let Some(most) = levels.max()
        && log::set_logger(&RINGS).is_ok()
    {
        log::set_max_level(most);
    }
}

/// Attaches to one component's ring; its level.
fn attach(component: Component) -> Option<LevelFilter> {
    let console = component.link(Protocol::Monitor, Role::Client)?;
    let writer = LogWriter::attach(console.control?).ok()?;
    let level = component.config("log.level").and_then(|l| l.parse().ok());
    let level = level.unwrap_or(LevelFilter::Info);
    RINGS.0[component.place()].call_once(|| Ring {
        writer: Mutex::new(writer),
        console,
        level,
    });
    Some(level)
}

/// Has what is logged from now on be the word of `component`.
#[cfg(feature = "alloc")]
#[inline]
pub(crate) fn speak_as(component: &Component) {
    SPEAKER.store(component.place(), Ordering::Relaxed);
}

/// Has what is logged from now on be the word of the component that the
/// start-up page is for.
#[cfg(feature = "alloc")]
#[inline]
pub(crate) fn speak_as_host() {
    SPEAKER.store(0, Ordering::Relaxed);
}
