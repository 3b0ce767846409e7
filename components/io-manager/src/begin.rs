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
use crate::tokens::{Data, Outstanding};

/// Bytes of the headers of a datagram: IPv4 without options, and UDP.
const DATAGRAM_HEADERS: u32 = 28;
/// Entries of the server's ring that must be free before a name is written.
const KEPT_FROM_NAMES: u32 = SERVER_REQUESTS + SERVER_PACKETS + 8;

impl<M: Machine> Core<M> {
    /// Takes the bytes of a `Send`.
    #[inline]
    pub(crate) fn begin_send(
        &mut self,
        server: &Server,
        index: usize,
        request: &Request,
        (remembered, onward): (&mut Outstanding, &mut Request),
    ) -> Result<(), Refusal> {
        let blocked = request.flags & flags::BLOCKED != 0;
        let passing = passing(request);
        let Some(client) = client_at(&mut self.clients, index) else {
            return Err(Refusal::SERVER_GONE);
        };
        let datagram = client.sockets.is_datagram(remembered.socket);
        let hold =
            blocked && !datagram && passing.semantics.is_strong() && client.tokens.may_hold_more();
        let len = request.extent.len;
        let completed = server.nic.offers(nic_features::CHECKSUM)
            && len.saturating_add(DATAGRAM_HEADERS) <= server.nic.mtu;
        if datagram && !completed {
            onward.flags |= flags::SUMMED;
        }
        if len != 0 {
            let number = index as u16;
            let output = self
                .memory
                .begin_output(number, request.extent, passing, blocked)
                .map_err(Refusal::passing)?;
            self.counters.output(output.technique()).add(1);
            if datagram && !completed {
                onward.arg = u64::from(self.memory.sum_output(&output, 0, len));
            }
            // With weak integrity too, what is written later is not sent.
            let weak = !passing.semantics.is_strong();
            let referred = output.technique() == Technique::Reference;
            remembered.open = output.is_exposed() || (weak && referred);
            remembered.data = Data::Output(output);
        }
        if hold {
            onward.flags |= flags::MAY_HOLD;
            remembered.may_hold = true;
        }
        Ok(())
    }

    /// Takes the room of a `Recv`.
    #[inline]
    pub(crate) fn begin_recv(
        &mut self,
        server: &mut Server,
        index: usize,
        request: &Request,
        remembered: &mut Outstanding,
    ) -> Result<(), Refusal> {
        if request.extent.len == 0 {
            return Ok(());
        }
        let blocked = request.flags & flags::BLOCKED != 0;
        if self.begin_early(server, index, request, remembered) {
            return Ok(());
        }
        let number = index as u16;
        let passing = passing(request);
        let input = self
            .memory
            .begin_input(number, request.extent, passing, (blocked, false))
            .map_err(Refusal::passing)?;
        self.counters.input(input.technique()).add(1);
        remembered.data = Data::Input(input);
        Ok(())
    }

    /// Writes the name of a `Resolve` to the server's ring, right before the
    /// request.
    #[cold]
    pub(crate) fn begin_resolve(
        &mut self,
        server: &mut Server,
        index: usize,
        request: &Request,
        remembered: &mut Outstanding,
    ) -> Result<(), Refusal> {
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
        remembered.address = address;
        remembered.len = request.arg as u32;
        Ok(())
    }
}
