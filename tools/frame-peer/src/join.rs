//! `frame-peer relay`: a bad wire between two ends, by hand.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use frame_peer::relay::{Conditions, End, Relay, Tally};
use tap_device::Tap;

/// How often counts are shown.
const LOOK: Duration = Duration::from_secs(5);

/// The two ends, and what is between them.
#[derive(Args)]
pub struct Join {
    /// An end: listen:PATH or connect:PATH, a Unix socket with QEMU's framing;
    /// tcp:HOST:PORT, the same over TCP; or tap:NAME, a TAP device.
    #[arg(value_name = "END")]
    first: Place,
    /// The other end.
    #[arg(value_name = "END")]
    second: Place,
    /// What is done to frames, as for `cargo ioipc run --wire`:
    /// loss=1%,delay=10ms,seed=7 and so on. The delay is there and back.
    #[arg(long, value_name = "CONDITIONS", default_value = "delay=0ms")]
    wire: Conditions,
}

/// Where an end is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Listen(PathBuf),
    Connect(PathBuf),
    Tcp(String),
    Tap(String),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("listen", path)) if !path.is_empty() => Ok(Self::Listen(path.into())),
            Some(("connect", path)) if !path.is_empty() => Ok(Self::Connect(path.into())),
            Some(("tcp", peer)) if peer.contains(':') => Ok(Self::Tcp(peer.to_owned())),
            Some(("tap", name)) if !name.is_empty() => Ok(Self::Tap(name.to_owned())),
            _ => Err("expected listen:PATH, connect:PATH, tcp:HOST:PORT or tap:NAME".to_owned()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(path) | Self::Connect(path) => path.display().fmt(f),
            Self::Tcp(name) | Self::Tap(name) => f.write_str(name),
        }
    }
}

impl Place {
    fn open(&self) -> Result<End, String> {
        let end = match self {
            Self::Listen(path) => End::listen(path),
            Self::Connect(path) => UnixStream::connect(path).and_then(End::unix),
            Self::Tcp(peer) => TcpStream::connect(peer).and_then(End::tcp),
            Self::Tap(name) => Tap::open(name).map(End::tap),
        };
        end.map_err(|error| format!("{self}: {error}"))
    }
}

impl Join {
    /// Joins the ends until one of them is gone for good.
    pub fn run(&self) -> Result<(), Box<dyn std::error::Error>> {
        let (first, second) = (self.first.open()?, self.second.open()?);
        let relay = Relay::start(first, second, &self.wire).map_err(describe)?;
        let mut shown = Tally::default();
        while !relay.wait_ended(LOOK) {
            let tally = relay.tally();
            if tally != shown {
                self.show(&tally);
                shown = tally;
            }
        }
        self.show(&relay.tally());
        Ok(())
    }

    fn show(&self, tally: &Tally) {
        println!("{} -> {}: {}", self.first, self.second, tally.there);
        println!("{} -> {}: {}", self.second, self.first, tally.back);
    }
}

fn describe(error: io::Error) -> String {
    format!("no relay: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_named_as_documented() {
        assert_eq!("listen:/a".parse(), Ok(Place::Listen("/a".into())));
        assert_eq!("connect:a:b".parse(), Ok(Place::Connect("a:b".into())));
        assert_eq!("tcp:h:1".parse(), Ok(Place::Tcp("h:1".to_owned())));
        assert_eq!("tap:t".parse(), Ok(Place::Tap("t".to_owned())));
        for bad in ["", "listen:", "tcp:9", "udp:h:1", "/a"] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}
