//! A simulated NIC and its driver in one: the other end of `nic-api`'s rings.
//!
//! Problem: data passing must hold for whatever order a device works in, and
//! for what no device at hand can do. Invariant: bytes are read at the moment
//! a frame leaves, not when it was handed over, and a buffer is the NIC's until
//! its entry says otherwise; frames leave in order, as many a tick as asked.
//!
//! With [`nic_features::STEERING`] it demultiplexes early: the payload of a UDP
//! datagram to a port for which a buffer is kept goes there, once its checksum
//! has been verified.

use std::collections::VecDeque;

use nic_api::{
    HEADER_SPLIT, MORE_PAYLOAD, NicInfo, RX_FILLED, RX_FILLED_OFFSET, RX_FREE, RX_FREE_OFFSET,
    ReceiveBuffer, Received, SendFrame, Sent, TX_DONE, TX_DONE_OFFSET, TX_READY, TX_READY_OFFSET,
    frame_flags, nic_features, udp_flow,
};
use shared_ring::{Consumer, Producer, SharedMemory};

use crate::packet::{complete_checksum, steerable};
use crate::physical::Physical;

/// A buffer to receive into.
#[derive(Clone, Debug)]
struct Buffer {
    id: u32,
    flow: u64,
    header: u64,
    /// Physical address and bytes.
    payload: Vec<(u64, u32)>,
}

impl Buffer {
    fn room(&self) -> usize {
        self.payload.iter().map(|(_, len)| *len as usize).sum()
    }
}

/// A frame to be sent.
#[derive(Clone, Debug)]
struct Frame {
    first: SendFrame,
    spans: Vec<(u64, u32)>,
}

/// What the NIC has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NicCounts {
    /// Frames received into any buffer.
    pub received: u64,
    /// Datagrams received into a buffer of their flow.
    pub steered: u64,
    /// Frames dropped for want of buffers.
    pub dropped: u64,
    /// Frames sent.
    pub sent: u64,
}

/// The NIC.
#[derive(Debug)]
pub struct ModelNic {
    physical: Physical,
    info: NicInfo,
    free: Consumer<ReceiveBuffer>,
    filled: Producer<Received>,
    ready: Consumer<SendFrame>,
    done: Producer<Sent>,
    buffers: VecDeque<Buffer>,
    kept: Vec<Buffer>,
    partial: Option<Buffer>,
    queue: VecDeque<Frame>,
    assembling: Option<Frame>,
    /// Frames on the wire, oldest first.
    pub wire: VecDeque<Vec<u8>>,
    /// What happened.
    pub counts: NicCounts,
}

impl ModelNic {
    /// A NIC on the rings in `control`, which are formatted; publishes its
    /// facts.
    ///
    /// # Panics
    /// If the rings are not as `nic-api` says.
    #[must_use]
    pub fn new(physical: Physical, control: SharedMemory, info: NicInfo) -> Self {
        let ring = |at, layout: shared_ring::RingLayout| {
            control
                .slice(at, layout.bytes())
                .expect("room for the ring")
        };
        let attached = "a formatted ring";
        info.publish(&control).expect("room for the facts");
        Self {
            physical,
            info,
            free: Consumer::attach(ring(RX_FREE_OFFSET, RX_FREE), RX_FREE).expect(attached),
            filled: Producer::attach(ring(RX_FILLED_OFFSET, RX_FILLED), RX_FILLED).expect(attached),
            ready: Consumer::attach(ring(TX_READY_OFFSET, TX_READY), TX_READY).expect(attached),
            done: Producer::attach(ring(TX_DONE_OFFSET, TX_DONE), TX_DONE).expect(attached),
            buffers: VecDeque::new(),
            kept: Vec::new(),
            partial: None,
            queue: VecDeque::new(),
            assembling: None,
            wire: VecDeque::new(),
            counts: NicCounts::default(),
        }
    }

    /// Frames that were handed over and have not left.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Buffers that it may write to.
    #[must_use]
    pub fn buffers(&self) -> usize {
        self.buffers.len() + self.kept.len()
    }

    /// Takes what the manager has handed over, without sending anything yet.
    ///
    /// # Panics
    /// If the manager broke the protocol.
    pub fn take(&mut self) {
        while let Some(entry) = self.free.pop().expect("the manager's index") {
            self.take_buffer(&entry);
        }
        while let Some(entry) = self.ready.pop().expect("the manager's index") {
            self.take_frame(&entry);
        }
    }

    fn take_buffer(&mut self, entry: &ReceiveBuffer) {
        if entry.payload_len == 0 {
            self.withdraw(entry.id);
            return;
        }
        let mut buffer = self.partial.take().unwrap_or(Buffer {
            id: entry.id,
            flow: entry.flow & !MORE_PAYLOAD,
            header: entry.header,
            payload: Vec::new(),
        });
        assert_eq!(
            buffer.id, entry.id,
            "entries of one buffer follow each other"
        );
        buffer.payload.push((entry.payload, entry.payload_len));
        if entry.flow & MORE_PAYLOAD != 0 {
            self.partial = Some(buffer);
        } else if buffer.flow == 0 {
            self.buffers.push_back(buffer);
        } else {
            self.kept.push(buffer);
        }
    }

    /// Gives a buffer back that was kept for a flow, empty.
    fn withdraw(&mut self, id: u32) {
        if let Some(found) = self.kept.iter().position(|b| b.id == id) {
            self.kept.remove(found);
            self.report(id, 0, 0);
        }
    }

    fn take_frame(&mut self, entry: &SendFrame) {
        let mut frame = self.assembling.take().unwrap_or(Frame {
            first: *entry,
            spans: Vec::new(),
        });
        let spans = &entry.spans[..usize::from(entry.count)];
        frame.spans.extend(spans.iter().map(|s| (s.paddr, s.len)));
        if entry.flags & frame_flags::MORE != 0 {
            self.assembling = Some(frame);
        } else {
            self.queue.push_back(frame);
        }
    }

    /// Takes what there is and lets up to `frames` frames leave; whether the
    /// manager is to be signalled.
    pub fn tick(&mut self, frames: usize) -> bool {
        self.take();
        for _ in 0..frames {
            let Some(frame) = self.queue.pop_front() else {
                break;
            };
            self.send(&frame);
        }
        self.filled.publish() | self.done.publish()
    }

    /// Asks for a signal when there is something to take; true if there is
    /// nothing now.
    ///
    /// # Panics
    /// If the manager broke the protocol.
    pub fn arm(&mut self) -> bool {
        let frames = self.ready.arm().expect("the manager's index");
        let buffers = self.free.arm().expect("the manager's index");
        frames && buffers && self.queue.is_empty()
    }

    fn send(&mut self, frame: &Frame) {
        let mut bytes = Vec::new();
        for &(paddr, len) in &frame.spans {
            bytes.extend(self.physical.read(paddr, len as usize));
        }
        let first = &frame.first;
        if first.flags & frame_flags::NEEDS_CHECKSUM != 0 {
            assert!(self.offers(nic_features::CHECKSUM), "it was not offered");
            complete_checksum(&mut bytes, first.checksum_start, first.checksum_offset);
        }
        assert_eq!(first.flags & frame_flags::SEGMENT, 0, "it was not offered");
        assert!(
            bytes.len() <= self.info.mtu as usize + 14,
            "longer than the MTU"
        );
        self.wire.push_back(bytes);
        self.counts.sent += 1;
        if first.flags & frame_flags::GROUP != 0 {
            return;
        }
        let done = Sent {
            id: first.id,
            ..Sent::default()
        };
        self.done.push(&done).expect("room for every frame");
    }

    fn offers(&self, feature: u32) -> bool {
        self.info.features & feature != 0
    }

    /// A frame arrives from the wire.
    pub fn receive(&mut self, frame: &[u8]) {
        self.receive_marked(frame, 0);
    }

    /// As `receive`, of a frame about whose checksum the NIC says something:
    /// `CHECKSUM_VALID`, or `NEEDS_CHECKSUM` if its sender left it out.
    ///
    /// # Panics
    /// If the NIC says nothing about checksums.
    pub fn receive_marked(&mut self, frame: &[u8], mark: u16) {
        let may_mark = self.offers(nic_features::GUEST_CHECKSUM);
        assert!(mark == 0 || may_mark, "it was not negotiated");
        self.take();
        if self.offers(nic_features::STEERING)
            && let Some((port, payload)) = steerable(frame)
            && let Some(at) = self
                .kept
                .iter()
                .position(|b| b.flow == udp_flow(port) && b.room() >= payload.len())
        {
            let buffer = self.kept.remove(at);
            self.counts.steered += 1;
            let flags = frame_flags::STEERED | frame_flags::CHECKSUM_VALID;
            self.fill(&buffer, &frame[..HEADER_SPLIT as usize], payload);
            self.report(buffer.id, frame.len() as u32, flags);
            return;
        }
        let Some(buffer) = self.buffers.pop_front() else {
            self.counts.dropped += 1;
            return;
        };
        let split = frame.len().min(HEADER_SPLIT as usize);
        let (header, payload) = frame.split_at(split);
        if payload.len() > buffer.room() {
            self.counts.dropped += 1;
            self.buffers.push_front(buffer);
            return;
        }
        self.counts.received += 1;
        self.fill(&buffer, header, payload);
        self.report(buffer.id, frame.len() as u32, mark);
    }

    fn fill(&self, buffer: &Buffer, header: &[u8], payload: &[u8]) {
        self.physical.write(buffer.header, header);
        let mut rest = payload;
        for &(paddr, len) in &buffer.payload {
            let (now, later) = rest.split_at(rest.len().min(len as usize));
            self.physical.write(paddr, now);
            rest = later;
        }
    }

    fn report(&mut self, id: u32, len: u32, flags: u16) {
        let received = Received {
            id,
            len,
            flags: flags.into(),
            following: 0,
        };
        self.filled.push(&received).expect("room for every buffer");
    }
}
