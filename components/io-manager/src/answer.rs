//! From a server to a client.
//!
//! Invariant: a completion reaches a client only if it answers one of that
//! client's outstanding requests, once, with a status that exists and no more
//! bytes than there was room for. Anything else is the server's fault and
//! ends, for the request concerned, in `ServerGone`.

use socket_api::{Completion, Op, Status, flags};

use crate::client::{Client, Standing};
use crate::manager::{Manager, client_at};
use crate::sockets::NO_SOCKET;
use crate::tokens::{Outstanding, client_of};

/// Completions taken from one server in one turn.
const BATCH: usize = 256;

impl Manager {
    /// Takes completions from server `index`; true if there may be more.
    pub(crate) fn collect(&mut self, index: usize) -> bool {
        for _ in 0..BATCH {
            let Some(server) = self.servers.get_mut(index).filter(|s| s.alive) else {
                return false;
            };
            let answered = match server.completions.pop() {
                Ok(None) if !server.overrun => return false,
                Ok(None) => {
                    log::warn!("server {index} no longer takes requests");
                    self.server_gone(index);
                    return true;
                }
                Ok(Some(mut completion)) => self.answer(index, &mut completion),
                Err(error) => {
                    log::warn!("server {index} is given up: {error}");
                    self.server_gone(index);
                    return true;
                }
            };
            if !answered {
                self.server_fault(index);
            }
        }
        true
    }

    /// Passes one completion of server `index` on; false if the server broke
    /// the protocol with it.
    #[inline]
    fn answer(&mut self, index: usize, completion: &mut Completion) -> bool {
        let token = completion.user_data;
        let number = client_of(token);
        let Some(client) = client_at(&mut self.clients, number) else {
            return false;
        };
        let Some(request) = client.tokens.answer(token, index) else {
            return false;
        };
        if request.op == Op::DropClient {
            self.dropped(number, index);
            return true;
        }
        let right = legal(client, &request, completion);
        if !right {
            *completion = Completion {
                op: request.op as u16,
                status: Status::ServerGone as u16,
                ..Completion::default()
            };
        }
        let unanswered = settle(client, &request, completion);
        if unanswered {
            answer_rest(client, &request);
        }
        self.counters.completions.add(1);
        let quiet = request.quiet && completion.status == Status::Ok as u16;
        if client.standing == Standing::Served && !client.answer(completion, quiet) {
            // There was room when the request was taken.
            self.cut_off(number, "its completion ring lost its room");
        }
        right && !unanswered
    }

    /// Counts a violation of server `index`, which is given up after too many.
    fn server_fault(&mut self, index: usize) {
        self.counters.server_faults.add(1);
        if self.servers.get_mut(index).is_some_and(|s| s.fault()) {
            log::warn!("server {index} is given up: it broke the protocol too often");
            self.server_gone(index);
        }
    }
}

/// Answers what a server left unanswered although the socket is closed.
#[cold]
fn answer_rest(client: &mut Client, closed: &Outstanding) {
    while let Some(rest) = client.tokens.take_matching(|r| r.socket == closed.socket) {
        refuse(client, &rest);
    }
}

/// Answers an outstanding request with `ServerGone`.
pub(crate) fn refuse(client: &mut Client, request: &Outstanding) {
    let mut completion = Completion {
        op: request.op as u16,
        status: Status::ServerGone as u16,
        ..Completion::default()
    };
    settle(client, request, &mut completion);
    if client.standing == Standing::Served {
        // There was room when the request was taken; if the client has taken
        // it away since, that shows in its ring when it is served next.
        client.completions.push(&completion).ok();
    }
}

/// Whether `completion` may answer `request`.
#[inline]
fn legal(client: &Client, request: &Outstanding, completion: &Completion) -> bool {
    let socket = match request.op {
        Op::Open => request.new_socket,
        Op::Accept if completion.status == Status::Ok as u16 => request.new_socket,
        _ => request.socket,
    };
    let socket_right = match socket {
        NO_SOCKET => completion.socket == 0,
        index => completion.socket == client.sockets.number(index),
    };
    let most = match request.op {
        Op::Send | Op::Recv | Op::Resolve => request.len,
        // The MTU.
        Op::AwaitAddress => u32::from(u16::MAX),
        _ => 0,
    };
    completion.op == request.op as u16
        && Status::from_number(completion.status).is_some()
        && socket_right
        && completion.len <= most
        && completion.flags & !flags::TRUNCATED == 0
        && completion.reserved == 0
        && matches!(completion.address.family, 0 | 4 | 6)
}

/// Books the end of `request` and puts the client's words into `completion`;
/// true if a `Close` leaves requests of its socket unanswered.
#[inline]
fn settle(client: &mut Client, request: &Outstanding, completion: &mut Completion) -> bool {
    let ok = completion.status == Status::Ok as u16;
    client.sockets.end(request.socket);
    completion.user_data = request.user_data;
    completion.socket = match request.socket {
        NO_SOCKET => 0,
        socket => client.sockets.handle(socket),
    };
    match request.op {
        Op::Send => client.queued_bytes -= request.len,
        Op::Open | Op::Accept if ok => {
            client.sockets.open(request.new_socket);
            completion.socket = client.sockets.handle(request.new_socket);
        }
        Op::Open | Op::Accept => client.sockets.release(request.new_socket),
        Op::Close => {
            let unanswered = client.sockets.outstanding(request.socket) != 0;
            client.sockets.release(request.socket);
            return unanswered;
        }
        _ => {}
    }
    false
}
