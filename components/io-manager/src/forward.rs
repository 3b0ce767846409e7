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

use crate::check::{Refusal, check, uses_socket};
use crate::client::{Client, Standing, client_at};
use crate::null::NULL_SERVER;
use crate::progress::Core;
use crate::server::Server;
use crate::sockets::NO_SOCKET;
use crate::tokens::Outstanding;

/// Which quota, as `arg` of a `QuotaExceeded` completion; the numbers of
/// `system_description::quota`.
pub(crate) mod quota {
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
        for _ in 0..share {
            match self.take_request(servers, index) {
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
    fn take_request(&mut self, servers: &mut [Server], index: usize) -> Result<bool, RingError> {
        let Some(client) = client_at(&mut self.clients, index) else {
            return Ok(false);
        };
        // Its slots may be taken by `Send`s that devices hold up.
        let starved = client.tokens.is_allowed() && !client.tokens.has_slot();
        client.stalled = starved || !client.can_answer_one_more()?;
        if client.stalled {
            return Ok(false);
        }
        let Some(request) = client.requests.pop()? else {
            return Ok(false);
        };
        client.traffic.requests += 1;
        let refusal = match self.forward(servers, index, &request) {
            Ok(true) => {
                self.counters.requests.add(1);
                return Ok(true);
            }
            Ok(false) => return Ok(true),
            Err(refusal) => refusal,
        };
        self.counters.refused(refusal.status);
        self.counters.completions.add(1);
        let mut completion = request.complete(refusal.status);
        completion.arg = refusal.arg;
        if let Some(client) = client_at(&mut self.clients, index) {
            // There is room: it was asked for above.
            client.tell(&completion, false);
        }
        Ok(true)
    }

    /// Checks one request and passes it on, with the server's words in place of
    /// the client's; false if it is answered already.
    #[inline]
    fn forward(
        &mut self,
        servers: &mut [Server],
        index: usize,
        request: &Request,
    ) -> Result<bool, Refusal> {
        let op = check(request, servers.len())?;
        if op == Op::Account {
            self.write_account(index, request)?;
            return Ok(false);
        }
        let client = client_at(&mut self.clients, index).ok_or(Refusal::SERVER_GONE)?;
        let route = route(client, servers, op, request)?;
        let number = |index: u16| match index {
            NO_SOCKET => 0,
            index => client.sockets.number(index),
        };
        let mut onward = Request {
            op: request.op,
            flags: request.flags & PASSED_ON,
            socket: number(match op {
                Op::Open => route.new_socket,
                _ => route.socket,
            }),
            address: request.address,
            arg: request.arg,
            client: index as u32,
            ..Request::default()
        };
        match op {
            Op::Accept => onward.arg = u64::from(number(route.new_socket)),
            Op::Cancel => {
                let token = client.tokens.search(route.socket, request.arg);
                onward.arg = token.ok_or(Refusal::NOT_FOUND)?;
            }
            _ => {}
        }
        let Some(server) = servers.get_mut(usize::from(route.server)) else {
            return self.serve_null(index, op, request, route);
        };
        let mut remembered = Outstanding {
            handle: request.socket,
            len: request.extent.len,
            socket: route.socket,
            new_socket: route.new_socket,
            quiet: request.flags & flags::QUIET != 0,
            ..Outstanding::new(op, route.server, request.user_data)
        };
        onward.extent.len = request.extent.len;
        match op {
            Op::Send => self.begin_send(server, index, request, (&mut remembered, &mut onward))?,
            Op::Recv => self.begin_recv(server, index, request, &mut remembered)?,
            Op::Resolve => self.begin_resolve(server, index, request, &mut remembered)?,
            _ => {}
        }
        self.push(server, index, remembered, onward)?;
        Ok(true)
    }

    /// Remembers a request and writes it to the server's ring.
    #[inline]
    fn push(
        &mut self,
        server: &mut Server,
        index: usize,
        remembered: Outstanding,
        mut onward: Request,
    ) -> Result<(), Refusal> {
        let client = client_at(&mut self.clients, index).ok_or(Refusal::SERVER_GONE)?;
        let (op, socket, len) = (remembered.op, remembered.socket, remembered.len);
        match client.tokens.insert(remembered) {
            Ok(token) => onward.user_data = token,
            Err(refused) => {
                self.end_refused(refused);
                return Err(Refusal::quota(quota::REQUESTS));
            }
        }
        client.sockets.begin(socket);
        match op {
            Op::Send => client.queued_bytes += len,
            Op::Close => client.sockets.close(socket),
            _ => {}
        }
        // The ring is as long as all clients' quotas together: should it be
        // full, the server has stopped taking requests in order, and its
        // completions, or its death, will tell.
        let forwarded = server.to.push(&onward.into());
        server.overrun |= forwarded.is_err();
        if op == Op::Recv {
            self.post_room(server, index, onward.user_data as u16);
        }
        Ok(())
    }

    /// Gives back what was begun for a request that is refused after all.
    #[cold]
    fn end_refused(&mut self, refused: Outstanding) {
        self.end_data(refused.data);
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
    let over = |bytes: u32| u64::from(bytes) > u64::from(client.quota.queued_bytes);
    if op == Op::Send && over(client.queued_bytes.saturating_add(request.extent.len)) {
        return Err(Refusal::quota(quota::QUEUED_BYTES));
    }
    let kind = match op {
        Op::Open => SocketKind::from_number(request.arg as u16),
        Op::Accept => Some(SocketKind::Tcp),
        _ => None,
    };
    let server = match kind {
        Some(SocketKind::Null) => NULL_SERVER,
        _ => server,
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
