//! A DNS server (RFC 1035) with a table of names.
//!
//! It answers queries for A records from the table and everything else with
//! NXDOMAIN; names compare without regard to case. It may go silent, answer
//! wrongly in ways that a resolver must not accept, or have the truth for those
//! alone who ask over TCP ([`stream`]).

pub(crate) mod stream;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::wire::{Ipv4, Located, Mac, PROTO_UDP, TYPE_IPV4, ethernet, udp};

const PORT: u16 = 53;
const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;

/// How the server behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsMood {
    /// Answers truthfully.
    #[default]
    Honest,
    /// Does not answer.
    Silent,
    /// Answers with another query's number.
    WrongId,
    /// Answers with a compression pointer to itself in the record's name.
    PointerLoop,
    /// Cuts the answer in the middle of the record.
    Truncated,
    /// Says SERVFAIL.
    Failing,
    /// Marks what it says in datagrams as truncated, and lies there; over TCP it
    /// is honest.
    OverTcp,
}

/// What the server knows; may be changed while it runs.
#[derive(Clone, Debug, Default)]
pub struct DnsConfig {
    /// Addresses by lower-case name without trailing dot.
    pub names: BTreeMap<String, Vec<Ipv4Addr>>,
    /// Behaviour.
    pub mood: DnsMood,
    /// Time to live of the records, in seconds.
    pub ttl: u32,
}

impl DnsConfig {
    /// Adds a name with one address.
    pub fn with(mut self, name: &str, address: Ipv4Addr) -> Self {
        self.names
            .entry(name.to_lowercase())
            .or_default()
            .push(address);
        self
    }
}

/// The server at address `identity`.
#[derive(Debug)]
pub(crate) struct DnsServer {
    pub config: DnsConfig,
    pub queries: u64,
    mac: Mac,
    identity: Ipv4Addr,
}

impl DnsServer {
    pub fn new(config: DnsConfig, mac: Mac, identity: Ipv4Addr) -> Self {
        Self {
            config,
            queries: 0,
            mac,
            identity,
        }
    }

    /// The reply frame, if `frame` is a query to this server.
    pub fn answer(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let found = Located::find(frame)?;
        let (port, PORT, query) = found.udp()? else {
            return None;
        };
        if found.dst != self.identity {
            return None;
        }
        let body = self.respond(query, false)?;
        let datagram = udp((self.identity, PORT), (found.src, port), &body);
        let packet = Ipv4::new(self.identity, found.src, PROTO_UDP).packet(&datagram);
        Some(ethernet(found.src_mac, self.mac, TYPE_IPV4, &packet))
    }

    /// The answer to a query in a datagram, or over TCP.
    fn respond(&mut self, query: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
        let (id, name, kind, question) = parse(query)?;
        self.queries += 1;
        let failing = self.config.mood == DnsMood::Failing;
        let known = self
            .config
            .names
            .get(&name)
            .filter(|_| kind == TYPE_A && !failing);
        let truncates = self.config.mood == DnsMood::OverTcp && !over_tcp;
        let addresses = match known {
            Some(_) if truncates => &[Ipv4Addr::new(6, 6, 6, 6)],
            Some(addresses) => addresses.as_slice(),
            None => &[],
        };
        let (id, code) = match self.config.mood {
            DnsMood::Silent => return None,
            DnsMood::WrongId => (!id, 0),
            DnsMood::Failing => (id, 2),
            _ if addresses.is_empty() => (id, 3),
            _ => (id, 0),
        };
        // Response, recursion desired and available; one question.
        let mut out = Vec::new();
        let more = if truncates { 0x0200 } else { 0 };
        for field in [id, 0x8180 | more | code, 1, addresses.len() as u16, 0, 0] {
            out.extend_from_slice(&field.to_be_bytes());
        }
        out.extend_from_slice(question);
        for address in addresses {
            let own = 0xc000 | out.len() as u16;
            let name = if self.config.mood == DnsMood::PointerLoop {
                own
            } else {
                0xc00c
            };
            out.extend_from_slice(&name.to_be_bytes());
            out.extend_from_slice(&TYPE_A.to_be_bytes());
            out.extend_from_slice(&CLASS_IN.to_be_bytes());
            out.extend_from_slice(&self.config.ttl.to_be_bytes());
            out.extend_from_slice(&4u16.to_be_bytes());
            out.extend_from_slice(&address.octets());
        }
        if self.config.mood == DnsMood::Truncated {
            out.truncate(out.len() - 3);
        }
        Some(out)
    }
}

/// Number, lower-case name, type and the bytes of the question.
fn parse(query: &[u8]) -> Option<(u16, String, u16, &[u8])> {
    let (header, rest) = query.split_first_chunk::<12>()?;
    let field = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    if field(2) & 0x8000 != 0 || field(4) != 1 {
        return None;
    }
    let (mut at, mut labels) = (0, Vec::new());
    loop {
        let len = usize::from(*rest.get(at)?);
        at += 1;
        match len {
            0 => break,
            1..64 => labels.push(str::from_utf8(rest.get(at..at + len)?).ok()?.to_lowercase()),
            _ => return None,
        }
        at += len;
    }
    let question = rest.get(..at + 4)?;
    let kind = u16::from_be_bytes([question[at], question[at + 1]]);
    Some((field(0), labels.join("."), kind, question))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str) -> Vec<u8> {
        let mut out = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            out.push(label.len() as u8);
            out.extend_from_slice(label.as_bytes());
        }
        out.extend_from_slice(&[0, 0, 1, 0, 1]);
        out
    }

    fn server() -> DnsServer {
        let config = DnsConfig::default().with("Host.test", Ipv4Addr::new(1, 2, 3, 4));
        DnsServer::new(config, [2; 6], Ipv4Addr::new(10, 0, 0, 1))
    }

    #[test]
    fn a_known_name_and_an_unknown_one() {
        let reply = server().respond(&query("hOST.test"), false).unwrap();
        assert_eq!(reply[..4], [0x12, 0x34, 0x81, 0x80]);
        assert!(reply.ends_with(&[0, 4, 1, 2, 3, 4]));
        let reply = server().respond(&query("other.test"), false).unwrap();
        assert_eq!((reply[3] & 15, reply[7]), (3, 0));
    }

    #[test]
    fn the_truth_is_told_over_tcp_alone() {
        let mut server = server();
        server.config.mood = DnsMood::OverTcp;
        let reply = server.respond(&query("host.test"), false).unwrap();
        assert_eq!((reply[2], reply.last()), (0x83, Some(&6)));
        let reply = server.respond(&query("host.test"), true).unwrap();
        assert_eq!((reply[2], reply.last()), (0x81, Some(&4)));
    }

    #[test]
    fn no_query_no_answer() {
        let good = query("host.test");
        (0..good.len()).for_each(|cut| assert!(server().respond(&good[..cut], false).is_none()));
        let mut response = good;
        response[2] |= 0x80;
        assert!(server().respond(&response, false).is_none());
    }
}
