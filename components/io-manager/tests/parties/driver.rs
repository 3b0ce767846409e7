//! A driver's ends of its rings, and a device that does what a test says.

use std::collections::VecDeque;

use model_platform::{Allocator, Physical};
use nic_api::{
    CONTROL_BYTES, HEADER_ROOM, HEADER_SPLIT, MORE_PAYLOAD, RX_FILLED, RX_FILLED_OFFSET, RX_FREE,
    RX_FREE_OFFSET, ReceiveBuffer, Received, SendFrame, Sent, TX_DONE, TX_DONE_OFFSET, TX_READY,
    TX_READY_OFFSET, frame_flags,
};
use shared_ring::{Consumer, Producer, SharedMemory};

use super::format;

/// A frame that the device has: its first entry, and its pieces.
pub struct Frame {
    pub first: SendFrame,
    pub spans: Vec<(u64, u32)>,
}

/// A buffer that the device has.
pub struct Buffer {
    pub entry: ReceiveBuffer,
    pub payload: Vec<(u64, u32)>,
}

impl Buffer {
    /// Bytes of payload that fit.
    pub fn room(&self) -> usize {
        self.payload.iter().map(|(_, len)| *len as usize).sum()
    }
}

pub struct Driver {
    pub control: SharedMemory,
    pub free: Consumer<ReceiveBuffer>,
    pub filled: Producer<Received>,
    pub ready: Consumer<SendFrame>,
    pub done: Producer<Sent>,
    pub buffers: VecDeque<Buffer>,
    /// Buffers that are to be given back.
    pub wanted: Vec<u32>,
    pub frames: VecDeque<Frame>,
    partial: Option<Frame>,
    physical: Physical,
}

impl Driver {
    pub fn new(physical: Physical, allocator: &mut Allocator) -> Self {
        let control = allocator.take(CONTROL_BYTES, 4096).memory;
        control.clear(0, 256).unwrap();
        let free = format(&control, RX_FREE_OFFSET, RX_FREE);
        let filled = format(&control, RX_FILLED_OFFSET, RX_FILLED);
        let ready = format(&control, TX_READY_OFFSET, TX_READY);
        let done = format(&control, TX_DONE_OFFSET, TX_DONE);
        Self {
            control,
            free: Consumer::attach(free, RX_FREE).unwrap(),
            filled: Producer::attach(filled, RX_FILLED).unwrap(),
            ready: Consumer::attach(ready, TX_READY).unwrap(),
            done: Producer::attach(done, TX_DONE).unwrap(),
            buffers: VecDeque::new(),
            wanted: Vec::new(),
            frames: VecDeque::new(),
            partial: None,
            physical,
        }
    }

    /// Takes what there is.
    pub fn take(&mut self) {
        let mut more = false;
        while let Some(entry) = self.free.pop().unwrap() {
            let payload = (entry.payload, entry.payload_len);
            if entry.payload_len == 0 {
                self.wanted.push(entry.id);
            } else if more {
                self.buffers.back_mut().unwrap().payload.push(payload);
            } else {
                self.buffers.push_back(Buffer {
                    entry,
                    payload: vec![payload],
                });
            }
            more = entry.flow & MORE_PAYLOAD != 0;
        }
        while let Some(entry) = self.ready.pop().unwrap() {
            let mut frame = self.partial.take().unwrap_or(Frame {
                first: entry,
                spans: Vec::new(),
            });
            let spans = &entry.spans[..usize::from(entry.count)];
            frame.spans.extend(spans.iter().map(|s| (s.paddr, s.len)));
            match entry.flags & frame_flags::MORE {
                0 => self.frames.push_back(frame),
                _ => self.partial = Some(frame),
            }
        }
    }

    /// Gives back a buffer with a frame, or an empty one.
    pub fn report(&mut self, id: u32, len: u32, flags: u16) {
        let received = Received {
            id,
            len,
            flags: flags.into(),
            following: 0,
        };
        self.filled.push(&received).unwrap();
        let _ = self.filled.publish();
    }

    /// A frame arrives in the next buffer that any may come in.
    pub fn receive(&mut self, frame: &[u8], flags: u16) {
        let next = self.buffers.iter().position(|b| b.entry.flow == 0);
        let buffer = self.buffers.remove(next.expect("a buffer")).unwrap();
        self.fill(&buffer, frame, flags);
    }

    /// A frame arrives in a buffer.
    pub fn fill(&mut self, buffer: &Buffer, frame: &[u8], flags: u16) {
        let (header, mut rest) = frame.split_at(frame.len().min(HEADER_SPLIT as usize));
        self.physical.write(buffer.entry.header, header);
        for &(paddr, len) in &buffer.payload {
            let (now, later) = rest.split_at(rest.len().min(len as usize));
            self.physical.write(paddr, now);
            rest = later;
        }
        assert!(rest.is_empty(), "it does not fit");
        self.report(buffer.entry.id, frame.len() as u32, flags);
    }

    /// A frame arrives in as many buffers as it takes; their numbers.
    pub fn receive_long(&mut self, frame: &[u8], flags: u16) -> Vec<u32> {
        let (ids, entries) = self.long(frame, flags);
        for entry in &entries {
            self.filled.push(entry).unwrap();
        }
        let _ = self.filled.publish();
        ids
    }

    /// A frame is written to as many buffers as it takes: their numbers, and the
    /// entries that say so.
    pub fn long(&mut self, frame: &[u8], flags: u16) -> (Vec<u32>, Vec<Received>) {
        let (mut ids, mut entries, mut rest) = (Vec::new(), Vec::new(), frame);
        while !rest.is_empty() {
            let mut start = [0; HEADER_ROOM as usize];
            if !ids.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(start.len()));
                start[..now.len()].copy_from_slice(now);
                rest = later;
            }
            let buffer = self.buffers.pop_front().unwrap();
            let (payload, room) = buffer.payload[0];
            for (paddr, room) in [(buffer.entry.header, HEADER_SPLIT), (payload, room)] {
                let (now, later) = rest.split_at(rest.len().min(room as usize));
                self.physical.write(paddr, now);
                rest = later;
            }
            ids.push(buffer.entry.id);
            entries.push(Received::rest(buffer.entry.id, start));
        }
        entries[0] = Received {
            id: ids[0],
            len: frame.len() as u32,
            flags: flags.into(),
            following: ids.len() as u32 - 1,
        };
        (ids, entries)
    }

    /// The bytes of a frame now.
    pub fn bytes(&self, frame: &Frame) -> Vec<u8> {
        let piece = |&(paddr, len): &(u64, u32)| self.physical.read(paddr, len as usize);
        frame.spans.iter().flat_map(piece).collect()
    }

    pub fn tell_sent(&mut self, id: u32) {
        self.done.push(&Sent { id, reserved: 0 }).unwrap();
        let _ = self.done.publish();
    }

    /// Sends the first frame; its bytes.
    pub fn send(&mut self) -> Option<Vec<u8>> {
        let frame = self.frames.pop_front()?;
        let bytes = self.bytes(&frame);
        if frame.first.flags & frame_flags::GROUP == 0 {
            self.tell_sent(frame.first.id);
        }
        Some(bytes)
    }

    pub fn send_all(&mut self) -> Vec<Vec<u8>> {
        core::iter::from_fn(|| self.send()).collect()
    }
}
