//! Linux against Linux: two networks of their own with the relay between them.

use std::io;
use std::net::SocketAddrV4;
use std::thread;
use std::time::Duration;

use frame_peer::relay::{Conditions, End, Relay};

use super::endpoint::{self, Received};
use super::network::Network;
use super::{PORT, Way};
use crate::Error;
use crate::tap::{DEVICE, GUEST, HOST};

/// Both hosts, and what joins them.
pub(super) struct Reference {
    one: Network,
    other: Network,
    relay: Relay,
}

impl Reference {
    /// Makes both hosts.
    pub fn new(quiet: &Conditions) -> Result<Self, Error> {
        let (one, first) = Network::new(HOST)?;
        let (other, second) = Network::new(GUEST)?;
        let relay = Relay::start(End::tap(first), End::tap(second), quiet);
        Ok(Self {
            one,
            other,
            relay: relay.map_err(Error::io("start the relay on", DEVICE))?,
        })
    }

    /// One run. Without `wide`, windows are of 64 KiB at most.
    pub fn run(
        &self,
        (quiet, wire): (&Conditions, &Conditions),
        (way, time): (Way, Duration),
        (congestion, wide): (&str, bool),
    ) -> io::Result<Received> {
        self.one.scale_windows(wide)?;
        let listener = self.other.listen(PORT)?;
        let name = congestion.to_owned();
        let server = thread::spawn(move || endpoint::serve(&listener, &name));
        let to = SocketAddrV4::new(GUEST.own, PORT);
        let mut stream = self.one.connect(to, congestion)?;
        self.relay.change(wire);
        endpoint::order(&mut stream, way, time)?;
        let received = match way {
            Way::Out => Some(endpoint::receive(&mut stream, time)?),
            Way::In => {
                // Until the other end has had enough, which is `time` later.
                endpoint::send(&mut stream, time * 2);
                None
            }
        };
        self.relay.change(quiet);
        drop(stream);
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let other = server.join().map_err(|_| gone())??;
        received.or(other).ok_or_else(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::loss::{CONGESTION, wire};
    use crate::tap::TapError;

    #[test]
    fn two_hosts_move_the_right_bytes_over_a_wire_that_loses_some() {
        let (quiet, bad) = (wire(0, 1), wire(50, 1));
        let reference = match Reference::new(&quiet) {
            Ok(reference) => reference,
            Err(Error::Tap(TapError::Unavailable(why))) => return eprintln!("not run: {why}"),
            Err(error) => panic!("{error}"),
        };
        for way in [Way::In, Way::Out] {
            let order = (way, Duration::from_millis(700));
            let received = reference.run((&quiet, &bad), order, (CONGESTION, true));
            let received = received.unwrap();
            assert!(received.bytes > 10_000, "{received:?}");
            assert_eq!(received.wrong, None);
        }
        let tally = reference.relay.tally();
        assert!(tally.there.lost + tally.back.lost > 0, "{tally:?}");
    }
}
