//! What a request does.
//!
//! Problem: the manager is trusted more than a peer, but a wrong field must
//! not bring the server down. Invariant: every field that an operation uses is
//! checked here, before anything acts on it; a request gets exactly one
//! completion, now or later.

use core::mem::offset_of;

use smoltcp::wire::Ipv4Address;
use socket_api::{Completion, Op, Request, SocketKind, Status, WireAddress, flags};

use crate::classify::is_host;
use crate::counters::Counter;
use crate::environment::Environment;
use crate::pending::Waiting;
use crate::server::Server;
use crate::sockets::{Kind, Socket, Udp};

/// Why a request is refused: the status, and `arg` of the completion.
pub(crate) struct Refusal {
    pub status: Status,
    pub arg: u64,
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self { status, arg: 0 }
    }
}

/// The field at `offset` is not legal.
pub(crate) fn bad(offset: usize) -> Refusal {
    Refusal {
        status: Status::BadRequest,
        arg: offset as u64,
    }
}

/// What a request came to, when it was not refused.
pub(crate) enum Answer {
    /// This completion.
    Now(Completion),
    /// A completion later, or given already.
    Later,
}

pub(crate) type Answered = Result<Answer, Refusal>;

/// Flags that the manager may set.
const ALLOWED: u16 = (flags::REQUEST_ALL & !flags::REPOST) | flags::MAY_HOLD | flags::SUMMED;

/// The IPv4 address and port of a message.
pub(crate) fn endpoint(address: &WireAddress) -> Result<(Ipv4Address, u16), Refusal> {
    let at = offset_of!(Request, address);
    if address.nic != 0 {
        return Err(bad(at + offset_of!(WireAddress, nic)));
    }
    match address.family {
        4 => {
            let [a, b, c, d, ..] = address.octets;
            Ok((Ipv4Address::new(a, b, c, d), address.port))
        }
        6 => Err(Status::Unsupported.into()),
        _ => Err(bad(at + offset_of!(WireAddress, family))),
    }
}

/// The other way round.
pub(crate) fn wire_address(ip: Ipv4Address, port: u16) -> WireAddress {
    let [a, b, c, d] = ip.octets();
    WireAddress {
        octets: [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        port,
        family: 4,
        nic: 0,
    }
}

impl Server {
    /// Takes one request.
    pub(crate) fn request(&mut self, request: &Request, env: &mut impl Environment) {
        match self.perform(request, env) {
            Ok(Answer::Now(completion)) => self.finish(request, &completion, env),
            Ok(Answer::Later) => {}
            Err(refusal) => {
                if refusal.status == Status::BadRequest {
                    self.counters.add(Counter::BadRequests);
                }
                let completion = Completion {
                    arg: refusal.arg,
                    ..request.complete(refusal.status)
                };
                self.complete(&completion, env);
            }
        }
    }

    fn perform(&mut self, request: &Request, env: &mut impl Environment) -> Answered {
        let op = Op::from_number(request.op).ok_or_else(|| bad(offset_of!(Request, op)))?;
        if request.flags & !ALLOWED != 0 {
            return Err(bad(offset_of!(Request, flags)));
        }
        if request.passing != 0 {
            return Err(bad(offset_of!(Request, passing)));
        }
        match op {
            Op::Open => self.open(request),
            Op::Resolve => self.resolve(request),
            Op::AwaitAddress => self.await_address(request),
            Op::DropClient => Ok(self.drop_client(request, env)),
            Op::Cancel => self.cancel(request, env),
            Op::Account | Op::Exchange => Err(bad(offset_of!(Request, op))),
            _ => {
                let s = self.find(request)?;
                self.perform_on(op, s, request, env)
            }
        }
    }

    fn perform_on(&mut self, op: Op, s: u32, r: &Request, env: &mut impl Environment) -> Answered {
        if let Some(closing) = self.pending.first(&self.sockets[s as usize].control)
            && closing.request.op == Op::Close as u16
        {
            return Err(Status::InvalidState.into());
        }
        match op {
            Op::Bind => self.bind(s, r),
            Op::Connect => self.connect(s, r, env),
            Op::Listen => self.listen(s, r),
            Op::Accept => self.accept(s, r, env),
            Op::Send => self.send(s, r, env),
            Op::Recv => self.recv(s, r, env),
            Op::Shutdown => self.shutdown(s, r, env),
            Op::Close => self.close(s, r, env),
            // `perform` has dealt with these, or the manager should have.
            Op::Open
            | Op::Cancel
            | Op::Resolve
            | Op::AwaitAddress
            | Op::DropClient
            | Op::Account
            | Op::Exchange => Err(bad(offset_of!(Request, op))),
        }
    }

    /// The socket of a request, if it exists and is the client's.
    fn find(&self, request: &Request) -> Result<u32, Refusal> {
        match self.sockets.get(request.socket as usize) {
            Some(socket)
                if !matches!(socket.kind, Kind::Free) && socket.client == request.client =>
            {
                Ok(request.socket)
            }
            _ => Err(Status::BadSocket.into()),
        }
    }

    /// Whether a number is good for a new socket.
    pub(crate) fn check_new(&self, number: u64, offset: usize) -> Result<u32, Refusal> {
        match self
            .sockets
            .get(usize::try_from(number).unwrap_or(usize::MAX))
        {
            Some(socket) if matches!(socket.kind, Kind::Free) => Ok(number as u32),
            Some(_) => Err(bad(offset)),
            None => Err(Status::NoResources.into()),
        }
    }

    fn open(&mut self, r: &Request) -> Answered {
        let s = self.check_new(r.socket.into(), offset_of!(Request, socket))?;
        let kind = u16::try_from(r.arg).ok().and_then(SocketKind::from_number);
        let kind = match kind {
            Some(SocketKind::Udp) => Kind::Udp(Udp::default()),
            Some(SocketKind::Tcp) => Kind::Tcp { port: 0 },
            Some(SocketKind::Null) | None => return Err(bad(offset_of!(Request, arg))),
        };
        self.occupy(s, r.client, kind);
        Ok(Answer::Now(r.complete(Status::Ok)))
    }

    /// Makes a free number a socket.
    pub(crate) fn occupy(&mut self, s: u32, client: u32, kind: Kind) {
        self.sockets_used += 1;
        self.sockets[s as usize] = Socket {
            client,
            kind,
            ..Socket::FREE
        };
    }

    fn bind(&mut self, s: u32, r: &Request) -> Answered {
        let (ip, port) = endpoint(&r.address)?;
        let own = self.stack.own();
        let any = ip.is_unspecified();
        if !any && own != Some(ip) {
            return Err(Status::AddressNotAvailable.into());
        }
        let port = match self.sockets[s as usize].kind {
            Kind::Udp(udp) if udp.port == 0 => self.bind_udp(s, port)?,
            Kind::Tcp { port: 0 } => self.bind_tcp(s, port, r.flags & flags::REUSE_ADDRESS != 0)?,
            _ => return Err(Status::InvalidState.into()),
        };
        Ok(Answer::Now(Completion {
            address: wire_address(if any { own.unwrap_or(ip) } else { ip }, port),
            ..r.complete(Status::Ok)
        }))
    }

    fn bind_tcp(&mut self, s: u32, port: u16, reuse: bool) -> Result<u16, Refusal> {
        let port = match port {
            0 => self
                .flows
                .ephemeral_tcp(None, &mut self.random)
                .ok_or(Status::AddressInUse)?,
            port => port,
        };
        if self.flows.tcp(port).is_some() || (self.flows.tcp_in_use(port) && !reuse) {
            return Err(Status::AddressInUse.into());
        }
        self.flows.set_tcp(port, Some(s));
        self.sockets[s as usize].kind = Kind::Tcp { port };
        Ok(port)
    }

    fn connect(&mut self, s: u32, r: &Request, env: &mut impl Environment) -> Answered {
        let (ip, port) = endpoint(&r.address)?;
        let at = offset_of!(Request, address);
        if port == 0 {
            return Err(bad(at + offset_of!(WireAddress, port)));
        }
        match self.sockets[s as usize].kind {
            Kind::Udp(_) if ip.is_unspecified() || ip.is_multicast() => Err(bad(at)),
            Kind::Udp(_) => self.connect_udp(s, (ip, port), r),
            Kind::Tcp { .. } if !is_host(ip) => Err(bad(at)),
            Kind::Tcp { port: bound } => self.connect_tcp(s, bound, (ip, port), r, env),
            _ => Err(Status::InvalidState.into()),
        }
    }

    fn send(&mut self, s: u32, r: &Request, env: &mut impl Environment) -> Answered {
        match self.sockets[s as usize].kind {
            Kind::Udp(udp) => self.send_udp(s, udp, r, env),
            Kind::Stream(stream) => self.send_stream(stream, r, env),
            Kind::Over { status: Status::Ok } => Err(Status::BrokenPipe.into()),
            Kind::Over { status } => Err(status.into()),
            _ => Err(Status::NotConnected.into()),
        }
    }

    fn recv(&mut self, s: u32, r: &Request, env: &mut impl Environment) -> Answered {
        match self.sockets[s as usize].kind {
            Kind::Udp(udp) => self.recv_udp(s, udp, r, env),
            Kind::Stream(stream) => self.recv_stream(s, stream, r, env),
            // An orderly end is zero bytes with `Ok`.
            Kind::Over { status } => Ok(Answer::Now(r.complete(status))),
            _ => Err(Status::NotConnected.into()),
        }
    }

    /// Lets a request wait at the end of one of a socket's lists.
    pub(crate) fn wait(
        &mut self,
        list: impl FnOnce(&mut Socket) -> &mut crate::lists::List,
        s: u32,
        waiting: Waiting,
    ) -> Result<u32, Refusal> {
        let list = list(&mut self.sockets[s as usize]);
        let slot = self.pending.push(list, waiting);
        slot.map_err(|_| Status::NoResources.into())
    }

    fn cancel(&mut self, r: &Request, env: &mut impl Environment) -> Answered {
        let wanted = |w: &Waiting| w.request.user_data == r.arg && w.request.client == r.client;
        if let Ok(s) = self.find(r) {
            if self.give_back(s, r.arg) {
                return Ok(Answer::Now(r.complete(Status::Ok)));
            }
            let socket = &mut self.sockets[s as usize];
            let found = [&mut socket.recvs, &mut socket.sends, &mut socket.control]
                .into_iter()
                .find_map(|list| self.pending.take(list, wanted));
            if let Some(waiting) = found {
                self.cancelled(s, &waiting, env);
                self.answer_waiting(&waiting, Status::Cancelled, env);
                return Ok(Answer::Now(r.complete(Status::Ok)));
            }
            if let Kind::Stream(stream) = self.sockets[s as usize].kind
                && self.cancel_send(stream.connection, r.arg, env)
            {
                return Ok(Answer::Now(r.complete(Status::Ok)));
            }
        }
        let found = self.pending.take(&mut self.awaiting, wanted);
        if let Some(waiting) = found.or_else(|| self.cancel_resolve(wanted)) {
            self.answer_waiting(&waiting, Status::Cancelled, env);
            return Ok(Answer::Now(r.complete(Status::Ok)));
        }
        Err(Status::NotFound.into())
    }

    fn drop_client(&mut self, r: &Request, env: &mut impl Environment) -> Answer {
        let of_client = |w: &Waiting| w.request.client == r.client;
        for s in 0..self.sockets.len() as u32 {
            let socket = &mut self.sockets[s as usize];
            if matches!(socket.kind, Kind::Free) || socket.client != r.client {
                continue;
            }
            for list in [&mut socket.recvs, &mut socket.sends, &mut socket.control] {
                while self.pending.pop(list).is_some() {}
            }
            if let Kind::Stream(stream) = socket.kind {
                self.forget_sends(stream.connection, env);
            }
            self.abandon(s, env);
        }
        self.drop_orphans(r.client, env);
        while self.pending.take(&mut self.awaiting, of_client).is_some() {}
        while self.cancel_resolve(of_client).is_some() {}
        Answer::Now(r.complete(Status::Ok))
    }
}
