//! The bytes of a request, taken into use.
//!
//! Invariant: what the server is told of the bytes is their number and, where
//! it must make a checksum that no device completes, their sum; the memory
//! they lie in is in use from here until the request has ended.

use data_passing::Machine;
use nic_api::nic_features;
use socket_api::{
    Extent, NAME_BYTES, Name, Request, SERVER_PACKETS, SERVER_REQUESTS, Technique, flags, kind,
};

use crate::check::Refusal;
use crate::client::client_at;
use crate::forward::passing;
use crate::progress::Core;
use crate::server::Server;
use crate::steer::NOT_STEERED;
use crate::tokens::Data;

/// Bytes of the headers of a datagram: IPv4 without options, and UDP.
const DATAGRAM_HEADERS: u32 = 28;
/// Entries of the server's ring that must be free before a name is written.
const KEPT_FROM_NAMES: u32 = SERVER_REQUESTS + SERVER_PACKETS + 8;

/// What was begun for a request.
pub(crate) struct Begun {
    /// Its bytes.
    pub data: Data,
    /// More flags and the argument for the server.
    pub flags: u16,
    pub arg: u64,
    /// See [`Outstanding`](crate::tokens::Outstanding).
    pub open: bool,
    pub steered: u16,
}

impl Begun {
    /// Nothing.
    pub const NOTHING: Self = Self {
        data: Data::None,
        flags: 0,
        arg: 0,
        open: false,
        steered: NOT_STEERED,
    };
}

impl<M: Machine> Core<M> {
    /// Takes the bytes of a `Send`.
    #[inline(always)]
    pub(crate) fn begin_send(
        &mut self,
        server: &Server,
        index: usize,
        socket: u16,
        request: &Request,
    ) -> Result<Begun, Refusal> {
        let Self {
            memory,
            clients,
            counters,
            ..
        } = self;
        let client = client_at(clients, index).ok_or(Refusal::SERVER_GONE)?;
        let mut begun = Begun::NOTHING;
        let len = request.extent.len;
        let datagram = client.sockets.is_datagram(socket);
        let completed = server.nic.offers(nic_features::CHECKSUM)
            && len.saturating_add(DATAGRAM_HEADERS) <= server.nic.mtu;
        let summed = datagram && !completed;
        if summed {
            begun.flags = flags::SUMMED;
        }
        let blocked = request.flags & flags::BLOCKED != 0;
        let passing = passing(request);
        let weak = !passing.semantics.is_strong();
        if blocked && !datagram && !weak && client.tokens.may_hold_more() {
            begun.flags |= flags::MAY_HOLD;
        }
        if len == 0 {
            return Ok(begun);
        }
        let output = memory
            .begin_output(index as u16, request.extent, passing, blocked)
            .map_err(Refusal::passing)?;
        counters.output(output.technique()).add(1);
        if summed {
            begun.arg = memory.sum_output(&output, 0, len).into();
        }
        // With weak integrity too, what is written later is not sent.
        let referred = output.technique() == Technique::Reference;
        begun.open = output.is_exposed() || (weak && referred);
        begun.data = Data::Output(output);
        Ok(begun)
    }

    /// Takes the room of a `Recv`.
    #[inline(always)]
    pub(crate) fn begin_recv(
        &mut self,
        server: &mut Server,
        index: usize,
        socket: u16,
        request: &Request,
    ) -> Result<Begun, Refusal> {
        if request.extent.len == 0 {
            return Ok(Begun::NOTHING);
        }
        if server.nic.offers(nic_features::STEERING)
            && let Some(begun) = self.begin_steered(&mut server.nic, index, socket, request)
        {
            return Ok(begun);
        }
        let blocked = request.flags & flags::BLOCKED != 0;
        let input = self
            .memory
            .begin_input(
                index as u16,
                request.extent,
                passing(request),
                (blocked, false),
            )
            .map_err(Refusal::passing)?;
        self.counters.input(input.technique()).add(1);
        Ok(Begun {
            data: Data::Input(input),
            ..Begun::NOTHING
        })
    }

    /// Writes the name of a `Resolve` to the server's ring, right before the
    /// request.
    #[cold]
    pub(crate) fn begin_resolve(
        &mut self,
        server: &mut Server,
        index: usize,
        request: &Request,
    ) -> Result<Begun, Refusal> {
        let Extent { address, len } = request.extent;
        let mut name = [0; 256];
        // It was checked to be short.
        let name = name.get_mut(..len as usize);
        let name = name.ok_or(Refusal::NO_RESOURCES)?;
        self.memory
            .read_client(index as u16, address, name)
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
        Ok(Begun::NOTHING)
    }
}
