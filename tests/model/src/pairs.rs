//! Sockets of clients on two hosts that talk to each other.

use std::net::SocketAddr;
use std::time::Duration;

use ioipc::net::{TcpListener, TcpStream, UdpSocket};
use ioipc::queue::Queue;
use ioipc::{Settings, Stack, UserBuffer};
use socket_api::Extent;

use crate::world::World;

/// No receives ahead of time: each is by address, and copied at most once.
#[must_use]
pub fn direct() -> Settings {
    Settings {
        receive_ahead: false,
        ..Settings::DEFAULT
    }
}

/// The address of a host, and the port.
#[must_use]
pub fn address(host: usize, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host as u8 + 1], port))
}

/// Receives a stream piece by piece, whenever it is polled.
pub struct Reader {
    pair: Pair,
    host: usize,
    stream: TcpStream,
    queue: Queue<1>,
    room: Extent,
    /// What came so far.
    pub got: Vec<u8>,
    /// How it ended: nothing is received any more.
    pub end: Option<ioipc::Result<()>>,
}

impl Reader {
    /// Receives into `room` of the client on a host.
    ///
    /// # Panics
    /// If it has 8 queues already.
    #[must_use]
    pub fn new(pair: Pair, host: usize, stream: &TcpStream, room: Extent) -> Self {
        let mut this = Self {
            pair,
            host,
            stream: stream.try_clone(),
            queue: Queue::new_on(pair.stacks[host]).expect("a free queue"),
            room,
            got: Vec::new(),
            end: None,
        };
        this.receive();
        this
    }

    fn receive(&mut self) {
        let Extent { address, len } = self.room;
        let memory = UserBuffer::at(address, len);
        if let Err(unsent) = self.queue.receive(&self.stream, memory, None, 0) {
            self.end = Some(Err(unsent.error));
        }
        self.queue.flush();
    }

    /// Takes what has come.
    pub fn poll(&mut self) {
        while let Some(done) = self.queue.poll() {
            match done.result {
                Ok(0) => self.end = Some(Ok(())),
                Err(error) => self.end = Some(Err(error)),
                Ok(len) => {
                    let bytes = self.pair.load(self.host, self.room.address, len);
                    self.got.extend(bytes);
                    self.receive();
                }
            }
        }
    }

    /// Lets the world go on until so many bytes have come, or the stream ended.
    ///
    /// # Panics
    /// If they never come.
    pub fn wait_for(&mut self, len: usize) {
        for _ in 0..200_000 {
            self.poll();
            if self.got.len() >= len || self.end.is_some() {
                return;
            }
            self.pair.world.step();
        }
        panic!("{} bytes of {len} came", self.got.len());
    }
}

/// The same client number on both hosts.
#[derive(Clone, Copy)]
pub struct Pair {
    /// Where they live.
    pub world: &'static World,
    /// Which client.
    pub client: u16,
    /// Their sockets, by host.
    pub stacks: [&'static Stack; 2],
}

impl Pair {
    /// Attaches both.
    #[must_use]
    pub fn new(world: &'static World, client: u16, settings: Settings) -> Self {
        let stack = |host| world.stack(host, client.into(), settings);
        Self {
            world,
            client,
            stacks: [stack(0), stack(1)],
        }
    }

    /// Two sockets for datagrams with the port, which give up after a second.
    ///
    /// # Panics
    /// If the server refuses.
    #[must_use]
    pub fn datagrams(&self, port: u16) -> [UdpSocket; 2] {
        [0, 1].map(|host| {
            let socket = UdpSocket::bind_on(self.stacks[host], address(host, port));
            let socket = socket.expect("a free port");
            let limit = Some(Duration::from_secs(1));
            socket.set_read_timeout(limit).expect("some time");
            socket
        })
    }

    /// Two ends of a connection to the port on host 1.
    ///
    /// # Panics
    /// If the servers refuse.
    #[must_use]
    pub fn connection(&self, port: u16) -> [TcpStream; 2] {
        let there = address(1, port);
        let listener = TcpListener::bind_on(self.stacks[1], there, 4).expect("a free port");
        let stream = TcpStream::connect_on(self.stacks[0], there, None).expect("a listener");
        let (other, _) = listener.accept().expect("a connection");
        [stream, other]
    }

    /// Writes as the client on a host does.
    pub fn store(&self, host: usize, address: u32, bytes: &[u8]) {
        self.world.store(host, self.client, address, bytes);
    }

    /// Reads as the client on a host does.
    #[must_use]
    pub fn load(&self, host: usize, address: u32, len: usize) -> Vec<u8> {
        self.world.load(host, self.client, address, len)
    }
}
