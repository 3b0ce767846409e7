//! The answers that nearly all are: a datagram or a segment for a `Recv`, a
//! `Send` that is done.
//!
//! Invariant: what is done here is what [`answer`](crate::answer) would have
//! done, without looking at what such an answer does not have; anything else is
//! left to it untouched.

use data_passing::{Machine, Place};
use nic_api::HEADER_SPLIT;
use socket_api::{Completion, NO_PACKET, Op, Status, flags};

use crate::client::{Client, Standing, client_at};
use crate::nic::Nic;
use crate::packets::NO_SLOT;
use crate::progress::Core;
use crate::server::Server;
use crate::sockets::Sockets;
use crate::steer::NOT_STEERED;
use crate::tokens::{Data, Outstanding, Stage, client_of};

const OK: u16 = Status::Ok as u16;
const SEND: u16 = Op::Send as u16;
const RECV: u16 = Op::Recv as u16;

impl<M: Machine> Core<M> {
    /// Passes a completion on if it is of the common kind; false if it is not,
    /// and nothing was done.
    #[inline]
    pub(crate) fn answer_quickly(
        &mut self,
        server: &mut Server,
        completion: &mut Completion,
    ) -> bool {
        if completion.status != OK || !matches!(completion.op, SEND | RECV) {
            return false;
        }
        let number = client_of(completion.user_data);
        let Some(client) = client_at(&mut self.clients, number) else {
            return false;
        };
        let Some(index) = client.tokens.find(completion.user_data, server.index) else {
            return false;
        };
        match completion.op {
            SEND => self.sent_quickly(server.nic.alive, number, index, completion),
            _ => self.received_quickly(&mut server.nic, number, index, completion),
        }
    }

    #[inline]
    fn received_quickly(
        &mut self,
        nic: &mut Nic,
        number: usize,
        index: u16,
        completion: &mut Completion,
    ) -> bool {
        let Self {
            memory, clients, ..
        } = self;
        let Some(client) = client_at(clients, number) else {
            return false;
        };
        let Some(request) = client.tokens.get(index) else {
            return false;
        };
        if !fills(&client.sockets, request, completion) || client.standing != Standing::Served {
            return false;
        }
        let Data::Input(input) = &mut request.data else {
            return false;
        };
        let len = completion.len.wrapping_sub(input.filled());
        let Some((id, place)) = whole_piece(nic, completion.packet, completion.offset, len) else {
            return false;
        };
        if memory.deliver(input, place, len).is_err() {
            // Refused as a whole: the long way finds out again.
            return false;
        }
        if completion.flags & flags::RELEASE != 0 && nic.packets.release(id + 1).is_some() {
            nic.post(id);
        }
        words(request, completion);
        let socket = request.socket;
        client.sockets.end(socket);
        if let Data::Input(input) = client.tokens.free(index) {
            memory.end_input(input);
        }
        self.tell_quickly(number, completion, false);
        true
    }

    #[inline]
    fn sent_quickly(
        &mut self,
        nic_alive: bool,
        number: usize,
        index: u16,
        completion: &mut Completion,
    ) -> bool {
        let Self {
            memory, clients, ..
        } = self;
        let Some(client) = client_at(clients, number) else {
            return false;
        };
        let Some(request) = client.tokens.get(index) else {
            return false;
        };
        let waits = request.open && request.in_flight != 0 && nic_alive;
        if waits
            || !ends(&client.sockets, request, completion)
            || client.standing != Standing::Served
        {
            return false;
        }
        completion.address = socket_api::WireAddress::NONE;
        completion.arg = 0;
        words(request, completion);
        let (socket, len, quiet) = (request.socket, request.len, request.quiet);
        request.stage = Stage::Draining;
        request.ended = true;
        client.sockets.end(socket);
        client.queued_bytes = client.queued_bytes.saturating_sub(len);
        if request.in_flight == 0
            && let Data::Output(output) = client.tokens.free(index)
        {
            memory.end_output(output);
        }
        self.tell_quickly(number, completion, quiet);
        true
    }

    /// Tells a client that is served.
    #[inline]
    fn tell_quickly(&mut self, number: usize, completion: &Completion, quiet: bool) {
        let Some(client) = client_at(&mut self.clients, number) else {
            return;
        };
        client.tokens.told();
        self.counters.completions.add(1);
        if !tell(client, completion, quiet) {
            // There was room when the request was taken.
            self.cut_off(number, "its completion ring lost its room");
        }
    }

    /// A device has let go of the last bytes of a request that is over but for
    /// that; false if it is not.
    #[inline]
    pub(crate) fn drained_quickly(&mut self, number: usize, index: u16) -> bool {
        let Self {
            memory, clients, ..
        } = self;
        let Some(client) = client_at(clients, number) else {
            return false;
        };
        let draining = client
            .tokens
            .get(index)
            .is_some_and(|r| r.stage == Stage::Draining);
        if !draining {
            return false;
        }
        if let Data::Output(output) = client.tokens.free(index) {
            memory.end_output(output);
        }
        true
    }
}

/// Whether a completion fills a `Recv` that is in no other way special.
#[inline]
fn fills(sockets: &Sockets, request: &Outstanding, completion: &Completion) -> bool {
    request.op == Op::Recv
        && request.stage == Stage::Waiting
        && request.steered == NOT_STEERED
        && request.failed.is_none()
        && completion.socket == sockets.number(request.socket)
        && completion.len <= request.len
        && completion.flags & !(flags::TRUNCATED | flags::RELEASE) == 0
        && matches!(completion.address.family, 0 | 4 | 6)
}

/// Whether a completion ends a `Send` for the server.
#[inline]
fn ends(sockets: &Sockets, request: &Outstanding, completion: &Completion) -> bool {
    request.op == Op::Send
        && request.stage == Stage::Waiting
        && completion.socket == sockets.number(request.socket)
        && completion.len <= request.len
        && completion.flags == 0
        && completion.packet == NO_PACKET
        && completion.offset == 0
        && matches!(completion.address.family, 0 | 4 | 6)
}

/// Puts the client's words into a completion.
#[inline]
fn words(request: &Outstanding, completion: &mut Completion) {
    completion.flags &= flags::TRUNCATED;
    completion.packet = NO_PACKET;
    completion.offset = 0;
    completion.user_data = request.user_data;
    completion.socket = request.handle;
}

#[inline]
fn tell(client: &mut Client, completion: &Completion, quiet: bool) -> bool {
    client.traffic.completions += 1;
    match quiet {
        true => client.completions.push_quietly(completion).is_ok(),
        false => client.completions.push(completion).is_ok(),
    }
}

/// The buffer of a packet that the server has, and the place of the bytes, if
/// they are all in one frame of the payload buffers.
#[inline]
fn whole_piece(nic: &Nic, packet: u32, offset: u32, len: u32) -> Option<(u32, Place)> {
    let id = nic.packets.find(packet, offset, len)?;
    if len == 0 || offset < HEADER_SPLIT || id >= nic.buffers() || nic.packets.whole(id) != NO_SLOT
    {
        return None;
    }
    let place = nic
        .payload
        .place(nic.payload_at(id) + (offset - HEADER_SPLIT));
    (len <= 4096 - place.offset).then_some((id, place))
}
