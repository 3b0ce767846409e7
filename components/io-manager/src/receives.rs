//! Receives of datagrams: they wait here, and the server knows how many.
//!
//! Problem: a receive that waits is a message to the server, a place in its
//! tables, and a message back, though all that it needs to know is that there is
//! one. Invariant: a socket's receives are filled in the order submitted; the
//! server is told of each once, before any packet or request that came later,
//! and names none but the oldest, by a token that stands for that; room and
//! memory are looked up here, and what is longer than the room is cut here.
//!
//! Only receives of bound sockets, for which no NIC keeps buffers and no messages
//! are written, wait here; a server is told of any other by a request of its own,
//! and fills it first. One that was a send and is to be filled by a message waits
//! until the server is told of it, by such a request.

use data_passing::{Machine, Memory};
use socket_api::{Completion, Extent, Op, Passing, Receives, Request, Status, flags, kind};

use crate::client::{Client, Standing, client_at};
use crate::nic::Nic;
use crate::progress::Core;
use crate::server::Server;
use crate::sockets::Sockets;
use crate::tokens::{Data, is_oldest, receives_of};

/// Receives of sockets that a server is still to be told of, by client and
/// socket; some may have been told of since.
pub(crate) type Untold = alloc::vec::Vec<(u16, u16)>;

/// Whether receives of a socket of this server have an order, as far as the NIC
/// is concerned.
#[inline(always)]
fn keeps_order(server: &Server, sockets: &Sockets, socket: u16) -> bool {
    !server.nic.steers() && sockets.keeps_order(socket)
}

/// Whether a `Recv` waits here.
#[inline(always)]
pub(crate) fn waits_here(
    server: &Server,
    sockets: &Sockets,
    socket: u16,
    request: &Request,
) -> bool {
    request.flags & flags::NO_WAIT == 0
        && server.messages.is_none()
        && keeps_order(server, sockets, socket)
}

/// Whether a `Send` that asks for it may become a `Recv` that waits here.
#[inline(always)]
pub(crate) fn may_repost(
    server: &Server,
    sockets: &Sockets,
    socket: u16,
    request: &Request,
) -> bool {
    matches!(request.passing, 0 | crate::check::SHARED) && keeps_order(server, sockets, socket)
}

/// Tells a server of a socket's receives.
#[inline]
pub(crate) fn tell_of_receives(server: &mut Server, client: &mut Client, number: u16, socket: u16) {
    let count = client.sockets.take_untold(socket);
    if count == 0 {
        return;
    }
    if server.messages.is_some() {
        return ask_for_messages(server, client, number, socket);
    }
    let receives = Receives {
        kind: kind::RECEIVES,
        socket: client.sockets.number(socket),
        token: receives_of(number, socket),
        client: number.into(),
        count: count.into(),
        ..Receives::default()
    };
    // Who has something for one asks to be woken by anything.
    server.overrun |= server.to.push_quietly(&receives.into()).is_err();
}

/// Passes a socket's receives on, each by a request of its own.
#[cold]
fn ask_for_messages(server: &mut Server, client: &mut Client, number: u16, socket: u16) {
    while let Some((token, len)) = client.tokens.pass_on_oldest(socket) {
        let request = Request {
            client: number.into(),
            extent: Extent { address: 0, len },
            ..Request::new(Op::Recv, client.sockets.number(socket), token)
        };
        server.overrun |= server.to.push(&request.into()).is_err();
    }
}

/// Cuts an answer to the oldest receive, which has `room`: how much that is the
/// server does not know.
#[inline(always)]
pub(crate) fn cut(completion: &mut Completion, room: u32) {
    if is_oldest(completion.user_data) && completion.len > room {
        completion.len = room;
        completion.flags |= flags::TRUNCATED;
    }
}

impl<M: Machine> Core<M> {
    /// Tells a server of all receives that it was not told of.
    #[inline(always)]
    pub(crate) fn announce(&mut self, server: &mut Server) {
        if !self.untold.is_empty() {
            self.announce_all(server);
        }
    }

    #[inline(never)]
    fn announce_all(&mut self, server: &mut Server) {
        let Self {
            untold, clients, ..
        } = self;
        untold.retain(|&(number, socket)| {
            let Some(client) = client_at(clients, usize::from(number)) else {
                return false;
            };
            if client.sockets.server(socket) != Some(server.index) {
                return true;
            }
            if client.standing == Standing::Served && server.alive {
                tell_of_receives(server, client, number, socket);
            }
            false
        });
    }

    /// Has a `Send` that is over become the `Recv` that it asked to be; false if
    /// it cannot, and is to be answered as what it is.
    #[inline(always)]
    pub(crate) fn repost(&mut self, number: usize, index: u16) -> bool {
        let Self {
            memory,
            clients,
            untold,
            alive,
            counters,
            ..
        } = self;
        let Some(client) = client_at(clients, number) else {
            return false;
        };
        let done = repost(memory, client, index, *alive);
        if let Some((socket, first)) = done {
            if first {
                untold.push((number as u16, socket));
            }
            counters.input_copy.add(1);
            counters.reposts.add(1);
        }
        done.is_some()
    }

    /// A socket is closed: its receives that wait here end.
    pub(crate) fn cancel_queued(&mut self, nic: &mut Nic, number: usize, socket: u16) {
        while let Some(oldest) =
            client_at(&mut self.clients, number).and_then(|client| client.tokens.oldest(socket))
        {
            self.refuse(nic, number, oldest, Status::Cancelled);
        }
    }

    /// The server has answered the `Cancel` in a slot, which was about a receive
    /// that waits here; true if it has to be asked again.
    ///
    /// It knows only how many wait. If it took one back, that is this one; unless
    /// this one was filled meanwhile: then it is another's, which waits on. If it
    /// had none, it is to be told of some again for that reason: one less, or it
    /// was told after it had answered.
    pub(crate) fn taken_back(
        &mut self,
        server: &mut Server,
        (number, index): (usize, u16),
        completion: &mut Completion,
    ) -> bool {
        let Some(client) = client_at(&mut self.clients, number) else {
            return false;
        };
        let Some(cancel) = client.tokens.get(index) else {
            return false;
        };
        let (target, socket) = (cancel.target, cancel.socket);
        let waits = client.tokens.is_queued(target);
        match Status::from_number(completion.status) {
            Some(Status::Ok) if waits => {}
            Some(Status::Ok) => {
                completion.status = Status::NotFound as u16;
                if client.tokens.oldest(socket).is_some() && client.sockets.add_untold(socket) {
                    self.untold.push((number as u16, socket));
                }
                return false;
            }
            Some(Status::NotFound) if waits => {
                if !client.sockets.drop_untold(socket) {
                    ask_again(server, client, number as u16, (index, socket));
                    return true;
                }
                completion.status = Status::Ok as u16;
            }
            _ => return false,
        }
        self.refuse(&mut server.nic, number, target as u16, Status::Cancelled);
        false
    }
}

/// Asks a server once more to take a receive back.
#[cold]
fn ask_again(server: &mut Server, client: &Client, number: u16, (cancel, socket): (u16, u16)) {
    if let Some(token) = client.tokens.token(cancel) {
        let request = Request {
            client: number.into(),
            arg: receives_of(number, socket),
            ..Request::new(Op::Cancel, client.sockets.number(socket), token)
        };
        server.overrun |= server.to.push(&request.into()).is_err();
    }
}

/// As [`Core::repost`], of a client, if the server is among those that are
/// `alive`: the socket, and whether its receives were all told of.
#[inline(always)]
fn repost<M: Machine>(
    memory: &mut Memory<M>,
    client: &mut Client,
    index: u16,
    alive: u8,
) -> Option<(u16, bool)> {
    let request = client.tokens.get(index)?;
    let (socket, sent, extent) = (request.socket, request.len, request.room());
    request.repost = false;
    let there = alive & 1 << request.server != 0 && client.sockets.is_open(socket);
    if !there || client.standing != Standing::Served {
        return None;
    }
    if let Data::Output(output) = &mut request.data {
        memory.empty_output(output);
    }
    match memory.copied_input(client.number, extent) {
        Some(input) => request.keep(Data::Input(input)),
        None => request.keep(any_room(memory, client.number, extent)),
    }
    if matches!(request.data, Data::None) {
        return None;
    }
    // No `Close` waits for the device: the socket is open.
    let first = client.sockets.becomes_recv(socket, request.delayed);
    request.become_recv();
    client.queued_bytes = client.queued_bytes.saturating_sub(sent);
    client.tokens.renew_and_enqueue(index, socket);
    Some((socket, first))
}

/// The room of a receive that is not plain; none if it cannot be had.
#[cold]
fn any_room<M: Machine>(memory: &mut Memory<M>, client: u16, extent: Extent) -> Data {
    let asynchronous = (false, false);
    let room = memory.begin_input(client, extent, Passing::DEFAULT, asynchronous);
    room.map_or(Data::None, Data::Input)
}

/// What a `Cancel` of the client's names at the server, whose token for it is
/// `token`: the argument there, and what is to be remembered.
pub(crate) fn cancel_target(client: &Client, number: u16, socket: u16, token: u64) -> (u64, u64) {
    match client.tokens.is_queued(token) {
        true => (receives_of(number, socket), token),
        false => (token, 0),
    }
}

/// Whether an operation must find the server told of all receives before it.
#[inline(always)]
pub(crate) fn comes_behind_receives(op: Op) -> bool {
    !matches!(op, Op::Send)
}
