//! Buffers that a NIC keeps for one flow: receiving in place, and in frames
//! that change places.
//!
//! Problem: with early demultiplexing the room of a `Recv` is the NIC's until
//! it is filled or taken back, whatever server and client do meanwhile.
//! Invariant: a `Recv` ends only when the NIC has nothing of it any more, and a
//! packet's bytes stay what they are while the server has it: should the room
//! that they are in be needed for something else, they are moved to the
//! packet's own payload buffer first.

use alloc::boxed::Box;
use alloc::vec::Vec;

use data_passing::Machine;
use nic_api::{HEADER_SPLIT, MORE_PAYLOAD, ReceiveBuffer, Received, frame_flags, udp_flow};
use socket_api::{Completion, Deliver, Request, SERVER_PACKETS, Status, flags};

use crate::client::{Standing, client_at};
use crate::forward::passing;
use crate::nic::Nic;
use crate::progress::Core;
use crate::receive::{end_of_datagram, pass};
use crate::server::Server;
use crate::tokens::{Data, Stage};

/// No buffer, in [`Outstanding::steered`].
pub(crate) const NOT_STEERED: u16 = u16::MAX;
/// Numbers of buffers kept for a flow, if the NIC keeps any: from here on.
pub(crate) const STEERED_FIRST: u32 = 512;
/// How many of them there are.
const STEERED: u16 = 128;

/// Where a buffer is.
#[derive(Clone, Copy, Debug)]
enum State {
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
enum Then {
    /// The server's completion is taken.
    Answer(Completion),
    /// The request ends with this.
    Refuse(Status),
    /// It waits on, for more than was delivered already.
    Wait,
}

#[derive(Clone, Copy, Debug)]
struct Buffer {
    state: State,
    /// The request whose room it is.
    client: u16,
    index: u16,
    /// Bytes of payload in it.
    len: u32,
}

/// The buffers of one NIC that are kept for flows.
#[derive(Debug)]
pub(crate) struct Steering {
    buffers: Box<[Buffer]>,
    free: Vec<u16>,
    /// Deliveries that wait for a buffer to be back, in order.
    late: Vec<(u16, Deliver)>,
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

    fn get(&mut self, n: u16) -> Option<&mut Buffer> {
        self.buffers.get_mut(usize::from(n))
    }

    fn set(&mut self, n: u16, state: State) {
        if let Some(buffer) = self.get(n) {
            buffer.state = state;
        }
    }

    fn give_back(&mut self, n: u16) {
        self.set(n, State::Free);
        self.free.push(n);
    }
}

/// The buffer with a number of the NIC's.
fn number_of(id: u32) -> u16 {
    (id - STEERED_FIRST) as u16
}

/// The number at the NIC of a buffer.
fn id_of(n: u16) -> u32 {
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

impl<M: Machine> Core<M> {
    /// Begins a `Recv` whose room a NIC may be given; false if that cannot be.
    #[cold]
    pub(crate) fn begin_early(
        &mut self,
        server: &mut Server,
        (number, index): (usize, u16),
        request: &Request,
    ) -> bool {
        let nic = &mut server.nic;
        if !nic.steers() {
            return false;
        }
        let Self {
            memory,
            clients,
            counters,
            ..
        } = self;
        let Some(client) = client_at(clients, number) else {
            return false;
        };
        let Some(remembered) = client.tokens.get(index) else {
            return false;
        };
        let flow = client.sockets.flow(remembered.socket);
        let (Some((_, connected)), Some(&n)) = (flow, nic.steering.free.last()) else {
            return false;
        };
        // Others than the peer may send to the port: what they send must not
        // be seen in the room of a `Recv` with strong integrity.
        let blocked = request.flags & flags::BLOCKED != 0 && !connected;
        let begun = memory.begin_input(
            number as u16,
            request.extent,
            passing(request),
            (blocked, true),
        );
        let Ok(input) = begun else {
            return false;
        };
        if input.is_posted() {
            let mut pieces = 0;
            input.posted(|_, _| pieces += 1);
            // Every other buffer must find room to come back, and every
            // request to do so.
            let kept = nic.buffers() + u32::from(STEERED);
            if !matches!(nic.free.has_room(pieces + kept), Ok(true)) {
                memory.end_input(input);
                return false;
            }
            nic.steering.free.pop();
            remembered.steered = n;
            remembered.posted = true;
        }
        counters.input(input.technique()).add(1);
        remembered.data = Data::Input(input);
        true
    }

    /// Gives the room of a `Recv` to the NIC, if it is to have it.
    #[cold]
    pub(crate) fn post_room(&mut self, server: &mut Server, number: usize, index: u16) {
        let nic = &mut server.nic;
        let Some(client) = client_at(&mut self.clients, number) else {
            return;
        };
        let Some(request) = client.tokens.get(index) else {
            return;
        };
        let (n, socket) = (request.steered, request.socket);
        let (true, Data::Input(input)) = (request.posted, &request.data) else {
            return;
        };
        let mut pieces = Vec::new();
        input.posted(|at, len| pieces.push((self.memory.machine_ref().paddr(at), len)));
        let port = client.sockets.flow(socket).map_or(0, |(port, _)| port);
        if let Some(buffer) = nic.steering.get(n) {
            buffer.state = State::Posted;
            (buffer.client, buffer.index) = (number as u16, index);
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
            // There is room: `begin_early` asked.
            nic.free.push(&entry).ok();
        }
    }

    /// A frame came in a buffer kept for its flow, or the buffer came back;
    /// false if the driver broke the protocol with it.
    #[cold]
    pub(crate) fn steered(&mut self, server: &mut Server, received: &Received) -> bool {
        let Received { id, len, flags, .. } = *received;
        let nic = &mut server.nic;
        if !nic.steers() || !nic.packets.take_filled(id) {
            return false;
        }
        let n = number_of(id);
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
        let empty = len == 0 && wanted;
        let end = match flags & u32::from(frame_flags::STEERED) {
            0 => None,
            _ => end_of_datagram(nic, id, len),
        };
        let payload = end.map(|end| end - HEADER_SPLIT).filter(|p| *p <= room);
        if let Some(payload) = payload {
            if let Some(buffer) = nic.steering.get(n) {
                buffer.len = payload;
            }
            nic.steering.set(n, State::Filled);
            if wanted {
                self.move_apart(nic, n);
            }
            if !pass(server, &self.counters, id, len, flags) {
                self.release_steered(&mut server.nic, id);
            }
        } else {
            self.unlink(&mut server.nic, n);
            server.nic.steering.give_back(n);
        }
        if let State::Wanted(then) = state {
            self.deliver_late(server, n, (usize::from(client), index));
            self.go_on(server, usize::from(client), index, then);
        }
        payload.is_some() || empty
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
        entry: &Deliver,
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

    /// Delivers all of a packet to the request in whose room it is already;
    /// false if it is to be copied, which is possible then.
    #[inline]
    pub(crate) fn take_steered(
        &mut self,
        nic: &mut Nic,
        (number, index): (usize, u16),
        id: u32,
        bytes: (u32, u32),
    ) -> bool {
        let own = self.request(number, index).map(|r| r.steered);
        let own = own.unwrap_or(NOT_STEERED);
        if own == NOT_STEERED && id < nic.buffers() {
            return false;
        }
        if own != NOT_STEERED && id == id_of(own) && self.take_in_place(nic, number, index, bytes) {
            return true;
        }
        if own != NOT_STEERED {
            // The room is needed for another packet.
            self.move_apart(nic, own);
        }
        if id >= nic.buffers() {
            self.move_apart(nic, number_of(id));
        }
        false
    }

    fn take_in_place(
        &mut self,
        nic: &mut Nic,
        number: usize,
        index: u16,
        (offset, len): (u32, u32),
    ) -> bool {
        let Self {
            memory, clients, ..
        } = self;
        let Some(client) = client_at(clients, number) else {
            return false;
        };
        let served = client.standing == Standing::Served;
        let Some(request) = client.tokens.get(index) else {
            return false;
        };
        let n = request.steered;
        let Data::Input(input) = &mut request.data else {
            return false;
        };
        let all = nic.steering.get(n).is_some_and(|b| b.len == len);
        if !served || offset != HEADER_SPLIT || !all || input.filled() != 0 {
            return false;
        }
        if memory.deliver_posted(input, len).is_err() {
            return false;
        }
        request.steered = NOT_STEERED;
        nic.steering.set(n, State::Apart);
        nic.packets.spend(id_of(n));
        true
    }

    /// Moves the payload in a request's room to the packet's own buffer.
    pub(crate) fn move_apart(&mut self, nic: &mut Nic, n: u16) {
        let Some(&mut Buffer {
            state: State::Filled,
            client,
            index,
            len,
        }) = nic.steering.get(n)
        else {
            return;
        };
        let at = nic.payload_at(id_of(n));
        let payload = nic.payload;
        let Self {
            memory, clients, ..
        } = self;
        let client = client_at(clients, usize::from(client));
        if let Some(request) = client.and_then(|c| c.tokens.get(index))
            && let Data::Input(input) = &request.data
        {
            let machine = memory.machine();
            let mut done = 0;
            input.posted(|from, piece| {
                let piece = piece.min(len - done);
                let mut from = from;
                payload.pieces(at + done, piece, |to, part| {
                    machine.copy(from, to, part);
                    from.offset += part;
                });
                done += piece;
            });
            self.counters.copied_apart.add(u64::from(done));
        }
        self.unlink(nic, n);
        nic.steering.set(n, State::Apart);
    }

    /// The request of a buffer has nothing to do with it any more.
    fn unlink(&mut self, nic: &mut Nic, n: u16) {
        let Some(&mut Buffer { client, index, .. }) = nic.steering.get(n) else {
            return;
        };
        if let Some(request) = self.request(usize::from(client), index)
            && request.steered == n
        {
            request.steered = NOT_STEERED;
            request.posted = false;
        }
    }

    /// The server is done with a packet in a buffer kept for a flow.
    #[cold]
    pub(crate) fn release_steered(&mut self, nic: &mut Nic, id: u32) {
        let n = number_of(id);
        if nic
            .steering
            .get(n)
            .is_some_and(|b| matches!(b.state, State::Filled))
        {
            self.unlink(nic, n);
        }
        nic.steering.give_back(n);
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
