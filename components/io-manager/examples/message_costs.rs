//! What each message costs the I/O manager: echoes of 64-byte datagrams, 64 at
//! a time, for an instruction counter.
//!
//! ```text
//! cargo build --release -p io-manager --example message_costs
//! valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*turn_*' \
//!     target/release/examples/message_costs
//! ```

use data_passing::{Costs, FrameId, HoldingConfig, Machine, MachineError, Memory, Place, Rights};
use io_manager::{Bells, ClientConfig, Manager, NicConfig, Quota, Region, ServerConfig, Windows};
use monitor_api::CounterPage;
use nic_api as nic;
use nic_api::{NicInfo, ReceiveBuffer, Received, SendFrame, Sent, payload_bytes};
use shared_ring::{Consumer, Producer, RingLayout, SharedMemory};
use socket_api as api;
use socket_api::{
    Completion, Extent, Message, Op, Packet, Part, Passing, Request, SERVER_PACKETS, Semantics,
    SlotDone, SocketKind, Status, Transmit, WireAddress, flags, kind, packet_flags,
};

const MTU: usize = 1500;
const WINDOW: usize = 64;
const ROUNDS: usize = 200;
const BYTES: u32 = 64;
const DATA: u32 = 0x10_0000;
const SLOT: u32 = 16384;

/// Page operations never happen here.
struct Host(Windows);

impl Machine for Host {
    #[inline(always)]
    fn copy(&mut self, from: Place, to: Place, len: u32) {
        self.0.copy(from, to, len);
    }
    #[inline]
    fn write(&mut self, to: Place, bytes: &[u8]) {
        self.0.write(to, bytes);
    }
    #[inline]
    fn read(&self, from: Place, into: &mut [u8]) {
        self.0.read(from, into);
    }
    fn clear(&mut self, at: Place, len: u32) {
        self.0.clear(at, len);
    }
    #[inline(always)]
    fn sum(&self, at: Place, len: u32) -> u16 {
        self.0.sum(at, len)
    }
    #[inline(always)]
    fn paddr(&self, at: Place) -> u64 {
        self.0.paddr(at)
    }
    fn map(&mut self, _: u16, _: u32, _: FrameId, _: Rights) -> Result<(), MachineError> {
        Err(MachineError)
    }
    fn unmap(&mut self, _: u16, _: u32, _: FrameId) -> Result<(), MachineError> {
        Err(MachineError)
    }
    fn protect(&mut self, _: u16, _: u32, _: FrameId, _: Rights) -> Result<(), MachineError> {
        Err(MachineError)
    }
}

struct Quiet;

impl Bells for Quiet {
    fn client(&mut self, _: usize) {}
    fn server(&mut self, _: usize) {}
    fn driver(&mut self, _: usize) {}
}

fn memory(bytes: usize) -> SharedMemory {
    let words = vec![0u64; bytes.div_ceil(8) + 512].leak();
    let skip = words.as_ptr().align_offset(4096);
    SharedMemory::from_static(&mut words[skip..skip + bytes.div_ceil(8)])
}

fn ring(control: &SharedMemory, at: usize, layout: RingLayout) -> SharedMemory {
    let ring = control.slice(at, layout.bytes()).unwrap();
    layout.format(&ring).unwrap();
    ring
}

/// Memory that is mapped in the manager, at "physical" addresses that count
/// from `paddr`.
fn region(windows: &mut Windows, bytes: usize, paddr: u64) -> Region {
    let bytes = bytes.next_multiple_of(4096);
    let memory = memory(bytes);
    let first = FrameId(windows.count());
    for at in (0..bytes).step_by(4096) {
        windows.add(memory.slice(at, 4096).unwrap(), paddr + at as u64, true);
    }
    Region {
        memory,
        paddr,
        first,
    }
}

struct Client {
    requests: Producer<Request>,
    completions: Consumer<Completion>,
}

struct World {
    manager: Manager<Host>,
    client: Client,
    to: Consumer<Message>,
    from: Producer<Message>,
    slots_done: Consumer<SlotDone>,
    free: Consumer<ReceiveBuffer>,
    filled: Producer<Received>,
    ready: Consumer<SendFrame>,
    done: Producer<Sent>,
    slots: Vec<u16>,
    recvs: Vec<Request>,
    buffers: Vec<u32>,
    send_slots: Region,
}

type Turn = fn(&mut Manager<Host>);

#[inline(never)]
fn turn_received(manager: &mut Manager<Host>) {
    core::hint::black_box(0);
    while manager.turn(&mut Quiet) {}
}
#[inline(never)]
fn turn_delivered(manager: &mut Manager<Host>) {
    core::hint::black_box(1);
    while manager.turn(&mut Quiet) {}
}
#[inline(never)]
fn turn_sends(manager: &mut Manager<Host>) {
    core::hint::black_box(2);
    while manager.turn(&mut Quiet) {}
}
#[inline(never)]
fn turn_recvs(manager: &mut Manager<Host>) {
    core::hint::black_box(3);
    while manager.turn(&mut Quiet) {}
}
#[inline(never)]
fn turn_transmit(manager: &mut Manager<Host>) {
    core::hint::black_box(4);
    while manager.turn(&mut Quiet) {}
}
#[inline(never)]
fn turn_send_done(manager: &mut Manager<Host>) {
    core::hint::black_box(5);
    while manager.turn(&mut Quiet) {}
}
#[inline(never)]
fn turn_sent(manager: &mut Manager<Host>) {
    core::hint::black_box(6);
    while manager.turn(&mut Quiet) {}
}
#[inline(never)]
fn turn_idle(manager: &mut Manager<Host>) {
    core::hint::black_box(7);
    while manager.turn(&mut Quiet) {}
}
#[inline(never)]
fn arm(manager: &mut Manager<Host>) {
    let _ = manager.arm(&mut Quiet);
}

fn main() {
    let mut world = World::new();
    let socket = world.open();
    for n in 0..WINDOW as u32 {
        world.recv(socket, n);
    }
    world.submit(turn_recvs);
    for _ in 0..ROUNDS {
        world.round(socket);
    }
    println!("{} echoes", ROUNDS * WINDOW);
}

impl World {
    fn new() -> Self {
        let mut windows = Windows::default();
        let quota = Quota {
            sockets: 64,
            requests: 512,
            queued_bytes: 1 << 20,
            share: 64,
            receive_frames: 64,
        };
        let controls: Vec<_> = (0..3).map(|_| memory(api::CLIENT_CONTROL_BYTES)).collect();
        let mut configs = Vec::new();
        for (n, &control) in controls.iter().enumerate() {
            ring(&control, api::REQUESTS_OFFSET, api::CLIENT_RING);
            ring(&control, api::COMPLETIONS_OFFSET, api::CLIENT_RING);
            let bytes = 2 << 20;
            let data = region(&mut windows, bytes, (16 + n as u64) << 24);
            let holding = HoldingConfig {
                address: DATA,
                bytes: bytes as u32,
                large: false,
                writable: true,
                first: data.first,
            };
            configs.push(ClientConfig {
                name: "client",
                control,
                quota,
                threads: 1,
                holdings: vec![holding],
            });
        }
        let headers = region(&mut windows, api::headers_bytes(MTU), 1 << 24);
        let send_slots = region(&mut windows, api::send_slots_bytes(MTU), 2 << 24);
        let payload = payload_bytes(MTU) * SERVER_PACKETS as usize;
        let payload = region(&mut windows, payload, 3 << 24);
        let control = memory(api::SERVER_CONTROL_BYTES);
        let to = ring(&control, api::TO_SERVER_OFFSET, api::TO_SERVER);
        let from = ring(&control, api::FROM_SERVER_OFFSET, api::FROM_SERVER);
        let slots_done = ring(&control, api::SLOTS_DONE_OFFSET, api::SLOTS_DONE);
        let driver = memory(nic::CONTROL_BYTES);
        let free = ring(&driver, nic::RX_FREE_OFFSET, nic::RX_FREE);
        let filled = ring(&driver, nic::RX_FILLED_OFFSET, nic::RX_FILLED);
        let ready = ring(&driver, nic::TX_READY_OFFSET, nic::TX_READY);
        let done = ring(&driver, nic::TX_DONE_OFFSET, nic::TX_DONE);
        let server = ServerConfig {
            control,
            headers,
            send_slots,
            nic: NicConfig {
                control: driver,
                payload,
                mtu: MTU as u32,
            },
        };
        let page = CounterPage::create(memory(4096)).unwrap();
        let memory = Memory::new(Host(windows), Costs::PINNED);
        let manager = Manager::new(memory, &configs, &[server], Some(page)).unwrap();
        let info = NicInfo {
            mac: [2, 0, 0, 0, 0, 1],
            mtu: MTU as u32,
            features: 0,
        };
        info.publish(&driver).unwrap();
        let control = controls[1];
        let at = |offset| control.slice(offset, api::CLIENT_RING.bytes()).unwrap();
        let client = Client {
            requests: Producer::attach(at(api::REQUESTS_OFFSET), api::CLIENT_RING).unwrap(),
            completions: Consumer::attach(at(api::COMPLETIONS_OFFSET), api::CLIENT_RING).unwrap(),
        };
        for id in 0..SERVER_PACKETS as usize {
            let at = id * api::HEADER_SLOT_BYTES;
            headers.memory.write(at, &header()).unwrap();
        }
        let mut this = Self {
            manager,
            client,
            to: Consumer::attach(to, api::TO_SERVER).unwrap(),
            from: Producer::attach(from, api::FROM_SERVER).unwrap(),
            slots_done: Consumer::attach(slots_done, api::SLOTS_DONE).unwrap(),
            free: Consumer::attach(free, nic::RX_FREE).unwrap(),
            filled: Producer::attach(filled, nic::RX_FILLED).unwrap(),
            ready: Consumer::attach(ready, nic::TX_READY).unwrap(),
            done: Producer::attach(done, nic::TX_DONE).unwrap(),
            slots: (0..api::SEND_SLOTS as u16).collect(),
            recvs: Vec::new(),
            buffers: Vec::new(),
            send_slots,
        };
        turn_idle(&mut this.manager);
        this
    }

    fn submit(&mut self, turn: Turn) {
        let _ = self.client.requests.publish();
        turn(&mut self.manager);
        while let Some(message) = self.to.pop().unwrap() {
            self.recvs.push(message.into());
        }
    }

    fn open(&mut self) -> u32 {
        let mut request = Request::new(Op::Open, 0, 1);
        request.arg = SocketKind::Udp as u64;
        self.client.requests.push(&request).unwrap();
        self.submit(turn_idle);
        let request = self.recvs.pop().unwrap();
        self.say(request.complete(Status::Ok));
        let _ = self.from.publish();
        turn_idle(&mut self.manager);
        self.client.completions.pop().unwrap().unwrap().socket
    }

    fn recv(&mut self, socket: u32, n: u32) {
        let mut request = Request::new(Op::Recv, socket, n.into());
        request.extent = Extent {
            address: DATA + n * SLOT,
            len: SLOT,
        };
        request.passing = Passing::new(Semantics::EmulatedShare).word();
        self.client.requests.push(&request).unwrap();
    }

    fn send(&mut self, socket: u32, n: u32, to: WireAddress) {
        let mut request = Request::new(Op::Send, socket, (1000 + n).into());
        request.extent = Extent {
            address: DATA + n * SLOT,
            len: BYTES,
        };
        request.flags = flags::QUIET;
        request.address = to;
        request.passing = Passing::new(Semantics::EmulatedWeakMove).word();
        self.client.requests.push(&request).unwrap();
    }

    fn say(&mut self, message: impl Into<Message>) {
        self.from.push(&message.into()).unwrap();
    }

    fn round(&mut self, socket: u32) {
        while let Some(buffer) = self.free.pop().unwrap() {
            self.buffers.insert(0, buffer.id);
        }
        for _ in 0..WINDOW {
            let received = Received {
                id: self.buffers.pop().unwrap(),
                len: 42 + BYTES,
                flags: 0,
                reserved: 0,
            };
            self.filled.push(&received).unwrap();
        }
        let _ = self.filled.publish();
        turn_received(&mut self.manager);
        let recvs = core::mem::take(&mut self.recvs);
        for recv in recvs {
            let packet = Packet::from(self.to.pop().unwrap().unwrap());
            let mut completion = recv.complete(Status::Ok);
            completion.len = BYTES;
            completion.packet = packet.id;
            completion.offset = 42;
            completion.flags = flags::RELEASE;
            completion.address = peer();
            completion.arg = BYTES.into();
            self.say(completion);
        }
        let _ = self.from.publish();
        turn_delivered(&mut self.manager);
        let mut done = Vec::new();
        while let Some(completion) = self.client.completions.pop().unwrap() {
            assert_eq!((completion.status, completion.len), (0, BYTES));
            done.push(completion);
        }
        assert_eq!(done.len(), WINDOW);
        for completion in &done {
            self.send(socket, completion.user_data as u32, completion.address);
        }
        self.submit(turn_sends);
        for completion in &done {
            self.recv(socket, completion.user_data as u32);
        }
        let sends = core::mem::take(&mut self.recvs);
        self.submit(turn_recvs);
        self.transmit(&sends);
    }

    fn transmit(&mut self, sends: &[Request]) {
        for send in sends {
            let slot = self.slots.remove(0);
            let at = usize::from(slot) * api::whole_slot_bytes(MTU);
            self.send_slots.memory.write(at, &header()).unwrap();
            let mut entry = Transmit {
                kind: kind::TRANSMIT,
                flags: if send.flags & flags::SUMMED != 0 {
                    0
                } else {
                    packet_flags::CHECKSUM
                },
                slot,
                header_len: 42,
                count: 1,
                ..Transmit::default()
            };
            entry.parts[0] = Part {
                token: send.user_data,
                offset: 0,
                len: BYTES,
            };
            self.say(entry);
        }
        let _ = self.from.publish();
        turn_transmit(&mut self.manager);
        for send in sends {
            let mut completion = send.complete(Status::Ok);
            completion.len = BYTES;
            self.say(completion);
        }
        let _ = self.from.publish();
        turn_send_done(&mut self.manager);
        while let Some(frame) = self.ready.pop().unwrap() {
            self.done
                .push(&Sent {
                    id: frame.id,
                    reserved: 0,
                })
                .unwrap();
        }
        let _ = self.done.publish();
        turn_sent(&mut self.manager);
        let mut quiet = 0;
        while let Some(completion) = self.client.completions.pop().unwrap() {
            assert_eq!(completion.status, 0);
            quiet += 1;
        }
        assert_eq!(quiet, WINDOW);
        while let Some(slot) = self.slots_done.pop().unwrap() {
            self.slots.push(slot.slot as u16);
        }
        turn_idle(&mut self.manager);
        arm(&mut self.manager);
    }
}

fn peer() -> WireAddress {
    let mut address = WireAddress {
        port: 1000,
        family: 4,
        ..WireAddress::NONE
    };
    address.octets[..4].copy_from_slice(&[10, 0, 2, 2]);
    address
}

/// Headers of a datagram.
fn header() -> [u8; 42] {
    let mut header = [0; 42];
    header[12..14].copy_from_slice(&0x0800u16.to_be_bytes());
    header[14] = 0x45;
    header[16..18].copy_from_slice(&(28 + BYTES as u16).to_be_bytes());
    header[23] = 17;
    header[26..34].copy_from_slice(&[10, 0, 2, 2, 10, 0, 2, 15]);
    header[34..36].copy_from_slice(&1000u16.to_be_bytes());
    header[36..38].copy_from_slice(&7u16.to_be_bytes());
    header[38..40].copy_from_slice(&(8 + BYTES as u16).to_be_bytes());
    header
}
