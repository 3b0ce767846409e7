//! The bytes of a request, taken into use.
//!
//! Invariant: what the server is told of the bytes is their number and, where
//! it must make a checksum that no device completes, their sum; the memory
//! they lie in is in use from here until the request has ended.

use data_passing::{Machine, Memory};
use socket_api::{
    Extent, NAME_BYTES, Name, Op, Request, SERVER_PACKETS, SERVER_REQUESTS, Technique, flags, kind,
};

use crate::check::Refusal;
use crate::client::{Client, client_at};
use crate::counters::Counters;
use crate::forward::{PASSED_ON, passing};
use crate::nic::Nic;
use crate::progress::Core;
use crate::server::Server;
use crate::sockets::NO_SOCKET;
use crate::tokens::Data;

/// Bytes of the headers of a datagram: IPv4 without options, and UDP.
const DATAGRAM_HEADERS: u32 = 28;
/// Entries of the server's ring that must be free before a name is written.
const KEPT_FROM_NAMES: u32 = SERVER_REQUESTS + SERVER_PACKETS + 8;

/// Takes the bytes of the `Send` in slot `index` of client `number`.
#[inline]
pub(crate) fn begin_send<M: Machine>(
    memory: &mut Memory<M>,
    counters: &Counters,
    client: &mut Client,
    nic: &Nic,
    (number, index): (usize, u16),
    request: &mut Request,
) -> Result<(), Refusal> {
    let remembered = client.tokens.get(index).ok_or(Refusal::SERVER_GONE)?;
    let datagram = client.sockets.is_datagram(remembered.socket);
    let (len, asked) = (request.extent.len, request.flags);
    let (blocked, passing) = (asked & flags::BLOCKED != 0, passing(request));
    let weak = !passing.semantics.is_strong();
    request.flags &= PASSED_ON;
    let summed = datagram && !nic.completes(len.saturating_add(DATAGRAM_HEADERS));
    if summed {
        request.flags |= flags::SUMMED;
    }
    if len != 0 {
        let output = memory
            .begin_output(number as u16, request.extent, passing, blocked)
            .map_err(Refusal::passing)?;
        counters.output(output.technique()).add(1);
        // With weak integrity too, what is written later is not sent.
        remembered.open =
            output.is_exposed() || (weak && output.technique() == Technique::Reference);
        if summed {
            request.arg = u64::from(memory.sum_output(&output, 0, len));
        }
        remembered.data = Data::Output(output);
    }
    if blocked && !datagram && !weak && client.tokens.may_hold_more() {
        request.flags |= flags::MAY_HOLD;
        client.tokens.let_hold(index);
    }
    Ok(())
}

/// Takes the room of the `Recv` in slot `index` of client `number`, which no
/// NIC keeps buffers for.
#[inline]
pub(crate) fn begin_recv<M: Machine>(
    memory: &mut Memory<M>,
    counters: &Counters,
    client: &mut Client,
    (number, index): (usize, u16),
    request: &mut Request,
) -> Result<(), Refusal> {
    let (blocked, passing) = (request.flags & flags::BLOCKED != 0, passing(request));
    request.flags &= PASSED_ON;
    if request.extent.len == 0 {
        return Ok(());
    }
    let remembered = client.tokens.get(index).ok_or(Refusal::SERVER_GONE)?;
    let input = memory
        .begin_input(number as u16, request.extent, passing, (blocked, false))
        .map_err(Refusal::passing)?;
    counters.input(input.technique()).add(1);
    remembered.data = Data::Input(input);
    Ok(())
}

impl<M: Machine> Core<M> {
    /// Takes into use what other requests need, and a `Recv` that a NIC may keep
    /// buffers for.
    #[cold]
    pub(crate) fn begin_other(
        &mut self,
        server: &mut Server,
        (number, index): (usize, u16),
        op: Op,
        request: &mut Request,
    ) -> Result<(), Refusal> {
        match op {
            Op::Resolve => self.begin_resolve(server, (number, index), request),
            Op::Recv
                if request.extent.len != 0
                    && self.begin_early(server, (number, index), request) =>
            {
                request.flags &= PASSED_ON;
                Ok(())
            }
            Op::Recv => {
                let client = client_at(&mut self.clients, number).ok_or(Refusal::SERVER_GONE)?;
                let (memory, counters) = (&mut self.memory, &self.counters);
                begin_recv(memory, counters, client, (number, index), request)
            }
            Op::Cancel => {
                let client = client_at(&mut self.clients, number).ok_or(Refusal::NOT_FOUND)?;
                let socket = client.tokens.get(index).map_or(NO_SOCKET, |r| r.socket);
                let token = client.tokens.search(socket, request.arg);
                request.arg = token.ok_or(Refusal::NOT_FOUND)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Writes the name of a `Resolve` to the server's ring, right before the
    /// request.
    #[cold]
    pub(crate) fn begin_resolve(
        &mut self,
        server: &mut Server,
        (number, index): (usize, u16),
        request: &Request,
    ) -> Result<(), Refusal> {
        let Extent { address, len } = request.extent;
        let mut name = [0; 256];
        // It was checked to be short.
        let name = name.get_mut(..len as usize);
        let name = name.ok_or(Refusal::NO_RESOURCES)?;
        self.memory
            .read_client(number as u16, address, name)
            .map_err(Refusal::passing)?;
        write_name(server, name)?;
        if let Some(remembered) = self.request(number, index) {
            remembered.address = address;
            remembered.len = request.arg as u32;
        }
        Ok(())
    }
}

/// Writes a name to the server's ring.
fn write_name(server: &mut Server, name: &[u8]) -> Result<(), Refusal> {
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
        server.to.push(part.as_ref()).ok();
    }
    Ok(())
}
