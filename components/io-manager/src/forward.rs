//! From a client to a server.
//!
//! Invariant: a request is copied once, checked, and made anew for the
//! server: of the client's words only addresses, lengths, flags and arguments
//! that were checked go on. Its bytes are taken into use before the server
//! hears of it.

use data_passing::{Machine, Memory};
use shared_ring::RingError;
use socket_api::{
    Account, MESSAGE_BYTES, Op, Passing, Request, Semantics, SocketKind, Status, flags,
};
use zerocopy::{IntoBytes, transmute_ref};

use crate::begin::{Kept, begin_plain_recv, begin_plain_send, is_summed};
use crate::check::{Refusal, SHARED, check, operation, uses_socket};
use crate::client::{Client, Standing};
use crate::counters::Counters;
use crate::null::{NULL_SERVER, Pattern};
use crate::plain::{RECV, SEND};
use crate::progress::Core;
use crate::receives::{
    Untold, cancel_target, comes_behind_receives, may_repost, tell_of_receives, waits_here,
};
use crate::server::Server;
use crate::sockets::NO_SOCKET;
use crate::steer::post_steered;

/// Which quota, as `arg` of a `QuotaExceeded` completion; the numbers of
/// `system_description::quota`.
pub(crate) mod quota {
    pub const SOCKETS: usize = 0;
    pub const REQUESTS: usize = 1;
    pub const QUEUED_BYTES: usize = 2;
}

/// Flags that a server sees.
const PASSED_ON: u16 = flags::NO_WAIT | flags::REUSE_ADDRESS | flags::NO_DELAY | flags::QUIET;

/// The socket that an operation is about, and the one reserved for its result.
#[derive(Clone, Copy)]
pub(crate) struct Route {
    pub socket: u16,
    pub new_socket: u16,
}

impl<M: Machine> Core<M> {
    /// Takes up to its share of requests from client `index`, or tells servers
    /// that it is not served any more; true if there may be more.
    pub(crate) fn serve(&mut self, servers: &mut [Server], index: usize) -> bool {
        let Some(Some(client)) = self.clients.get_mut(index) else {
            return false;
        };
        if client.standing != Standing::Served {
            self.tell_dropped(servers, index);
            return false;
        }
        if client.requests.looks_empty() {
            client.stalled = false;
            return false;
        }
        client.news = true;
        let mut desk = Desk {
            memory: &mut self.memory,
            counters: &self.counters,
            pattern: self.pattern,
            untold: &mut self.untold,
            client,
            index,
        };
        let mut request = Request::default();
        for _ in 0..desk.client.quota.share {
            match desk.take_request(servers, &mut request) {
                Ok(true) => {}
                Ok(false) => return false,
                Err(error) => {
                    use alloc::string::ToString;
                    self.cut_off(index, &error.to_string());
                    return true;
                }
            }
        }
        true
    }
}

/// Where one client's requests are taken.
pub(crate) struct Desk<'a, M> {
    pub memory: &'a mut Memory<M>,
    pub counters: &'a Counters,
    /// What null sockets receive.
    pub pattern: Pattern,
    /// Receives that servers are to be told of.
    pub untold: &'a mut Untold,
    pub client: &'a mut Client,
    pub index: usize,
}

impl<M: Machine> Desk<'_, M> {
    /// Takes one request; false if there is none, or no room for its answer.
    #[inline]
    fn take_request(
        &mut self,
        servers: &mut [Server],
        request: &mut Request,
    ) -> Result<bool, RingError> {
        let client = &mut *self.client;
        // Its slots may be taken by `Send`s that devices hold up.
        let starved = client.tokens.is_allowed() && !client.tokens.has_slot();
        client.stalled = starved || !client.can_answer_one_more()?;
        if client.stalled || !client.requests.pop_into(request)? {
            return Ok(false);
        }
        client.traffic.requests += 1;
        let forwarded = match request.op {
            SEND => self.forward_send(servers, request),
            RECV => self.forward_recv(servers, request),
            _ => self.forward_other(servers, request),
        };
        if let Err(refusal) = forwarded {
            self.refuse(request, refusal);
        }
        Ok(true)
    }

    #[cold]
    fn refuse(&mut self, request: &Request, refusal: Refusal) {
        self.counters.refused(refusal.status);
        let mut completion = request.complete(refusal.status);
        completion.arg = refusal.arg;
        // There is room: it was asked for before the request was taken.
        self.client.tell(&completion, false);
    }

    // Each of these has the code that is its own.

    #[inline(never)]
    fn forward_send(
        &mut self,
        servers: &mut [Server],
        request: &mut Request,
    ) -> Result<(), Refusal> {
        self.forward(servers, request, Op::Send)
    }

    #[inline(never)]
    fn forward_recv(
        &mut self,
        servers: &mut [Server],
        request: &mut Request,
    ) -> Result<(), Refusal> {
        self.forward(servers, request, Op::Recv)
    }

    #[inline(never)]
    fn forward_other(
        &mut self,
        servers: &mut [Server],
        request: &mut Request,
    ) -> Result<(), Refusal> {
        match operation(request)? {
            Op::Account => self.write_account(servers.len(), request),
            Op::Exchange => self.exchange(servers.len(), request),
            op => self.forward(servers, request, op),
        }
    }

    /// Checks one request and passes it on, with the server's words in place of
    /// the client's. A request that is refused is as it was.
    #[inline(always)]
    fn forward(
        &mut self,
        servers: &mut [Server],
        request: &mut Request,
        op: Op,
    ) -> Result<(), Refusal> {
        check(op, request, servers.len())?;
        let client = &mut *self.client;
        let (route, server) = route(client, servers, op, request)?;
        let repost = op == Op::Send && request.flags & flags::REPOST != 0;
        if repost && !client.sockets.is_datagram(route.socket) {
            return Err(Refusal::FLAGS);
        }
        let Some(server) = server else {
            return self.serve_null(op, request, route);
        };
        let messages = server.messages.as_mut().filter(|_| op == Op::Send);
        if messages.is_some() {
            request.extent.len = request.extent.len.min(MESSAGE_BYTES);
        }
        let number = number(client, op, route);
        let own = self.index as u16;
        let (mut arg, target) = match op {
            Op::Cancel => {
                client.tokens.forgo_repost(route.socket, request.arg);
                let token = client.tokens.search(route.socket, request.arg);
                let token = token.ok_or(Refusal::NOT_FOUND)?;
                cancel_target(client, own, route.socket, token)
            }
            // The server sees no room.
            Op::Send => (0, 0),
            op => (argument(client, op, route, request), 0),
        };
        let (memory, counters) = (&mut *self.memory, self.counters);
        let may_hold = op == Op::Send && client.tokens.may_hold_more();
        let vacancy = client.tokens.vacancy();
        let vacancy = vacancy.ok_or(Refusal::quota(quota::REQUESTS))?;
        let noted = &mut *vacancy.request;
        let of_stream = !client.sockets.is_datagram(route.socket);
        let named = (route.socket, route.new_socket);
        noted.note(op, request, named, of_stream);
        noted.target = target;
        let (sockets, asked) = (&client.sockets, (own, &*request));
        let summed =
            op == Op::Send && is_summed(&server.nic, sockets, route.socket, request.extent.len);
        let mut message = 0;
        let sum = summed.then_some(&mut arg);
        let more = if let Some(messages) = messages {
            let copied = messages.write((memory, counters), asked, sum)?;
            message = copied;
            let may_hold = !sockets.is_datagram(route.socket);
            let hold = if may_hold { flags::MAY_HOLD } else { 0 };
            hold | if summed { flags::SUMMED } else { 0 }
        } else if op == Op::Send && begin_plain_send(memory, asked, noted, sum) {
            counters.output_reference.add(1);
            if summed { flags::SUMMED } else { 0 }
        } else if op == Op::Recv && begin_plain_recv(memory, &server.nic, asked, noted) {
            counters.input_copy.add(1);
            0
        } else {
            let kept = Kept {
                memory,
                counters,
                sockets,
                may_hold,
                client: asked.0,
            };
            match op {
                Op::Send => kept.begin_send(summed, request, noted, &mut arg)?,
                Op::Recv => kept.begin_recv(&mut server.nic, request, noted)?,
                Op::Resolve => kept.begin_resolve(server, request, noted)?,
                _ => 0,
            }
        };
        if repost {
            // What comes later is not to be sent.
            (noted.open, noted.quiet) = (true, false);
            noted.repost = may_repost(server, sockets, route.socket, request);
            (noted.address, noted.room) = (request.extent.address, request.arg as u32);
        }
        let steered = op == Op::Recv && noted.is_posted();
        let here = op == Op::Recv && waits_here(server, sockets, route.socket, request);
        let token = vacancy.fill(server.index);
        client.sockets.begin(route.socket);
        self.counters.requests.add(1);
        if here {
            client.tokens.enqueue(token as u16, route.socket);
            if client.sockets.add_untold(route.socket) {
                self.untold.push((own, route.socket));
            }
            return Ok(());
        }
        if comes_behind_receives(op) {
            tell_of_receives(server, client, own, route.socket);
        }
        match op {
            Op::Send => client.queued_bytes += request.extent.len,
            Op::Close => client.sockets.close(route.socket),
            _ => {}
        }
        request.flags = request.flags & PASSED_ON | more;
        request.socket = number;
        request.user_data = token;
        request.extent.address = message;
        request.arg = arg;
        request.client = self.index as u32;
        request.passing = 0;
        // The ring is as long as all clients' quotas together: should it be
        // full, the server has stopped taking requests in order, and its
        // completions, or its death, will tell.
        server.overrun |= server.to.push(transmute_ref!(request)).is_err();
        if steered {
            post_steered(self.memory, client, &mut server.nic, token);
        }
        Ok(())
    }

    /// Answers `Op::Account`.
    #[cold]
    fn write_account(&mut self, servers: usize, request: &Request) -> Result<(), Refusal> {
        check(Op::Account, request, servers)?;
        let account = account(self.memory, self.client, self.index);
        let address = request.extent.address;
        let written = self
            .memory
            .write_client(self.index as u16, address, account.as_bytes());
        written.map_err(Refusal::passing)?;
        let mut completion = request.complete(Status::Ok);
        completion.len = size_of::<Account>() as u32;
        self.client.tell(&completion, false);
        Ok(())
    }

    /// Answers `Op::Exchange`.
    #[cold]
    fn exchange(&mut self, servers: usize, request: &Request) -> Result<(), Refusal> {
        check(Op::Exchange, request, servers)?;
        let (extent, other) = (request.extent, request.arg as u32);
        let exchanged = self.memory.exchange(self.index as u16, extent, other);
        exchanged.map_err(Refusal::passing)?;
        self.client.tell(&request.complete(Status::Ok), false);
        Ok(())
    }
}

/// What a client's data passing has cost so far.
fn account<M: Machine>(memory: &Memory<M>, client: &Client, index: usize) -> Account {
    let account = memory.account(index as u16).copied();
    Account {
        signals: client.traffic.signals,
        requests: client.traffic.requests,
        completions: client.traffic.completions,
        ..account.unwrap_or_default()
    }
}

/// The passing word of a checked request.
#[inline(always)]
pub(crate) fn passing(request: &Request) -> Passing {
    match request.passing {
        SHARED => Passing::new(Semantics::EmulatedShare),
        word => Passing::from_word(word).unwrap_or(Passing::DEFAULT),
    }
}

/// The number at the server of the socket that a request is about.
#[inline(always)]
fn number(client: &Client, op: Op, route: Route) -> u32 {
    match op {
        Op::Open => client.sockets.number(route.new_socket),
        op if uses_socket(op) => client.sockets.number(route.socket),
        _ => 0,
    }
}

/// The argument that the server sees.
#[inline(always)]
fn argument(client: &Client, op: Op, route: Route, request: &Request) -> u64 {
    match op {
        Op::Accept => client.sockets.number(route.new_socket).into(),
        _ => request.arg,
    }
}

/// Finds the sockets and the server that a request concerns, which is none for
/// null sockets, and holds it against the quotas; takes nothing unless it
/// succeeds.
#[inline(always)]
fn route<'a>(
    client: &mut Client,
    servers: &'a mut [Server],
    op: Op,
    request: &Request,
) -> Result<(Route, Option<&'a mut Server>), Refusal> {
    let (socket, server) = if uses_socket(op) {
        let found = client.sockets.find(request.socket);
        found.ok_or(Refusal::BAD_SOCKET)?
    } else {
        (NO_SOCKET, request.address.nic as u8)
    };
    let server = match servers.get_mut(usize::from(server)) {
        Some(server) if server.alive => server,
        other => {
            let farewell = other.map_or(Status::ServerGone, |gone| gone.farewell);
            return unserved(client, op, socket, server, farewell);
        }
    };
    if !client.tokens.is_allowed() || !client.tokens.has_slot() {
        return Err(Refusal::quota(quota::REQUESTS));
    }
    if op == Op::Send {
        let queued = client.queued_bytes.saturating_add(request.extent.len);
        if queued > client.quota.queued_bytes {
            return Err(Refusal::quota(quota::QUEUED_BYTES));
        }
    }
    let kind = match op {
        Op::Open => SocketKind::from_number(request.arg as u16),
        Op::Accept => Some(SocketKind::Tcp),
        _ => None,
    };
    let (number, server) = match kind {
        Some(SocketKind::Null) => (NULL_SERVER, None),
        _ => (server.index, Some(server)),
    };
    let new_socket = match kind {
        Some(kind) => client
            .sockets
            .reserve(number, kind)
            .ok_or(Refusal::quota(quota::SOCKETS))?,
        None => NO_SOCKET,
    };
    Ok((Route { socket, new_socket }, server))
}

/// As `route`, for a socket or request whose server is not there.
#[cold]
fn unserved<'a>(
    client: &mut Client,
    op: Op,
    socket: u16,
    server: u8,
    farewell: Status,
) -> Result<(Route, Option<&'a mut Server>), Refusal> {
    if server == NULL_SERVER {
        let new_socket = NO_SOCKET;
        return Ok((Route { socket, new_socket }, None));
    }
    if op == Op::Close {
        // Nobody is left to tell; the client's number is free again.
        client.sockets.release(socket);
    }
    Err(Refusal::new(farewell, 0))
}
