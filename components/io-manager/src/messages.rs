//! Payload by value: what conventional IPC copies in and out of messages.
//!
//! Problem: with `ipc = "conventional"` the manager only plays the kernel's
//! part in passing messages: the server has all payload, in memory of its own.
//! Invariant: bytes of a client go to the server's half of nothing else than a
//! message that was free, and are those of the moment when its `Send` was taken;
//! bytes come to a client only from the server's half of the messages, only for
//! a `Recv` that waits, and only as many as that has room for. Nothing of a
//! client is in use once its request was taken, nor ever named to a device.

use data_passing::{Machine, Memory};
use shared_ring::OutOfRange;
use socket_api::{
    Completion, Inbox, MESSAGE, MessageEnd, NO_PACKET, Outbox, Request, attach_messages, flags,
};

use crate::answer::legal;
use crate::check::Refusal;
use crate::client::{Standing, client_at};
use crate::config::{MessageConfig, Region};
use crate::counters::Counters;
use crate::deliver::{fail, failure};
use crate::forward::passing;
use crate::plain::{is_plain_recv, tell_received};
use crate::progress::Core;
use crate::server::Server;
use crate::tokens::{Data, client_of};

/// The messages between manager and server.
#[derive(Debug)]
pub(crate) struct Messages {
    region: Region,
    outbox: Outbox,
    inbox: Inbox,
}

impl Messages {
    /// Attaches to the region.
    pub fn attach(config: &MessageConfig) -> Result<Self, OutOfRange> {
        let (region, end) = (config.region, MessageEnd::Manager);
        let (outbox, inbox) = attach_messages(&region.memory, config.sizes, end)?;
        Ok(Self {
            region,
            outbox,
            inbox,
        })
    }

    /// Copies the bytes of a `Send` into a message, and puts their sum in `sum`
    /// if there is one; where the message is.
    #[inline(never)]
    pub fn write<M: Machine>(
        &mut self,
        (memory, counters): (&mut Memory<M>, &Counters),
        (client, request): (u16, &Request),
        sum: Option<&mut u64>,
    ) -> Result<u32, Refusal> {
        let len = request.extent.len;
        if len == 0 {
            return Ok(0);
        }
        let Some(position) = self.outbox.reserve(len) else {
            counters.messages_full.add(1);
            return Err(Refusal::NO_RESOURCES);
        };
        let at = self.outbox.at(position);
        let place = self.region.place(at as u32);
        memory
            .copy_message(client, request.extent, passing(request), place)
            .map_err(Refusal::passing)?;
        self.outbox.commit(position, len);
        if let Some(sum) = sum {
            // It lies in the region.
            let of_bytes = self.region.memory.sum(at, len as usize);
            *sum = of_bytes.unwrap_or(0).into();
        }
        counters.output_copy.add(1);
        Ok(position)
    }
}

impl<M: Machine> Core<M> {
    /// Answers a `Recv` with the bytes of a message; `None` if that is left to
    /// the general way.
    #[inline(never)]
    pub(crate) fn message_received(
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
        let messages = server.messages.as_ref()?;
        if client.standing != Standing::Served
            || !is_plain_recv(request)
            || completion.packet != MESSAGE
            || completion.flags & flags::RELEASE != 0
            || !legal(request, &client.sockets, completion)
        {
            return None;
        }
        let Data::Input(input) = &mut request.data else {
            return None;
        };
        let (position, len) = (completion.offset, completion.len);
        let at = messages.inbox.find(position, len)?;
        let from = messages.region.place(at as u32);
        if len > 4096 - from.offset
            || !input.leaves_nothing()
            || !memory.deliver_short(input, from, len)
        {
            return None;
        }
        messages.inbox.taken(position, len);
        if !tell_received(client, index, completion) {
            self.cut_off_without_room(number);
        }
        Some(())
    }

    /// Takes the bytes of a `Recv` from the message that its completion names;
    /// false if they are not legal.
    pub(crate) fn receive_message(
        &mut self,
        server: &mut Server,
        number: usize,
        index: u16,
        completion: &mut Completion,
    ) -> bool {
        let (position, len) = (completion.offset, completion.len);
        if completion.flags & flags::RELEASE != 0 {
            return false;
        }
        if completion.packet == NO_PACKET {
            return len == 0 && position == 0;
        }
        let Some(messages) = server.messages.as_ref() else {
            return false;
        };
        let found = messages.inbox.find(position, len);
        let Some(at) = found.filter(|_| completion.packet == MESSAGE && len != 0) else {
            return false;
        };
        let Some(client) = client_at(&mut self.clients, number) else {
            return false;
        };
        let served = client.standing == Standing::Served;
        let Some(request) = client.tokens.get(index) else {
            return false;
        };
        let Data::Input(input) = &mut request.data else {
            return false;
        };
        if input.filled() != 0 {
            return false;
        }
        let (mut delivered, memory) = (Ok(()), &mut self.memory);
        messages.region.pieces(at as u32, len, |place, len| {
            if served && delivered.is_ok() {
                delivered = memory.deliver(input, place, len);
            }
        });
        messages.inbox.taken(position, len);
        if let Err(error) = delivered {
            self.counters.deliveries_failed.add(1);
            fail(completion, failure(error));
        }
        true
    }
}
