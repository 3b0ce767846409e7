//! The running system and the peer on its wire: orders, loads, counters.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use frame_peer::lockstep::{Datagrams, Flow, Kind, Lockstep, Way};

use super::case_name;
use super::cases::MTU;
use super::record::{Case, Passing, Pattern, Protocol};
use super::tally::Numbers;
use crate::bench::BenchError;
use crate::{Error, Running};

/// The system's address, and the ports of `tests/components/placement-bench`.
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const ORDERS: u16 = 20;
const LOADS: u16 = 21;
/// The first of the peer's ports; each load has one of its own.
const OWN: u16 = 5000;
/// How long a burst, or an answer, may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long after a failure the system may take to say why.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A system that takes orders.
pub(super) struct Link {
    running: Running,
    pub peer: Lockstep,
    orders: Datagrams,
    next_port: u16,
}

impl Link {
    /// The link to a system that takes orders.
    pub fn new(running: Running, mut peer: Lockstep) -> Result<Self, Error> {
        let to = SocketAddrV4::new(GUEST, ORDERS);
        let orders = Datagrams::open(&mut peer, OWN, to);
        Ok(Self {
            running,
            peer,
            orders: orders.map_err(Error::io("open", "the socket for orders"))?,
            next_port: OWN,
        })
    }

    /// Orders a load and opens it.
    pub fn open(&mut self, case: &Case) -> Result<Flow, BenchError> {
        let order = order(case);
        let sent = self.orders.send(&mut self.peer, order.as_bytes());
        sent.map_err(|e| self.failed(case, &e.to_string()))?;
        match self.answer(PATIENCE) {
            Ok(answer) if answer == "ready" => {}
            Ok(answer) => return Err(self.failed(case, &answer)),
            Err(why) => return Err(self.failed(case, &why.to_string())),
        }
        // Ports of ended connections rest.
        self.next_port = OWN + 1 + (self.next_port - OWN) % 4000;
        let kind = match case.protocol {
            Protocol::Udp => Kind::Datagrams,
            Protocol::Tcp => Kind::Stream,
        };
        let way = match case.pattern {
            Pattern::In => Way::In,
            Pattern::Out => Way::Out,
            Pattern::Echo => Way::Echo,
        };
        let ends = (self.next_port, SocketAddrV4::new(GUEST, LOADS));
        let burst = (case.outstanding as usize, case.bytes as usize);
        let flow = Flow::open(&mut self.peer, (kind, way), ends, burst, PATIENCE);
        flow.map_err(|e| self.failed(case, &e.to_string()))
    }

    /// Moves one burst.
    pub fn burst(&mut self, case: &Case, flow: &mut Flow) -> Result<(), BenchError> {
        let done = flow.burst(&mut self.peer);
        done.map_err(|e| self.failed(case, &e.to_string()))
    }

    /// Acknowledges what has come.
    pub fn flush(&mut self, case: &Case) -> Result<(), BenchError> {
        let flushed = self.peer.flush();
        flushed.map_err(|e| self.failed(case, &e.to_string()))
    }

    /// Ends a load; the system must have had, or sent, the same bytes.
    pub fn close(&mut self, case: &Case, flow: Flow) -> Result<(), BenchError> {
        let done = flow.done();
        let ended = flow.end(&mut self.peer);
        ended.map_err(|e| self.failed(case, &e.to_string()))?;
        match self.answer(PATIENCE) {
            Ok(answer) if answer == format!("done {done}") => Ok(()),
            Ok(answer) => Err(self.failed(case, &format!("{answer} instead of {done} bytes"))),
            Err(why) => Err(self.failed(case, &why.to_string())),
        }
    }

    fn answer(&mut self, patience: Duration) -> std::io::Result<String> {
        let answer = self.orders.receive(&mut self.peer, patience)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// What the components have counted up to now.
    pub fn numbers(&mut self, case: &Case) -> Result<Numbers, BenchError> {
        let answer = self.running.ask("counters", PATIENCE);
        let answer = answer.map_err(|e| self.failed(case, &e.to_string()))?;
        Numbers::parse(&answer)
            .ok_or_else(|| self.failed(case, &format!("`counters` was answered with {answer}")))
    }

    /// Ends the system.
    pub fn stop(self) {
        self.running.stop();
    }

    /// A failure in a case, with what the system says of it.
    fn failed(&mut self, case: &Case, why: &str) -> BenchError {
        let said = self.answer(LAST_WORDS).unwrap_or_default();
        let words = [why, &said].map(str::trim).join("; ");
        BenchError::Placement {
            case: case_name(case),
            why: words.trim_end_matches("; ").to_owned(),
        }
    }
}

/// An order in the words of the application.
fn order(case: &Case) -> String {
    let carrier = match case.protocol {
        Protocol::Udp => "udp",
        Protocol::Tcp => "tcp",
    };
    let way = match case.pattern {
        Pattern::In => "in",
        Pattern::Out => "out",
        Pattern::Echo => "echo",
    };
    let interface = match (semantics(case.passing), several_large(case)) {
        (Some(semantics), _) => (semantics as u16).to_string(),
        (None, true) => "queue".to_owned(),
        (None, false) => "calls".to_owned(),
    };
    format!(
        "{carrier} {way} {interface} {} {}",
        case.bytes, case.outstanding
    )
}

/// Whether several operations are on their way of which a plain call would wait
/// for each.
fn several_large(case: &Case) -> bool {
    case.outstanding > 1 && case.bytes > MTU
}

/// What the application relies on; none where it lets be done.
fn semantics(passing: Passing) -> Option<socket_api::Semantics> {
    use socket_api::Semantics;
    match passing {
        Passing::EmulatedCopy | Passing::Conventional => None,
        Passing::Copy => Some(Semantics::Copy),
        Passing::Share => Some(Semantics::Share),
        Passing::EmulatedMove => Some(Semantics::EmulatedMove),
    }
}
