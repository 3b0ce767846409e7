//! Bytes of packets, from a server's packets to its clients' rooms.
//!
//! Invariant: bytes are delivered only of a packet that the server has, only to
//! a request that waits there, and only as many as both have; a packet that is
//! released is the driver's again, once.

use data_passing::{Machine, PassingError};
use socket_api::{
    Completion, Deliver, Delivery, NO_PACKET, RELEASE_MOST, Release, Status, WireAddress, flags,
    packet_flags,
};

use crate::check::Refusal;
use crate::client::{Standing, client_at};
use crate::nic::Nic;
use crate::progress::Core;
use crate::server::Server;
use crate::tokens::{Data, Stage, is_oldest};

/// Bytes of an address in the answer of a `Resolve`.
const ADDRESS: u32 = 4;
/// Bytes of all of them.
const ADDRESSES: u32 = 16;

impl<M: Machine> Core<M> {
    /// Takes the bytes of a `Recv` that its completion brings; false if they
    /// are not legal.
    #[inline]
    pub(crate) fn receive(
        &mut self,
        server: &mut Server,
        number: usize,
        index: u16,
        completion: &mut Completion,
    ) -> bool {
        let Some(request) = self.request(number, index) else {
            return false;
        };
        let failed = request.failed;
        let filled = match &request.data {
            Data::Input(input) => input.filled(),
            _ => 0,
        };
        let rest = match failed {
            Some(_) => 0,
            None => completion.len.wrapping_sub(filled),
        };
        let release = completion.flags & flags::RELEASE != 0;
        if completion.packet == NO_PACKET {
            if rest != 0 || completion.offset != 0 || release {
                return false;
            }
        } else {
            let (packet, offset) = (completion.packet, completion.offset);
            if !self.take_bytes(server, (number, index), packet, (offset, rest)) {
                return false;
            }
            if release {
                self.release_one(&mut server.nic, packet);
            }
        }
        if let Some(status) = self.request(number, index).and_then(|r| r.failed) {
            fail(completion, status);
        }
        true
    }

    /// Delivers bytes of a packet to a request; false if the packet is not the
    /// server's, or they are more than it has or there is room for.
    #[inline]
    fn take_bytes(
        &mut self,
        server: &mut Server,
        (number, index): (usize, u16),
        packet: u32,
        (offset, len): (u32, u32),
    ) -> bool {
        let nic = &mut server.nic;
        let Some(id) = nic.packets.find(packet, offset, len) else {
            return false;
        };
        if len == 0 {
            return true;
        }
        if self.take_steered(nic, (number, index), id, (offset, len)) {
            return true;
        }
        self.copy_bytes(nic, (number, index), id, (offset, len))
    }

    /// Copies bytes of a packet to a request; false if there is no room.
    #[inline]
    fn copy_bytes(
        &mut self,
        nic: &Nic,
        (number, index): (usize, u16),
        id: u32,
        bytes: (u32, u32),
    ) -> bool {
        let Self {
            memory,
            clients,
            counters,
            ..
        } = self;
        let Some(client) = client_at(clients, number) else {
            return false;
        };
        let served = client.standing == Standing::Served;
        let Some(request) = client.tokens.get(index) else {
            return false;
        };
        let Data::Input(input) = &mut request.data else {
            return false;
        };
        if bytes.1 > input.len() - input.filled() {
            return false;
        }
        if !served {
            // Nobody sees it. What follows is taken as if it had been filled.
            request.failed = Some(Status::Cancelled);
        } else if let Err(error) = nic.deliver(memory, input, id, bytes) {
            request.failed = Some(failure(error));
            counters.deliveries_failed.add(1);
        }
        true
    }

    /// Delivers bytes ahead of the completion; false if some are not legal, and
    /// are not delivered then, nor what is behind.
    #[inline]
    pub(crate) fn deliver_all(&mut self, server: &mut Server, entry: &Deliver) -> bool {
        match self.deliver_plain(server, entry) {
            None => true,
            Some(rest) => self.deliver_from(server, entry, rest),
        }
    }

    /// As `deliver_all`, of all packets but so many.
    pub(crate) fn deliver_from(
        &mut self,
        server: &mut Server,
        entry: &Deliver,
        done: usize,
    ) -> bool {
        let mut rest = entry.all().skip(done);
        rest.all(|delivery| self.deliver(server, entry.token, &delivery))
    }

    /// Delivers bytes of one packet; false if they are not legal.
    fn deliver(&mut self, server: &mut Server, token: u64, entry: &Delivery) -> bool {
        let Some((number, index)) = self.named(token, server) else {
            return false;
        };
        let Some(request) = self.request(number, index) else {
            return false;
        };
        let legal = request.stage == Stage::Waiting
            && entry.len != 0
            && entry.flags & !packet_flags::RELEASE == 0;
        if !legal {
            return false;
        }
        let mut entry = *entry;
        if is_oldest(token) {
            // What there is no room for is cut.
            let filled = match &request.data {
                Data::Input(input) => input.filled(),
                _ => 0,
            };
            entry.len = entry.len.min(request.len.saturating_sub(filled));
        }
        match request.is_posted() {
            true => self.deliver_steered(&mut server.nic, (number, index), &entry),
            false => self.deliver_now(server, (number, index), &entry),
        }
    }

    /// As `deliver`, to a request that no device has anything of.
    pub(crate) fn deliver_now(
        &mut self,
        server: &mut Server,
        place: (usize, u16),
        entry: &Delivery,
    ) -> bool {
        let (packet, bytes) = (entry.packet, (entry.offset, entry.len));
        if !self.take_failed(server, place, packet, bytes) {
            return false;
        }
        if entry.flags & packet_flags::RELEASE != 0 {
            self.release_one(&mut server.nic, packet);
        }
        true
    }

    /// As `take_bytes`; nothing more goes to a request that failed.
    fn take_failed(
        &mut self,
        server: &mut Server,
        place: (usize, u16),
        packet: u32,
        (offset, len): (u32, u32),
    ) -> bool {
        let failed = self.request(place.0, place.1).and_then(|r| r.failed);
        match failed {
            None => self.take_bytes(server, place, packet, (offset, len)),
            Some(_) => server.nic.packets.find(packet, offset, len).is_some(),
        }
    }

    /// Takes packets back; false if one of them is not the server's.
    pub(crate) fn release(&mut self, server: &mut Server, entry: &Release) -> bool {
        let count = usize::from(entry.count);
        if count > RELEASE_MOST {
            return false;
        }
        let mut right = true;
        for packet in &entry.packets[..count] {
            right &= self.release_one(&mut server.nic, *packet);
        }
        right
    }

    /// Takes a packet back; false if it is not the server's.
    #[inline]
    pub(crate) fn release_one(&mut self, nic: &mut Nic, packet: u32) -> bool {
        let Some(id) = nic.packets.release(packet) else {
            return false;
        };
        if id < nic.buffers() {
            nic.post_all(id);
        } else {
            self.release_steered(nic, id);
        }
        true
    }

    /// Writes the addresses of a name to the client; false if they are not
    /// legal.
    pub(crate) fn resolved(
        &mut self,
        number: usize,
        index: u16,
        completion: &mut Completion,
    ) -> bool {
        let Some(request) = self.request(number, index) else {
            return false;
        };
        let (address, len) = (request.address, completion.len);
        let legal = len <= ADDRESSES
            && len.is_multiple_of(ADDRESS)
            && completion.address.family == 0
            && completion.address.port == 0;
        if !legal {
            return false;
        }
        let octets = &completion.address.octets[..len as usize];
        let written = self.memory.write_client(number as u16, address, octets);
        completion.address = WireAddress::NONE;
        if let Err(error) = written {
            let refusal = Refusal::passing(error);
            completion.status = refusal.status as u16;
            completion.arg = refusal.arg;
            completion.len = 0;
        }
        true
    }
}

/// What the client is told when bytes could not be delivered.
pub(crate) fn failure(error: PassingError) -> Status {
    Refusal::passing(error).status
}

/// Bytes could not be delivered: the client is told that, and nothing else.
#[cold]
pub(crate) fn fail(completion: &mut Completion, status: Status) {
    *completion = Completion {
        status: status as u16,
        len: 0,
        flags: 0,
        arg: 0,
        address: WireAddress::NONE,
        ..*completion
    };
}
