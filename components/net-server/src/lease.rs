//! What a DHCP server says, and whether it will do (RFC 2131, RFC 2132).
//!
//! Problem: a server may give an address that no host can have, a router that
//! cannot be reached, or a lease that is over at once. Invariant: a [`Lease`]
//! has passed the check that an address from a file passes
//! ([`socket_api::host`]), and lasts long enough to be renewed.

use core::fmt;

use smoltcp::wire::{DhcpMessageType, DhcpOpCode, DhcpPacket, EthernetAddress, Ipv4Address};
use socket_api::host::{self, AddressFault};

use crate::dhcp::LEAST_LEASE;

/// The magic number before the options (RFC 2131, 3).
const MAGIC: u32 = 0x6382_5363;
/// Seconds of a lease of which the server does not say how long it is.
const UNSAID: u32 = 120;
/// Routers that are looked at.
const ROUTERS: usize = 4;

/// An answer, as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub kind: DhcpMessageType,
    /// The number of the question.
    pub number: u32,
    pub server: Option<Ipv4Address>,
    address: Ipv4Address,
    mask: Option<Ipv4Address>,
    routers: [Option<Ipv4Address>; ROUTERS],
    dns: [Option<Ipv4Address>; 3],
    seconds: Option<u32>,
    renew: Option<u32>,
    rebind: Option<u32>,
}

/// What an address comes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub server: Ipv4Address,
    pub address: Ipv4Address,
    pub prefix: u8,
    pub router: Option<Ipv4Address>,
    pub dns: [Option<Ipv4Address>; 3],
    /// How long it is good; `u32::MAX` is for ever.
    pub seconds: u32,
    renew: Option<u32>,
    rebind: Option<u32>,
}

/// Why an answer is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It does not say who gives it.
    Server,
    /// It does not say how large the network is.
    Mask,
    Address(AddressFault),
    Router(Ipv4Address, AddressFault),
    Short(u32),
    /// It is not the address that was offered, or held.
    Another,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("no server says that it is its own"),
            Self::Mask => f.write_str("without a network mask"),
            Self::Address(fault) => write!(f, "{fault}"),
            Self::Router(router, fault) => write!(f, "its router {router} is {fault}"),
            Self::Short(seconds) => {
                write!(
                    f,
                    "for {seconds} s, less than the {LEAST_LEASE} s it takes to renew"
                )
            }
            Self::Another => f.write_str("not the address that was asked for"),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = self.server.unwrap_or(Ipv4Address::UNSPECIFIED);
        write!(f, "{server} gives {}", self.address)?;
        match self.mask.map(host::prefix_of) {
            Some(Ok(prefix)) => write!(f, "/{prefix}"),
            _ => Ok(()),
        }
    }
}

impl Reply {
    /// Reads a message to the client with this hardware address; `None` if it is
    /// none.
    pub fn read(bytes: &[u8], mac: EthernetAddress) -> Option<Self> {
        let packet = DhcpPacket::new_checked(bytes).ok()?;
        let ours = packet.opcode() == DhcpOpCode::Reply
            && packet.hardware_len() == 6
            && packet.client_hardware_address() == mac
            && packet.magic_number() == MAGIC;
        if !ours {
            return None;
        }
        let mut reply = Self {
            kind: DhcpMessageType::Unknown(0),
            number: packet.transaction_id(),
            server: None,
            address: packet.your_ip(),
            mask: None,
            routers: [None; ROUTERS],
            dns: [None; 3],
            seconds: None,
            renew: None,
            rebind: None,
        };
        for option in packet.options() {
            reply.take(option.kind, option.data);
        }
        Some(reply)
    }

    /// Takes an option (RFC 2132); what is not of its length says nothing.
    fn take(&mut self, kind: u8, data: &[u8]) {
        let word = <[u8; 4]>::try_from(data).ok();
        let (address, number) = (word.map(Ipv4Address::from), word.map(u32::from_be_bytes));
        match kind {
            53 => self.kind = data.first().map_or(self.kind, |kind| (*kind).into()),
            1 => self.mask = address,
            3 => fill(&mut self.routers, data),
            6 => fill(&mut self.dns, data),
            51 => self.seconds = number,
            54 => self.server = address,
            58 => self.renew = number,
            59 => self.rebind = number,
            _ => {}
        }
    }

    /// The lease that it grants or offers.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn lease(&self) -> Result<Lease, Refusal> {
        let server = self.server.filter(|server| host::is_host(*server));
        let server = server.ok_or(Refusal::Server)?;
        let prefix = self.mask.ok_or(Refusal::Mask)?;
        let prefix = host::prefix_of(prefix).map_err(Refusal::Address)?;
        host::check_own(self.address, prefix).map_err(Refusal::Address)?;
        let seconds = self.seconds.unwrap_or(UNSAID);
        if seconds < LEAST_LEASE {
            return Err(Refusal::Short(seconds));
        }
        let own = (self.address, prefix);
        Ok(Lease {
            server,
            address: self.address,
            prefix,
            router: self.router(own)?,
            // Some servers fill the list up with zeros.
            dns: self
                .dns
                .map(|dns| dns.filter(|dns| host::check_other(own, *dns).is_ok())),
            seconds,
            renew: self.renew,
            rebind: self.rebind,
        })
    }

    /// The first router that can be reached; if there are only others, the
    /// network leads nowhere.
    fn router(&self, own: (Ipv4Address, u8)) -> Result<Option<Ipv4Address>, Refusal> {
        let mut fault = None;
        for router in self.routers.into_iter().flatten() {
            match host::check_router(own, router) {
                Ok(()) => return Ok(Some(router)),
                Err(why) => fault = fault.or(Some(Refusal::Router(router, why))),
            }
        }
        fault.map_or(Ok(None), Err)
    }
}

impl Lease {
    /// Seconds until it is to be renewed, and until any server will do: what the
    /// server says, if that is in order and leaves some time between two
    /// renewals, or else one half and seven eighths (RFC 2131, 4.4.5).
    pub fn times(&self) -> (u32, u32) {
        let all = self.seconds;
        let rebind = self.rebind.filter(|at| (all / 2..all).contains(at));
        let rebind = rebind.unwrap_or(all - all / 8);
        let renew = self.renew.filter(|at| (all / 4..rebind).contains(at));
        (renew.unwrap_or((all / 2).min(rebind)), rebind)
    }
}

/// The first addresses of a list.
fn fill<const N: usize>(into: &mut [Option<Ipv4Address>; N], data: &[u8]) {
    for (slot, octets) in into.iter_mut().zip(data.as_chunks::<4>().0) {
        *slot = Some(Ipv4Address::from(*octets));
    }
}
