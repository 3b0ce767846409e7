//! The protocol server: smoltcp behind validated request rings, with payload
//! by reference.
//!
//! Problem: one server speaks ARP, IPv4, ICMP, UDP, TCP, DHCP and DNS for
//! many clients, on packets and requests from an I/O manager, which may not
//! crash it, and its cost must not grow with sockets that are idle or with
//! bytes. Invariant: the headers of every packet are copied once into private
//! memory, checked, and demultiplexed *before* smoltcp sees them; smoltcp is
//! only ever shown the one socket that the packet concerns (or none), and
//! scratch bytes in place of payload. Payload is named: what is received by
//! packet and offset, what is sent by token and offset. Everything is
//! allocated when the server starts.
//!
//! | module | what it decides |
//! | --- | --- |
//! | [`environment`] | what the server needs from its surroundings |
//! | [`config`] | sizes and addresses |
//! | `classify`, `reassembly` | which bytes from the wire are a packet for us |
//! | `packets` | which packets we hold, where their payload waits, for whom |
//! | `inflow`, `outflow` | which bytes of a stream are where |
//! | `stack`, `wire`, `cut` | how one packet goes through smoltcp and out |
//! | `neighbours`, `arp`, `conflict` | whose hardware address is which, and whose our address is |
//! | `datagram`, `answers` | packets that are made beside smoltcp |
//! | `initial` | initial sequence numbers (RFC 6528) |
//! | `flows`, `time_wait` | which connection a segment belongs to |
//! | `ingress`, `tcp_in`, `requests` | what a packet or a request does |
//! | `udp`, `udp_send`, `listen`, `close`, `resolve`, `address` | the operations |
//! | `dns`, `dns_stream` | what DNS servers say, in datagrams and over TCP |
//! | `dhcp`, `lease` | how an address is asked for, and which will do |
//! | `stream`, `stream_recv`, `stream_send`, `service` | and those of streams |
//! | `recovery`, `retransmit` | what of a stream is sent again, and when |
//! | `express`, `train` | the short way of usual datagrams and segments |
//! | `deliver` | how received bytes get to a receive |
//! | [`channel`] | the rings of the real system |
//! | `program` | the turns of the real system, in either placement |
//! | [`Conventional`] | the same with payload by value, to compare with |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod address;
mod answers;
mod arp;
mod bucket;
pub mod channel;
mod checksum;
mod classify;
mod close;
pub mod config;
mod conflict;
mod connection;
mod conventional;
pub mod counters;
mod cut;
mod datagram;
mod deliver;
mod dhcp;
mod dns;
mod dns_stream;
pub mod environment;
mod express;
mod flows;
mod hops;
mod inflow;
mod ingress;
mod initial;
mod lease;
mod listen;
mod lists;
mod neighbours;
mod outflow;
mod packets;
mod pending;
#[cfg(feature = "program")]
pub mod program;
mod random;
mod reassembly;
mod receives;
mod recovery;
mod requests;
mod resolve;
mod retransmit;
mod server;
mod service;
mod sockets;
mod stack;
mod stream;
mod stream_recv;
mod stream_send;
mod tcp_in;
mod time_wait;
mod timers;
mod train;
mod udp;
mod udp_send;
mod wire;

pub use config::Config;
pub use connection::Connection;
pub use conventional::{Conventional, Copied};
pub use counters::{Counter, Counters};
pub use environment::Environment;
pub use server::{Server, Wakeup};
