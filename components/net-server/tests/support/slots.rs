//! The send slots of the real channel, beside the fake manager.
//!
//! Invariant: there are as many as on the real system; each goes away with the
//! frame that has it, and comes back when the device is done with that frame,
//! whether the server looks for it or not.

use net_server::Environment;
use net_server::channel::Channel;
use net_server::environment::Outgoing;
use nic_api::NicInfo;
use shared_ring::{Consumer, Producer, RingLayout, SharedMemory};
use socket_api::{
    FROM_SERVER, FROM_SERVER_OFFSET, Message, SERVER_CONTROL_BYTES, SLOTS_DONE, SLOTS_DONE_OFFSET,
    SlotDone, TO_SERVER, TO_SERVER_OFFSET, Transmit, headers_bytes, kind, packet_flags,
    send_slots_bytes,
};

const MTU: usize = 1500;

/// Memory that lives for the rest of the test process, as regions do.
fn region(bytes: usize) -> SharedMemory {
    SharedMemory::from_static(vec![0u64; bytes.div_ceil(8)].leak())
}

/// The server's channel and the manager's ends of its rings for sending.
pub struct Slots {
    channel: Channel,
    from_server: Consumer<Message>,
    done: Producer<SlotDone>,
    /// Slots of frames that the device has.
    away: Vec<u16>,
}

impl Slots {
    /// All slots are the server's.
    pub fn new() -> Self {
        let control = region(SERVER_CONTROL_BYTES);
        let ring = |offset, layout: RingLayout| {
            let at = control.slice(offset, layout.bytes()).unwrap();
            layout.format(&at).unwrap();
            at
        };
        ring(TO_SERVER_OFFSET, TO_SERVER);
        let from = ring(FROM_SERVER_OFFSET, FROM_SERVER);
        let done = ring(SLOTS_DONE_OFFSET, SLOTS_DONE);
        let (headers, slots) = (region(headers_bytes(MTU)), region(send_slots_bytes(MTU)));
        let info = NicInfo {
            mac: super::SERVER_MAC,
            mtu: MTU as u32,
            features: 0,
        };
        Self {
            channel: Channel::attach(&control, headers, slots, &info, false).unwrap(),
            from_server: Consumer::attach(from, FROM_SERVER).unwrap(),
            done: Producer::attach(done, SLOTS_DONE).unwrap(),
            away: vec![],
        }
    }

    pub fn has_room(&mut self, frames: usize) -> bool {
        self.channel.has_room(frames)
    }

    pub fn segment_room(&mut self) -> u32 {
        self.channel.segment_room()
    }

    /// Sends a frame on the real channel; the device has it then.
    pub fn transmit(&mut self, outgoing: &Outgoing<'_>) -> bool {
        let sent = self.channel.transmit(outgoing);
        let _ = self.channel.publish();
        while let Some(message) = self.from_server.pop().unwrap() {
            assert_eq!(message.kind(), kind::TRANSMIT);
            let entry = Transmit::from(message);
            if entry.flags & packet_flags::MORE == 0 {
                assert!(!self.away.contains(&entry.slot), "slot {}", entry.slot);
                self.away.push(entry.slot);
            }
        }
        sent
    }

    /// The device is done with all frames.
    pub fn give_back(&mut self) {
        for slot in self.away.drain(..) {
            let done = SlotDone {
                slot: slot.into(),
                reserved: 0,
            };
            self.done.push(&done).unwrap();
        }
        let _ = self.done.publish();
    }
}
