//! The own address: static, or from DHCP (RFC 2131) with renewal and expiry.
//!
//! Problem: an address comes late, changes, and can go away under live
//! connections. Invariant: `set_address` is the only place where it changes;
//! with it go the connections and the TIME-WAIT entries of the old address,
//! and with it come the answers to those who wait for one.

use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::dhcpv4;
use smoltcp::wire::Ipv4Address;
use socket_api::{Completion, Request, Status, flags};

use crate::classify::is_host;
use crate::environment::Environment;
use crate::ingress::Fate;
use crate::pending::Waiting;
use crate::requests::{Answer, Answered, wire_address};
use crate::server::{Id, Run, Server};
use crate::sockets::Owner;
use crate::stack::{Address, Io, Via};

/// The DHCP client.
pub(crate) struct Dhcp {
    set: SocketSet<'static>,
    handle: SocketHandle,
}

/// What DHCP says, copied out of smoltcp.
enum News {
    Lease(Address, [Option<Ipv4Address>; 3]),
    Lost,
}

impl Dhcp {
    fn new() -> Self {
        let mut set = SocketSet::new(alloc::vec![]);
        let handle = set.add(dhcpv4::Socket::new());
        Self { set, handle }
    }

    fn news(&mut self) -> Option<News> {
        let event = self.set.get_mut::<dhcpv4::Socket>(self.handle).poll()?;
        let dhcpv4::Event::Configured(lease) = event else {
            return Some(News::Lost);
        };
        let mut dns = [None; 3];
        for (slot, server) in dns.iter_mut().zip(&lease.dns_servers) {
            *slot = Some(*server);
        }
        if !is_host(lease.address.address()) {
            return Some(News::Lost);
        }
        let address = Address {
            cidr: lease.address,
            gateway: lease.router.filter(|router| is_host(*router)),
        };
        Some(News::Lease(address, dns))
    }
}

impl Server {
    /// Takes the static address, or starts asking for one.
    pub(crate) fn start_address(&mut self) {
        match self.config.address {
            Some(fixed) => self.stack.set_address(Some(Address {
                cidr: fixed.address,
                gateway: fixed.gateway,
            })),
            None => {
                self.dhcp = Some(Dhcp::new());
                self.wake(Id::Dhcp);
            }
        }
    }

    /// A packet for the DHCP client.
    pub(crate) fn dhcp_in(&mut self, frame: &[u8], env: &mut impl Environment) -> Fate {
        if let Some(dhcp) = &mut self.dhcp {
            let io = Io::new(env, &mut self.counters);
            self.stack.ingress(Via::Wide, frame, &mut dhcp.set, io);
            self.wake(Id::Dhcp);
        }
        Fate::Drop
    }

    /// Lets the DHCP client send, and takes what it has to say.
    pub(crate) fn service_dhcp(&mut self, env: &mut impl Environment) -> Run {
        let Some(dhcp) = &mut self.dhcp else {
            return Run::Done;
        };
        let io = Io::new(&mut *env, &mut self.counters);
        let (_, note) = self.stack.egress(Via::Wide, &mut dhcp.set, io);
        let waits = note.attempts > note.packets;
        let news = dhcp.news();
        let at = self.stack.poll_at(Via::Wide, &dhcp.set);
        let at = at.map(|at| at.max(self.now() + 1000));
        self.set_timer(Id::Dhcp, at);
        if waits {
            self.await_neighbour(Id::Dhcp);
        }
        match news {
            Some(News::Lease(address, dns)) => {
                self.resolver.set_dhcp_servers(dns);
                self.set_address(Some(address), env);
            }
            Some(News::Lost) => self.set_address(None, env),
            None => {}
        }
        Run::Done
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
            self.drop_connections();
        }
        if address.is_some() {
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
