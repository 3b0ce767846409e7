//! Packets whose payload is in the room of a `Recv` already.
//!
//! Problem: the server may use a packet for another `Recv` than the one that it
//! came in, or drop it, or fill that one with another packet. Invariant: a
//! packet's bytes stay what they are while the server has it: should the room
//! that they are in be needed for something else, they are moved to the
//! packet's own payload buffer first. Once they are the client's, the packet
//! has none.

use data_passing::Machine;
use nic_api::HEADER_SPLIT;

use crate::client::{Standing, client_at};
use crate::nic::Nic;
use crate::progress::Core;
use crate::steer::{Buffer, NOT_STEERED, State, id_of, number_of};
use crate::tokens::Data;

impl<M: Machine> Core<M> {
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
    pub(crate) fn unlink(&mut self, nic: &mut Nic, n: u16) {
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
}
