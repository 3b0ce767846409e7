//! The back-end of the `log` crate: this component's log ring.
//!
//! Logging never waits for another component: a full ring drops the line and
//! counts it. Only threads of this component contend, for one line at a time;
//! a panic inside the logger itself drops its line.

use log::{LevelFilter, Log, Metadata, Record};
use monitor_api::LogWriter;
use spin::{Mutex, Once};
use system_description::{Protocol, Role};

use crate::{Component, Link, clock};

struct Ring {
    writer: Mutex<LogWriter>,
    console: Link,
}

static RING: Once<Ring> = Once::new();

impl Log for Ring {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

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

    fn flush(&self) {}
}

/// Attaches to the log ring, if the component has a monitor link. The level
/// is the configuration value `log.level` (default `info`).
pub(crate) fn start(component: &Component) {
    let Some(console) = component.link(Protocol::Monitor, Role::Client) else {
        return;
    };
    let Some(Ok(writer)) = console.control.map(LogWriter::attach) else {
        return;
    };
    let ring = RING.call_once(|| Ring {
        writer: Mutex::new(writer),
        console,
    });
    let level = component.config("log.level").and_then(|l| l.parse().ok());
    if log::set_logger(ring).is_ok() {
        log::set_max_level(level.unwrap_or(LevelFilter::Info));
    }
}
