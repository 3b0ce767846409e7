//! From a client to a server.
//!
//! Invariant: a request is copied once, checked, and made anew for the
//! server: of the client's words only addresses, lengths, flags and arguments
//! that were checked go on. Its bytes are taken into use before the server
//! hears of it.

use data_passing::Machine;
use shared_ring::RingError;
use socket_api::{Account, Extent, Op, Passing, Request, Semantics, SocketKind, flags};
use zerocopy::IntoBytes;

use crate::begin::Begun;
use crate::check::{Refusal, SHARED, check, operation, uses_socket};
use crate::client::{Client, Standing, client_at};
use crate::progress::Core;
use crate::server::Server;
use crate::sockets::NO_SOCKET;
use crate::steer::NOT_STEERED;
use crate::tokens::Outstanding;

/// Operations by number.
const SEND: u16 = Op::Send as u16;
const RECV: u16 = Op::Recv as u16;

/// Which quota, as `arg` of a `QuotaExceeded` completion; the numbers of
/// `system_description::quota`.
mod quota {
    pub const SOCKETS: usize = 0;
    pub const REQUESTS: usize = 1;
    pub const QUEUED_BYTES: usize = 2;
}

/// Flags that a server sees.
const PASSED_ON: u16 = flags::NO_WAIT | flags::REUSE_ADDRESS | flags::NO_DELAY | flags::QUIET;

/// Where an operation goes: the socket, the one reserved for its result, the
/// server.
#[derive(Clone, Copy)]
pub(crate) struct Route {
    pub socket: u16,
    pub new_socket: u16,
    pub server: u8,
}

impl<M: Machine> Core<M> {
    /// Takes up to its share of requests from client `index`; true if there
    /// may be more.
    pub(crate) fn serve(&mut self, servers: &mut [Server], index: usize) -> bool {
        let served = client_at(&mut self.clients, index).map(|c| (c.standing, c.quota.share));
        let Some((Standing::Served, share)) = served else {
            return false;
        };
        let mut request = Request::default();
        for _ in 0..share {
            match self.take_request(servers, index, &mut request) {
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

    /// Takes one request; false if there is none, or no room for its answer.
    #[inline]
    fn take_request(
        &mut self,
        servers: &mut [Server],
        index: usize,
        request: &mut Request,
    ) -> Result<bool, RingError> {
        let Some(client) = client_at(&mut self.clients, index) else {
            return Ok(false);
        };
        // Its slots may be taken by `Send`s that devices hold up.
        let starved = client.tokens.is_allowed() && !client.tokens.has_slot();
        client.stalled = starved || !client.can_answer_one_more()?;
        if client.stalled || !client.requests.pop_into(request)? {
            return Ok(false);
        }
        client.traffic.requests += 1;
        // Each of the two has the code that is its own.
        let forwarded = match request.op {
            SEND => self.forward(servers, index, request, Op::Send),
            RECV => self.forward(servers, index, request, Op::Recv),
            _ => self.forward_other(servers, index, request),
        };
        if let Err(refusal) = forwarded {
            self.refuse_request(index, request, refusal);
        }
        Ok(true)
    }

    #[cold]
    fn refuse_request(&mut self, index: usize, request: &Request, refusal: Refusal) {
        self.counters.refused(refusal.status);
        self.counters.completions.add(1);
        let mut completion = request.complete(refusal.status);
        completion.arg = refusal.arg;
        if let Some(client) = client_at(&mut self.clients, index) {
            // There is room: it was asked for before the request was taken.
            client.tell(&completion, false);
        }
    }

    /// As `forward`, for what is rare.
    #[inline(never)]
    fn forward_other(
        &mut self,
        servers: &mut [Server],
        index: usize,
        request: &Request,
    ) -> Result<(), Refusal> {
        match operation(request)? {
            Op::Account => self.write_account(servers.len(), index, request),
            op => self.forward(servers, index, request, op),
        }
    }

    /// Checks one request and passes it on, with the server's words in place of
    /// the client's.
    #[inline(always)]
    fn forward(
        &mut self,
        servers: &mut [Server],
        index: usize,
        request: &Request,
        op: Op,
    ) -> Result<(), Refusal> {
        check(op, request, servers.len())?;
        let client = client_at(&mut self.clients, index).ok_or(Refusal::SERVER_GONE)?;
        let route = route(client, servers, op, request)?;
        let arg = argument(client, route, op, request)?;
        let server = servers.get_mut(usize::from(route.server));
        let server = server.ok_or(Refusal::SERVER_GONE)?;
        let begun = match op {
            Op::Send => self.begin_send(server, index, route.socket, request)?,
            Op::Recv => self.begin_recv(server, index, route.socket, request)?,
            Op::Resolve => self.begin_resolve(server, index, request)?,
            _ => Begun::NOTHING,
        };
        self.push(server, index, request, (op, route, arg), begun)
    }

    /// Remembers a request and writes it to the server's ring.
    #[inline(always)]
    fn push(
        &mut self,
        server: &mut Server,
        index: usize,
        request: &Request,
        (op, route, arg): (Op, Route, u64),
        begun: Begun,
    ) -> Result<(), Refusal> {
        let Self {
            clients, counters, ..
        } = self;
        let client = client_at(clients, index).ok_or(Refusal::SERVER_GONE)?;
        let socket = match op {
            Op::Open => route.new_socket,
            _ => route.socket,
        };
        let socket = client.sockets.number_or_none(socket);
        let (flags, begun_arg) = (request.flags & PASSED_ON | begun.flags, begun.arg);
        let Some(vacancy) = client.tokens.vacancy() else {
            self.end_data(begun.data);
            return Err(Refusal::quota(quota::REQUESTS));
        };
        let token = vacancy.fill(remembered(request, (op, route), begun));
        client.sockets.begin(route.socket);
        let len = request.extent.len;
        match op {
            Op::Send => client.queued_bytes += len,
            Op::Close => client.sockets.close(route.socket),
            _ => {}
        }
        let onward = Request {
            op: op as u16,
            flags,
            socket,
            user_data: token,
            extent: Extent { address: 0, len },
            address: request.address,
            arg: if op == Op::Send { begun_arg } else { arg },
            client: index as u32,
            passing: 0,
        };
        // The ring is as long as all clients' quotas together: should it be
        // full, the server has stopped taking requests in order, and its
        // completions, or its death, will tell.
        server.overrun |= server.to.push(&onward.into()).is_err();
        counters.requests.add(1);
        if op == Op::Recv {
            self.post_room(server, index, token as u16);
        }
        Ok(())
    }

    /// Answers `Op::Account`.
    #[cold]
    fn write_account(
        &mut self,
        servers: usize,
        index: usize,
        request: &Request,
    ) -> Result<(), Refusal> {
        check(Op::Account, request, servers)?;
        let account = self.account(index);
        let address = request.extent.address;
        let written = self
            .memory
            .write_client(index as u16, address, account.as_bytes());
        written.map_err(Refusal::passing)?;
        self.counters.completions.add(1);
        let mut completion = request.complete(socket_api::Status::Ok);
        completion.len = size_of::<Account>() as u32;
        if let Some(client) = client_at(&mut self.clients, index) {
            client.tell(&completion, false);
        }
        Ok(())
    }

    /// What a client's data passing has cost so far.
    pub(crate) fn account(&mut self, index: usize) -> Account {
        let account = self.memory.account(index as u16).map(|a| *a);
        let traffic = client_at(&mut self.clients, index).map(|c| c.traffic);
        let traffic = traffic.unwrap_or_default();
        Account {
            signals: traffic.signals,
            requests: traffic.requests,
            completions: traffic.completions,
            ..account.unwrap_or_default()
        }
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

/// The argument that the server sees.
#[inline(always)]
fn argument(client: &Client, route: Route, op: Op, request: &Request) -> Result<u64, Refusal> {
    match op {
        Op::Accept => Ok(client.sockets.number_or_none(route.new_socket).into()),
        Op::Cancel => {
            let token = client.tokens.search(route.socket, request.arg);
            token.ok_or(Refusal::NOT_FOUND)
        }
        _ => Ok(request.arg),
    }
}

/// What is remembered of a request.
#[inline(always)]
fn remembered(request: &Request, (op, route): (Op, Route), begun: Begun) -> Outstanding {
    let Extent { address, len } = request.extent;
    // The answer of a `Resolve` goes where the name is.
    let resolve = op == Op::Resolve;
    Outstanding {
        handle: request.socket,
        address: if resolve { address } else { 0 },
        len: if resolve { request.arg as u32 } else { len },
        socket: route.socket,
        new_socket: route.new_socket,
        steered: begun.steered,
        posted: begun.steered != NOT_STEERED,
        quiet: request.flags & flags::QUIET != 0,
        open: begun.open,
        may_hold: begun.flags & flags::MAY_HOLD != 0,
        data: begun.data,
        ..Outstanding::new(op, route.server, request.user_data)
    }
}

/// Finds the sockets and the server that a request concerns, and holds it
/// against the quotas; takes nothing unless it succeeds.
#[inline(always)]
fn route(
    client: &mut Client,
    servers: &[Server],
    op: Op,
    request: &Request,
) -> Result<Route, Refusal> {
    let (socket, server) = if uses_socket(op) {
        client
            .sockets
            .find(request.socket)
            .ok_or(Refusal::BAD_SOCKET)?
    } else {
        (NO_SOCKET, request.address.nic as u8)
    };
    if !servers.get(usize::from(server)).is_some_and(|s| s.alive) {
        if op == Op::Close {
            // Nobody is left to tell; the client's number is free again.
            client.sockets.release(socket);
        }
        return Err(Refusal::SERVER_GONE);
    }
    if !client.tokens.is_allowed() {
        return Err(Refusal::quota(quota::REQUESTS));
    }
    let over = |bytes: u32| u64::from(bytes) > u64::from(client.quota.queued_bytes);
    if op == Op::Send && over(client.queued_bytes.saturating_add(request.extent.len)) {
        return Err(Refusal::quota(quota::QUEUED_BYTES));
    }
    let kind = match op {
        Op::Open => SocketKind::from_number(request.arg as u16),
        Op::Accept => Some(SocketKind::Tcp),
        _ => None,
    };
    let new_socket = match kind {
        Some(kind) => client
            .sockets
            .reserve(server, kind)
            .ok_or(Refusal::quota(quota::SOCKETS))?,
        None => NO_SOCKET,
    };
    Ok(Route {
        socket,
        new_socket,
        server,
    })
}
