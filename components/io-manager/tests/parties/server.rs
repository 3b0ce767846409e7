//! A server's ends of its rings.

use std::collections::VecDeque;

use io_manager::{MessageConfig, Region};
use model_platform::Allocator;
use shared_ring::{Consumer, Producer, SharedMemory};
use socket_api as api;
use socket_api::{
    Inbox, Message, MessageEnd, Name, Outbox, Packet, Part, Receives, Request, SlotDone, Transmit,
    attach_messages, kind, packet_flags,
};

use super::{MTU, format};

pub struct Server {
    pub control: SharedMemory,
    pub to: Consumer<Message>,
    pub from: Producer<Message>,
    pub slots_done: Consumer<SlotDone>,
    pub headers: Region,
    pub send_slots: Region,
    /// With payload by value.
    pub messages: Option<MessageConfig>,
    /// What came and was not looked at.
    pub requests: VecDeque<Request>,
    pub packets: VecDeque<Packet>,
    pub receives: VecDeque<Receives>,
    /// The names asked for, one behind the other.
    pub name: Vec<u8>,
    /// Slots that are free.
    pub slots: VecDeque<u16>,
}

impl Server {
    pub fn new(allocator: &mut Allocator, headers: Region, send_slots: Region) -> Self {
        let control = allocator.take(api::SERVER_CONTROL_BYTES, 4096).memory;
        control.clear(0, 4096).unwrap();
        let to = format(&control, api::TO_SERVER_OFFSET, api::TO_SERVER);
        let from = format(&control, api::FROM_SERVER_OFFSET, api::FROM_SERVER);
        let done = format(&control, api::SLOTS_DONE_OFFSET, api::SLOTS_DONE);
        Self {
            control,
            to: Consumer::attach(to, api::TO_SERVER).unwrap(),
            from: Producer::attach(from, api::FROM_SERVER).unwrap(),
            slots_done: Consumer::attach(done, api::SLOTS_DONE).unwrap(),
            headers,
            send_slots,
            messages: None,
            requests: VecDeque::new(),
            packets: VecDeque::new(),
            receives: VecDeque::new(),
            name: Vec::new(),
            slots: (0..api::SEND_SLOTS as u16).collect(),
        }
    }

    /// Takes what there is.
    pub fn take(&mut self) {
        while let Some(message) = self.to.pop().unwrap() {
            match message.kind() {
                kind::PACKET => self.packets.push_back(message.into()),
                kind::RECEIVES => self.receives.push_back(message.into()),
                kind::NAME => {
                    let part = Name::from(message);
                    self.name.extend(&part.bytes[..usize::from(part.len)]);
                }
                _ => self.requests.push_back(message.into()),
            }
        }
        while let Some(done) = self.slots_done.pop().unwrap() {
            self.slots.push_back(done.slot as u16);
        }
    }

    pub fn say(&mut self, message: impl Into<Message>) {
        self.from.push(&message.into()).unwrap();
        let _ = self.from.publish();
    }

    /// Its ends of the messages.
    pub fn boxes(&self) -> (SharedMemory, Outbox, Inbox) {
        let config = self.messages.expect("payload by value");
        let memory = config.region.memory;
        let (out, inbox) = attach_messages(&memory, config.sizes, MessageEnd::Server).unwrap();
        (memory, out, inbox)
    }

    /// The bytes of a packet that the server can read.
    pub fn header(&self, packet: &Packet) -> Vec<u8> {
        let mut bytes = vec![0; packet.header_len as usize];
        let at = packet.header as usize;
        self.headers.memory.read(at, &mut bytes).unwrap();
        bytes
    }

    /// The first bytes of a send slot.
    pub fn slot(&self, slot: u16, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let at = usize::from(slot) * api::whole_slot_bytes(MTU as usize);
        self.send_slots.memory.read(at, &mut bytes).unwrap();
        bytes
    }

    /// Writes to a send slot.
    pub fn write_slot(&mut self, slot: u16, bytes: &[u8]) {
        let at = usize::from(slot) * api::whole_slot_bytes(MTU as usize);
        self.send_slots.memory.write(at, bytes).unwrap();
    }

    /// As `transmit`, with any number of parts.
    pub fn transmits(&mut self, header: &[u8], parts: &[Part]) -> Vec<Transmit> {
        let first = self.transmit(header, &[]);
        let mut entries = Vec::new();
        for chunk in parts.chunks(api::TRANSMIT_PARTS) {
            let mut entry = first;
            entry.flags = packet_flags::MORE;
            entry.count = chunk.len() as u16;
            entry.parts[..chunk.len()].copy_from_slice(chunk);
            entries.push(entry);
        }
        entries.last_mut().expect("a part").flags = 0;
        entries
    }

    /// Takes a free slot and writes a header to it; the entry that sends it
    /// with `parts`.
    pub fn transmit(&mut self, header: &[u8], parts: &[Part]) -> Transmit {
        let slot = self.slots.pop_front().expect("a free slot");
        let at = usize::from(slot) * api::whole_slot_bytes(MTU as usize);
        self.send_slots.memory.write(at, header).unwrap();
        let mut entry = Transmit {
            kind: kind::TRANSMIT,
            slot,
            header_len: header.len() as u16,
            count: parts.len() as u16,
            ..Transmit::default()
        };
        entry.parts[..parts.len()].copy_from_slice(parts);
        entry
    }
}
