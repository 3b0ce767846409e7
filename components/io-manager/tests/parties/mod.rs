//! Clients, servers and drivers that do exactly what a test tells them, on a
//! model of the machine.

// Each test program uses a part of this.
#![allow(dead_code, reason = "each test program uses a part")]

pub mod driver;
pub mod frames;
mod pool;
pub mod sending;
pub mod server;

use data_passing::{Costs, HoldingConfig, Memory, Rights};
use io_manager::{
    Bells, ClientConfig, Manager, MessageConfig, NicConfig, Quota, Region, ServerConfig,
};
use model_platform::{Allocator, ModelMachine, Physical};
use monitor_api::{CounterPage, CounterReader};
use nic_api::{NicInfo, payload_bytes};
use shared_ring::{Consumer, Producer, RingLayout, SharedMemory};
use socket_api as api;
use socket_api::{
    Completion, Extent, MessageSizes, Op, Request, SERVER_PACKETS, SocketKind, Status,
};

use driver::Driver;
use server::Server;

/// Where a client's memory is.
pub const DATA: u32 = 0x10_0000;
/// Bytes of it.
pub const DATA_BYTES: u32 = 64 << 10;
/// Where a client has memory that it can only read.
pub const TEXT: u32 = 0x80_0000;
/// Bytes of it.
pub const TEXT_BYTES: u32 = 8 << 10;
/// Frames in the reserve.
pub const RESERVE: u32 = 64;
pub const MTU: u32 = 1500;
/// Of regions of messages: as small as they can be.
pub const MESSAGES: MessageSizes = MessageSizes {
    to_server: 64 << 10,
    from_server: 64 << 10,
    requests: 16,
};
pub const QUOTA: Quota = Quota {
    sockets: 4,
    requests: 16,
    queued_bytes: 40960,
    share: 8,
    receive_frames: 64,
};

pub struct Client {
    pub control: SharedMemory,
    pub requests: Producer<Request>,
    pub completions: Consumer<Completion>,
}

#[derive(Default)]
pub struct Rung {
    pub clients: Vec<usize>,
    pub servers: Vec<usize>,
    pub drivers: Vec<usize>,
}

impl Bells for Rung {
    fn client(&mut self, index: usize) {
        self.clients.push(index);
    }
    fn server(&mut self, index: usize) {
        self.servers.push(index);
    }
    fn driver(&mut self, index: usize) {
        self.drivers.push(index);
    }
}

/// How a test wants its parties.
#[derive(Clone, Copy)]
pub struct Setup {
    pub clients: usize,
    pub servers: usize,
    pub quota: Quota,
    pub threads: u32,
    /// Of every NIC.
    pub features: u32,
    /// Whether drivers have said what they know before the test begins.
    pub ready: bool,
    /// Whether servers and drivers are in the manager's thread.
    pub near: bool,
    /// Payload is passed by value.
    pub by_value: bool,
}

impl Setup {
    pub const ONE: Self = Self {
        clients: 1,
        servers: 1,
        quota: QUOTA,
        threads: 1,
        features: 0,
        ready: true,
        near: false,
        by_value: false,
    };
}

pub struct Parties {
    pub manager: Manager<ModelMachine>,
    pub machine: ModelMachine,
    pub physical: Physical,
    pub clients: Vec<Client>,
    pub servers: Vec<Server>,
    pub drivers: Vec<Driver>,
    pub rung: Rung,
    page: SharedMemory,
}

impl Drop for Parties {
    fn drop(&mut self) {
        pool::put(self.physical);
    }
}

/// Formats a ring at `offset` of a region.
fn format(control: &SharedMemory, offset: usize, layout: RingLayout) -> SharedMemory {
    let ring = control.slice(offset, layout.bytes()).unwrap();
    layout.format(&ring).unwrap();
    ring
}

fn new_client(allocator: &mut Allocator) -> Client {
    let control = allocator.take(api::CLIENT_CONTROL_BYTES, 64).memory;
    let ring = |at| format(&control, at, api::CLIENT_RING);
    let (requests, completions) = (ring(api::REQUESTS_OFFSET), ring(api::COMPLETIONS_OFFSET));
    Client {
        control,
        requests: Producer::attach(requests, api::CLIENT_RING).unwrap(),
        completions: Consumer::attach(completions, api::CLIENT_RING).unwrap(),
    }
}

fn region(machine: &ModelMachine, allocator: &mut Allocator, bytes: usize) -> Region {
    let bytes = bytes.next_multiple_of(4096);
    let block = allocator.take(bytes, 4096);
    Region {
        memory: block.memory,
        paddr: block.paddr,
        first: machine.add_frames(block.paddr, bytes as u32 / 4096, 4096),
    }
}

/// Memory of client number `client`.
fn holding(
    machine: &ModelMachine,
    allocator: &mut Allocator,
    client: u16,
    (address, bytes, writable): (u32, u32, bool),
) -> HoldingConfig {
    let block = region(machine, allocator, bytes as usize);
    // What was there before is nobody's business.
    block.memory.clear(0, bytes as usize).unwrap();
    for page in 0..bytes / 4096 {
        let frame = data_passing::FrameId(block.first.0 + page);
        let rights = if writable {
            Rights::Write
        } else {
            Rights::Read
        };
        machine.preset(client, address + page * 4096, frame, rights);
    }
    HoldingConfig {
        address,
        bytes,
        large: false,
        writable,
        first: block.first,
    }
}

impl Parties {
    pub fn one() -> Self {
        Self::with(Setup::ONE)
    }

    pub fn new(clients: usize, servers: usize, quota: Quota) -> Self {
        Self::with(Setup {
            clients,
            servers,
            quota,
            ..Setup::ONE
        })
    }

    pub fn with(setup: Setup) -> Self {
        Self::damaged(setup, |_, _| {})
    }

    /// As `with`; `damage` may change a client's region before the manager
    /// attaches.
    pub fn damaged(setup: Setup, damage: impl Fn(usize, &SharedMemory)) -> Self {
        let physical = pool::take();
        let machine = ModelMachine::new(physical);
        let mut allocator = Allocator::new(physical);
        let clients: Vec<_> = (0..setup.clients)
            .map(|_| new_client(&mut allocator))
            .collect();
        for (index, client) in clients.iter().enumerate() {
            damage(index, &client.control);
        }
        let mut hold = |n: usize, what| holding(&machine, &mut allocator, n as u16, what);
        let client_configs: Vec<_> = clients
            .iter()
            .enumerate()
            .map(|(n, c)| ClientConfig {
                name: "client",
                control: c.control,
                quota: setup.quota,
                threads: setup.threads,
                holdings: vec![
                    hold(n, (DATA, DATA_BYTES, true)),
                    hold(n, (TEXT, TEXT_BYTES, false)),
                ],
            })
            .collect();
        let mut server_configs = Vec::new();
        let mut servers = Vec::new();
        let mut drivers = Vec::new();
        for _ in 0..setup.servers {
            let mtu = MTU as usize;
            let headers = region(&machine, &mut allocator, api::headers_bytes(mtu));
            let send_slots = region(&machine, &mut allocator, api::send_slots_bytes(mtu));
            let bytes = payload_bytes(mtu) * SERVER_PACKETS as usize;
            let payload = region(&machine, &mut allocator, bytes);
            let mut server = Server::new(&mut allocator, headers, send_slots);
            server.messages = setup.by_value.then(|| MessageConfig {
                region: region(&machine, &mut allocator, MESSAGES.bytes()),
                sizes: MESSAGES,
            });
            let driver = Driver::new(physical, &mut allocator);
            server_configs.push(ServerConfig {
                control: server.control,
                headers,
                send_slots,
                near: setup.near,
                messages: server.messages,
                nic: NicConfig {
                    control: driver.control,
                    payload,
                    mtu: MTU,
                    near: setup.near,
                },
            });
            servers.push(server);
            drivers.push(driver);
        }
        let mut memory = Memory::new(machine.clone(), Costs::PINNED);
        let reserve = region(&machine, &mut allocator, RESERVE as usize * 4096);
        memory.add_reserve(reserve.first, RESERVE);
        let page = allocator.take(4096, 4096).memory;
        let counters = CounterPage::create(page).unwrap();
        let manager = Manager::new(memory, &client_configs, &server_configs, Some(counters));
        let mut this = Self {
            manager: manager.unwrap(),
            machine,
            physical,
            clients,
            servers,
            drivers,
            rung: Rung::default(),
            page,
        };
        if setup.ready {
            this.publish_facts(setup.features);
        }
        this
    }

    /// Has all drivers say what they know.
    pub fn publish_facts(&mut self, features: u32) {
        for driver in &self.drivers {
            let info = NicInfo {
                mac: [2, 0, 0, 0, 0, 1],
                mtu: MTU,
                features,
            };
            info.publish(&driver.control).unwrap();
        }
        self.run();
        for driver in &mut self.drivers {
            driver.take();
        }
    }

    /// Lets the manager work until there is nothing to do.
    pub fn run(&mut self) {
        for _ in 0..1000 {
            let more = self.manager.turn(&mut self.rung);
            if !more && self.manager.arm(&mut self.rung) {
                for driver in &mut self.drivers {
                    driver.take();
                }
                for server in &mut self.servers {
                    server.take();
                }
                return;
            }
        }
        panic!("the manager never rests");
    }

    /// What the manager counts under `name`.
    pub fn count(&self, name: &str) -> u64 {
        let reader = CounterReader::attach(self.page).unwrap();
        let sample = reader.samples().find(|s| s.name.as_str() == name);
        sample.unwrap_or_else(|| panic!("no counter {name}")).value
    }

    pub fn submit(&mut self, client: usize, request: Request) {
        let client = &mut self.clients[client];
        client.requests.push(&request).unwrap();
        let _ = client.requests.publish();
        self.run();
    }

    pub fn answered(&mut self, client: usize) -> Option<Completion> {
        self.clients[client].completions.pop().unwrap()
    }

    /// The one completion there is.
    pub fn answer(&mut self, client: usize) -> Completion {
        let completion = self.answered(client).expect("a completion");
        assert_eq!(self.answered(client), None, "one completion only");
        completion
    }

    /// Submits and takes the answer that the manager gives by itself.
    pub fn refused(&mut self, client: usize, request: Request) -> Completion {
        self.submit(client, request);
        let completion = self.answer(client);
        assert_eq!(completion.user_data, request.user_data);
        completion
    }

    /// The one request that `server` got.
    pub fn forwarded(&mut self, server: usize) -> Request {
        let requests = &mut self.servers[server].requests;
        let request = requests.pop_front().expect("a request");
        assert!(requests.is_empty(), "one request only");
        request
    }

    /// The server says something.
    pub fn say(&mut self, server: usize, message: impl Into<api::Message>) {
        self.servers[server].say(message);
        self.run();
    }

    pub fn complete(&mut self, server: usize, completion: Completion) {
        self.say(server, completion);
    }

    /// Submits `request`, has the server answer `Ok`, returns both.
    pub fn carry(&mut self, client: usize, request: Request) -> (Request, Completion) {
        self.submit(client, request);
        let forwarded = self.forwarded(0);
        let mut completion = forwarded.complete(Status::Ok);
        if forwarded.op == Op::Accept as u16 {
            completion.socket = forwarded.arg as u32;
        }
        self.complete(0, completion);
        (forwarded, self.answer(client))
    }

    /// Opens a socket: its handle, and its number at the server.
    pub fn open(&mut self, client: usize, kind: SocketKind) -> (u32, u32) {
        let mut request = Request::new(Op::Open, 0, 77);
        request.arg = kind as u64;
        let (forwarded, completion) = self.carry(client, request);
        assert_eq!(completion.status, Status::Ok as u16);
        (completion.socket, forwarded.socket)
    }

    /// Submits a request with an extent; what the server got.
    pub fn pass(&mut self, client: usize, request: Request, extent: (u32, u32)) -> Request {
        let (address, len) = extent;
        let extent = Extent { address, len };
        self.submit(client, Request { extent, ..request });
        self.forwarded(0)
    }

    /// The client writes; a fault goes to the manager as it would.
    pub fn store(&mut self, client: u16, address: u32, bytes: &[u8]) {
        let mut done = 0;
        for _ in 0..100 {
            let rest = (address + done as u32, &bytes[done..]);
            match self.machine.store(client, rest.0, rest.1) {
                Ok(()) => return,
                Err((more, fault)) => {
                    done += more;
                    let resolved = self.manager.fault(client.into(), fault.address, true);
                    assert_eq!(resolved, io_manager::Fault::Resolved, "{fault:?}");
                }
            }
        }
        panic!("a fault that is never resolved");
    }

    /// What the client reads.
    pub fn load(&self, client: u16, address: u32, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.machine.load(client, address, &mut bytes).unwrap();
        bytes
    }

    /// Drivers let go of all frames; what was in them.
    pub fn drain(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        for driver in &mut self.drivers {
            frames.extend(driver.send_all());
        }
        self.run();
        frames
    }

    /// So many receives of a client wait, and that is all that it has on its way.
    pub fn assert_receives_waiting(&self, client: usize, count: usize) {
        let books = self.manager.books();
        let client = &books.clients[client];
        let left = (usize::from(client.unanswered), client.slots);
        assert_eq!(left, (count, count), "{books:?}");
    }

    /// Nothing is lost: every buffer is with a driver, every slot free, every
    /// frame of the reserve back, nobody waits.
    pub fn assert_settled(&self) {
        let books = self.manager.books();
        for nic in &books.nics {
            assert_eq!(nic.with_server, 0, "{books:?}");
            assert_eq!(nic.slots_away, 0, "{books:?}");
            assert_eq!(nic.whole_free, api::WHOLE_SLOTS, "{books:?}");
            assert!([1024, 512, 0].contains(&nic.with_driver), "{books:?}");
            assert_eq!((nic.steered_free, nic.backlog), (128, 0), "{books:?}");
        }
        for client in &books.clients {
            let left = (client.unanswered, client.slots, client.queued_bytes);
            assert_eq!(left, (0, 0, 0), "{books:?}");
        }
        assert_eq!(books.reserve, RESERVE, "{books:?}");
    }
}
