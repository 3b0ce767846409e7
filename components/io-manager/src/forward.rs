//! From a client to a server.
//!
//! Invariant: a request is copied once, checked, and made anew for the
//! server: of the client's words only addresses, lengths, flags and arguments
//! that were checked go on. Its bytes are taken into use before the server
//! hears of it.

use data_passing::Machine;
use shared_ring::RingError;
use socket_api::{Account, Op, Passing, Request, SocketKind, flags};
use zerocopy::IntoBytes;

use crate::begin::{begin_recv, begin_send};
use crate::check::{Refusal, check, operation, uses_socket};
use crate::client::{Client, Standing, client_at};
use crate::null::NULL_SERVER;
use crate::progress::Core;
use crate::server::Server;
use crate::sockets::NO_SOCKET;

/// Which quota, as `arg` of a `QuotaExceeded` completion; the numbers of
/// `system_description::quota`.
pub(crate) mod quota {
    pub const SOCKETS: usize = 0;
    pub const REQUESTS: usize = 1;
    pub const QUEUED_BYTES: usize = 2;
}

/// Flags that a server sees.
pub(crate) const PASSED_ON: u16 =
    flags::NO_WAIT | flags::REUSE_ADDRESS | flags::NO_DELAY | flags::QUIET;

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
            match self.next_request(index, &mut request) {
                Ok(true) => {
                    if let Err(refusal) = self.forward(servers, index, &mut request) {
                        self.refuse_at_once(index, &request, refusal);
                    }
                }
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
    fn next_request(&mut self, index: usize, request: &mut Request) -> Result<bool, RingError> {
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
        Ok(true)
    }

    #[cold]
    fn refuse_at_once(&mut self, index: usize, request: &Request, refusal: Refusal) {
        self.counters.refused(refusal.status);
        self.counters.completions.add(1);
        let mut completion = request.complete(refusal.status);
        completion.arg = refusal.arg;
        if let Some(client) = client_at(&mut self.clients, index) {
            // There is room: it was asked for before.
            client.tell(&completion, false);
        }
    }

    /// Checks one request and passes it on, with the server's words in place of
    /// the client's. Of a request that is refused, socket and user data stay as
    /// they were.
    #[inline]
    fn forward(
        &mut self,
        servers: &mut [Server],
        number: usize,
        request: &mut Request,
    ) -> Result<(), Refusal> {
        // The same for all operations, but quick for these.
        match operation(request)? {
            Op::Send => self.forward_as(Op::Send, servers, number, request),
            Op::Recv => self.forward_as(Op::Recv, servers, number, request),
            op => self.forward_other(op, servers, number, request),
        }
    }

    #[inline(never)]
    fn forward_other(
        &mut self,
        op: Op,
        servers: &mut [Server],
        number: usize,
        request: &mut Request,
    ) -> Result<(), Refusal> {
        if matches!(op, Op::Account | Op::Exchange) {
            check(op, request, servers.len())?;
            return match op {
                Op::Account => self.write_account(number, request),
                _ => self.exchange(number, request),
            };
        }
        self.forward_as(op, servers, number, request)
    }

    #[inline(always)]
    fn forward_as(
        &mut self,
        op: Op,
        servers: &mut [Server],
        number: usize,
        request: &mut Request,
    ) -> Result<(), Refusal> {
        check(op, request, servers.len())?;
        let client = client_at(&mut self.clients, number).ok_or(Refusal::SERVER_GONE)?;
        let route = route(client, servers, op, request)?;
        let Some(server) = servers.get_mut(usize::from(route.server)) else {
            return self.serve_null(number, op, request, route);
        };
        let begun = client.tokens.begin(op, route.server, request.user_data);
        let (token, index) = begun.ok_or(Refusal::quota(quota::REQUESTS))?;
        if let Some(remembered) = client.tokens.get(index) {
            remembered.handle = request.socket;
            remembered.len = request.extent.len;
            remembered.socket = route.socket;
            remembered.new_socket = route.new_socket;
            remembered.quiet = request.flags & flags::QUIET != 0;
        }
        let (memory, counters, place) = (&mut self.memory, &self.counters, (number, index));
        let begun = match op {
            Op::Send => begin_send(memory, counters, client, &server.nic, place, request),
            Op::Recv if !server.nic.steers() => {
                begin_recv(memory, counters, client, place, request)
            }
            _ => self.begin_other(server, place, op, request),
        };
        if let Err(refusal) = begun {
            self.cancel(number, index);
            return Err(refusal);
        }
        self.push(server, (number, token), op, route, request);
        Ok(())
    }

    /// Writes a request to the server's ring, in the server's words.
    #[inline(always)]
    fn push(
        &mut self,
        server: &mut Server,
        (number, token): (usize, u64),
        op: Op,
        route: Route,
        request: &mut Request,
    ) {
        let Some(client) = client_at(&mut self.clients, number) else {
            return;
        };
        request.user_data = token;
        request.client = number as u32;
        request.extent.address = 0;
        request.passing = 0;
        let socket = match route.socket {
            NO_SOCKET => route.new_socket,
            socket => socket,
        };
        request.socket = match socket {
            NO_SOCKET => 0,
            socket => client.sockets.number(socket),
        };
        client.sockets.begin(route.socket);
        match op {
            Op::Send => client.queued_bytes += request.extent.len,
            Op::Close => client.sockets.close(route.socket),
            Op::Accept => request.arg = u64::from(client.sockets.number(route.new_socket)),
            _ => {}
        }
        // The ring is as long as all clients' quotas together: should it be
        // full, the server has stopped taking requests in order, and its
        // completions, or its death, will tell.
        server.overrun |= server.to.push((*request).as_ref()).is_err();
        self.counters.requests.add(1);
        if op == Op::Recv && server.nic.steers() {
            self.post_room(server, number, token as u16);
        }
    }

    /// Gives back what was begun for a request that is refused after all.
    #[cold]
    fn cancel(&mut self, number: usize, index: u16) {
        let Some(client) = client_at(&mut self.clients, number) else {
            return;
        };
        if let Some(request) = client.tokens.get(index) {
            client.sockets.release_reserved(request.new_socket);
        }
        let data = client.tokens.cancel(index);
        self.end_data(data);
    }

    /// Answers `Op::Account`.
    #[cold]
    fn write_account(&mut self, index: usize, request: &Request) -> Result<(), Refusal> {
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

    /// Answers `Op::Exchange`.
    #[cold]
    fn exchange(&mut self, index: usize, request: &Request) -> Result<(), Refusal> {
        let (extent, other) = (request.extent, request.arg as u32);
        let exchanged = self.memory.exchange(index as u16, extent, other);
        exchanged.map_err(Refusal::passing)?;
        self.counters.completions.add(1);
        let completion = request.complete(socket_api::Status::Ok);
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
#[inline]
pub(crate) fn passing(request: &Request) -> Passing {
    Passing::from_word(request.passing).unwrap_or(Passing::DEFAULT)
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
        if server == NULL_SERVER {
            return Ok(Route {
                socket,
                new_socket: NO_SOCKET,
                server,
            });
        }
        if op == Op::Close {
            // Nobody is left to tell; the client's number is free again.
            client.sockets.release(socket);
        }
        return Err(Refusal::SERVER_GONE);
    }
    if !client.tokens.is_allowed() {
        return Err(Refusal::quota(quota::REQUESTS));
    }
    let queued = client.queued_bytes.saturating_add(request.extent.len);
    if op == Op::Send && queued > client.quota.queued_bytes {
        return Err(Refusal::quota(quota::QUEUED_BYTES));
    }
    let (new_socket, server) = reserve(client, op, server, request)?;
    Ok(Route {
        socket,
        new_socket,
        server,
    })
}

/// Takes the socket that an operation makes, if it makes one; also the server
/// that it is for.
#[inline(always)]
fn reserve(
    client: &mut Client,
    op: Op,
    server: u8,
    request: &Request,
) -> Result<(u16, u8), Refusal> {
    let kind = match op {
        Op::Open => SocketKind::from_number(request.arg as u16),
        Op::Accept => Some(SocketKind::Tcp),
        _ => None,
    };
    let Some(kind) = kind else {
        return Ok((NO_SOCKET, server));
    };
    let server = match kind {
        SocketKind::Null => NULL_SERVER,
        _ => server,
    };
    let socket = client.sockets.reserve(server, kind);
    let socket = socket.ok_or(Refusal::quota(quota::SOCKETS))?;
    Ok((socket, server))
}
