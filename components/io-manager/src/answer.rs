//! From a server to a client.
//!
//! Invariant: a completion reaches a client only if it answers one of that
//! client's outstanding requests, once, with a status that exists and no more
//! bytes than there was room for. Anything else is the server's fault and
//! ends, for the request concerned, in `ServerGone`.

use data_passing::Machine;
use shared_ring::RingError;
use socket_api::{Completion, Message, NO_PACKET, Op, Retire, Status, WireAddress, flags, kind};
use zerocopy::{transmute_mut, transmute_ref};

use crate::client::client_at;
use crate::plain::{RECV, SEND};
use crate::progress::Core;
use crate::receives::cut;
use crate::server::Server;
use crate::sockets::{NO_SOCKET, Sockets};
use crate::tokens::{Answer, Data, Outstanding, Stage, client_of};

/// Entries taken from one server in one turn.
const BATCH: usize = 512;
/// Most bytes that a server may hold of a `Send`: what a TCP window without
/// scaling has.
const MOST_HELD: u64 = 65536;

/// What became of a server's ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// All there was.
    All,
    /// There may be more.
    More,
    /// The server has broken it, or lied too often.
    Broken(Option<RingError>),
}

impl<M: Machine> Core<M> {
    /// Takes what a server has to say.
    pub(crate) fn collect(&mut self, server: &mut Server) -> Taken {
        let mut message = Message::default();
        for _ in 0..BATCH {
            let right = match server.from.pop_into(&mut message) {
                Ok(false) if server.overrun => return Taken::Broken(None),
                Ok(false) => return Taken::All,
                Ok(true) => self.take_message(server, &mut message),
                Err(error) => return Taken::Broken(Some(error)),
            };
            if !right {
                self.counters.server_faults.add(1);
                if server.fault() {
                    return Taken::Broken(None);
                }
            }
        }
        Taken::More
    }

    /// Takes one entry; false if the server broke the protocol with it.
    #[inline]
    fn take_message(&mut self, server: &mut Server, message: &mut Message) -> bool {
        if !server.assembly.active {
            let done = match message.kind() {
                SEND => self.send_answered(server, transmute_ref!(message)),
                RECV if server.messages.is_some() => {
                    self.message_received(server, transmute_mut!(message))
                }
                RECV => self.recv_answered(server, transmute_mut!(message)),
                kind::TRANSMIT => self.transmit_plain(server, transmute_ref!(message)),
                kind::DELIVER if server.messages.is_none() => {
                    return self.deliver_all(server, transmute_ref!(message));
                }
                _ => None,
            };
            if done.is_some() {
                return true;
            }
        }
        self.take_any_message(server, message)
    }

    #[inline(never)]
    fn take_any_message(&mut self, server: &mut Server, message: &mut Message) -> bool {
        let number = message.kind();
        if number == kind::TRANSMIT {
            return self.transmit(server, transmute_ref!(message));
        }
        let finished = !server.assembly.active;
        if !finished {
            self.refuse_unfinished(server);
        }
        finished
            & match number {
                // Bytes that come by value are not delivered by name.
                kind::DELIVER => {
                    server.messages.is_none()
                        && self.deliver_from(server, transmute_ref!(message), 0)
                }
                kind::RELEASE => self.release(server, transmute_ref!(message)),
                kind::RETIRE => self.retire(server, transmute_ref!(message)),
                _ => self.answer(server, transmute_mut!(message)),
            }
    }

    /// Passes one completion on.
    #[inline]
    pub(crate) fn answer(&mut self, server: &mut Server, completion: &mut Completion) -> bool {
        let Some((number, index)) = self.named(completion.user_data, server) else {
            return false;
        };
        let Some(request) = self.request(number, index) else {
            return false;
        };
        if request.stage != Stage::Waiting {
            return false;
        }
        cut(completion, request.len);
        if request.op == Op::DropClient {
            self.dropped(number, server, index);
            return true;
        }
        if request.is_posted() {
            return self.answer_steered(server, number, index, completion);
        }
        self.answer_now(server, number, index, completion)
    }

    /// Passes a completion on of a request of which no device has anything.
    #[inline]
    pub(crate) fn answer_now(
        &mut self,
        server: &mut Server,
        number: usize,
        index: u16,
        completion: &mut Completion,
    ) -> bool {
        let Some(client) = client_at(&mut self.clients, number) else {
            return false;
        };
        let request = client.tokens.get(index);
        let about_receive = request.as_ref().is_some_and(|r| r.target != 0);
        if !request.is_some_and(|r| legal(r, &client.sockets, completion))
            || !self.take_result(server, number, index, completion)
        {
            self.end_server_side(&mut server.nic, number, index, Status::ServerGone);
            return false;
        }
        if about_receive && self.taken_back(server, (number, index), completion) {
            return true;
        }
        let held = completion.flags & flags::HELD != 0;
        if held {
            self.hold(number, index, completion);
        }
        self.translate(number, index, completion);
        !self.settle(&mut server.nic, number, index, *completion)
    }

    /// The server keeps the bytes of a `Send` from `completion.arg` to
    /// `completion.len`.
    fn hold(&mut self, number: usize, index: u16, completion: &Completion) {
        let Some(client) = client_at(&mut self.clients, number) else {
            return;
        };
        let Some(request) = client.tokens.get(index) else {
            return;
        };
        request.stage = Stage::Holding;
        request.hold_from = completion.arg as u32;
        if let Data::Output(output) = &mut request.data {
            self.memory.shorten(output, completion.len);
        }
    }

    /// Takes the bytes that come with a completion; false if they are not
    /// legal.
    #[inline]
    fn take_result(
        &mut self,
        server: &mut Server,
        number: usize,
        index: u16,
        completion: &mut Completion,
    ) -> bool {
        let Some(op) = self.request(number, index).map(|r| r.op) else {
            return false;
        };
        match op {
            Op::Recv if server.messages.is_some() => {
                return self.receive_message(server, number, index, completion);
            }
            Op::Recv => return self.receive(server, number, index, completion),
            Op::Resolve => return self.resolved(number, index, completion),
            Op::Bind | Op::Connect if completion.status == Status::Ok as u16 => {
                self.bound(number, index, completion, op == Op::Connect);
            }
            _ => {}
        }
        true
    }

    /// Notes the local port that a socket has got.
    fn bound(&mut self, number: usize, index: u16, completion: &Completion, connected: bool) {
        let Some(client) = client_at(&mut self.clients, number) else {
            return;
        };
        if let Some(request) = client.tokens.get(index) {
            let socket = request.socket;
            client
                .sockets
                .bound(socket, completion.address.port, connected);
        }
    }

    /// Puts the client's words into a completion.
    #[inline]
    fn translate(&mut self, number: usize, index: u16, completion: &mut Completion) {
        let Some(request) = self.request(number, index) else {
            return;
        };
        completion.user_data = request.user_data;
        completion.socket = request.handle;
        completion.flags &= flags::TRUNCATED;
        completion.packet = NO_PACKET;
        completion.offset = 0;
        if request.op == Op::Send {
            completion.address = WireAddress::NONE;
            if completion.status == Status::Ok as u16 {
                completion.arg = 0;
            }
        }
        request.answer = Answer {
            status: completion.status,
            len: completion.len,
            arg: completion.arg,
        };
    }

    /// A request that a server has is over for it, whatever it says.
    pub(crate) fn end_server_side(
        &mut self,
        nic: &mut crate::nic::Nic,
        number: usize,
        index: u16,
        status: Status,
    ) {
        if self.request(number, index).is_some_and(|r| r.is_posted()) {
            self.withdraw(nic, number, index, status);
            return;
        }
        self.refuse(nic, number, index, status);
    }

    /// The client and the request that a server means by a token of its own.
    #[inline]
    pub(crate) fn named(&mut self, token: u64, server: &Server) -> Option<(usize, u16)> {
        let number = client_of(token);
        let client = client_at(&mut self.clients, number)?;
        Some((number, client.tokens.find(token, server.index)?))
    }

    /// A request of a client.
    #[inline]
    pub(crate) fn request(&mut self, number: usize, index: u16) -> Option<&mut Outstanding> {
        client_at(&mut self.clients, number)?.tokens.get(index)
    }

    /// The rest of a `Send` is not needed any more.
    fn retire(&mut self, server: &Server, retire: &Retire) -> bool {
        let Some((number, index)) = self.named(retire.token, server) else {
            return false;
        };
        let held = |r: &mut Outstanding| matches!(r.stage, Stage::Held | Stage::Holding);
        if !self.request(number, index).is_some_and(held) {
            return false;
        }
        self.retire_now(server, number, index);
        true
    }

    /// The server needs the bytes of a `Send` no more that it held.
    pub(crate) fn retire_now(&mut self, server: &Server, number: usize, index: u16) {
        let Some(request) = self.request(number, index) else {
            return;
        };
        request.stage = match request.stage {
            Stage::Holding => Stage::Done,
            _ => Stage::Draining,
        };
        if request.in_flight == 0 || !request.open || !server.nic.alive {
            self.proceed(number, index, server.nic.alive);
        }
    }
}

/// Whether `completion` may answer the request.
#[inline(always)]
pub(crate) fn legal(request: &Outstanding, sockets: &Sockets, completion: &Completion) -> bool {
    let ok = completion.status == Status::Ok as u16;
    let socket = match request.op {
        Op::Open => request.new_socket,
        Op::Accept if ok => request.new_socket,
        _ => request.socket,
    };
    let socket_right = match socket {
        NO_SOCKET => completion.socket == 0,
        index => completion.socket == sockets.number(index),
    };
    let most = match request.op {
        Op::Send | Op::Recv | Op::Resolve => request.len,
        // The MTU.
        Op::AwaitAddress => u32::from(u16::MAX),
        _ => 0,
    };
    let is_recv = request.op == Op::Recv;
    completion.op == request.op as u16
        && Status::from_number(completion.status).is_some()
        && socket_right
        && completion.len <= most
        && legal_flags(request, completion)
        && (is_recv || (completion.packet == NO_PACKET && completion.offset == 0))
        && matches!(completion.address.family, 0 | 4 | 6)
}

/// Whether the completion's flags fit the request.
#[inline(always)]
fn legal_flags(request: &Outstanding, completion: &Completion) -> bool {
    if completion.flags == 0 {
        return true;
    }
    match request.op {
        Op::Recv => completion.flags & !(flags::TRUNCATED | flags::RELEASE) == 0,
        Op::Send => {
            let status = Status::from_number(completion.status);
            completion.flags == flags::HELD
                && request.may_hold
                && matches!(status, Some(Status::Ok | Status::Cancelled))
                && completion.arg <= u64::from(completion.len)
                && u64::from(completion.len) - completion.arg <= MOST_HELD
        }
        _ => false,
    }
}
