//! A protocol server whose network is itself: what is sent to a port arrives
//! at the socket bound to it.

use std::collections::{BTreeMap, VecDeque};

use shared_ring::{Consumer, Producer, SharedMemory};
use socket_api as api;
use socket_api::{Completion, Op, Request, Status, WireAddress};

/// Bytes a stream queues at its receiver.
const WINDOW: usize = 64 << 10;
/// Our address.
pub const HOST: [u8; 4] = [10, 0, 2, 15];
/// Nobody answers here.
pub const BLACK_HOLE: u16 = 9;

#[derive(Default)]
struct Socket {
    client: u32,
    tcp: bool,
    port: u16,
    /// UDP: connected to. TCP: the other end.
    peer_port: u16,
    other: Option<u32>,
    connected: bool,
    listening: bool,
    backlog: usize,
    /// Numbers of connections that wait to be accepted, by their connector.
    waiting: VecDeque<Request>,
    datagrams: VecDeque<(u16, Vec<u8>)>,
    stream: VecDeque<u8>,
    fin: bool,
    reset: bool,
    read_shut: bool,
    write_shut: bool,
    receives: VecDeque<Request>,
    accepts: VecDeque<Request>,
    sends: VecDeque<(Request, usize)>,
    connecting: Option<Request>,
}

pub struct Server {
    requests: Consumer<Request>,
    completions: Producer<Completion>,
    regions: Vec<SharedMemory>,
    sockets: BTreeMap<u32, Socket>,
    next_port: u16,
}

fn address(port: u16) -> WireAddress {
    std::net::SocketAddr::from((HOST, port)).into()
}

impl Server {
    pub fn new(control: SharedMemory, regions: Vec<SharedMemory>) -> Self {
        let ring = |at| control.slice(at, api::SERVER_RING.bytes()).unwrap();
        Self {
            requests: Consumer::attach(ring(api::SERVER_REQUESTS_OFFSET), api::SERVER_RING)
                .unwrap(),
            completions: Producer::attach(ring(api::SERVER_COMPLETIONS_OFFSET), api::SERVER_RING)
                .unwrap(),
            regions,
            sockets: BTreeMap::new(),
            next_port: 49152,
        }
    }

    /// Does what there is to do; true if the manager must be signalled.
    pub fn turn(&mut self) -> bool {
        while let Some(request) = self.requests.pop().unwrap() {
            self.request(request);
            self.pump();
        }
        self.completions.publish()
    }

    pub fn arm(&mut self) -> bool {
        self.requests.arm().unwrap()
    }

    fn answer(&mut self, request: &Request, status: Status) {
        self.complete(request.complete(status));
    }

    fn complete(&mut self, completion: Completion) {
        self.completions.push(&completion).unwrap();
    }

    fn request(&mut self, request: Request) {
        let op = Op::from_number(request.op).unwrap();
        match op {
            Op::Open => {
                let socket = Socket {
                    client: request.client,
                    tcp: request.arg == 2,
                    ..Socket::default()
                };
                assert!(self.sockets.insert(request.socket, socket).is_none());
                self.answer(&request, Status::Ok);
            }
            Op::Resolve => self.resolve(&request),
            Op::AwaitAddress => self.complete(Completion {
                address: address(0),
                arg: 24,
                len: 1500,
                ..request.complete(Status::Ok)
            }),
            Op::DropClient => {
                self.sockets.retain(|_, s| s.client != request.client);
                self.answer(&request, Status::Ok);
            }
            _ => self.socket_request(op, request),
        }
    }

    fn resolve(&mut self, request: &Request) {
        let region = self.regions[request.client as usize];
        let mut name = vec![0; request.extent.len as usize];
        region
            .read(request.extent.offset as usize, &mut name)
            .unwrap();
        if name != b"host.example" {
            return self.answer(request, Status::NotFound);
        }
        region.write(request.extent.offset as usize, &HOST).unwrap();
        self.complete(Completion {
            len: 4,
            ..request.complete(Status::Ok)
        });
    }

    fn port(&mut self, asked: u16) -> u16 {
        if asked != 0 {
            return asked;
        }
        self.next_port += 1;
        self.next_port
    }

    fn socket_request(&mut self, op: Op, request: Request) {
        let socket = self
            .sockets
            .get_mut(&request.socket)
            .expect("an open socket");
        assert_eq!(socket.client, request.client);
        match op {
            Op::Bind => self.bind(&request),
            Op::Connect => self.connect(request),
            Op::Listen => {
                socket.listening = true;
                socket.backlog = request.arg as usize;
                self.answer(&request, Status::Ok);
            }
            Op::Accept => socket.accepts.push_back(request),
            Op::Recv => socket.receives.push_back(request),
            Op::Send => socket.sends.push_back((request, 0)),
            Op::Shutdown => {
                socket.read_shut |= request.arg & 1 != 0;
                socket.write_shut |= request.arg & 2 != 0;
                self.answer(&request, Status::Ok);
            }
            Op::Close => self.close(&request),
            _ => self.answer(&request, Status::NotFound),
        }
    }

    fn bind(&mut self, request: &Request) {
        let tcp = self.sockets[&request.socket].tcp;
        let wanted = request.address.port;
        let taken = self.sockets.values();
        if wanted != 0
            && taken
                .into_iter()
                .any(|s| s.port == wanted && s.tcp == tcp && !s.connected)
        {
            return self.answer(request, Status::AddressInUse);
        }
        let port = self.port(wanted);
        self.sockets.get_mut(&request.socket).unwrap().port = port;
        self.complete(Completion {
            address: address(port),
            ..request.complete(Status::Ok)
        });
    }

    fn connect(&mut self, request: Request) {
        let port = self.port(self.sockets[&request.socket].port);
        let to = request.address.port;
        let socket = self.sockets.get_mut(&request.socket).unwrap();
        socket.port = port;
        socket.peer_port = to;
        if !socket.tcp {
            return self.complete(Completion {
                address: address(port),
                ..request.complete(Status::Ok)
            });
        }
        socket.connecting = Some(request);
        if to == BLACK_HOLE {
            return;
        }
        let listener = self
            .sockets
            .values_mut()
            .find(|s| s.listening && s.port == to);
        match listener {
            Some(l) if l.waiting.len() < l.backlog => l.waiting.push_back(request),
            _ => {
                self.sockets.get_mut(&request.socket).unwrap().connecting = None;
                self.answer(&request, Status::ConnectionRefused);
            }
        }
    }

    fn close(&mut self, request: &Request) {
        let mut socket = self.sockets.remove(&request.socket).unwrap();
        let lost = socket.sends.iter().any(|(_, done)| *done == 0) || !socket.stream.is_empty();
        let outstanding = socket.receives.iter().chain(&socket.accepts);
        let outstanding = outstanding.chain(socket.sends.iter().map(|(r, _)| r));
        for other in outstanding.chain(&socket.connecting) {
            self.completions
                .push(&other.complete(Status::Cancelled))
                .unwrap();
        }
        if let Some(other) = socket.other.and_then(|o| self.sockets.get_mut(&o)) {
            other.other = None;
            other.fin = true;
            other.reset |= request.arg == 0 && lost;
        }
        for connect in socket.waiting.drain(..) {
            self.refuse(&connect);
        }
        self.answer(request, Status::Ok);
    }

    fn refuse(&mut self, connect: &Request) {
        if let Some(socket) = self.sockets.get_mut(&connect.socket)
            && socket.connecting.take().is_some()
        {
            self.answer(connect, Status::ConnectionRefused);
        }
    }

    /// Moves bytes and connections as far as they go.
    fn pump(&mut self) {
        let numbers: Vec<u32> = self.sockets.keys().copied().collect();
        for number in &numbers {
            self.pump_accepts(*number);
        }
        // Twice: what one sends another may receive.
        for number in numbers.iter().chain(&numbers) {
            self.pump_sends(*number);
            self.pump_receives(*number);
        }
    }

    fn pump_accepts(&mut self, number: u32) {
        loop {
            let Some(listener) = self.sockets.get_mut(&number) else {
                return;
            };
            if listener.accepts.is_empty() || listener.waiting.is_empty() {
                return;
            }
            let connect = listener.waiting.pop_front().unwrap();
            let port = listener.port;
            let client = listener.client;
            let Some(connector) = self.sockets.get_mut(&connect.socket) else {
                continue;
            };
            if connector.connecting.take().is_none() {
                continue;
            }
            let accept = self
                .sockets
                .get_mut(&number)
                .unwrap()
                .accepts
                .pop_front()
                .unwrap();
            let new = accept.arg as u32;
            let connector = self.sockets.get_mut(&connect.socket).unwrap();
            connector.other = Some(new);
            connector.connected = true;
            let peer_port = connector.port;
            let socket = Socket {
                client,
                tcp: true,
                port,
                peer_port,
                other: Some(connect.socket),
                connected: true,
                ..Socket::default()
            };
            assert!(self.sockets.insert(new, socket).is_none());
            self.complete(Completion {
                address: address(peer_port),
                ..connect.complete(Status::Ok)
            });
            self.complete(Completion {
                socket: new,
                address: address(peer_port),
                ..accept.complete(Status::Ok)
            });
        }
    }

    fn pump_sends(&mut self, number: u32) {
        while let Some(socket) = self.sockets.get_mut(&number) {
            let Some((request, done)) = socket.sends.front().copied() else {
                if socket.write_shut && socket.connected {
                    let other = socket.other;
                    if let Some(other) = other.and_then(|o| self.sockets.get_mut(&o)) {
                        other.fin = true;
                    }
                }
                return;
            };
            let region = self.regions[socket.client as usize];
            let mut bytes = vec![0; request.extent.len as usize];
            region
                .read(request.extent.offset as usize, &mut bytes)
                .unwrap();
            if !socket.tcp {
                let (from, connected) = (socket.port, socket.peer_port);
                socket.sends.pop_front();
                let to = match request.address.family {
                    0 => connected,
                    _ => request.address.port,
                };
                self.deliver(from, to, bytes.clone());
                self.complete(Completion {
                    len: bytes.len() as u32,
                    ..request.complete(Status::Ok)
                });
                continue;
            }
            let other = socket.other;
            let Some(other) = other.and_then(|o| self.sockets.get_mut(&o)) else {
                self.sockets.get_mut(&number).unwrap().sends.pop_front();
                self.answer(&request, Status::ConnectionReset);
                continue;
            };
            let room = WINDOW - other.stream.len();
            let take = room.min(bytes.len() - done);
            other.stream.extend(&bytes[done..done + take]);
            let socket = self.sockets.get_mut(&number).unwrap();
            if done + take < bytes.len() {
                socket.sends.front_mut().unwrap().1 += take;
                return;
            }
            socket.sends.pop_front();
            self.complete(Completion {
                len: bytes.len() as u32,
                ..request.complete(Status::Ok)
            });
        }
    }

    fn deliver(&mut self, from: u16, to: u16, bytes: Vec<u8>) {
        let target = self
            .sockets
            .values_mut()
            .find(|s| !s.tcp && s.port == to && (s.peer_port == 0 || s.peer_port == from));
        if let Some(target) = target
            && target.datagrams.len() < 256
        {
            target.datagrams.push_back((from, bytes));
        }
    }

    fn pump_receives(&mut self, number: u32) {
        loop {
            let Some(socket) = self.sockets.get_mut(&number) else {
                return;
            };
            let Some(request) = socket.receives.front().copied() else {
                return;
            };
            let region = self.regions[socket.client as usize];
            let room = request.extent.len as usize;
            let mut completion = request.complete(Status::Ok);
            if !socket.tcp {
                let Some((from, bytes)) = socket.datagrams.pop_front() else {
                    return;
                };
                let len = bytes.len().min(room);
                region
                    .write(request.extent.offset as usize, &bytes[..len])
                    .unwrap();
                completion.len = len as u32;
                completion.arg = bytes.len() as u64;
                completion.flags = u32::from(len < bytes.len()) * api::flags::TRUNCATED;
                completion.address = address(from);
            } else if !socket.stream.is_empty() {
                let len = socket.stream.len().min(room);
                let bytes: Vec<u8> = socket.stream.drain(..len).collect();
                region
                    .write(request.extent.offset as usize, &bytes)
                    .unwrap();
                completion.len = len as u32;
            } else if socket.reset {
                completion.status = Status::ConnectionReset as u16;
            } else if !socket.fin && !socket.read_shut {
                return;
            }
            socket.receives.pop_front();
            self.complete(completion);
        }
    }
}
