//! One simulated host: memory, NIC, manager, server, clients.

use data_passing::{Costs, HoldingConfig, Memory, Mutations, Rights};
use io_manager::{
    Bells, ClientConfig, Fault, Manager, MessageConfig, NicConfig, Quota, Region, ServerConfig,
};
use model_platform::{Allocator, ModelMachine, ModelNic, Physical};
use monitor_api::{CounterPage, CounterReader};
use net_server::channel::Channel;
use net_server::{Config, Connection, Conventional, Copied, Server};
use nic_api::{NicInfo, nic_features, payload_bytes};
use shared_ring::{RingLayout, SharedMemory};
use socket_api::{self as api, Account, Extent, MessageSizes, SERVER_PACKETS};

use crate::arenas;
use crate::raw::RogueServer;

/// Where a client's data region lies.
pub const DATA: u32 = 0x4000_0000;
/// Bytes of a client's data region.
pub const DATA_BYTES: u32 = 2 << 20;
/// Where its other memory of 4 KiB pages lies.
pub const HEAP: u32 = LARGE - HEAP_BYTES;
/// Bytes of that.
pub const HEAP_BYTES: u32 = 4 << 20;
/// Where its memory of 2 MiB pages lies, right behind the other.
pub const LARGE: u32 = 0x5000_0000;
/// Bytes of that.
pub const LARGE_BYTES: u32 = 4 << 20;
/// Bytes of messages of clients, as much as tests have on their way.
const MESSAGES: u64 = 3 << 20;
/// Frames in the manager's reserve, unless said otherwise.
pub const RESERVE: u32 = 1024;

/// What a host is made with.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Threads of each client.
    pub threads: Vec<u32>,
    /// `nic_features` of its NIC.
    pub features: u32,
    /// Its MTU.
    pub mtu: u32,
    /// Costs that techniques are chosen by.
    pub costs: Costs,
    /// What is switched off.
    pub mutations: Mutations,
    /// Frames in the manager's reserve.
    pub reserve: u32,
    /// Its address is 10.0.0.`number`.
    pub number: u8,
    /// Whether manager and servers pass payload by value.
    pub conventional: bool,
    /// Whether there is a second server with a NIC of its own, which does what
    /// a test says ([`Host::rogue`]).
    pub rogue: bool,
}

impl HostConfig {
    /// A host with one single-threaded and one multi-threaded client behind a
    /// stock NIC.
    #[must_use]
    pub fn stock(number: u8) -> Self {
        Self {
            threads: vec![1, 4],
            features: 0,
            mtu: 1500,
            costs: Costs::PINNED,
            mutations: Mutations::default(),
            reserve: RESERVE,
            number,
            conventional: false,
            rogue: false,
        }
    }

    /// The same with payload passed by value.
    #[must_use]
    pub fn conventional(number: u8) -> Self {
        Self {
            conventional: true,
            ..Self::stock(number)
        }
    }

    /// The same behind a NIC that demultiplexes early.
    #[must_use]
    pub fn steering(number: u8) -> Self {
        Self {
            features: nic_features::STEERING,
            ..Self::stock(number)
        }
    }
}

/// A simulated host.
pub struct Host {
    /// Page tables and frames.
    pub machine: ModelMachine,
    /// The NIC.
    pub nic: ModelNic,
    /// The I/O manager.
    pub manager: Manager<ModelMachine>,
    /// The protocol server.
    pub server: Server,
    /// Rings of each client.
    pub controls: Vec<SharedMemory>,
    /// When the server wants to be called again, in nanoseconds.
    pub deadline_ns: Option<u64>,
    /// The second server.
    pub rogue: Option<RogueServer>,
    /// Signals that each client was sent.
    pub signals: Vec<u64>,
    channel: Connection,
    page: SharedMemory,
    physical: Physical,
}

/// In the model everybody looks at every step; signals are only counted.
struct Counted<'a>(&'a mut [u64]);

impl Bells for Counted<'_> {
    fn client(&mut self, index: usize) {
        self.0[index] += 1;
    }
    fn server(&mut self, _: usize) {}
    fn driver(&mut self, _: usize) {}
}

impl Host {
    /// Builds a host.
    ///
    /// # Panics
    /// If a part refuses what it is given.
    #[must_use]
    pub fn new(config: &HostConfig) -> Self {
        let mut allocator = Allocator::new(arenas::take());
        let machine = ModelMachine::new(allocator.physical);
        let mut memory = Memory::new(machine.clone(), config.costs);
        memory.mutate(config.mutations);
        let reserve = allocator.take(config.reserve as usize * 4096, 4096);
        let first = machine.add_frames(reserve.paddr, config.reserve, 4096);
        memory.add_reserve(first, config.reserve);
        let clients: Vec<ClientConfig> = config
            .threads
            .iter()
            .enumerate()
            .map(|(n, threads)| client(&mut allocator, &machine, n as u16, *threads))
            .collect();
        let servers: Vec<ServerConfig> = (0..=usize::from(config.rogue))
            .map(|_| server(&mut allocator, &machine, config))
            .collect();
        let info = nic_info(config);
        let nics: Vec<ModelNic> = servers
            .iter()
            .map(|server| ModelNic::new(allocator.physical, server.nic.control, info))
            .collect();
        let page = zeroed(&mut allocator, monitor_api::PAGE_BYTES).0;
        let counters = CounterPage::create(page).expect("a whole page");
        let manager = Manager::new(memory, &clients, &servers, Some(counters));
        let manager = manager.expect("rings that were formatted");
        Self::assemble(
            config,
            (allocator.physical, machine, manager),
            nics,
            &servers,
            (&clients, page),
        )
    }

    fn assemble(
        config: &HostConfig,
        (physical, machine, mut manager): (Physical, ModelMachine, Manager<ModelMachine>),
        nics: Vec<ModelNic>,
        servers: &[ServerConfig],
        (clients, page): (&[ClientConfig], SharedMemory),
    ) -> Self {
        let mut signals = vec![0; clients.len()];
        manager.turn(&mut Counted(&mut signals));
        let own = &servers[0];
        let (headers, slots) = (own.headers.memory, own.send_slots.memory);
        let channel = Channel::attach(&own.control, headers, slots, &nic_info(config), false);
        let channel = connection(channel.expect("rings that were formatted"), own);
        let mut nics = nics.into_iter();
        Self {
            machine,
            nic: nics.next().expect("every server has one"),
            manager,
            server: protocol_server(config),
            controls: clients.iter().map(|c| c.control).collect(),
            deadline_ns: None,
            rogue: nics.next().map(|nic| RogueServer::new(&servers[1], nic)),
            signals,
            channel,
            page,
            physical,
        }
    }

    /// Lets everybody work once; frames that leave, at most `frames`, are on
    /// the NIC's wire then. True if somebody did something.
    pub fn step(&mut self, now_ns: u64, frames: usize) -> bool {
        let mut busy = self.nic.tick(frames);
        if let Some(rogue) = &mut self.rogue {
            busy |= rogue.nic.tick(frames);
        }
        busy |= self.manage();
        busy |= !self.manager.arm(&mut Counted(&mut self.signals));
        let wakeup = self.server.poll(now_ns, &mut self.channel);
        busy |= self.channel.publish() | wakeup.more;
        self.deadline_ns = wakeup.deadline_ns;
        busy |= self.nic.queued() != 0;
        busy | self.manage()
    }

    /// Lets the manager work until there is nothing to do.
    pub fn manage(&mut self) -> bool {
        let mut busy = false;
        while self.manager.turn(&mut Counted(&mut self.signals)) {
            busy = true;
        }
        busy
    }

    /// What the manager counts under a name.
    ///
    /// # Panics
    /// If it counts nothing under it.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        let reader = CounterReader::attach(self.page).expect("the manager's page");
        let sample = reader.samples().find(|s| s.name.as_str() == name);
        sample.unwrap_or_else(|| panic!("no counter {name}")).value
    }

    /// What data passing has cost client number `client`, without signals and
    /// requests.
    pub fn account(&mut self, client: u16) -> Account {
        let account = self.manager.memory().account(client);
        account.copied().unwrap_or_default()
    }

    /// Whether payload is passed by value.
    #[must_use]
    pub fn is_conventional(&self) -> bool {
        self.channel.copied().is_some()
    }

    /// What its server has copied; nothing where payload goes by reference.
    #[must_use]
    pub fn copied(&self) -> Copied {
        self.channel.copied().copied().unwrap_or_default()
    }

    /// Blocks of its socket buffers for sending that are free.
    #[must_use]
    pub fn socket_room(&self) -> u32 {
        self.channel.socket_room()
    }

    /// Memory for the next host.
    pub(crate) fn give_back(self) {
        arenas::give_back(self.physical);
    }

    /// Writes as a client does, with the manager resolving faults.
    ///
    /// # Errors
    /// The faults that it does not resolve, or not now.
    pub fn store(&mut self, client: u16, address: u32, bytes: &[u8]) -> Result<(), Fault> {
        let mut done = 0;
        while let Err((n, fault)) =
            self.machine
                .store(client, address + done as u32, &bytes[done..])
        {
            done += n;
            self.resolve(client, fault.address, true)?;
        }
        Ok(())
    }

    /// Reads as a client does.
    ///
    /// # Errors
    /// As [`Host::store`].
    pub fn load(&mut self, client: u16, address: u32, into: &mut [u8]) -> Result<(), Fault> {
        while let Err(fault) = self.machine.load(client, address, into) {
            self.resolve(client, fault.address, false)?;
        }
        Ok(())
    }

    fn resolve(&mut self, client: u16, address: u32, write: bool) -> Result<(), Fault> {
        match self.manager.fault(usize::from(client), address, write) {
            Fault::Resolved => Ok(()),
            fault => Err(fault),
        }
    }
}

fn nic_info(config: &HostConfig) -> NicInfo {
    NicInfo {
        mac: [2, 0, 0, 0, 0, config.number],
        mtu: config.mtu,
        features: config.features,
    }
}

fn rings(memory: SharedMemory, rings: &[(usize, RingLayout)]) -> SharedMemory {
    for (at, layout) in rings {
        let ring = memory
            .slice(*at, layout.bytes())
            .expect("room for the ring");
        layout.format(&ring).expect("a legal ring");
    }
    memory
}

fn zeroed(allocator: &mut Allocator, bytes: usize) -> (SharedMemory, u64) {
    let block = allocator.take(bytes.next_multiple_of(4096), 4096);
    block.memory.clear(0, bytes).expect("its own bytes");
    (block.memory, block.paddr)
}

fn client(
    allocator: &mut Allocator,
    machine: &ModelMachine,
    number: u16,
    threads: u32,
) -> ClientConfig {
    let control = zeroed(allocator, api::CLIENT_CONTROL_BYTES).0;
    let both = [api::REQUESTS_OFFSET, api::COMPLETIONS_OFFSET].map(|at| (at, api::CLIENT_RING));
    let regions = [
        (DATA, DATA_BYTES, false),
        (HEAP, HEAP_BYTES, false),
        (LARGE, LARGE_BYTES, true),
    ];
    let holding = |(address, bytes, large): (u32, u32, bool)| {
        let page = if large { 2 << 20 } else { 4096 };
        let block = allocator.take(bytes as usize, page as usize);
        block
            .memory
            .clear(0, bytes as usize)
            .expect("its own bytes");
        let first = machine.add_frames(block.paddr, bytes / page, page);
        for n in 0..bytes / page {
            let frame = data_passing::FrameId(first.0 + n);
            machine.preset(number, address + n * page, frame, Rights::Write);
        }
        HoldingConfig {
            address,
            bytes,
            large,
            writable: true,
            first,
        }
    };
    ClientConfig {
        name: "client",
        control: rings(control, &both),
        quota: quota(),
        threads,
        holdings: regions.map(holding).to_vec(),
    }
}

/// What a client may use.
#[must_use]
pub fn quota() -> Quota {
    Quota {
        sockets: 32,
        requests: 256,
        queued_bytes: 8 << 20,
        share: 64,
        receive_frames: 256,
    }
}

/// The server's end of all that it shares with the manager.
fn connection(channel: Channel, own: &ServerConfig) -> Connection {
    let Some(messages) = own.messages else {
        return Connection::Reference(channel);
    };
    let region = (messages.region.memory, messages.sizes);
    let (payload, mtu) = (own.nic.payload.memory, own.nic.mtu as usize);
    let conventional = Conventional::new(channel, region, payload, mtu);
    Connection::Value(conventional.expect("regions that are large enough"))
}

fn server(allocator: &mut Allocator, machine: &ModelMachine, config: &HostConfig) -> ServerConfig {
    let mtu = config.mtu;
    let control = zeroed(allocator, api::SERVER_CONTROL_BYTES).0;
    let server = [
        (api::TO_SERVER_OFFSET, api::TO_SERVER),
        (api::FROM_SERVER_OFFSET, api::FROM_SERVER),
        (api::SLOTS_DONE_OFFSET, api::SLOTS_DONE),
    ];
    let nic = [
        (nic_api::RX_FREE_OFFSET, nic_api::RX_FREE),
        (nic_api::RX_FILLED_OFFSET, nic_api::RX_FILLED),
        (nic_api::TX_READY_OFFSET, nic_api::TX_READY),
        (nic_api::TX_DONE_OFFSET, nic_api::TX_DONE),
    ];
    let nic_control = zeroed(allocator, nic_api::CONTROL_BYTES).0;
    let mut region = |bytes: usize| {
        let (memory, paddr) = zeroed(allocator, bytes);
        let pages = bytes.div_ceil(4096) as u32;
        Region {
            memory,
            paddr,
            first: machine.add_frames(paddr, pages, 4096),
        }
    };
    let mtu_bytes = mtu as usize;
    let requests = config.threads.len() as u32 * u32::from(quota().requests);
    let sizes = MessageSizes::of(MESSAGES, requests, mtu_bytes);
    let messages = config.conventional.then(|| MessageConfig {
        region: region(sizes.bytes()),
        sizes,
    });
    ServerConfig {
        control: rings(control, &server),
        headers: region(api::headers_bytes(mtu_bytes)),
        send_slots: region(api::send_slots_bytes(mtu_bytes)),
        near: false,
        messages,
        nic: NicConfig {
            control: rings(nic_control, &nic),
            payload: region(SERVER_PACKETS as usize * payload_bytes(mtu_bytes)),
            mtu,
            near: false,
        },
    }
}

fn protocol_server(host: &HostConfig) -> Server {
    let mut config = Config {
        max_connections: 16,
        ..Config::default()
    };
    let set = config.set("ip", &format!("10.0.0.{}/24", host.number));
    set.expect("a legal address");
    let seed = [host.number; 32];
    let mac = [2, 0, 0, 0, 0, host.number];
    Server::new(config, mac, host.mtu, false, seed).expect("a legal configuration")
}

/// The data region of every client.
pub const DATA_EXTENT: Extent = Extent {
    address: DATA,
    len: DATA_BYTES,
};
