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
use crate::receives::cut;
use crate::sends::{Reference, References};
use crate::server::Server;
use crate::sockets::Sockets;
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
        cut(completion, request.len);
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
        if !tell_received(client, index, completion) {
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
        let answer = Answer {
            status: completion.status,
            len: completion.len,
            arg: if ok { 0 } else { completion.arg },
        };
        if end_at_server(request, &mut client.sockets, server.nic.alive, answer) {
            self.conclude(number, index, 0, server.nic.alive);
        }
        Some(())
    }

    /// Whether a server may be done with a `Send` by a frame with its bytes.
    pub(crate) fn may_be_done(&mut self, last: Option<Reference>) -> bool {
        last.and_then(|r| self.request(usize::from(r.client), r.index))
            .is_some_and(|request| request.stage == Stage::Waiting)
    }

    /// A frame that was sent says that the server is done with the `Send` that
    /// it had bytes of last, as [`Core::may_be_done`] said it may.
    pub(crate) fn sent_and_done(&mut self, nic_alive: bool, last: Option<Reference>) {
        let Some(Reference { client, index }) = last else {
            return;
        };
        let number = usize::from(client);
        let Some(client) = client_at(&mut self.clients, number) else {
            return;
        };
        let Some(request) = client.tokens.get(index) else {
            return;
        };
        let answer = Answer::all_of(request);
        if end_at_server(request, &mut client.sockets, nic_alive, answer) {
            self.conclude_now(number, index, nic_alive);
        }
    }

    /// Goes on with a `Send` for which no device has to be waited for.
    #[inline(never)]
    fn conclude_now(&mut self, number: usize, index: u16, nic_alive: bool) {
        self.conclude(number, index, 0, nic_alive);
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
            Concluded::Repost if self.repost(number, index) => {}
            Concluded::Repost | Concluded::Rare => self.proceed(number, index, nic_alive),
        }
    }

    /// Sends a frame that one entry describes, in as many pieces as an entry for
    /// the driver has; `None` if nothing was done.
    #[inline(never)]
    pub(crate) fn transmit_plain(&mut self, server: &mut Server, entry: &Transmit) -> Option<()> {
        let nic = &mut server.nic;
        if entry.flags & !(packet_flags::CHECKSUM | packet_flags::DONE) != 0
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
            if let Some(Reference { client, index }) = frame.tells {
                self.conclude_now(usize::from(client), index, true);
            }
            return Some(());
        }
        references.drain(|reference| self.take_back(reference));
        None
    }

    /// Adds all parts to a frame that has `room`, and ends the `Send` of the last
    /// one if the entry says so; false if that cannot be.
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
        let mut left = match entry.flags & packet_flags::DONE {
            0 => 0,
            _ if parts.is_empty() => return false,
            _ => parts.len(),
        };
        for part in parts {
            let fits = part.len <= room
                && self
                    .add(frame, server, part, references, left == 1)
                    .is_some();
            if !fits {
                return false;
            }
            room -= part.len;
            left = left.wrapping_sub(1);
        }
        true
    }

    /// Adds a part to a frame, and ends its `Send` if it is `done`; `None` if it
    /// has no place or is not the server's to send, or to be done with.
    #[inline(always)]
    fn add(
        &mut self,
        frame: &mut Frame,
        server: u8,
        part: &Part,
        references: &mut References,
        done: bool,
    ) -> Option<()> {
        let number = client_of(part.token);
        let client = client_at(&mut self.clients, number)?;
        let (index, request) = client.tokens.named(part.token, server)?;
        let Data::Output(output) = &request.data else {
            return None;
        };
        if !request.is_sendable() || part.len == 0 || (done && request.stage != Stage::Waiting) {
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
        frame.waited_for |= request.is_waited_for();
        let reference = Reference {
            client: number as u16,
            index,
        };
        if references.push(reference) {
            request.in_flight += 1;
        }
        if done {
            let answer = Answer::all_of(request);
            if end_at_server(request, &mut client.sockets, true, answer) {
                frame.tells = Some(reference);
            }
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
    pub(crate) fn cut_off_without_room(&mut self, number: usize) {
        // There was room when the request was taken.
        self.cut_off(number, "its completion ring lost its room");
    }
}

/// A server is done with a `Send` that waits: whether the client is to be told
/// now, and not when the device has let go.
#[inline(always)]
fn end_at_server(
    request: &mut Outstanding,
    sockets: &mut Sockets,
    nic_alive: bool,
    answer: Answer,
) -> bool {
    (request.answer, request.stage) = (answer, Stage::Done);
    if !core::mem::replace(&mut request.ended, true) {
        sockets.end(request.socket);
    }
    let now = request.in_flight == 0 || !request.open || !nic_alive;
    if !now && !core::mem::replace(&mut request.delayed, true) {
        sockets.hold_up(request.socket, request.is_stuck());
    }
    now
}

/// What is left to do about a `Send`.
enum Concluded {
    /// Nothing for now.
    Done,
    /// The `Close` of its socket, in a slot, goes on.
    Closed(u16, u16),
    /// The client has to be cut off.
    NoRoom,
    /// It is to become a `Recv`.
    Repost,
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
    if matches!(request.data, Data::Input(_)) {
        return Concluded::Rare;
    }
    let ok = request.answer.status == Status::Ok as u16;
    if request.becomes_recv() {
        return Concluded::Repost;
    }
    // Otherwise it went in a message.
    if let Data::Output(output) = &mut request.data {
        memory.empty_output(output);
    }
    let quiet = request.quiet && ok;
    let (delayed, socket, stuck) = (request.delayed, request.socket, request.is_stuck());
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
        true => client.sockets.let_on(socket, stuck),
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

/// Tells a client the completion of a `Recv`, of whose bytes nothing is left to
/// end; false if it has no room.
#[inline(always)]
pub(crate) fn tell_received(client: &mut Client, index: u16, completion: &mut Completion) -> bool {
    let Some(request) = client.tokens.get(index) else {
        return true;
    };
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
    client.completions.push(completion).is_ok()
}

/// Whether it is a `Recv` that waits, and nothing else is to be thought of.
#[inline(always)]
pub(crate) fn is_plain_recv(request: &Outstanding) -> bool {
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
    /// The `Send` of which a client is told once it is submitted.
    tells: Option<Reference>,
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
            tells: None,
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
    fn submit(&mut self, nic: &mut Nic, first: &Transmit) {
        if let Some(sum) = self.sum.take() {
            write_sum(nic, first, sum);
        }
        if self.waited_for || nic.sends.away() >= MANY_AWAY {
            self.entry.flags |= frame_flags::WAITED_FOR;
        }
        nic.ready.push(&self.entry).ok();
    }
}
