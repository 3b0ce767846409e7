//! Clients and servers that do exactly what a test tells them.

// Each test program uses a part of this.
#![allow(dead_code, reason = "each test program uses a part")]

use io_manager::{Bells, ClientConfig, Manager, Quota, ServerConfig};
use monitor_api::{CounterPage, CounterReader};
use shared_ring::{Consumer, Producer, SharedMemory};
use socket_api as api;
use socket_api::{Completion, Op, Request, SocketKind, Status};

pub const DATA_BYTES: u32 = 64 << 10;
pub const QUOTA: Quota = Quota {
    sockets: 4,
    requests: 16,
    queued_bytes: 4096,
    share: 8,
};

pub fn memory(bytes: usize) -> SharedMemory {
    SharedMemory::from_static(Box::leak(vec![0; bytes / 8].into_boxed_slice()))
}

pub struct Client {
    pub control: SharedMemory,
    pub requests: Producer<Request>,
    pub completions: Consumer<Completion>,
}

pub struct Server {
    pub control: SharedMemory,
    pub requests: Consumer<Request>,
    pub completions: Producer<Completion>,
}

#[derive(Default)]
pub struct Rung {
    pub clients: Vec<usize>,
    pub servers: Vec<usize>,
}

impl Bells for Rung {
    fn client(&mut self, index: usize) {
        self.clients.push(index);
    }
    fn server(&mut self, index: usize) {
        self.servers.push(index);
    }
}

pub struct Parties {
    pub manager: Manager,
    pub clients: Vec<Client>,
    pub servers: Vec<Server>,
    pub rung: Rung,
    page: SharedMemory,
}

fn client_control() -> SharedMemory {
    let control = memory(api::CLIENT_CONTROL_BYTES);
    for at in [api::REQUESTS_OFFSET, api::COMPLETIONS_OFFSET] {
        let ring = control.slice(at, api::CLIENT_RING.bytes()).unwrap();
        api::CLIENT_RING.format(&ring).unwrap();
    }
    control
}

fn server_control() -> SharedMemory {
    let control = memory(api::SERVER_CONTROL_BYTES);
    for at in [api::SERVER_REQUESTS_OFFSET, api::SERVER_COMPLETIONS_OFFSET] {
        let ring = control.slice(at, api::SERVER_RING.bytes()).unwrap();
        api::SERVER_RING.format(&ring).unwrap();
    }
    control
}

impl Parties {
    pub fn new(clients: usize, servers: usize, quota: Quota) -> Self {
        Self::damaged(clients, servers, quota, |_, _| {})
    }

    /// As `new`; `damage` may change a client's region before the manager
    /// attaches.
    pub fn damaged(
        clients: usize,
        servers: usize,
        quota: Quota,
        damage: impl Fn(usize, &SharedMemory),
    ) -> Self {
        let attach_client = |_| {
            let control = client_control();
            let ring = |at| control.slice(at, api::CLIENT_RING.bytes()).unwrap();
            Client {
                control,
                requests: Producer::attach(ring(api::REQUESTS_OFFSET), api::CLIENT_RING).unwrap(),
                completions: Consumer::attach(ring(api::COMPLETIONS_OFFSET), api::CLIENT_RING)
                    .unwrap(),
            }
        };
        let attach_server = |_| {
            let control = server_control();
            let ring = |at| control.slice(at, api::SERVER_RING.bytes()).unwrap();
            Server {
                control,
                requests: Consumer::attach(ring(api::SERVER_REQUESTS_OFFSET), api::SERVER_RING)
                    .unwrap(),
                completions: Producer::attach(
                    ring(api::SERVER_COMPLETIONS_OFFSET),
                    api::SERVER_RING,
                )
                .unwrap(),
            }
        };
        let clients: Vec<_> = (0..clients).map(attach_client).collect();
        let servers: Vec<_> = (0..servers).map(attach_server).collect();
        for (index, client) in clients.iter().enumerate() {
            damage(index, &client.control);
        }
        let client_configs: Vec<_> = clients
            .iter()
            .map(|c| ClientConfig {
                name: "client",
                control: c.control,
                data_bytes: DATA_BYTES,
                quota,
            })
            .collect();
        let server_configs: Vec<_> = servers
            .iter()
            .map(|s| ServerConfig { control: s.control })
            .collect();
        let page = memory(4096);
        let counters = CounterPage::create(page).unwrap();
        Self {
            manager: Manager::new(&client_configs, &server_configs, Some(counters)).unwrap(),
            clients,
            servers,
            rung: Rung::default(),
            page,
        }
    }

    pub fn one() -> Self {
        Self::new(1, 1, QUOTA)
    }

    /// Lets the manager work until there is nothing to do.
    pub fn run(&mut self) {
        for _ in 0..1000 {
            let more = self.manager.turn(&mut self.rung);
            if !more && self.manager.arm() {
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
        let request = requests.pop().unwrap().expect("a request");
        assert_eq!(requests.pop().unwrap(), None, "one request only");
        request
    }

    pub fn complete(&mut self, server: usize, completion: Completion) {
        let server = &mut self.servers[server];
        server.completions.push(&completion).unwrap();
        let _ = server.completions.publish();
        self.run();
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
}
