//! TCP connections (RFC 9293): opening and shutting down.
//!
//! Problem: a connection has to be looked at when a segment, a request or a
//! timer concerns it, and never otherwise. Invariant: all of these only wake
//! it; [`Server::service`] is the one place where segments leave, its state is
//! judged and its next timer is set.

use core::mem::offset_of;

use smoltcp::wire::{IpEndpoint, IpListenEndpoint, Ipv4Address};
use socket_api::{Request, Status};

use crate::environment::Environment;
use crate::flows::{Flow, Target};
use crate::pending::Waiting;
use crate::requests::{Answer, Answered, bad};
use crate::server::{Id, Server};
use crate::sockets::{Kind, Owner, Stream};
use crate::stack::ip;

impl Server {
    pub(crate) fn connect_tcp(
        &mut self,
        s: u32,
        bound: u16,
        (to, to_port): (Ipv4Address, u16),
        r: &Request,
        env: &mut impl Environment,
    ) -> Answered {
        let address = self.stack.address.ok_or(Status::NetworkDown)?;
        let own = address.cidr.address();
        if !address.reaches(to) || to == own || address.is_broadcast(to) {
            return Err(Status::Unreachable.into());
        }
        let port = match bound {
            0 => {
                let remote = Some((to, to_port));
                let port = self.flows.ephemeral_tcp(remote, &mut self.random);
                port.ok_or(Status::AddressInUse)?
            }
            port => port,
        };
        let flow = Flow {
            remote: to,
            remote_port: to_port,
            port,
        };
        if self.flows.find(flow).is_some() {
            return Err(Status::AddressInUse.into());
        }
        let c = self
            .links
            .pop_front(&mut self.free)
            .ok_or(Status::NoResources)?;
        let now = self.now();
        let client = self.sockets[s as usize].client;
        let mut opener = self.stack.opener(flow, &mut self.random);
        let connection = &mut self.connections[c as usize];
        connection.begin(Owner::Stream(s), client, flow, now);
        let local = IpListenEndpoint {
            addr: Some(ip(own)),
            port,
        };
        let remote = IpEndpoint::new(ip(to), to_port);
        let connecting = connection.tcp().connect(opener.context(), remote, local);
        let waiting = Waiting {
            request: *r,
            ..Waiting::default()
        };
        let waits = self.wait(|socket| &mut socket.control, s, waiting);
        if connecting.is_err() || waits.is_err() {
            self.release(c, env);
            return Err(Status::NoResources.into());
        }
        self.flows.insert(flow, Target::Connection(c));
        self.sockets[s as usize].kind = Kind::Stream(Stream {
            connection: c,
            read_shut: false,
            write_shut: false,
        });
        self.wake(Id::Connection(c));
        Ok(Answer::Later)
    }

    pub(crate) fn shutdown(&mut self, s: u32, r: &Request, env: &mut impl Environment) -> Answered {
        if r.arg == 0 || r.arg > 3 {
            return Err(bad(offset_of!(Request, arg)));
        }
        let Kind::Stream(stream) = &mut self.sockets[s as usize].kind else {
            return Err(Status::NotConnected.into());
        };
        stream.read_shut |= r.arg & 1 != 0;
        stream.write_shut |= r.arg & 2 != 0;
        let stream = *stream;
        self.pump_recvs(s, stream, env);
        self.wake(Id::Connection(stream.connection));
        Ok(Answer::Now(r.complete(Status::Ok)))
    }
}
