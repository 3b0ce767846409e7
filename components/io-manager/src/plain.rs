//! What nearly every entry of a server or driver is, straight through.
//!
//! Problem: what could be takes most of the time of what is. Invariant: each
//! function here either does all that the general way would have done, or
//! nothing, and says so; whatever is wrong or rare is left to the general way,
//! which also knows what to do about it. So no check is missing here that the
//! general way makes.

use data_passing::{Input, Machine, Memory, Place, Sum};
use nic_api::{SendFrame, Span, frame_flags, nic_features};
use socket_api::{
    Completion, Deliver, Delivery, NO_PACKET, Part, Status, Transmit, flags, packet_flags,
};

use crate::answer::legal;
use crate::client::{Client, Standing, client_at};
use crate::nic::{ETHERNET, Nic};
use crate::packets::NO_SLOT;
use crate::progress::Core;
use crate::sends::{Reference, References};
use crate::server::Server;
use crate::steer::NOT_STEERED;
use crate::tokens::{Answer, Data, Outstanding, Stage, client_of};
use crate::transmit::{MANY_AWAY, is_in_header, sum_header, write_sum};

/// Operations by number.
pub(crate) const SEND: u16 = socket_api::Op::Send as u16;
pub(crate) const RECV: u16 = socket_api::Op::Recv as u16;

impl<M: Machine> Core<M> {
    /// Answers a `Recv` with bytes of a packet, whose room no NIC has; `None`
    /// if nothing was done.
    #[inline(never)]
    pub(crate) fn recv_answered(
        &mut self,
        server: &mut Server,
        completion: &mut Completion,
    ) -> Option<()> {
        let Self {
            memory, clients, ..
        } = self;
        let number = client_of(completion.user_data);
        let client = client_at(clients, number)?;
        let (index, request) = client.tokens.named(completion.user_data, server.index)?;
        let nic = &mut server.nic;
        if client.standing != Standing::Served
            || !is_plain_recv(request)
            || !legal(request, &client.sockets, completion)
        {
            return None;
        }
        let Data::Input(input) = &mut request.data else {
            return None;
        };
        let (packet, offset) = (completion.packet, completion.offset);
        let len = completion.len.wrapping_sub(input.filled());
        let id = nic.packets.find(packet, offset, len)?;
        let from = piece(nic, id, offset, len)?;
        if !input.leaves_nothing() || !memory.deliver_short(input, from, len) {
            return None;
        }
        if completion.flags & flags::RELEASE != 0 {
            nic.recycle(id);
        }
        completion.user_data = request.user_data;
        completion.socket = request.handle;
        completion.flags &= flags::TRUNCATED;
        completion.packet = NO_PACKET;
        completion.offset = 0;
        let socket = request.socket;
        client.sockets.end(socket);
        client.tokens.forget(index);
        client.tokens.told();
        client.traffic.completions += 1;
        if client.completions.push(completion).is_err() {
            self.cut_off_without_room(number);
        }
        Some(())
    }

    /// Delivers bytes of packets ahead of the completion, as `recv_answered`
    /// those that come with it: those of the first packets. How many these were,
    /// if not all.
    #[inline(never)]
    pub(crate) fn deliver_plain(&mut self, server: &mut Server, entry: &Deliver) -> Option<usize> {
        let Self {
            memory, clients, ..
        } = self;
        let Some(input) = plain_input(clients, entry.token, server.index) else {
            return Some(0);
        };
        let nic = &mut server.nic;
        for (done, delivery) in entry.all().enumerate() {
            if deliver_piece(memory, nic, input, &delivery).is_none() {
                return Some(done);
            }
        }
        None
    }

    /// A server is done with a `Send` that it does not hold; `None` if nothing
    /// was done.
    #[inline(never)]
    pub(crate) fn send_answered(&mut self, server: &Server, completion: &Completion) -> Option<()> {
        let number = client_of(completion.user_data);
        let client = client_at(&mut self.clients, number)?;
        let (index, request) = client.tokens.named(completion.user_data, server.index)?;
        if request.op as u16 != SEND
            || request.stage != Stage::Waiting
            || completion.flags != 0
            || !legal(request, &client.sockets, completion)
        {
            return None;
        }
        let ok = completion.status == Status::Ok as u16;
        request.answer = Answer {
            status: completion.status,
            len: completion.len,
            arg: if ok { 0 } else { completion.arg },
        };
        request.stage = Stage::Done;
        let socket = request.socket;
        if !core::mem::replace(&mut request.ended, true) {
            client.sockets.end(socket);
        }
        if request.in_flight == 0 || !request.open || !server.nic.alive {
            self.conclude(number, index, 0, server.nic.alive);
        } else if !core::mem::replace(&mut request.delayed, true) {
            client.sockets.hold_up(socket);
        }
        Some(())
    }

    /// One frame less with bytes of a request.
    #[inline(always)]
    pub(crate) fn landed(&mut self, nic_alive: bool, reference: Reference) {
        self.conclude(usize::from(reference.client), reference.index, 1, nic_alive);
    }

    /// Goes on with a request, as `proceed`, once `landed` frames less with its
    /// bytes are in flight: none, if a client waits for that.
    #[inline(always)]
    fn conclude(&mut self, number: usize, index: u16, landed: u16, nic_alive: bool) {
        let Some(client) = client_at(&mut self.clients, number) else {
            return;
        };
        let memory = &mut self.memory;
        match conclude_send(memory, client, index, landed) {
            Concluded::Done => {}
            Concluded::Closed(socket, close) => self.finish_close(number, socket, close),
            Concluded::NoRoom => self.cut_off_without_room(number),
            Concluded::Rare => self.proceed(number, index, nic_alive),
        }
    }

    /// Sends a frame that one entry describes, in as many pieces as an entry for
    /// the driver has; `None` if nothing was done.
    #[inline(never)]
    pub(crate) fn transmit_plain(&mut self, server: &mut Server, entry: &Transmit) -> Option<()> {
        let nic = &mut server.nic;
        if entry.flags & !packet_flags::CHECKSUM != 0
            || !nic.is_ready()
            || !nic.backlog.is_empty()
            || !matches!(nic.ready.has_room(1), Ok(true))
            || !nic.sends.is_servers(entry.slot)
        {
            return None;
        }
        let most = ETHERNET + nic.mtu;
        let len = u32::from(entry.header_len);
        if !(ETHERNET..=most.min(nic.slot_stride)).contains(&len) {
            return None;
        }
        let mut frame = Frame::begin(nic, entry)?;
        let mut references = References::default();
        if self.add_all(&mut frame, server.index, entry, &mut references, most - len) {
            let nic = &mut server.nic;
            frame.submit(nic, entry);
            nic.sends.send(entry.slot, references, 0);
            self.counters.packets_out.add(1);
            return Some(());
        }
        references.drain(|reference| self.take_back(reference));
        None
    }

    /// Adds all parts to a frame that has `room`; false if that cannot be.
    #[inline(always)]
    fn add_all(
        &mut self,
        frame: &mut Frame,
        server: u8,
        entry: &Transmit,
        references: &mut References,
        mut room: u32,
    ) -> bool {
        let Some(parts) = entry.parts.get(..usize::from(entry.count)) else {
            return false;
        };
        for part in parts {
            let fits = part.len <= room && self.add(frame, server, part, references).is_some();
            if !fits {
                return false;
            }
            room -= part.len;
        }
        true
    }

    /// Adds a part to a frame; `None` if it has no place or is not the server's
    /// to send.
    #[inline(always)]
    fn add(
        &mut self,
        frame: &mut Frame,
        server: u8,
        part: &Part,
        references: &mut References,
    ) -> Option<()> {
        let number = client_of(part.token);
        let client = client_at(&mut self.clients, number)?;
        let (index, request) = client.tokens.named(part.token, server)?;
        let Data::Output(output) = &request.data else {
            return None;
        };
        if !request.is_sendable() || part.len == 0 {
            return None;
        }
        let machine = self.memory.machine_ref();
        match output.piece(part.offset, part.len) {
            Some(at) => frame.append(machine, at, part.len)?,
            None => {
                let mut fits = true;
                let there = output.pieces(part.offset, part.len, |at, len| {
                    fits &= frame.append(machine, at, len).is_some();
                });
                (there && fits).then_some(())?;
            }
        }
        frame.waited_for |= request.open;
        let client = number as u16;
        if references.push(Reference { client, index }) {
            request.in_flight += 1;
        }
        Some(())
    }

    /// A frame is not sent after all that was to have bytes of a request.
    #[cold]
    fn take_back(&mut self, reference: Reference) {
        let client = client_at(&mut self.clients, usize::from(reference.client));
        if let Some(request) = client.and_then(|c| c.tokens.get(reference.index)) {
            request.in_flight -= 1;
        }
    }

    #[cold]
    fn cut_off_without_room(&mut self, number: usize) {
        // There was room when the request was taken.
        self.cut_off(number, "its completion ring lost its room");
    }
}

/// What is left to do about a `Send`.
enum Concluded {
    /// Nothing for now.
    Done,
    /// The `Close` of its socket, in a slot, goes on.
    Closed(u16, u16),
    /// The client has to be cut off.
    NoRoom,
    /// All: nothing was done.
    Rare,
}

/// Notes that `landed` frames less with its bytes are in flight; if then server
/// and device are done with it, tells the client and forgets it.
#[inline(always)]
fn conclude_send<M: Machine>(
    memory: &mut Memory<M>,
    client: &mut Client,
    index: u16,
    landed: u16,
) -> Concluded {
    let Some(request) = client.tokens.get(index) else {
        return Concluded::Done;
    };
    request.in_flight -= landed;
    if request.in_flight != 0 && landed != 0 {
        return Concluded::Done;
    }
    if request.stage != Stage::Done || request.in_flight != 0 || client.standing != Standing::Served
    {
        return Concluded::Rare;
    }
    let Data::Output(output) = &mut request.data else {
        return Concluded::Rare;
    };
    memory.empty_output(output);
    let quiet = request.quiet && request.answer.status == Status::Ok as u16;
    let (delayed, socket) = (request.delayed, request.socket);
    let completion = request.completion();
    client.queued_bytes = client.queued_bytes.saturating_sub(request.len);
    client.tokens.forget(index);
    client.tokens.told();
    client.traffic.completions += 1;
    let pushed = match quiet {
        true => client.completions.push_quietly(&completion),
        false => client.completions.push(&completion),
    };
    let close = match delayed {
        true => client.sockets.let_on(socket),
        false => None,
    };
    match (pushed, close) {
        (Err(_), _) => Concluded::NoRoom,
        (Ok(()), Some(close)) => Concluded::Closed(socket, close),
        (Ok(()), None) => Concluded::Done,
    }
}

/// The room of a plain `Recv` ([`is_plain_recv`]) of a client that is served.
#[inline(always)]
fn plain_input(clients: &mut [Option<Client>], token: u64, server: u8) -> Option<&mut Input> {
    let client = client_at(clients, client_of(token))?;
    let (_, request) = client.tokens.named(token, server)?;
    if client.standing != Standing::Served || !is_plain_recv(request) {
        return None;
    }
    match &mut request.data {
        Data::Input(input) if input.leaves_nothing() => Some(input),
        _ => None,
    }
}

/// Delivers bytes of one packet to such a room; `None` if nothing was done.
#[inline(always)]
fn deliver_piece<M: Machine>(
    memory: &mut Memory<M>,
    nic: &mut Nic,
    input: &mut Input,
    entry: &Delivery,
) -> Option<()> {
    let id = nic.packets.find(entry.packet, entry.offset, entry.len)?;
    let from = piece(nic, id, entry.offset, entry.len)?;
    if entry.flags & !packet_flags::RELEASE != 0 || !memory.deliver_short(input, from, entry.len) {
        return None;
    }
    if entry.flags & packet_flags::RELEASE != 0 {
        nic.recycle(id);
    }
    Some(())
}

/// Whether it is a `Recv` that waits, and nothing else is to be thought of.
#[inline(always)]
fn is_plain_recv(request: &Outstanding) -> bool {
    request.op as u16 == RECV
        && request.stage == Stage::Waiting
        && request.steered == NOT_STEERED
        && !request.posted
        && !request.ended
        && !request.delayed
        && request.failed.is_none()
}

/// Where the bytes are, if all of them are in a payload buffer that any frame
/// may come in, and in one frame of memory.
#[inline(always)]
fn piece(nic: &Nic, id: u32, offset: u32, len: u32) -> Option<Place> {
    if id >= nic.buffers() || nic.packets.whole(id) != NO_SLOT {
        return None;
    }
    let place = nic.payload.place(nic.place_in(id, offset, len)?);
    (len <= 4096 - place.offset).then_some(place)
}

/// A frame of few pieces.
struct Frame {
    entry: SendFrame,
    /// The checksum, if it is ours to make.
    sum: Option<Sum>,
    /// A client waits for the device to let go.
    waited_for: bool,
}

impl Frame {
    /// Its header; `None` if the checksum does not lie in it.
    #[inline(always)]
    fn begin(nic: &Nic, first: &Transmit) -> Option<Self> {
        let len = u32::from(first.header_len);
        let header = Span {
            paddr: nic.send_slots.paddr + u64::from(nic.send_at(first.slot)),
            len,
            reserved: 0,
        };
        let mut this = Self {
            entry: SendFrame {
                id: u32::from(first.slot),
                count: 1,
                spans: [header, Span::default(), Span::default()],
                ..SendFrame::default()
            },
            sum: None,
            waited_for: false,
        };
        if first.flags & packet_flags::CHECKSUM != 0 {
            if !is_in_header(first) {
                return None;
            }
            if nic.offers(nic_features::CHECKSUM) {
                this.entry.flags = frame_flags::NEEDS_CHECKSUM;
                this.entry.checksum_start = first.checksum_start;
                this.entry.checksum_offset = first.checksum_offset;
            } else {
                this.sum = Some(sum_header(nic, first));
            }
        }
        Some(this)
    }

    /// Adds bytes within a frame of memory, if there is an empty span.
    #[inline(always)]
    fn append<M: Machine>(&mut self, machine: &M, at: Place, len: u32) -> Option<()> {
        let span = self.entry.spans.get_mut(usize::from(self.entry.count))?;
        *span = Span {
            paddr: machine.paddr(at),
            len,
            reserved: 0,
        };
        self.entry.count += 1;
        if let Some(sum) = &mut self.sum {
            sum.add(machine.sum(at, len), len);
        }
        Some(())
    }

    /// Hands it to the driver, whose ring has room.
    #[inline(always)]
    fn submit(mut self, nic: &mut Nic, first: &Transmit) {
        if let Some(sum) = self.sum {
            write_sum(nic, first, sum);
        }
        if self.waited_for || nic.sends.away() >= MANY_AWAY {
            self.entry.flags |= frame_flags::WAITED_FOR;
        }
        nic.ready.push(&self.entry).ok();
    }
}
