//! What the component is told to do.
//!
//! `VERB WAY SEMANTICS TECHNIQUE OFFSET SIZE COUNT [PEER]`, numbers in decimal:
//!
//! - VERB: `send`, `receive`, `rewrite` or `die`; WAY: `tcp` or `udp`;
//! - SEMANTICS and TECHNIQUE by number, 0 for what is not said;
//! - OFFSET: where the bytes begin, from the start of a page on;
//! - COUNT calls of SIZE bytes each;
//! - PEER: whom `rewrite` and `die` send datagrams to.

use core::net::SocketAddr;

use ioipc::Passing;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Sends the first pattern.
    Send,
    /// Receives and compares.
    Receive,
    /// Sends and, meanwhile, writes the second pattern over it.
    Rewrite,
    /// Sends and, meanwhile, commits a fault.
    Die,
}

/// Over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A TCP connection.
    Stream,
    /// The socket of the commands.
    Datagrams,
}

/// A command.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// What is done.
    pub verb: Verb,
    /// Over what.
    pub way: Way,
    /// How data is passed, if that was said.
    pub passing: Option<Passing>,
    /// Where the bytes begin.
    pub offset: usize,
    /// Bytes of a call.
    pub size: usize,
    /// Calls.
    pub count: usize,
    /// Whom to send to.
    pub peer: Option<SocketAddr>,
}

impl Order {
    /// Reads a command.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let verb = match words.next()? {
            "send" => Verb::Send,
            "receive" => Verb::Receive,
            "rewrite" => Verb::Rewrite,
            "die" => Verb::Die,
            _ => return None,
        };
        let way = match words.next()? {
            "tcp" => Way::Stream,
            "udp" => Way::Datagrams,
            _ => return None,
        };
        let mut number = || words.next()?.parse::<usize>().ok();
        let word = number()? | number()? << 8;
        let passing = match word {
            0 => None,
            word => Some(Passing::from_word(u32::try_from(word).ok()?)?),
        };
        let (offset, size, count) = (number()?, number()?, number()?);
        Some(Self {
            verb,
            way,
            passing,
            offset,
            size,
            count,
            peer: words.next().and_then(|peer| peer.parse().ok()),
        })
    }

    /// Bytes in all.
    pub fn total(&self) -> usize {
        self.size.saturating_mul(self.count)
    }

    /// The semantics that were named, if they need buffers of the library's.
    pub fn of_system(&self) -> Option<Passing> {
        self.passing.filter(|p| p.semantics.is_system_allocated())
    }
}
