//! The manager's part of echoing datagrams, 64 outstanding, for a profiler:
//!
//! ```text
//! cargo build --profile component -p io-manager --example echo_turns
//! valgrind --tool=callgrind --toggle-collect='*turn_*' \
//!     target/component/examples/echo_turns
//! ```
//!
//! Everybody else does as little as possible, and is not counted.

use std::error::Error;

use data_passing::{Costs, FrameId, HoldingConfig, Machine, MachineError, Memory, Place, Rights};
use io_manager::{Bells, ClientConfig, Manager, NicConfig, Quota, Region, ServerConfig};
use nic_api::{
    CONTROL_BYTES, NicInfo, RX_FILLED, RX_FILLED_OFFSET, RX_FREE, RX_FREE_OFFSET, ReceiveBuffer,
    Received, SendFrame, Sent, TX_DONE, TX_DONE_OFFSET, TX_READY, TX_READY_OFFSET,
};
use shared_ring::{Consumer, Entry, Producer, RingLayout, SharedMemory};
use socket_api::{self as api, Completion, Message, Op, Part, Request, SlotDone, Status, Transmit};

type Outcome<T> = Result<T, Box<dyn Error>>;

const MTU: usize = 1500;
const DATA: u32 = 0x4000_0000;
const OUTSTANDING: u32 = 64;

/// Frames one behind the other, as windows onto real ones are.
struct Flat(SharedMemory);

impl Flat {
    fn at(&self, place: Place) -> usize {
        place.frame.0 as usize * 4096 + place.offset as usize
    }
}

impl Machine for Flat {
    fn copy(&mut self, from: Place, to: Place, len: u32) {
        let (from, to) = (self.at(from), self.at(to));
        let _ = self.0.copy_to(from, &self.0, to, len as usize);
    }
    fn write(&mut self, to: Place, bytes: &[u8]) {
        let _ = self.0.write(self.at(to), bytes);
    }
    fn read(&self, from: Place, into: &mut [u8]) {
        let _ = self.0.read(self.at(from), into);
    }
    fn clear(&mut self, at: Place, len: u32) {
        let _ = self.0.clear(self.at(at), len as usize);
    }
    fn sum(&self, at: Place, len: u32) -> u16 {
        self.0.sum(self.at(at), len as usize).unwrap_or(0)
    }
    fn paddr(&self, at: Place) -> u64 {
        self.at(at) as u64
    }
    fn map(&mut self, _: u16, _: u32, _: FrameId, _: Rights) -> Result<(), MachineError> {
        Ok(())
    }
    fn unmap(&mut self, _: u16, _: u32, _: FrameId) -> Result<(), MachineError> {
        Ok(())
    }
    fn protect(&mut self, _: u16, _: u32, _: FrameId, _: Rights) -> Result<(), MachineError> {
        Ok(())
    }
}

struct Silent;

impl Bells for Silent {
    fn client(&mut self, _: usize) {}
    fn server(&mut self, _: usize) {}
    fn driver(&mut self, _: usize) {}
}

/// Takes memory from an arena.
struct Arena {
    memory: SharedMemory,
    used: usize,
}

impl Arena {
    fn take(&mut self, bytes: usize) -> Outcome<Region> {
        let at = self.used;
        self.used += bytes.next_multiple_of(4096);
        Ok(Region {
            memory: self.memory.slice(at, bytes)?,
            paddr: at as u64,
            first: FrameId((at / 4096) as u32),
        })
    }
}

fn ring(control: &SharedMemory, at: usize, layout: RingLayout) -> Outcome<SharedMemory> {
    let ring = control.slice(at, layout.bytes())?;
    layout.format(&ring)?;
    Ok(ring)
}

fn producer<T: Entry>(c: &SharedMemory, at: usize, layout: RingLayout) -> Outcome<Producer<T>> {
    Ok(Producer::attach(ring(c, at, layout)?, layout)?)
}

fn consumer<T: Entry>(c: &SharedMemory, at: usize, layout: RingLayout) -> Outcome<Consumer<T>> {
    Ok(Consumer::attach(ring(c, at, layout)?, layout)?)
}

/// Makes turns that a profile tells apart by what there is to do in them.
macro_rules! turns {
    ($($(#[$doc:meta])* $name:ident)*) => { $(
        $(#[$doc])*
        #[inline(never)]
        fn $name(manager: &mut Manager<Flat>) {
            // Or they would become one.
            std::hint::black_box(stringify!($name));
            std::hint::black_box(manager.turn(&mut Silent));
        }
    )* };
}

turns! {
    /// Frames arrived, and frames were sent.
    turn_driver
    /// The server fills receives.
    turn_answers
    /// The client sends, and receives again.
    turn_requests
    /// The server sends.
    turn_frames
}

/// Everybody else's ends.
struct Others {
    requests: Producer<Request>,
    completions: Consumer<Completion>,
    to: Consumer<Message>,
    from: Producer<Message>,
    slots: Consumer<SlotDone>,
    free: Consumer<ReceiveBuffer>,
    filled: Producer<Received>,
    ready: Consumer<SendFrame>,
    done: Producer<Sent>,
    memory: SharedMemory,
    socket: u32,
    receives: Vec<Request>,
}

fn start() -> Outcome<(Manager<Flat>, Others)> {
    let memory = SharedMemory::from_static(vec![0u64; 4 << 20].leak());
    let mut arena = Arena { memory, used: 0 };
    let client = arena.take(api::CLIENT_CONTROL_BYTES)?.memory;
    let server = arena.take(api::SERVER_CONTROL_BYTES)?.memory;
    let driver = arena.take(CONTROL_BYTES)?.memory;
    let payload = nic_api::payload_bytes(MTU) * api::SERVER_PACKETS as usize;
    let others = Others {
        requests: producer(&client, api::REQUESTS_OFFSET, api::CLIENT_RING)?,
        completions: consumer(&client, api::COMPLETIONS_OFFSET, api::CLIENT_RING)?,
        to: consumer(&server, api::TO_SERVER_OFFSET, api::TO_SERVER)?,
        from: producer(&server, api::FROM_SERVER_OFFSET, api::FROM_SERVER)?,
        slots: consumer(&server, api::SLOTS_DONE_OFFSET, api::SLOTS_DONE)?,
        free: consumer(&driver, RX_FREE_OFFSET, RX_FREE)?,
        filled: producer(&driver, RX_FILLED_OFFSET, RX_FILLED)?,
        ready: consumer(&driver, TX_READY_OFFSET, TX_READY)?,
        done: producer(&driver, TX_DONE_OFFSET, TX_DONE)?,
        memory,
        socket: 0,
        receives: Vec::new(),
    };
    let info = NicInfo {
        mac: [0; 6],
        mtu: MTU as u32,
        features: 0,
    };
    info.publish(&driver)?;
    let servers = [ServerConfig {
        control: server,
        headers: arena.take(api::headers_bytes(MTU))?,
        send_slots: arena.take(api::send_slots_bytes(MTU))?,
        near: false,
        messages: None,
        nic: NicConfig {
            control: driver,
            payload: arena.take(payload)?,
            mtu: MTU as u32,
            near: false,
        },
    }];
    let (data, reserve) = (arena.take(1 << 20)?, arena.take(1 << 20)?);
    let clients = [ClientConfig {
        name: "echo",
        control: client,
        quota: Quota {
            sockets: 8,
            requests: 512,
            queued_bytes: 1 << 20,
            share: 256,
            receive_frames: 512,
        },
        threads: 1,
        holdings: vec![HoldingConfig {
            address: DATA,
            bytes: 1 << 20,
            large: false,
            writable: true,
            first: data.first,
        }],
    }];
    let mut passed = Memory::new(Flat(memory), Costs::PINNED);
    passed.add_reserve(reserve.first, 256);
    Ok((Manager::new(passed, &clients, &servers, None)?, others))
}

/// Where a request's bytes are.
fn extent(n: u32) -> api::Extent {
    api::Extent {
        address: DATA + n * 2048,
        len: 64,
    }
}

impl Others {
    fn ask(&mut self, request: &Request) -> Outcome<()> {
        self.requests.push(request)?;
        let _ = self.requests.publish();
        Ok(())
    }

    /// What the server got.
    fn asked(&mut self) -> Outcome<Vec<Message>> {
        let mut all = Vec::new();
        while let Some(message) = self.to.pop()? {
            all.push(message);
        }
        Ok(all)
    }

    fn open(&mut self, manager: &mut Manager<Flat>) -> Outcome<()> {
        self.ask(&Request {
            arg: 1,
            ..Request::new(Op::Open, 0, 0)
        })?;
        manager.turn(&mut Silent);
        for message in self.asked()? {
            let opened = Request::from(message).complete(Status::Ok);
            self.from.push(&opened.into())?;
        }
        let _ = self.from.publish();
        manager.turn(&mut Silent);
        self.socket = self.completions.pop()?.ok_or("no socket")?.socket;
        for n in 0..OUTSTANDING {
            self.receive(n)?;
        }
        manager.turn(&mut Silent);
        let asked = self.asked()?;
        self.receives.extend(asked.into_iter().map(Request::from));
        Ok(())
    }

    fn receive(&mut self, n: u32) -> Outcome<()> {
        self.ask(&Request {
            extent: extent(n),
            ..Request::new(Op::Recv, self.socket, n.into())
        })
    }

    /// One burst comes in and goes out again.
    fn echo(&mut self, manager: &mut Manager<Flat>) -> Outcome<()> {
        for _ in 0..OUTSTANDING {
            let buffer = self.free.pop()?.ok_or("no buffer")?;
            self.arrive(&buffer)?;
        }
        turn_driver(manager);
        let packets = self.asked()?;
        for (message, recv) in packets.into_iter().zip(std::mem::take(&mut self.receives)) {
            let packet = api::Packet::from(message);
            let completion = Completion {
                len: 64,
                arg: 64,
                packet: packet.id,
                offset: 42,
                flags: api::flags::RELEASE,
                ..recv.complete(Status::Ok)
            };
            self.from.push(&completion.into())?;
        }
        let _ = self.from.publish();
        turn_answers(manager);
        while let Some(completion) = self.completions.pop()? {
            let n = completion.user_data as u32;
            let send = Request {
                extent: extent(n),
                flags: api::flags::QUIET,
                ..Request::new(Op::Send, self.socket, n.into())
            };
            self.ask(&send)?;
            self.receive(n)?;
        }
        turn_requests(manager);
        self.serve()?;
        turn_frames(manager);
        let mut sent = 0;
        while let Some(frame) = self.ready.pop()? {
            self.done.push(&Sent {
                id: frame.id,
                reserved: 0,
            })?;
            sent += 1;
        }
        let _ = self.done.publish();
        while self.completions.pop()?.is_some() {}
        if sent != OUTSTANDING {
            return Err(format!("{sent} frames").into());
        }
        Ok(())
    }

    /// The server sends what is to be sent.
    fn serve(&mut self) -> Outcome<()> {
        for message in self.asked()? {
            let request = Request::from(message);
            if request.op == Op::Recv as u16 {
                self.receives.push(request);
                continue;
            }
            let mut frame = Transmit {
                kind: api::kind::TRANSMIT,
                slot: (request.user_data & 63) as u16,
                header_len: 42,
                count: 1,
                ..Transmit::default()
            };
            // The slots of a burst are free again before the next.
            frame.slot = self
                .slots
                .pop()?
                .map_or(self.next_slot(), |s| s.slot as u16);
            frame.parts[0] = Part {
                token: request.user_data,
                offset: 0,
                len: 64,
            };
            self.from.push(&frame.into())?;
            self.from.push(&request.complete(Status::Ok).into())?;
        }
        let _ = self.from.publish();
        Ok(())
    }

    /// A slot that was never used.
    fn next_slot(&mut self) -> u16 {
        static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
        NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }

    /// A datagram of 64 bytes arrives.
    fn arrive(&mut self, buffer: &ReceiveBuffer) -> Outcome<()> {
        let mut header = [0; 42];
        header[12..15].copy_from_slice(&[8, 0, 0x45]);
        header[17] = 92;
        header[23] = 17;
        self.memory.write(buffer.header as usize, &header)?;
        self.memory.write(buffer.payload as usize, &[7; 64])?;
        let received = Received {
            id: buffer.id,
            len: 106,
            ..Received::default()
        };
        self.filled.push(&received)?;
        let _ = self.filled.publish();
        Ok(())
    }
}

fn main() -> Outcome<()> {
    let (mut manager, mut others) = start()?;
    manager.turn(&mut Silent);
    others.open(&mut manager)?;
    let rounds = std::env::args().nth(1).map_or(Ok(1000), |n| n.parse())?;
    for _ in 0..rounds {
        others.echo(&mut manager)?;
    }
    println!("{} datagrams", rounds * OUTSTANDING);
    Ok(())
}
