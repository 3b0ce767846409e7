//! A network that is a loop: what is sent to a port arrives at the socket bound
//! to it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use socket_api as api;
use socket_api::{Completion, Extent, Op, Passing, Request, Status, WireAddress};

use super::memory::Memory;

/// Bytes a stream queues at its receiver.
const WINDOW: usize = 64 << 10;
/// Our address.
pub const HOST: [u8; 4] = [10, 0, 2, 15];
/// Nobody answers here.
pub const BLACK_HOLE: u16 = 9;

/// A request, and whose memory it names.
#[derive(Clone)]
pub struct Asked {
    pub request: Request,
    pub client: usize,
    pub memory: Arc<Memory>,
}

#[derive(Default)]
struct Socket {
    client: usize,
    tcp: bool,
    port: u16,
    /// UDP: connected to. TCP: the other end.
    peer_port: u16,
    other: Option<u32>,
    connected: bool,
    listening: bool,
    backlog: usize,
    /// Numbers of connections that wait to be accepted, by their connector.
    waiting: VecDeque<Asked>,
    datagrams: VecDeque<(u16, Vec<u8>)>,
    stream: VecDeque<u8>,
    fin: bool,
    reset: bool,
    read_shut: bool,
    write_shut: bool,
    receives: VecDeque<Asked>,
    accepts: VecDeque<Asked>,
    sends: VecDeque<(Asked, usize)>,
    connecting: Option<Asked>,
}

pub struct Network {
    sockets: BTreeMap<u32, Socket>,
    next_port: u16,
    next_socket: u32,
    /// Nothing that is sent gets anywhere.
    pub hold: bool,
    /// What was answered, and to which client.
    pub answers: Vec<(usize, Completion)>,
}

/// The port of a host that is not there.
pub const ABSENT: u16 = 9;

fn address(port: u16) -> WireAddress {
    std::net::SocketAddr::from((HOST, port)).into()
}

impl Network {
    pub fn new() -> Self {
        Self {
            sockets: BTreeMap::new(),
            next_port: 49152,
            next_socket: 0x1_0000,
            hold: false,
            answers: Vec::new(),
        }
    }

    pub fn sockets_of(&self, client: usize) -> u16 {
        let sockets = self.sockets.values();
        sockets.filter(|s| s.client == client).count() as u16
    }

    pub fn is_socket(&self, client: usize, socket: u32) -> bool {
        self.sockets
            .get(&socket)
            .is_some_and(|s| s.client == client)
    }

    fn answer(&mut self, asked: &Asked, status: Status) {
        self.complete(asked, asked.request.complete(status));
    }

    fn complete(&mut self, asked: &Asked, completion: Completion) {
        self.answers.push((asked.client, completion));
    }

    fn new_socket(&mut self, socket: Socket) -> u32 {
        self.next_socket += 1;
        self.sockets.insert(self.next_socket, socket);
        self.next_socket
    }

    pub fn request(&mut self, op: Op, asked: Asked, quota: u16) {
        match op {
            Op::Open if self.sockets_of(asked.client) == quota => {
                self.answer(&asked, Status::QuotaExceeded);
            }
            Op::Open => {
                let socket = self.new_socket(Socket {
                    client: asked.client,
                    tcp: asked.request.arg == 2,
                    ..Socket::default()
                });
                let opened = Completion {
                    socket,
                    ..asked.request.complete(Status::Ok)
                };
                self.complete(&asked, opened);
            }
            Op::Resolve => self.resolve(&asked),
            Op::AwaitAddress => {
                let ours = Completion {
                    address: address(0),
                    arg: 24,
                    len: 1500,
                    ..asked.request.complete(Status::Ok)
                };
                self.complete(&asked, ours);
            }
            _ => self.socket_request(op, asked),
        }
    }

    fn resolve(&mut self, asked: &Asked) {
        if asked.memory.read(asked.request.extent) != b"host.example" {
            return self.answer(asked, Status::NotFound);
        }
        asked.memory.write(asked.request.extent.address, &HOST);
        let found = Completion {
            len: 4,
            ..asked.request.complete(Status::Ok)
        };
        self.complete(asked, found);
    }

    fn port(&mut self, asked: u16) -> u16 {
        if asked != 0 {
            return asked;
        }
        self.next_port += 1;
        self.next_port
    }

    fn socket_request(&mut self, op: Op, asked: Asked) {
        let request = asked.request;
        let socket = self.sockets.get_mut(&request.socket).unwrap();
        match op {
            Op::Bind => self.bind(&asked),
            Op::Connect => self.connect(asked),
            Op::Listen => {
                socket.listening = true;
                socket.backlog = request.arg as usize;
                self.answer(&asked, Status::Ok);
            }
            Op::Accept => socket.accepts.push_back(asked),
            Op::Recv => socket.receives.push_back(asked),
            Op::Send => socket.sends.push_back((asked, 0)),
            Op::Shutdown => {
                socket.read_shut |= request.arg & 1 != 0;
                socket.write_shut |= request.arg & 2 != 0;
                self.answer(&asked, Status::Ok);
            }
            Op::Close => self.close(&asked),
            Op::Cancel => self.cancel(&asked),
            _ => self.answer(&asked, Status::NotFound),
        }
    }

    fn cancel(&mut self, asked: &Asked) {
        let word = asked.request.arg;
        let socket = self.sockets.get_mut(&asked.request.socket).unwrap();
        let is = |a: &Asked| a.request.user_data == word;
        let mut cancelled = None;
        for list in [&mut socket.receives, &mut socket.accepts] {
            if let Some(at) = list.iter().position(is) {
                cancelled = list.remove(at).map(|a| (a, 0));
            }
        }
        if let Some(at) = socket.sends.iter().position(|(a, _)| is(a)) {
            cancelled = socket.sends.remove(at);
        }
        let Some((found, done)) = cancelled else {
            return self.answer(asked, Status::NotFound);
        };
        let completion = Completion {
            len: done as u32,
            ..found.request.complete(Status::Cancelled)
        };
        self.complete(&found, completion);
        self.answer(asked, Status::Ok);
    }

    fn bind(&mut self, asked: &Asked) {
        let request = asked.request;
        let tcp = self.sockets[&request.socket].tcp;
        let wanted = request.address.port;
        let mut taken = self.sockets.values();
        if wanted != 0 && taken.any(|s| s.port == wanted && s.tcp == tcp && !s.connected) {
            return self.answer(asked, Status::AddressInUse);
        }
        let port = self.port(wanted);
        self.sockets.get_mut(&request.socket).unwrap().port = port;
        self.complete_with(asked, address(port));
    }

    fn complete_with(&mut self, asked: &Asked, address: WireAddress) {
        let completion = Completion {
            address,
            ..asked.request.complete(Status::Ok)
        };
        self.complete(asked, completion);
    }

    fn connect(&mut self, asked: Asked) {
        let request = asked.request;
        let port = self.port(self.sockets[&request.socket].port);
        let to = request.address.port;
        let socket = self.sockets.get_mut(&request.socket).unwrap();
        socket.port = port;
        socket.peer_port = to;
        if !socket.tcp {
            return self.complete_with(&asked, address(port));
        }
        socket.connecting = Some(asked.clone());
        if to == BLACK_HOLE {
            return;
        }
        let mut listeners = self.sockets.values_mut();
        match listeners.find(|s| s.listening && s.port == to) {
            Some(l) if l.waiting.len() < l.backlog => l.waiting.push_back(asked),
            _ => {
                self.sockets.get_mut(&request.socket).unwrap().connecting = None;
                self.answer(&asked, Status::ConnectionRefused);
            }
        }
    }

    fn close(&mut self, asked: &Asked) {
        let request = asked.request;
        let mut socket = self.sockets.remove(&request.socket).unwrap();
        let lost = socket.sends.iter().any(|(_, done)| *done == 0) || !socket.stream.is_empty();
        let outstanding = socket.receives.drain(..).chain(socket.accepts.drain(..));
        let outstanding = outstanding.chain(socket.connecting.take());
        let outstanding: Vec<_> = outstanding.map(|a| (a, 0)).chain(socket.sends).collect();
        for (other, done) in outstanding {
            let completion = Completion {
                len: done as u32,
                ..other.request.complete(Status::Cancelled)
            };
            self.complete(&other, completion);
        }
        if let Some(other) = socket.other.and_then(|o| self.sockets.get_mut(&o)) {
            other.other = None;
            other.fin = true;
            other.reset |= request.arg == 0 && lost;
        }
        for connect in socket.waiting.drain(..) {
            self.refuse(&connect);
        }
        self.answer(asked, Status::Ok);
    }

    fn refuse(&mut self, connect: &Asked) {
        if let Some(socket) = self.sockets.get_mut(&connect.request.socket)
            && socket.connecting.take().is_some()
        {
            self.answer(connect, Status::ConnectionRefused);
        }
    }

    /// Moves bytes and connections as far as they go.
    pub fn pump(&mut self) {
        let numbers: Vec<u32> = self.sockets.keys().copied().collect();
        for number in &numbers {
            self.pump_accepts(*number);
        }
        // Who receives takes what waits before more comes: else the sends of a
        // client that is quick to send again would run ahead of its receives,
        // until datagrams are dropped.
        let numbers: Vec<u32> = self.sockets.keys().copied().collect();
        for number in &numbers {
            self.pump_receives(*number);
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
            let (port, client) = (listener.port, listener.client);
            let Some(connector) = self.sockets.get_mut(&connect.request.socket) else {
                continue;
            };
            if connector.connecting.take().is_none() {
                continue;
            }
            let peer_port = connector.port;
            let listener = self.sockets.get_mut(&number).unwrap();
            let accept = listener.accepts.pop_front().unwrap();
            let new = self.new_socket(Socket {
                client,
                tcp: true,
                port,
                peer_port,
                other: Some(connect.request.socket),
                connected: true,
                ..Socket::default()
            });
            let connector = self.sockets.get_mut(&connect.request.socket).unwrap();
            connector.other = Some(new);
            connector.connected = true;
            self.complete_with(&connect, address(peer_port));
            let accepted = Completion {
                socket: new,
                address: address(peer_port),
                ..accept.request.complete(Status::Ok)
            };
            self.complete(&accept, accepted);
        }
    }

    fn pump_sends(&mut self, number: u32) {
        while let Some(socket) = self.sockets.get_mut(&number) {
            let Some((asked, done)) = socket.sends.front().cloned() else {
                return self.finish_sending(number);
            };
            if self.hold {
                return;
            }
            let socket = &self.sockets[&number];
            let sent = match socket.tcp {
                true => self.send_some(number, &asked, done),
                false => self.send_datagram(number, &asked),
            };
            let Some(len) = sent else { return };
            self.sockets.get_mut(&number).unwrap().sends.pop_front();
            match len {
                Ok(len) => {
                    let completion = Completion {
                        len,
                        ..asked.request.complete(Status::Ok)
                    };
                    self.complete(&asked, completion);
                }
                Err(status) => self.answer(&asked, status),
            }
        }
    }

    fn finish_sending(&mut self, number: u32) {
        let socket = &self.sockets[&number];
        if !socket.write_shut || !socket.connected {
            return;
        }
        if let Some(other) = socket.other.and_then(|o| self.sockets.get_mut(&o)) {
            other.fin = true;
        }
    }

    fn send_datagram(&mut self, number: u32, asked: &Asked) -> Option<Result<u32, Status>> {
        let socket = &self.sockets[&number];
        let to = match asked.request.address.family {
            0 => socket.peer_port,
            _ => asked.request.address.port,
        };
        if to == ABSENT {
            return Some(Err(Status::Unreachable));
        }
        let bytes = asked.memory.read(asked.request.extent);
        self.deliver(socket.port, to, bytes);
        Some(Ok(asked.request.extent.len))
    }

    /// Moves what fits the peer's window; something once all has.
    fn send_some(
        &mut self,
        number: u32,
        asked: &Asked,
        done: usize,
    ) -> Option<Result<u32, Status>> {
        let other = self.sockets[&number].other;
        let Some(other) = other.and_then(|o| self.sockets.get_mut(&o)) else {
            return Some(Err(Status::ConnectionReset));
        };
        let Extent { address, len } = asked.request.extent;
        let take = (WINDOW - other.stream.len()).min(len as usize - done);
        let part = Extent {
            address: address + done as u32,
            len: take as u32,
        };
        other.stream.extend(asked.memory.read(part));
        if done + take < len as usize {
            let socket = self.sockets.get_mut(&number).unwrap();
            socket.sends.front_mut().unwrap().1 += take;
            return None;
        }
        Some(Ok(len))
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
        while let Some(socket) = self.sockets.get_mut(&number) {
            let Some(asked) = socket.receives.front().cloned() else {
                return;
            };
            let room = asked.request.extent.len as usize;
            let mut completion = asked.request.complete(Status::Ok);
            let mut bytes = Vec::new();
            if !socket.tcp {
                let Some((from, datagram)) = socket.datagrams.pop_front() else {
                    return;
                };
                completion.arg = datagram.len() as u64;
                completion.flags = u32::from(room < datagram.len()) * api::flags::TRUNCATED;
                completion.address = address(from);
                bytes = datagram;
                bytes.truncate(room);
            } else if !socket.stream.is_empty() {
                let len = socket.stream.len().min(room);
                bytes = socket.stream.drain(..len).collect();
            } else if socket.reset {
                completion.status = Status::ConnectionReset as u16;
            } else if !socket.fin && !socket.read_shut {
                return;
            }
            let passing = Passing::from_word(asked.request.passing).unwrap();
            if !bytes.is_empty() {
                let extent = asked.request.extent;
                asked.memory.arrive(extent, passing.semantics);
                asked.memory.write(extent.address, &bytes);
            }
            completion.len = bytes.len() as u32;
            socket.receives.pop_front();
            self.complete(&asked, completion);
        }
    }
}
