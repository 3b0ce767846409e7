//! What load is to be served.
//!
//! `CARRIER WAY INTERFACE BYTES COUNT`: `udp` or `tcp`; `in`, `out` or `echo`;
//! `calls` for plain socket calls, `queue` for asynchronous operations, or these
//! with semantics, by number; bytes of an operation; and operations of a burst.

use ioipc::Passing;

/// Over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// UDP.
    Datagrams,
    /// TCP.
    Stream,
}

/// Which way payload goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To us.
    In,
    /// From us.
    Out,
    /// To us and back.
    Echo,
}

/// How the application calls.
#[derive(Clone, Copy, Debug)]
pub enum Interface {
    /// Plain socket calls.
    Calls,
    /// Asynchronous operations, with semantics if any are named.
    Queue(Option<Passing>),
}

/// A load.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// Over what.
    pub carrier: Carrier,
    /// Which way.
    pub way: Way,
    /// How the application calls.
    pub interface: Interface,
    /// Bytes of an operation, up to [`MOST`].
    pub bytes: usize,
    /// Operations of a burst.
    pub count: usize,
}

/// Most bytes of an operation.
pub const MOST: usize = 64 << 10;

impl Order {
    /// Reads an order.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let carrier = match words.next()? {
            "udp" => Carrier::Datagrams,
            "tcp" => Carrier::Stream,
            _ => return None,
        };
        let way = match words.next()? {
            "in" => Way::In,
            "out" => Way::Out,
            "echo" => Way::Echo,
            _ => return None,
        };
        let interface = match words.next()? {
            "calls" => Interface::Calls,
            "queue" => Interface::Queue(None),
            word => Interface::Queue(Some(Passing::from_word(word.parse().ok()?)?)),
        };
        let mut number = || words.next()?.parse::<usize>().ok();
        let (bytes, count) = (number()?, number()?);
        (bytes <= MOST && bytes > 8 && count > 0).then_some(Self {
            carrier,
            way,
            interface,
            bytes,
            count,
        })
    }
}
