//! Buffers that a NIC keeps for one flow: receiving in place, and in frames
//! that change places.
//!
//! Problem: with early demultiplexing the room of a `Recv` is the NIC's until
//! it is filled or taken back, whatever server and client do meanwhile.
//! Invariant: a `Recv` ends only when the NIC has nothing of it any more: a
//! buffer is out from the entries that post it until the NIC reports it, filled
//! or, having been asked for it, empty. What becomes of the packet in it is
//! said in [`in_place`](crate::in_place).

use alloc::boxed::Box;
use alloc::vec::Vec;

use data_passing::{Input, Machine, Memory};
use nic_api::{HEADER_SPLIT, MORE_PAYLOAD, ReceiveBuffer, Received, frame_flags, udp_flow};
use socket_api::{Completion, Delivery, Request, SERVER_PACKETS, Status, flags};

use crate::client::{Client, client_at};
use crate::forward::passing;
use crate::nic::Nic;
use crate::progress::Core;
use crate::receive::{end_of_datagram, pass};
use crate::server::Server;
use crate::tokens::{Data, Outstanding, Stage, client_of};

/// No buffer, in [`Outstanding::steered`].
pub(crate) const NOT_STEERED: u16 = u16::MAX;
/// Numbers of buffers kept for a flow, if the NIC keeps any: from here on.
pub(crate) const STEERED_FIRST: u32 = 512;
/// How many of them there are.
const STEERED: u16 = 128;

/// Where a buffer is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum State {
    /// It is in the list of free ones.
    Free,
    /// The NIC has it.
    Posted,
    /// It was asked for back; what is done then.
    Wanted(Then),
    /// Its packet is the server's; the payload is in the room of its request.
    Filled,
    /// Its packet is the server's; the payload is in its own buffer, or gone.
    Apart,
}

/// What is done when a buffer is back.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// The server's completion is taken.
    Answer(Completion),
    /// The request ends with this.
    Refuse(Status),
    /// It waits on, for more than was delivered already.
    Wait,
}

/// A buffer that is kept for a flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffer {
    pub state: State,
    /// The request whose room it is.
    pub client: u16,
    pub index: u16,
    /// Bytes of payload in it.
    pub len: u32,
}

/// The buffers of one NIC that are kept for flows.
#[derive(Debug)]
pub(crate) struct Steering {
    buffers: Box<[Buffer]>,
    free: Vec<u16>,
    /// Deliveries that wait for a buffer to be back, in order.
    late: Vec<(u16, Delivery)>,
}

impl Steering {
    /// All are free.
    pub fn new() -> Self {
        let buffer = Buffer {
            state: State::Free,
            client: 0,
            index: 0,
            len: 0,
        };
        Self {
            buffers: alloc::vec![buffer; usize::from(STEERED)].into_boxed_slice(),
            free: (0..STEERED).rev().collect(),
            late: Vec::new(),
        }
    }

    /// How many are free.
    pub fn free(&self) -> u32 {
        self.free.len() as u32
    }

    /// A buffer by number.
    pub fn get(&mut self, n: u16) -> Option<&mut Buffer> {
        self.buffers.get_mut(usize::from(n))
    }

    /// Notes where a buffer is.
    pub fn set(&mut self, n: u16, state: State) {
        if let Some(buffer) = self.get(n) {
            buffer.state = state;
        }
    }

    /// A buffer is free.
    pub fn give_back(&mut self, n: u16) {
        self.set(n, State::Free);
        self.free.push(n);
    }
}

/// The buffer with a number of the NIC's.
pub(crate) fn number_of(id: u32) -> u16 {
    (id - STEERED_FIRST) as u16
}

/// The number at the NIC of a buffer.
pub(crate) fn id_of(n: u16) -> u32 {
    STEERED_FIRST + u32::from(n)
}

/// Asks the NIC for a buffer, unless that was done; what is done when it is
/// back.
fn ask_for(nic: &mut Nic, n: u16, then: Then) {
    let Some(buffer) = nic.steering.get(n) else {
        return;
    };
    let first = matches!(buffer.state, State::Posted);
    buffer.state = State::Wanted(then);
    let entry = ReceiveBuffer {
        id: id_of(n),
        ..ReceiveBuffer::default()
    };
    if first {
        // There is room: `begin_steered` kept it.
        nic.free.push(&entry).ok();
    }
}

/// Begins a `Recv` of a socket with a `flow`, whose room the NIC may be given;
/// `None` if that cannot be.
#[cold]
pub(crate) fn begin_steered<M: Machine>(
    memory: &mut Memory<M>,
    (nic, flow): (&mut Nic, Option<(u16, bool)>),
    client: u16,
    request: &Request,
    noted: &mut Outstanding,
) -> Option<Input> {
    let (Some((_, connected)), Some(&n)) = (flow, nic.steering.free.last()) else {
        return None;
    };
    // Others than the peer may send to the port: what they send must not
    // be seen in the room of a `Recv` with strong integrity.
    let blocked = request.flags & flags::BLOCKED != 0 && !connected;
    let passing = passing(request);
    let begun = memory.begin_input(client, request.extent, passing, (blocked, true));
    let input = begun.ok()?;
    if input.is_posted() {
        if !has_room_for(nic, &input) {
            memory.end_input(input);
            return None;
        }
        nic.steering.free.pop();
        noted.steered = n;
        noted.posted = true;
    }
    Some(input)
}

/// Gives the room of the `Recv` that `token` stands for to the NIC, as
/// [`begin_steered`] has prepared.
#[cold]
pub(crate) fn post_steered<M: Machine>(
    memory: &Memory<M>,
    client: &mut Client,
    nic: &mut Nic,
    token: u64,
) {
    let (number, index) = (client_of(token) as u16, token as u16);
    let Some(request) = client.tokens.get(index) else {
        return;
    };
    let (n, socket) = (request.steered, request.socket);
    let (true, Data::Input(input)) = (request.posted, &request.data) else {
        return;
    };
    let mut pieces = Vec::new();
    input.posted(|at, len| pieces.push((memory.machine_ref().paddr(at), len)));
    let port = client.sockets.flow(socket).map_or(0, |(port, _)| port);
    if let Some(buffer) = nic.steering.get(n) {
        buffer.state = State::Posted;
        (buffer.client, buffer.index) = (number, index);
    }
    let id = id_of(n);
    nic.packets.post(id);
    let last = pieces.len().saturating_sub(1);
    for (at, (payload, payload_len)) in pieces.into_iter().enumerate() {
        let more = if at < last { MORE_PAYLOAD } else { 0 };
        let entry = ReceiveBuffer {
            header: nic.headers.paddr + u64::from(nic.header_at(id)),
            payload,
            payload_len,
            id,
            flow: udp_flow(port) | more,
        };
        // There is room: `begin_steered` asked.
        nic.free.push(&entry).ok();
    }
}

impl<M: Machine> Core<M> {
    /// A frame came in a buffer kept for its flow, or the buffer came back;
    /// false if the driver broke the protocol with it.
    #[cold]
    pub(crate) fn steered(&mut self, server: &mut Server, received: &Received) -> bool {
        let nic = &mut server.nic;
        if !nic.steers() || !nic.packets.take_filled(received.id) {
            return false;
        }
        let n = number_of(received.id);
        let Some(&mut Buffer {
            state,
            client,
            index,
            ..
        }) = nic.steering.get(n)
        else {
            return false;
        };
        let room = self.take_room(usize::from(client), index);
        let wanted = matches!(state, State::Wanted(_));
        let (empty, mut legal) = (received.len == 0 && wanted, true);
        match payload_of(nic, received).filter(|p| *p <= room) {
            Some(payload) => self.fill(server, n, payload, received, wanted),
            None => {
                self.unlink(&mut server.nic, n);
                server.nic.steering.give_back(n);
                legal &= empty;
            }
        }
        if let State::Wanted(then) = state {
            self.deliver_late(server, n, (usize::from(client), index));
            self.go_on(server, usize::from(client), index, then);
        }
        legal
    }

    /// A frame came in a buffer whose payload is in the room of its request; in
    /// its own, if the room is wanted for something else.
    fn fill(
        &mut self,
        server: &mut Server,
        n: u16,
        payload: u32,
        received: &Received,
        wanted: bool,
    ) {
        let steering = &mut server.nic.steering;
        if let Some(buffer) = steering.get(n) {
            buffer.len = payload;
            buffer.state = State::Filled;
        }
        if wanted {
            self.move_apart(&mut server.nic, n);
        }
        if !pass(server, &self.counters, received) {
            self.release_steered(&mut server.nic, received.id);
        }
    }

    /// The NIC has nothing of a request any more; how much room that has.
    fn take_room(&mut self, number: usize, index: u16) -> u32 {
        let Some(request) = self.request(number, index) else {
            return 0;
        };
        request.posted = false;
        match &request.data {
            Data::Input(input) => input.len(),
            _ => 0,
        }
    }

    /// Does with a request what had to wait for its buffer.
    fn go_on(&mut self, server: &mut Server, number: usize, index: u16, then: Then) {
        match then {
            Then::Answer(mut completion) => {
                if !self.answer_now(server, number, index, &mut completion) {
                    self.counters.server_faults.add(1);
                    // Too many are noticed at the next one.
                    server.fault();
                }
            }
            Then::Refuse(status) => self.refuse(&mut server.nic, number, index, status),
            Then::Wait => {}
        }
    }

    /// Keeps a completion until the NIC has given the request's buffer back.
    #[cold]
    pub(crate) fn answer_steered(
        &mut self,
        server: &mut Server,
        number: usize,
        index: u16,
        completion: &Completion,
    ) -> bool {
        self.want_back(&mut server.nic, number, index, Then::Answer(*completion));
        true
    }

    /// Ends a request with `status` when the NIC has given its buffer back.
    #[cold]
    pub(crate) fn withdraw(&mut self, nic: &mut Nic, number: usize, index: u16, status: Status) {
        self.want_back(nic, number, index, Then::Refuse(status));
    }

    fn want_back(&mut self, nic: &mut Nic, number: usize, index: u16, then: Then) {
        let Some(client) = client_at(&mut self.clients, number) else {
            return;
        };
        let Some(request) = client.tokens.get(index) else {
            return;
        };
        request.stage = Stage::Done;
        let n = request.steered;
        client.end_at_server(index);
        client.delay(index);
        ask_for(nic, n, then);
    }

    /// Keeps a delivery ahead of the completion until the NIC has given the
    /// request's buffer back; false if it is not legal.
    #[cold]
    pub(crate) fn deliver_steered(
        &mut self,
        nic: &mut Nic,
        (number, index): (usize, u16),
        entry: &Delivery,
    ) -> bool {
        let Some(request) = self.request(number, index) else {
            return false;
        };
        let (n, room) = (request.steered, request.len);
        let late = nic.steering.late.iter().filter(|(of, _)| *of == n);
        let before: u32 = late.map(|(_, entry)| entry.len).sum();
        let fits = entry.len <= room.saturating_sub(before);
        let few = nic.steering.late.len() < SERVER_PACKETS as usize;
        let there = nic.packets.find(entry.packet, entry.offset, entry.len);
        if !fits || !few || there.is_none() {
            return false;
        }
        nic.steering.late.push((n, *entry));
        ask_for(nic, n, Then::Wait);
        true
    }

    /// Delivers what had to wait for a buffer.
    fn deliver_late(&mut self, server: &mut Server, n: u16, place: (usize, u16)) {
        while let Some(first) = server.nic.steering.late.iter().position(|(of, _)| *of == n) {
            let (_, entry) = server.nic.steering.late.remove(first);
            if !self.deliver_now(server, place, &entry) {
                self.counters.server_faults.add(1);
                // Too many are noticed at the next one.
                server.fault();
            }
        }
    }

    /// The driver is gone with all buffers: what they are part of stays in use
    /// for ever, and what waits for them goes on.
    pub(crate) fn lose_steered(&mut self, server: &mut Server) {
        for n in 0..STEERED {
            let Some(&mut Buffer {
                state,
                client,
                index,
                ..
            }) = server.nic.steering.get(n)
            else {
                return;
            };
            if !matches!(state, State::Posted | State::Wanted(_)) {
                continue;
            }
            self.unlink(&mut server.nic, n);
            server.nic.steering.late.retain(|(of, _)| *of != n);
            server.nic.steering.set(n, State::Apart);
            let request = self.request(usize::from(client), index);
            if let Some(request) = request {
                core::mem::forget(core::mem::replace(&mut request.data, Data::None));
            }
            if let State::Wanted(then) = state {
                self.go_on(server, usize::from(client), index, then);
            }
        }
    }
}

/// Whether the driver's ring has room for the pieces of a buffer, so that every
/// other one still finds room to come back, and every request to do so.
fn has_room_for(nic: &mut Nic, input: &Input) -> bool {
    let mut pieces = 0;
    input.posted(|_, _| pieces += 1);
    let kept = nic.buffers() + u32::from(STEERED);
    matches!(nic.free.has_room(pieces + kept), Ok(true))
}

/// Bytes of payload that a NIC has put to their place, if it claims that and
/// the frame is one of those.
fn payload_of(nic: &Nic, received: &Received) -> Option<u32> {
    if received.flags & u32::from(frame_flags::STEERED) == 0 {
        return None;
    }
    let end = end_of_datagram(nic, received.id, received.len)?;
    Some(end - HEADER_SPLIT)
}
