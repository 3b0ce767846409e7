//! From a client to a server.
//!
//! Invariant: a request is copied once, checked, and made anew for the
//! server: of the client's words only payload extents, addresses, flags and
//! arguments that were checked go on.

use shared_ring::RingError;
use socket_api::{Op, Request, flags};

use crate::check::{Refusal, check, uses_socket};
use crate::client::{Client, Standing};
use crate::counters::Counters;
use crate::manager::{Manager, client_at};
use crate::server::Server;
use crate::sockets::NO_SOCKET;
use crate::tokens::Outstanding;

/// Which quota, as `arg` of a `QuotaExceeded` completion; the numbers of
/// `system_description::quota`.
mod quota {
    pub const SOCKETS: usize = 0;
    pub const REQUESTS: usize = 1;
    pub const QUEUED_BYTES: usize = 2;
}

/// Where an operation goes: the socket, the one reserved for its result, the
/// server.
struct Route {
    socket: u16,
    new_socket: u16,
    server: u8,
}

impl Manager {
    /// Takes up to its share of requests from client `index`; true if there
    /// may be more.
    pub(crate) fn serve(&mut self, index: usize) -> bool {
        let Some(client) = client_at(&mut self.clients, index) else {
            return false;
        };
        if client.standing != Standing::Served {
            return false;
        }
        match take(client, &mut self.servers, &self.counters) {
            Ok(more) => more,
            Err(error) => {
                log::warn!("client {} is cut off: {error}", client.name);
                self.counters.cut_off.add(1);
                self.drop_client(index);
                true
            }
        }
    }
}

/// Takes requests of one client; true if its share was used up.
fn take(
    client: &mut Client,
    servers: &mut [Server],
    counters: &Counters,
) -> Result<bool, RingError> {
    for _ in 0..client.quota.share {
        client.stalled = !client.can_answer_one_more()?;
        if client.stalled {
            return Ok(false);
        }
        let Some(mut request) = client.requests.pop()? else {
            return Ok(false);
        };
        match forward(client, servers, &mut request) {
            Ok(()) => counters.requests.add(1),
            Err(refusal) => {
                counters.refused(refusal.status);
                counters.completions.add(1);
                let mut completion = request.complete(refusal.status);
                completion.arg = refusal.arg;
                // There is room: it was asked for above.
                client.completions.push(&completion).ok();
            }
        }
    }
    Ok(true)
}

/// Checks one request and passes it on, with the server's words in place of
/// the client's. A request that is refused stays as it was.
#[inline]
fn forward(
    client: &mut Client,
    servers: &mut [Server],
    request: &mut Request,
) -> Result<(), Refusal> {
    let op = check(request, client.data_bytes, servers.len())?;
    let route = route(client, servers, op, request)?;
    let number = |index: u16| match index {
        NO_SOCKET => 0,
        index => client.sockets.number(index),
    };
    let arg = match op {
        Op::Accept => u64::from(number(route.new_socket)),
        Op::Cancel => client
            .tokens
            .search(route.socket, request.arg)
            .ok_or(Refusal::NOT_FOUND)?,
        _ => request.arg,
    };
    let socket = number(match op {
        Op::Open => route.new_socket,
        _ => route.socket,
    });
    let len = match op {
        Op::Resolve => request.arg as u32,
        _ => request.extent.len,
    };
    let token = client.tokens.insert(Outstanding {
        user_data: request.user_data,
        len,
        socket: route.socket,
        new_socket: route.new_socket,
        server: route.server,
        op,
        quiet: request.flags & flags::QUIET != 0,
    });
    let Some(token) = token else {
        return Err(Refusal::quota(quota::REQUESTS));
    };
    client.sockets.begin(route.socket);
    match op {
        Op::Send => client.queued_bytes += len,
        Op::Close => client.sockets.close(route.socket),
        _ => {}
    }
    let Some(server) = servers.get_mut(usize::from(route.server)) else {
        return Err(Refusal::SERVER_GONE);
    };
    // The ring is as long as all clients' quotas together: should it be full,
    // the server has stopped taking requests in order, and its completions,
    // or its death, will tell.
    request.socket = socket;
    request.user_data = token;
    request.arg = arg;
    request.client = crate::tokens::client_of(token) as u32;
    let forwarded = server.requests.push(request);
    server.overrun |= forwarded.is_err();
    Ok(())
}

/// Finds the sockets and the server that a request concerns, and holds it
/// against the quotas; takes nothing unless it succeeds.
#[inline]
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
    if !client.tokens.is_free() {
        return Err(Refusal::quota(quota::REQUESTS));
    }
    let over = |bytes: u32| u64::from(bytes) > u64::from(client.quota.queued_bytes);
    if op == Op::Send && over(client.queued_bytes.saturating_add(request.extent.len)) {
        return Err(Refusal::quota(quota::QUEUED_BYTES));
    }
    let new_socket = match op {
        Op::Open | Op::Accept => client
            .sockets
            .reserve(server)
            .ok_or(Refusal::quota(quota::SOCKETS))?,
        _ => NO_SOCKET,
    };
    Ok(Route {
        socket,
        new_socket,
        server,
    })
}
