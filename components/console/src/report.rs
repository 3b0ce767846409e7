//! The monitor's answers: one JSON object on one line each.

use core::fmt::{self, Write};

use monitor_api::Kind;
use monitor_api::json::Object;
use service_api::lifecycle::{self, State};
use shared_ring::SharedMemory;

use crate::command::Command;
use crate::source::Source;

/// `{"commands":["help",…]}`
pub(crate) fn help(out: &mut impl Write) -> fmt::Result {
    out.write_str("{\"commands\":[")?;
    for (n, (name, _)) in Command::ALL.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        write!(out, "{comma}\"{name}\"")?;
    }
    out.write_str("]}")
}

/// `{"resources":{"component":{"name":value,…},…}}` for gauges, `counters`
/// likewise. A component without any has an empty object.
pub(crate) fn numbers(out: &mut impl Write, sources: &[Source], kind: Kind) -> fmt::Result {
    let title = match kind {
        Kind::Gauge => "resources",
        Kind::Counter => "counters",
    };
    let mut answer = Object::begin(out)?;
    let mut components = Object::begin(answer.key(title)?)?;
    for source in sources {
        let mut component = Object::begin(components.key(source.name)?)?;
        let samples = source.counters().into_iter().flat_map(|c| c.samples());
        for sample in samples.filter(|s| s.kind == kind) {
            component.number(sample.name.as_str(), sample.value)?;
        }
        component.end()?;
    }
    components.end()?;
    answer.end()
}

/// `{"components":{"component":"running",…}}`; `"unknown"` without a lifecycle
/// page.
pub(crate) fn components(
    out: &mut impl Write,
    sources: &[Source],
    states: Option<&SharedMemory>,
) -> fmt::Result {
    let mut answer = Object::begin(out)?;
    let mut components = Object::begin(answer.key("components")?)?;
    for source in sources {
        let state = match source.index {
            None => Some(State::Running),
            Some(index) => states.and_then(|s| lifecycle::read(s, index).ok()),
        };
        components.string(source.name, state.map_or("unknown", |s| s.as_str()))?;
    }
    components.end()?;
    answer.end()
}

/// `{"shutdown":true}`
pub(crate) fn shutdown(out: &mut impl Write) -> fmt::Result {
    out.write_str("{\"shutdown\":true}")
}

/// `{"error":"unknown command","command":"…"}`
pub(crate) fn unknown(out: &mut impl Write, command: &str) -> fmt::Result {
    let mut answer = Object::begin(out)?;
    answer.string("error", "unknown command")?;
    answer.string("command", command)?;
    answer.end()
}
