//! Listening: from a SYN to an accepted connection.
//!
//! Problem: smoltcp has no backlog, and SYNs are free for those who forge
//! them. Invariant: a connection slot is taken when a SYN comes and not
//! before; half-open and unaccepted connections of a listener together never
//! exceed its backlog; when they would, the oldest half-open one gives way,
//! and when there is none the newcomer gets a reset.

use core::mem::offset_of;

use smoltcp::socket::tcp::State;
use socket_api::{Completion, Request, Status, flags};

use crate::classify::{Datagram, Segment};
use crate::counters::Counter;
use crate::environment::Environment;
use crate::flows::{Flow, Target};
use crate::lists::List;
use crate::pending::Waiting;
use crate::requests::{Answer, Answered, bad, wire_address};
use crate::server::{Id, Server};
use crate::sockets::{Kind, Listener, Owner, Stream};
use crate::stack::Io;
use crate::tcp_in::set_shift;

impl Server {
    pub(crate) fn listen(&mut self, s: u32, r: &Request) -> Answered {
        let port = match self.sockets[s as usize].kind {
            Kind::Tcp { port: 0 } => return Err(Status::InvalidState.into()),
            Kind::Tcp { port } => port,
            _ => return Err(Status::InvalidState.into()),
        };
        if r.arg == 0 {
            return Err(bad(offset_of!(Request, arg)));
        }
        let most = self.connections.len() as u64;
        self.sockets[s as usize].kind = Kind::Listener(Listener {
            port,
            backlog: r.arg.min(most) as u32,
            half_open: List::EMPTY,
            ready: List::EMPTY,
        });
        Ok(Answer::Now(r.complete(Status::Ok)))
    }

    pub(crate) fn accept(&mut self, s: u32, r: &Request, env: &mut impl Environment) -> Answered {
        let Kind::Listener(listener) = self.sockets[s as usize].kind else {
            return Err(Status::InvalidState.into());
        };
        self.check_new(r.arg, offset_of!(Request, arg))?;
        if r.flags & flags::NO_WAIT != 0 && listener.ready.len == 0 {
            return Err(Status::TimedOut.into());
        }
        let waiting = Waiting {
            request: *r,
            ..Waiting::default()
        };
        self.wait(|socket| &mut socket.recvs, s, waiting)?;
        self.match_accepts(s, env);
        Ok(Answer::Later)
    }

    /// A SYN for a listener; false if it must be refused.
    pub(crate) fn syn_in(
        &mut self,
        l: u32,
        flow: Flow,
        frame: &mut [u8],
        (ip, syn): (&Datagram, &Segment),
        env: &mut impl Environment,
    ) -> bool {
        if !self.make_room(l, env) {
            self.counters.add(Counter::DropBacklog);
            return false;
        }
        let Some(c) = self.links.pop_front(&mut self.free) else {
            self.counters.add(Counter::DropNoConnection);
            return false;
        };
        let now = self.now();
        let client = self.sockets[l as usize].client;
        let connection = &mut self.connections[c as usize];
        connection.begin(Owner::HalfOpen(l), client, flow, now);
        let listening = connection.tcp().listen(flow.port).is_ok();
        if listening {
            set_shift(frame, ip, connection.recovery.shown_shift());
            let io = Io::new(env, &mut self.counters);
            self.stack
                .ingress_syn(frame, flow, &mut connection.set, &mut self.random, io);
            connection.inflow.open(syn, false);
            connection.recovery.open(syn.offer);
        }
        if connection.state() != State::SynReceived {
            connection.tcp().abort();
            connection.owner = Owner::Free;
            self.links.push_back(&mut self.free, c);
            return true;
        }
        self.flows.insert(flow, Target::Connection(c));
        if let Kind::Listener(listener) = &mut self.sockets[l as usize].kind {
            self.links.push_back(&mut listener.half_open, c);
        }
        self.half_open += 1;
        self.wake(Id::Connection(c));
        true
    }

    /// Room for one more in a listener's backlog and in the connection table.
    fn make_room(&mut self, l: u32, env: &mut impl Environment) -> bool {
        let Kind::Listener(listener) = self.sockets[l as usize].kind else {
            return false;
        };
        let waiting = listener.half_open.len + listener.ready.len;
        if waiting < listener.backlog && self.free.len != 0 {
            return true;
        }
        let oldest = listener.half_open.head;
        if listener.half_open.len == 0 {
            return false;
        }
        self.counters.add(Counter::DropBacklog);
        self.leave_listener(oldest);
        self.release(oldest, env);
        true
    }

    /// Takes a connection off its listener's lists.
    pub(crate) fn leave_listener(&mut self, c: u32) {
        let owner = self.connections[c as usize].owner;
        let (Owner::HalfOpen(l) | Owner::Ready(l)) = owner else {
            return;
        };
        let half_open = matches!(owner, Owner::HalfOpen(_));
        if half_open {
            self.half_open -= 1;
        }
        if let Kind::Listener(listener) = &mut self.sockets[l as usize].kind {
            let list = if half_open {
                &mut listener.half_open
            } else {
                &mut listener.ready
            };
            self.links.remove(list, c);
        }
    }

    /// A half-open connection is established.
    pub(crate) fn established(&mut self, c: u32, l: u32, env: &mut impl Environment) {
        self.leave_listener(c);
        self.connections[c as usize].owner = Owner::Ready(l);
        if let Kind::Listener(listener) = &mut self.sockets[l as usize].kind {
            self.links.push_back(&mut listener.ready, c);
        }
        self.match_accepts(l, env);
    }

    /// Gives connections that are ready to accepts that wait.
    fn match_accepts(&mut self, l: u32, env: &mut impl Environment) {
        loop {
            let socket = &mut self.sockets[l as usize];
            let Kind::Listener(listener) = &mut socket.kind else {
                return;
            };
            if listener.ready.len == 0 {
                return;
            }
            let client = socket.client;
            let Some(waiting) = self.pending.pop(&mut socket.recvs) else {
                return;
            };
            let r = waiting.request;
            let Ok(number) = self.check_new(r.arg, offset_of!(Request, arg)) else {
                self.answer(&r, Status::BadRequest, env);
                continue;
            };
            let Kind::Listener(listener) = &mut self.sockets[l as usize].kind else {
                return;
            };
            let Some(c) = self.links.pop_front(&mut listener.ready) else {
                return;
            };
            self.hand_over(c, number, client, &r, env);
        }
    }

    fn hand_over(
        &mut self,
        c: u32,
        number: u32,
        client: u32,
        r: &Request,
        env: &mut impl Environment,
    ) {
        self.counters.add(Counter::ConnectionsAccepted);
        let stream = Stream {
            connection: c,
            read_shut: false,
            write_shut: false,
        };
        self.occupy(number, client, Kind::Stream(stream));
        let connection = &mut self.connections[c as usize];
        connection.owner = Owner::Stream(number);
        let flow = connection.flow;
        let completion = Completion {
            socket: number,
            address: wire_address(flow.remote, flow.remote_port),
            ..r.complete(Status::Ok)
        };
        self.complete(&completion, env);
        self.wake(Id::Connection(c));
    }
}
