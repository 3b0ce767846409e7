//! What all parties' dealings change: clients, memory, counters.
//!
//! Problem: a `Send` is over for the server, for the device and for the client
//! at different times. Invariant: the client is told once, when the server is
//! done with the request and nothing that the client may write to from then on
//! is still to be sent; the bytes are given back when server and device are
//! done with them, however it ends.

use alloc::vec::Vec;

use data_passing::{Machine, Memory};
use socket_api::{Completion, Op, Status};

use crate::client::{Client, Standing, client_at};
use crate::counters::Counters;
use crate::nic::Nic;
use crate::null::Pattern;
use crate::receives::Untold;
use crate::steer::NOT_STEERED;
use crate::tokens::{Answer, Data, Outstanding, Stage};

/// Clients and memory.
#[derive(Debug)]
pub(crate) struct Core<M> {
    pub memory: Memory<M>,
    /// By number; `None` if its ring headers were damaged.
    pub clients: Vec<Option<Client>>,
    pub counters: Counters,
    /// Servers that are alive, one bit each.
    pub alive: u8,
    /// What null sockets receive.
    pub pattern: Pattern,
    /// Receives that servers are to be told of.
    pub untold: Untold,
}

impl<M: Machine> Core<M> {
    /// The server is done with a request, whose `answer` stands: goes on with
    /// it as far as the device lets it.
    pub(crate) fn completed(&mut self, number: usize, index: u16, nic_alive: bool) {
        let Some(client) = client_at(&mut self.clients, number) else {
            return;
        };
        let Some(request) = client.tokens.get(index) else {
            return;
        };
        if request.in_flight != 0 && request.open && nic_alive {
            client.delay(index);
            return;
        }
        self.proceed(number, index, nic_alive);
    }

    /// Goes on with a request of which nothing is in flight, or whose client
    /// need not wait for that.
    pub(crate) fn proceed(&mut self, number: usize, index: u16, nic_alive: bool) {
        let becomes = |r: &mut Outstanding| r.becomes_recv();
        if self.request(number, index).is_some_and(becomes) && self.repost(number, index) {
            return;
        }
        let Some(request) = self.request(number, index) else {
            return;
        };
        match request.stage {
            Stage::Waiting | Stage::Held => {}
            Stage::Done => {
                request.stage = Stage::Draining;
                self.tell(number, index);
                self.end_if_drained(number, index);
            }
            Stage::Draining => self.end_if_drained(number, index),
            Stage::Holding => {
                if self.hold_back(number, index, nic_alive) {
                    self.tell(number, index);
                }
            }
        }
    }

    /// Copies what the client might change before the server retires it; false
    /// if there are no frames for it.
    fn hold_back(&mut self, number: usize, index: u16, nic_alive: bool) -> bool {
        let Some(client) = client_at(&mut self.clients, number) else {
            return false;
        };
        let Some(request) = client.tokens.get(index) else {
            return false;
        };
        // A device that is given up reads on, but nothing new is sent.
        if request.open
            && nic_alive
            && let Data::Output(output) = &mut request.data
        {
            if self.memory.hold_back(output, request.hold_from).is_err() {
                self.counters.tails_refused.add(1);
                client.delay(index);
                return false;
            }
            self.counters.tails.add(1);
            request.open = false;
        }
        request.stage = Stage::Held;
        true
    }

    /// Tells the client the answer of a request.
    pub(crate) fn tell(&mut self, number: usize, index: u16) {
        let Some(client) = client_at(&mut self.clients, number) else {
            return;
        };
        let Some(request) = client.tokens.get(index) else {
            return;
        };
        let completion = request.completion();
        let quiet = request.quiet;
        let delayed = core::mem::take(&mut request.delayed);
        let (op, socket, len) = (request.op, request.socket, request.len);
        let stuck = request.is_stuck();
        if op == Op::Send {
            client.queued_bytes = client.queued_bytes.saturating_sub(len);
        }
        self.give(number, &completion, quiet);
        if delayed {
            self.let_on(number, socket, stuck);
        }
    }

    /// Gives a completion to a client that has not been told of its request.
    #[inline]
    pub(crate) fn give(&mut self, number: usize, completion: &Completion, quiet: bool) {
        let Some(client) = client_at(&mut self.clients, number) else {
            return;
        };
        client.tokens.told();
        let quiet = quiet && completion.status == Status::Ok as u16;
        if !client.tell(completion, quiet) {
            // There was room when the request was taken.
            self.cut_off(number, "its completion ring lost its room");
        }
    }

    /// One request of a socket less that a device holds up; the last one lets
    /// the `Close` on.
    pub(crate) fn let_on(&mut self, number: usize, socket: u16, stuck: bool) {
        let Some(client) = client_at(&mut self.clients, number) else {
            return;
        };
        if let Some(close) = client.sockets.let_on(socket, stuck) {
            self.finish_close(number, socket, close);
        }
    }

    /// Nothing holds up the `Close` in slot `close` of a socket any more.
    #[cold]
    pub(crate) fn finish_close(&mut self, number: usize, socket: u16, close: u16) {
        if let Some(client) = client_at(&mut self.clients, number) {
            client.sockets.release(socket);
        }
        self.tell(number, close);
        self.end_if_drained(number, close);
    }

    /// Forgets a request of which nothing is in flight.
    pub(crate) fn end_if_drained(&mut self, number: usize, index: u16) {
        let Some(client) = client_at(&mut self.clients, number) else {
            return;
        };
        let drained = client.tokens.get(index).is_some_and(|r| r.in_flight == 0);
        if drained {
            let data = client.tokens.free(index);
            self.end_data(data);
        }
    }

    /// Nobody uses the bytes of a request any more.
    #[inline]
    pub(crate) fn end_data(&mut self, data: Data) {
        match data {
            Data::Output(output) => self.memory.end_output(output),
            Data::Input(input) => self.memory.end_input(input),
            Data::None => {}
        }
    }

    /// The server answers a request no more: it ends with `status`.
    pub(crate) fn refuse(&mut self, nic: &mut Nic, number: usize, index: u16, status: Status) {
        let Some(client) = client_at(&mut self.clients, number) else {
            return;
        };
        let Some(request) = client.tokens.get(index) else {
            return;
        };
        request.answer = Answer {
            status: status as u16,
            ..Answer::default()
        };
        let completion = request.completion();
        self.settle(nic, number, index, completion);
    }

    /// The server is done with a request that is on its way: books that, and
    /// has the client told `completion`, which is in the client's words.
    /// True if a `Close` leaves requests of its socket unanswered.
    #[inline]
    pub(crate) fn settle(
        &mut self,
        nic: &mut Nic,
        number: usize,
        index: u16,
        mut completion: Completion,
    ) -> bool {
        let Some(client) = client_at(&mut self.clients, number) else {
            return false;
        };
        let Some(request) = client.tokens.get(index) else {
            return false;
        };
        let ok = completion.status == Status::Ok as u16;
        let (op, new) = (request.op, request.new_socket);
        client.end_at_server(index);
        let Some(request) = client.tokens.get(index) else {
            return false;
        };
        match op {
            Op::Send => {
                if request.stage == Stage::Waiting {
                    request.stage = Stage::Done;
                }
                self.completed(number, index, nic.alive);
                return false;
            }
            Op::Open | Op::Accept if ok => {
                client.sockets.open(new);
                completion.socket = client.sockets.handle(new);
            }
            Op::Open | Op::Accept => client.sockets.release(new),
            Op::Close => return self.settle_close(nic, number, index),
            _ => {}
        }
        self.finish(nic, number, index, &completion);
        false
    }

    /// Tells the client, and forgets the request, of whose bytes no device has
    /// any.
    #[inline]
    fn finish(&mut self, nic: &mut Nic, number: usize, index: u16, completion: &Completion) {
        let Some(request) = self.request(number, index) else {
            return;
        };
        let (steered, delayed, socket) = (request.steered, request.delayed, request.socket);
        let stuck = request.is_stuck();
        if steered != NOT_STEERED {
            self.move_apart(nic, steered);
        }
        let Some(client) = client_at(&mut self.clients, number) else {
            return;
        };
        let data = client.tokens.free(index);
        self.end_data(data);
        self.give(number, completion, false);
        if delayed {
            self.let_on(number, socket, stuck);
        }
    }

    fn settle_close(&mut self, nic: &mut Nic, number: usize, index: u16) -> bool {
        let Some(client) = client_at(&mut self.clients, number) else {
            return false;
        };
        let Some(request) = client.tokens.get(index) else {
            return false;
        };
        request.stage = Stage::Done;
        let socket = request.socket;
        self.cancel_queued(nic, number, socket);
        let Some(client) = client_at(&mut self.clients, number) else {
            return false;
        };
        let unanswered = client.sockets.outstanding(socket) != 0;
        if unanswered {
            self.answer_rest(nic, number, socket);
        }
        let Some(client) = client_at(&mut self.clients, number) else {
            return unanswered;
        };
        if client.sockets.hold_close(socket, index) {
            return unanswered;
        }
        client.sockets.release(socket);
        self.tell(number, index);
        self.end_if_drained(number, index);
        unanswered
    }

    /// Answers what a server left unanswered although the socket is closed.
    #[cold]
    fn answer_rest(&mut self, nic: &mut Nic, number: usize, socket: u16) {
        loop {
            let Some(client) = client_at(&mut self.clients, number) else {
                return;
            };
            let of_socket = |r: &Outstanding| r.socket == socket && r.stage == Stage::Waiting;
            let Some(rest) = client.tokens.position(0, of_socket) else {
                return;
            };
            self.end_server_side(nic, number, rest, Status::ServerGone);
        }
    }

    /// Serves a client no longer because it broke the protocol.
    pub(crate) fn cut_off(&mut self, index: usize, why: &str) {
        if let Some(client) = client_at(&mut self.clients, index)
            && client.standing == Standing::Served
        {
            log::warn!("client {} is cut off: {why}", client.name);
            self.counters.cut_off.add(1);
            self.drop_client(index);
        }
    }

    /// Has every living server forget the client, from the next turn on.
    pub(crate) fn drop_client(&mut self, index: usize) {
        let untold = self.alive;
        if let Some(client) = client_at(&mut self.clients, index) {
            client.standing = Standing::Dropping {
                untold,
                unconfirmed: 0,
            };
        }
    }
}
