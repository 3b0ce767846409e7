//! The bytes of a request, taken into use.
//!
//! Invariant: what the server is told of the bytes is their number and, where
//! it must make a checksum that no device completes, their sum; the memory
//! they lie in is in use from here until the request has ended.

use data_passing::{Machine, Memory};
use socket_api::{
    Extent, NAME_BYTES, Name, Request, SERVER_PACKETS, SERVER_REQUESTS, Technique, flags, kind,
};

use crate::check::{MOVED, Refusal, SHARED};
use crate::counters::Counters;
use crate::forward::passing;
use crate::nic::Nic;
use crate::server::Server;
use crate::sockets::Sockets;
use crate::steer::begin_steered;
use crate::tokens::{Data, Outstanding};

/// Bytes of the headers of a datagram: IPv4 without options, and UDP.
const DATAGRAM_HEADERS: u32 = 28;
/// Entries of the server's ring that must be free before a name is written.
const KEPT_FROM_NAMES: u32 = SERVER_REQUESTS + SERVER_PACKETS + 8;

/// Whether bytes that lie in one mapped page, to which the client writes, go by
/// reference and cannot go otherwise.
#[inline(always)]
fn is_by_reference(request: &Request) -> bool {
    match request.passing {
        SHARED => true,
        MOVED => request.extent.address.is_multiple_of(4096),
        _ => false,
    }
}

/// Whether the server must be told the sum of a `Send`'s bytes, since nobody
/// completes the checksum.
#[inline(always)]
pub(crate) fn is_summed(nic: &Nic, sockets: &Sockets, socket: u16, len: u32) -> bool {
    !nic.completes(len.saturating_add(DATAGRAM_HEADERS)) && sockets.is_datagram(socket)
}

/// Takes the bytes of a `Send` if they lie in one page and go by reference;
/// their sum is put in `sum` if there is one. False if nothing was done.
#[inline(always)]
pub(crate) fn begin_plain_send<M: Machine>(
    memory: &mut Memory<M>,
    (client, request): (u16, &Request),
    noted: &mut Outstanding,
    sum: Option<&mut u64>,
) -> bool {
    if !is_by_reference(request) {
        return false;
    }
    let Some((output, at)) = memory.shared_output(client, request.extent) else {
        return false;
    };
    // What is written later is not sent.
    noted.open = true;
    noted.keep(Data::Output(output));
    if let Some(sum) = sum {
        *sum = memory.machine_ref().sum(at, request.extent.len).into();
    }
    true
}

/// Takes the room of a `Recv` if all of it is there and is copied to. False if
/// nothing was done.
#[inline(always)]
pub(crate) fn begin_plain_recv<M: Machine>(
    memory: &mut Memory<M>,
    nic: &Nic,
    (client, request): (u16, &Request),
    noted: &mut Outstanding,
) -> bool {
    if !matches!(request.passing, 0 | SHARED) || nic.steers() {
        return false;
    }
    let Some(input) = memory.copied_input(client, request.extent) else {
        return false;
    };
    noted.keep(Data::Input(input));
    true
}

/// Where bytes are taken into use, for a client.
pub(crate) struct Kept<'a, M> {
    pub memory: &'a mut Memory<M>,
    pub counters: &'a Counters,
    pub sockets: &'a Sockets,
    /// Whether a server may keep one more of its `Send`s.
    pub may_hold: bool,
    /// Whose they are.
    pub client: u16,
}

impl<M: Machine> Kept<'_, M> {
    /// Takes the bytes of a `Send`; more flags for the server, and the argument
    /// in `arg`.
    #[inline(never)]
    pub fn begin_send(
        self,
        summed: bool,
        request: &Request,
        noted: &mut Outstanding,
        arg: &mut u64,
    ) -> Result<u16, Refusal> {
        let (len, passing) = (request.extent.len, passing(request));
        let weak = !passing.semantics.is_strong();
        let blocked = request.flags & flags::BLOCKED != 0;
        if len != 0 {
            let output = self
                .memory
                .begin_output(self.client, request.extent, passing, blocked)
                .map_err(Refusal::passing)?;
            self.counters.output(output.technique()).add(1);
            if summed {
                *arg = self.memory.sum_output(&output, 0, len).into();
            }
            // With weak integrity too, what is written later is not sent.
            let referred = output.technique() == Technique::Reference;
            noted.open = output.is_exposed() || (weak && referred);
            noted.keep(Data::Output(output));
        }
        let datagram = self.sockets.is_datagram(noted.socket);
        noted.may_hold = blocked && !datagram && !weak && self.may_hold;
        let hold = if noted.may_hold { flags::MAY_HOLD } else { 0 };
        Ok(hold | if summed { flags::SUMMED } else { 0 })
    }

    /// Takes the room of a `Recv`.
    #[inline(never)]
    pub fn begin_recv(
        self,
        nic: &mut Nic,
        request: &Request,
        noted: &mut Outstanding,
    ) -> Result<u16, Refusal> {
        if request.extent.len == 0 {
            return Ok(0);
        }
        let Self {
            memory,
            counters,
            sockets,
            client,
            ..
        } = self;
        let steered = match nic.steers() {
            true => {
                let flow = sockets.flow(noted.socket);
                begin_steered(memory, (nic, flow), client, request, noted)
            }
            false => None,
        };
        let blocked = request.flags & flags::BLOCKED != 0;
        let input = match steered {
            Some(input) => input,
            None => memory
                .begin_input(client, request.extent, passing(request), (blocked, false))
                .map_err(Refusal::passing)?,
        };
        counters.input(input.technique()).add(1);
        noted.keep(Data::Input(input));
        Ok(0)
    }

    /// Writes the name of a `Resolve` to the server's ring, right before the
    /// request.
    #[cold]
    pub fn begin_resolve(
        self,
        server: &mut Server,
        request: &Request,
        noted: &mut Outstanding,
    ) -> Result<u16, Refusal> {
        let Extent { address, len } = request.extent;
        let mut name = [0; 256];
        // It was checked to be short.
        let name = name.get_mut(..len as usize);
        let name = name.ok_or(Refusal::NO_RESOURCES)?;
        self.memory
            .read_client(self.client, address, name)
            .map_err(Refusal::passing)?;
        // Names take no room that requests and packets may need.
        if !matches!(server.to.has_room(KEPT_FROM_NAMES), Ok(true)) {
            return Err(Refusal::NO_RESOURCES);
        }
        for bytes in name.chunks(NAME_BYTES) {
            let mut part = Name {
                kind: kind::NAME,
                len: bytes.len() as u16,
                reserved: 0,
                bytes: [0; NAME_BYTES],
            };
            part.bytes[..bytes.len()].copy_from_slice(bytes);
            // There is room.
            server.to.push(&part.into()).ok();
        }
        noted.address = address;
        noted.len = request.arg as u32;
        Ok(0)
    }
}
