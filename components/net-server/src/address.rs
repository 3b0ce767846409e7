//! The own address: static, or from DHCP (RFC 2131) with renewal and expiry.
//!
//! Problem: an address comes late, changes, and can go away under live
//! connections. Invariant: `set_address` is the only place where it changes;
//! with it go the connections and the TIME-WAIT entries of the old address,
//! and with it come the answers to those who wait for one.

use smoltcp::wire::Ipv4Cidr;
use socket_api::{Completion, Request, Status, flags};

use crate::counters::Counter;
use crate::datagram::Sent;
use crate::dhcp::{Dhcp, Heard};
use crate::environment::Environment;
use crate::ingress::Fate;
use crate::lease::Lease;
use crate::pending::Waiting;
use crate::requests::{Answer, Answered, wire_address};
use crate::server::{Id, Run, Server};
use crate::sockets::Owner;
use crate::stack::{Address, Io};
use crate::wire::ROOM;

/// Ports of DHCP's client and server.
const CLIENT: u16 = 68;
const SERVER: u16 = 67;

impl Server {
    /// Takes the static address, or starts asking for one.
    pub(crate) fn start_address(&mut self) {
        match self.config.address {
            Some(fixed) => {
                self.stack.set_address(Some(Address {
                    cidr: fixed.address,
                    gateway: fixed.gateway,
                }));
                self.begin_guard();
            }
            None => {
                self.dhcp = Some(Dhcp::new(self.stack.facts().mac));
                self.wake(Id::Dhcp);
            }
        }
    }

    /// A message for the DHCP client.
    pub(crate) fn dhcp_in(&mut self, message: &[u8], env: &mut impl Environment) -> Fate {
        let now = self.now();
        let Some(dhcp) = &mut self.dhcp else {
            return Fate::Drop;
        };
        match dhcp.hear(message, now, &mut self.random) {
            Heard::Nothing => {}
            Heard::Lease(lease) => self.leased(&lease, env),
            Heard::Lost => self.set_address(None, env),
            Heard::Refused(told) => {
                self.counters.add(Counter::DhcpRefused);
                if let Some((reply, why)) = told {
                    log::warn!("DHCP: {reply}, refused: {why}");
                }
            }
        }
        self.wake(Id::Dhcp);
        Fate::Drop
    }

    /// Goes by what a DHCP server gives.
    fn leased(&mut self, lease: &Lease, env: &mut impl Environment) {
        self.resolver.set_dhcp_servers(lease.dns);
        let address = Address {
            cidr: Ipv4Cidr::new(lease.address, lease.prefix),
            gateway: lease.router,
        };
        self.set_address(Some(address), env);
    }

    /// Lets the DHCP client do what is due.
    pub(crate) fn service_dhcp(&mut self, env: &mut impl Environment) -> Run {
        let now = self.now();
        if self.dhcp.as_mut().is_some_and(|dhcp| dhcp.expire(now)) {
            self.set_address(None, env);
        }
        let run = self.send_dhcp(now, env);
        let deadline = self.dhcp.as_ref().map(Dhcp::deadline);
        self.set_timer(Id::Dhcp, deadline.filter(|at| *at != u64::MAX));
        run
    }

    /// Sends the DHCP client's message, if one is due.
    fn send_dhcp(&mut self, now: u64, env: &mut impl Environment) -> Run {
        let Some(dhcp) = &mut self.dhcp else {
            return Run::Done;
        };
        if !dhcp.is_due(now) {
            return Run::Done;
        }
        if !env.has_room(ROOM) {
            return Run::Blocked;
        }
        let Some(message) = dhcp.message(now, &mut self.random) else {
            return Run::Done;
        };
        let ends = (CLIENT, message.to, SERVER);
        let io = Io::new(&mut *env, &mut self.counters);
        match self.stack.send_own(message.own, ends, message.bytes(), io) {
            Sent::Neighbour => {
                dhcp.postpone(now);
                self.await_neighbour(Id::Dhcp);
            }
            _ => dhcp.sent(now, &mut self.random),
        }
        Run::Done
    }

    /// Gives back a lease whose address is somebody's; false if it is none.
    pub(crate) fn decline(&mut self, env: &mut impl Environment) -> bool {
        let now = self.now();
        let dhcp = self.dhcp.as_mut();
        let Some(message) = dhcp.and_then(|dhcp| dhcp.decline(now, &mut self.random)) else {
            return false;
        };
        let ends = (CLIENT, message.to, SERVER);
        let io = Io::new(&mut *env, &mut self.counters);
        self.stack.send_own(message.own, ends, message.bytes(), io);
        self.set_address(None, env);
        self.wake(Id::Dhcp);
        true
    }

    fn set_address(&mut self, address: Option<Address>, env: &mut impl Environment) {
        let own = |a: Option<Address>| a.map(|a| a.cidr.address());
        if self.stack.address == address {
            return;
        }
        let moved = own(self.stack.address) != own(address);
        match address {
            Some(Address { cidr, .. }) => log::info!("address {cidr}"),
            None => log::info!("no address"),
        }
        self.stack.set_address(address);
        if moved {
            self.begin_guard();
            self.drop_connections();
        }
        if address.is_some() {
            self.wake(Id::Dns);
            while let Some(waiting) = self.pending.pop(&mut self.awaiting) {
                let completion = self.status_of(&waiting.request);
                self.complete(&completion, env);
            }
        }
    }

    /// Ends all connections of the address that is gone; a reset could not
    /// be sent from it any more.
    fn drop_connections(&mut self) {
        for c in 0..self.connections.len() as u32 {
            let connection = &mut self.connections[c as usize];
            if connection.owner != Owner::Free && !connection.detached {
                connection.fate = Some(Status::ConnectionAborted);
                connection.tcp().abort();
                connection.detached = true;
                self.wake(Id::Connection(c));
            }
        }
        while let Some(index) = self.time_wait.any() {
            self.forget(index);
        }
        self.resolver.forget_streams(self.stack.now);
    }

    /// The network's status as the answer to a request.
    fn status_of(&self, r: &Request) -> Completion {
        let Some(address) = self.stack.address else {
            return r.complete(Status::NetworkDown);
        };
        Completion {
            address: wire_address(address.cidr.address(), 0),
            arg: address.cidr.prefix_len().into(),
            len: self.stack.facts().mtu as u32,
            ..r.complete(Status::Ok)
        }
    }

    pub(crate) fn await_address(&mut self, r: &Request) -> Answered {
        if self.stack.address.is_some() || r.flags & flags::NO_WAIT != 0 {
            return Ok(Answer::Now(self.status_of(r)));
        }
        let waiting = Waiting {
            request: *r,
            ..Waiting::default()
        };
        match self.pending.push(&mut self.awaiting, waiting) {
            Ok(_) => Ok(Answer::Later),
            Err(_) => Err(Status::NoResources.into()),
        }
    }
}
