//! The bytes of a request, taken into use.
//!
//! Invariant: what the server is told of the bytes is their number and, where
//! it must make a checksum that no device completes, their sum; the memory
//! they lie in is in use from here until the request has ended.

use data_passing::{Machine, Memory};
use nic_api::nic_features;
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
    #[inline(always)]
    pub fn begin_send(
        self,
        nic: &Nic,
        request: &Request,
        noted: &mut Outstanding,
        arg: &mut u64,
    ) -> Result<u16, Refusal> {
        let len = request.extent.len;
        let datagram = self.sockets.is_datagram(noted.socket);
        let completed =
            nic.offers(nic_features::CHECKSUM) && len.saturating_add(DATAGRAM_HEADERS) <= nic.mtu;
        let summed = datagram && !completed;
        if is_by_reference(request)
            && let Some((output, at)) = self.memory.shared_output(self.client, request.extent)
        {
            self.counters.output_reference.add(1);
            // What is written later is not sent.
            noted.open = true;
            noted.keep(Data::Output(output));
            if !summed {
                return Ok(0);
            }
            *arg = self.memory.machine_ref().sum(at, len).into();
            return Ok(flags::SUMMED);
        }
        self.begin_any_send((datagram, summed), request, noted, arg)
    }

    #[inline(never)]
    fn begin_any_send(
        self,
        (datagram, summed): (bool, bool),
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
        noted.may_hold = blocked && !datagram && !weak && self.may_hold;
        let hold = if noted.may_hold { flags::MAY_HOLD } else { 0 };
        Ok(hold | if summed { flags::SUMMED } else { 0 })
    }

    /// Takes the room of a `Recv`.
    #[inline(always)]
    pub fn begin_recv(
        self,
        nic: &mut Nic,
        request: &Request,
        noted: &mut Outstanding,
    ) -> Result<u16, Refusal> {
        let plain = matches!(request.passing, 0 | SHARED) && !nic.offers(nic_features::STEERING);
        if plain && let Some(input) = self.memory.copied_input(self.client, request.extent) {
            self.counters.input_copy.add(1);
            noted.keep(Data::Input(input));
            return Ok(0);
        }
        self.begin_any_recv(nic, request, noted)
    }

    #[inline(never)]
    fn begin_any_recv(
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
        let steered = match nic.offers(nic_features::STEERING) {
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
