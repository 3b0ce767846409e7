//! A server on an in-memory wire, with another smoltcp stack at the far end.
//!
//! Problem: the server is judged by what a peer and a manager see, under a
//! clock, loss and a manager that the test controls. Invariant: time moves only
//! in `World::step`, and everything random comes from a seed; when a world
//! ends, the server has exactly the packets that it says it holds.
#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test is to stop where it fails")]

use std::collections::{HashMap, VecDeque};

use net_server::{Config, Counter, Server};
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, Ipv4Address};
use socket_api::{Completion, Extent, Op, Request, SocketKind, Status, WireAddress};

pub mod datagrams;
mod manager;
pub mod reference;
pub mod segments;
pub mod slots;

pub use manager::Fake;

pub const SERVER_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
pub const PEER_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];
pub const SERVER_IP: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);
pub const PEER_IP: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);
pub const REGION: usize = 1 << 20;

/// A small deterministic generator for the tests' own choices.
pub struct Lcg(pub u64);

impl Lcg {
    pub fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// The peer's end of the wire.
#[derive(Default)]
pub struct Wire {
    pub received: VecDeque<Vec<u8>>,
    pub sent: VecDeque<Vec<u8>>,
}

pub struct Rx(Vec<u8>);
pub struct Tx<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Rx(frame), Tx(&mut self.sent)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ethernet;
        caps.max_transmission_unit = 1514;
        caps
    }
}

/// Everything.
pub struct World {
    pub server: Server,
    pub env: Fake,
    pub now_us: u64,
    pub peer: Interface,
    pub wire: Wire,
    pub sockets: SocketSet<'static>,
    /// One frame in so many is lost, either way; 0 for none.
    pub loss: u64,
    /// One frame in so many changes places with the next, or comes twice.
    pub chaos: u64,
    pub chance: Lcg,
    /// The peer hears nothing, and says nothing: somebody else plays it.
    pub alone: bool,
    pub token: u64,
    /// Frames the server sent, as seen on the wire, if asked for.
    pub log: Option<Vec<Vec<u8>>>,
}

pub fn small() -> Config {
    let mut config = Config {
        max_connections: 80,
        max_sockets: 200,
        tcp_receive_window: 16384,
        tcp_send_buffer: 16384,
        ..Config::default()
    };
    config.set("ip", "10.0.0.1/24").unwrap();
    config.set("gateway", "10.0.0.2").unwrap();
    config
}

impl World {
    pub fn new(config: Config) -> Self {
        Self::with_offload(config, false)
    }

    pub fn with_offload(config: Config, offload: bool) -> Self {
        Self::with(config, offload, false)
    }

    /// On a NIC that completes checksums, and that makes segments, or not.
    pub fn with(config: Config, offload: bool, segments: bool) -> Self {
        let server = Server::new(config, SERVER_MAC, 1500, segments, [3; 32]).unwrap();
        let mut wire = Wire::default();
        let mac = HardwareAddress::Ethernet(EthernetAddress(PEER_MAC));
        let mut settings = smoltcp::iface::Config::new(mac);
        settings.random_seed = 99;
        let mut peer = Interface::new(settings, &mut wire, Instant::ZERO);
        peer.update_ip_addrs(|a| a.push(IpCidr::new(IpAddress::Ipv4(PEER_IP), 24)).unwrap());
        let regions = HashMap::from([(0, vec![0; REGION]), (1, vec![0; REGION])]);
        let env = Fake::new(regions, offload);
        Self {
            server,
            env,
            now_us: 1_000_000,
            peer,
            wire,
            sockets: SocketSet::new(vec![]),
            loss: 0,
            chaos: 0,
            alone: false,
            chance: Lcg(5),
            token: 0,
            log: None,
        }
    }

    fn lost(&mut self) -> bool {
        self.loss != 0 && self.chance.below(self.loss) == 0
    }

    /// What the wire makes of some frames.
    fn carry(&mut self, frames: VecDeque<Vec<u8>>) -> VecDeque<Vec<u8>> {
        let mut carried = VecDeque::new();
        for frame in frames {
            if self.lost() {
                continue;
            }
            let chaos = match self.chaos {
                0 => 2,
                one_in => self.chance.below(one_in),
            };
            match (chaos, carried.pop_back()) {
                (0, Some(before)) => carried.extend([frame, before]),
                (1, before) => {
                    carried.extend(before);
                    carried.extend([frame.clone(), frame]);
                }
                (_, before) => {
                    carried.extend(before);
                    carried.push_back(frame);
                }
            }
        }
        carried
    }

    /// The server alone, until it has nothing more to do.
    pub fn run_server(&mut self) -> Option<u64> {
        for _ in 0..1000 {
            let wakeup = self.server.poll(self.now_us * 1000, &mut self.env);
            if !wakeup.more {
                return wakeup.deadline_ns;
            }
        }
        panic!("the server never rests");
    }

    /// Advances the clock and lets everything run.
    pub fn step(&mut self, us: u64) {
        self.now_us += us;
        if let Some(slots) = &mut self.env.slots {
            slots.give_back();
        }
        if self.alone {
            self.run_server();
            return;
        }
        for _ in 0..4 {
            let sent = std::mem::take(&mut self.wire.sent);
            let sent = self.carry(sent);
            self.env.to_server.extend(sent);
            self.run_server();
            let sent = std::mem::take(&mut self.env.from_server);
            if let Some(log) = &mut self.log {
                log.extend(sent.iter().cloned());
            }
            let sent = self.carry(sent);
            self.wire.received.extend(sent);
            let now = Instant::from_micros(self.now_us as i64);
            self.peer.poll(now, &mut self.wire, &mut self.sockets);
        }
    }

    pub fn submit(&mut self, mut request: Request) -> u64 {
        self.token += 1;
        request.user_data = self.token;
        self.env.requests.push_back(request);
        self.token
    }

    pub fn completion(&mut self, token: u64) -> Option<Completion> {
        let at = self
            .env
            .completions
            .iter()
            .position(|c| c.user_data == token)?;
        self.env.completions.remove(at)
    }

    /// Submits a request and waits for its completion.
    pub fn call(&mut self, request: Request) -> Completion {
        let token = self.submit(request);
        for _ in 0..20_000 {
            self.step(1000);
            if let Some(completion) = self.completion(token) {
                return completion;
            }
        }
        panic!("no completion for {request:?}");
    }

    pub fn open(&mut self, socket: u32, kind: SocketKind) {
        let mut request = Request::new(Op::Open, socket, 0);
        request.arg = kind as u64;
        assert_eq!(self.call(request).status, Status::Ok as u16);
    }

    pub fn bind(&mut self, socket: u32, port: u16) -> Completion {
        let mut request = Request::new(Op::Bind, socket, 0);
        request.address = address(Ipv4Address::UNSPECIFIED, port);
        self.call(request)
    }

    pub fn listen(&mut self, socket: u32, port: u16, backlog: u64) {
        self.open(socket, SocketKind::Tcp);
        assert_eq!(self.bind(socket, port).status, Status::Ok as u16);
        let mut request = Request::new(Op::Listen, socket, 0);
        request.arg = backlog;
        assert_eq!(self.call(request).status, Status::Ok as u16);
    }

    pub fn accept(socket: u32, new: u32) -> Request {
        let mut request = Request::new(Op::Accept, socket, 0);
        request.arg = new.into();
        request
    }

    pub fn send(socket: u32, offset: u32, len: u32) -> Request {
        let mut request = Request::new(Op::Send, socket, 0);
        request.extent = Extent {
            address: offset,
            len,
        };
        request
    }

    pub fn recv(socket: u32, offset: u32, len: u32) -> Request {
        let mut request = Request::new(Op::Recv, socket, 0);
        request.extent = Extent {
            address: offset,
            len,
        };
        request
    }

    pub fn close(socket: u32, linger: u64) -> Request {
        let mut request = Request::new(Op::Close, socket, 0);
        request.arg = linger;
        request
    }

    pub fn count(&self, counter: Counter) -> u64 {
        self.server.counters().get(counter)
    }

    pub fn region(&mut self) -> &mut Vec<u8> {
        self.env.regions.get_mut(&0).unwrap()
    }

    pub fn peer_tcp(&mut self) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 65536]);
        self.sockets.add(tcp::Socket::new(buffer(), buffer()))
    }

    pub fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub fn peer_connect(&mut self, port: u16, local: u16) -> SocketHandle {
        let handle = self.peer_tcp();
        let socket: &mut tcp::Socket = self.sockets.get_mut(handle);
        socket
            .connect(
                self.peer.context(),
                (IpAddress::Ipv4(SERVER_IP), port),
                local,
            )
            .unwrap();
        handle
    }

    pub fn peer_udp(&mut self, port: u16) -> SocketHandle {
        let buffer =
            || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 64], vec![0; 65536]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(port).unwrap();
        self.sockets.add(socket)
    }

    pub fn udp(&mut self, handle: SocketHandle) -> &mut udp::Socket<'static> {
        self.sockets.get_mut(handle)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.run_server();
            assert_eq!(self.count(Counter::OutOfStep), 0);
            let held = self.count(Counter::PacketsHeld);
            assert_eq!(self.env.packets.len() as u64, held, "a packet was lost");
        }
    }
}

pub fn address(ip: Ipv4Address, port: u16) -> WireAddress {
    std::net::SocketAddr::from((ip, port)).into()
}

pub fn ok(completion: &Completion) {
    assert_eq!(completion.status, Status::Ok as u16, "{completion:?}");
}

pub fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut lcg = Lcg(seed);
    (0..len).map(|_| lcg.next() as u8).collect()
}

/// A world with a bound UDP socket.
pub fn udp_world() -> World {
    udp_world_with(false)
}

/// The same, on a NIC that may offer checksums.
pub fn udp_world_with(offload: bool) -> World {
    let mut w = World::with_offload(small(), offload);
    w.open(0, SocketKind::Udp);
    ok(&w.bind(0, 7));
    // The peer's hardware address becomes known.
    let peer = w.peer_udp(4001);
    let to = smoltcp::wire::IpEndpoint::new(SERVER_IP.into(), 7);
    w.udp(peer).send_slice(b"hello", to).unwrap();
    ok(&w.call(World::recv(0, 0, 10)));
    w
}
