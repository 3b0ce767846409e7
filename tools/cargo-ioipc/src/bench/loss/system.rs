//! Our system against Linux: a network of its own, the relay, and the emulator.

use std::net::SocketAddrV4;
use std::time::Duration;

use frame_peer::relay::{Conditions, End, Relay};

use super::endpoint::{self, Received};
use super::network::Network;
use super::{LossBench, PORT, Way};
use crate::bench::BenchError;
use crate::tap::{DEVICE, GUEST, HOST};
use crate::{Error, Net, Options, Running, prepare};

/// The system that is booted, among the sources.
const SYSTEM: &str = "tests/systems/loss.toml";
/// How long the system may take to start.
const START: Duration = Duration::from_secs(60);
/// How long after its time an order may take to end.
const SLACK: Duration = Duration::from_secs(20);

/// The running system and the host at the other end of its wire.
pub(super) struct System {
    host: Network,
    relay: Relay,
    running: Running,
}

impl System {
    /// Builds and boots it.
    pub fn boot(bench: &LossBench, quiet: &Conditions) -> Result<Self, Error> {
        let scratch = tempfile::tempdir().map_err(Error::io("make", "a scratch directory"))?;
        let wire = scratch.path().join("wire");
        let prepared = prepare(&Options {
            system: crate::Home::find()?.workspace.root.join(SYSTEM),
            release: true,
            net: Net::Unix(wire.clone()),
            ..bench.options.clone()
        })?;
        let (host, tap) = Network::new(HOST)?;
        let end = End::listen(&wire).map_err(Error::io("listen at", &wire))?;
        let relay = Relay::start(End::tap(tap), end, quiet);
        let relay = relay.map_err(Error::io("start the relay on", DEVICE))?;
        let mut running = prepared.boot()?;
        running.wait_line("readiness of the application", START, |line| {
            line.contains("stream-load on port")
        })?;
        Ok(Self {
            host,
            relay,
            running,
        })
    }

    /// One run.
    pub fn run(
        &mut self,
        (quiet, wire): (&Conditions, &Conditions),
        (way, time): (Way, Duration),
        congestion: &str,
    ) -> Result<Received, Error> {
        let failed = || Error::io("measure with", "the system");
        let to = SocketAddrV4::new(GUEST.own, PORT);
        let mut stream = self.host.connect(to, congestion).map_err(failed())?;
        self.relay.change(wire);
        endpoint::order(&mut stream, way, time).map_err(failed())?;
        let received = match way {
            Way::Out => endpoint::receive(&mut stream, time).map(Some),
            Way::In => {
                endpoint::send(&mut stream, time * 2);
                Ok(None)
            }
        };
        self.relay.change(quiet);
        drop(stream);
        let said = self.running.wait_line("end of an order", SLACK, |line| {
            line.contains("stream-load sent") || line.contains("stream-load received")
        })?;
        match received.map_err(failed())? {
            Some(received) => Ok(received),
            None => parse(&said).ok_or_else(|| {
                let why = format!("the system did not say what it received: {said}");
                BenchError::Loss(why).into()
            }),
        }
    }

    /// Ends it.
    pub fn stop(self) {
        self.running.stop();
    }
}

/// What the component says of what it has received.
fn parse(line: &str) -> Option<Received> {
    let (_, words) = line.split_once("stream-load received ")?;
    let mut words = words.split_whitespace();
    let bytes = words.next()?.parse().ok()?;
    let mut after = |name: &str| {
        words
            .next()
            .filter(|word| *word == name)
            .and_then(|_| words.next())
    };
    let wrong = match after("wrong")? {
        "none" => None,
        at => Some(at.parse().ok()?),
    };
    let silence = Duration::from_micros(after("silence")?.parse().ok()?);
    Some(Received {
        bytes,
        wrong,
        silence,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_component_says_is_understood() {
        let said = "[   1.0 INFO  load] stream-load received 1234 wrong none silence 5000";
        let mut wanted = Received {
            bytes: 1234,
            wrong: None,
            silence: Duration::from_millis(5),
        };
        assert_eq!(parse(said), Some(wanted));
        wanted.wrong = Some(7);
        assert_eq!(parse(&said.replace("none", "7")), Some(wanted));
        assert_eq!(parse(&said.replace("silence", "")), None);
        assert_eq!(parse("stream-load sent 7"), None);
    }
}
