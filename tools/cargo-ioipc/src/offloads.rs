//! Which offloads the network device offers, and which the driver took.
//!
//! Problem: what a packet costs depends on who computes checksums and cuts
//! segments, and a driver's own word on it proves nothing. The emulator knows
//! what was negotiated; it is asked through its machine protocol (QMP).
//!
//! Invariant: a feature is reported as negotiated only if the device says so.

use std::ffi::OsString;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Error;

/// The features that make a difference to who does the work (virtio 1.2,
/// 5.1.3), without `VIRTIO_NET_F_`. `GUEST_` ones are about frames to the
/// guest.
pub const NAMES: &[&str] = &["CSUM", "GUEST_CSUM", "HOST_TSO4", "GUEST_TSO4", "MRG_RXBUF"];
/// What the emulator puts before a feature's name.
const PREFIX: &str = "VIRTIO_NET_F_";
/// How long the emulator may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Offloads of the network device, by [`NAMES`] and in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// What the device offers.
    pub offered: Vec<&'static str>,
    /// What the driver took of it.
    pub negotiated: Vec<&'static str>,
}

/// The emulator's arguments that open its machine protocol at `socket`.
#[must_use]
pub fn arguments(socket: &Path) -> [OsString; 2] {
    // A doubled comma is a literal one.
    let path = socket.to_string_lossy().replace(',', ",,");
    let door = format!("unix:{path},server=on,wait=off");
    ["-qmp".into(), door.into()]
}

impl Offloads {
    /// Asks the emulator behind `socket`; the driver has to be up.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be reached, [`Error::Reply`] if it knows no
    /// network device or cannot say.
    pub fn ask(socket: &Path) -> Result<Self, Error> {
        let stream = UnixStream::connect(socket).map_err(Error::io("reach", socket))?;
        let patient = stream.set_read_timeout(Some(PATIENCE));
        patient.map_err(Error::io("set a timeout on", socket))?;
        let mut emulator = Emulator(BufReader::new(stream));
        emulator.ask("qmp_capabilities", &json!({}))?;
        let devices = emulator.ask("x-query-virtio", &json!({}))?;
        let path = devices
            .as_array()
            .and_then(|list| list.iter().find(|device| device["name"] == "virtio-net"))
            .map(|device| device["path"].clone())
            .ok_or_else(|| Error::Reply("the machine has no network device".to_owned()))?;
        let status = emulator.ask("x-query-virtio-status", &json!({ "path": path }))?;
        Ok(Self::of_status(&status))
    }

    fn of_status(status: &Value) -> Self {
        Self {
            offered: named(&status["host-features"]),
            negotiated: named(&status["guest-features"]),
        }
    }

    /// Whether the driver took the feature of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.negotiated.contains(&name)
    }

    /// What is offered and was not taken.
    #[must_use]
    pub fn unused(&self) -> Vec<&'static str> {
        let unused = |name: &&&str| !self.negotiated.contains(*name);
        self.offered.iter().filter(unused).copied().collect()
    }
}

impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[&str]| match names {
            [] => "none".to_owned(),
            names => names.join(" "),
        };
        let unused = self.unused();
        write!(f, "negotiated {}", list(&self.negotiated))?;
        write!(f, "; offered, not used: {}", list(&unused))
    }
}

/// Those of [`NAMES`] that stand in a list of the emulator's.
fn named(features: &Value) -> Vec<&'static str> {
    let list = features["dev-features"].as_array();
    let texts: Vec<&str> = list
        .iter()
        .flat_map(|list| list.iter().filter_map(Value::as_str))
        .collect();
    let is_there = |name: &&&str| {
        texts.iter().any(|text| {
            let name_of = text.split_once(':').map_or(*text, |(name, _)| name);
            name_of.strip_prefix(PREFIX) == Some(**name)
        })
    };
    NAMES.iter().filter(is_there).copied().collect()
}

/// The other end of the machine protocol.
struct Emulator(BufReader<UnixStream>);

impl Emulator {
    /// Has `command` executed and returns what it returns; what comes before
    /// is a greeting or an event.
    fn ask(&mut self, command: &str, arguments: &Value) -> Result<Value, Error> {
        let question = json!({ "execute": command, "arguments": arguments });
        let failed = || Error::io("ask the emulator", command);
        writeln!(self.0.get_mut(), "{question}").map_err(failed())?;
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).map_err(failed())? == 0 {
                return Err(Error::Reply("the emulator has hung up".to_owned()));
            }
            let mut answer: Value = serde_json::from_str(&line)
                .map_err(|error| Error::Reply(format!("`{command}`: {line:?}: {error}")))?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                return Err(Error::Reply(format!("`{command}`: {error}")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Value {
        json!({
            "host-features": { "dev-features": [
                "VIRTIO_NET_F_GUEST_TSO4: Driver can receive TSOv4",
                "VIRTIO_NET_F_GUEST_CSUM: Driver handling packets with partial checksum",
                "VIRTIO_NET_F_CSUM: Device handling packets with partial checksum",
                "VIRTIO_NET_F_CTRL_RX: Control channel RX mode supported",
            ] },
            "guest-features": { "dev-features": [
                "VIRTIO_NET_F_CSUM: Device handling packets with partial checksum",
            ] },
        })
    }

    #[test]
    fn only_what_was_negotiated_is_said_to_be() {
        let offloads = Offloads::of_status(&status());
        assert_eq!(offloads.offered, ["CSUM", "GUEST_CSUM", "GUEST_TSO4"]);
        assert!(offloads.has("CSUM") && !offloads.has("GUEST_CSUM"));
        assert_eq!(
            offloads.to_string(),
            "negotiated CSUM; offered, not used: GUEST_CSUM GUEST_TSO4"
        );
        let nothing = Offloads::of_status(&json!({})).to_string();
        assert_eq!(nothing, "negotiated none; offered, not used: none");
    }

    #[test]
    fn greetings_and_events_are_no_answers_and_refusals_are_errors() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut emulator = Emulator(BufReader::new(ours));
        let said = "{\"QMP\": {}}\n{\"event\": \"x\"}\n{\"return\": 7}\n{\"error\": \"no\"}\n";
        theirs.write_all(said.as_bytes()).unwrap();
        assert_eq!(emulator.ask("a", &json!({})).unwrap(), 7);
        let error = emulator.ask("b", &json!({})).unwrap_err();
        assert_eq!(error.to_string(), "`b`: \"no\"");
        drop(theirs);
        assert!(emulator.ask("c", &json!({})).is_err());
    }

    #[test]
    fn a_comma_in_the_path_is_no_separator() {
        let [_, door] = arguments(Path::new("/a,b"));
        assert_eq!(door, "unix:/a,,b,server=on,wait=off");
    }
}
