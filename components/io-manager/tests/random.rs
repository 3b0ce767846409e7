//! Random sequences of what clients, server, driver and device may do, and of
//! what they may not: afterwards nothing is lost, and who was honest was
//! served.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod parties;

use nic_api::nic_features;
use parties::driver::Buffer;
use parties::frames::{tcp, udp};
use parties::{DATA, DATA_BYTES, Parties, Setup};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use socket_api::{
    Completion, Deliver, Message, Op, Packet, Part, Release, Request, Retire, SocketKind, Status,
    flags, kind, packet_flags,
};
use zerocopy::FromBytes;

/// Lies that a server or driver tells in one run, so that it is not given up.
const MOST_LIES: u64 = 8;

/// Bytes of a client's memory from which requests begin.
const USED: u32 = 40960;
/// Names that clients have for requests.
const CALLED: u32 = 40;
/// Tokens below stand for the oldest receive of a socket.
const FIRST_TOKEN: u64 = 1 << 32;
/// A page behind all requests.
const LAST: u32 = DATA + DATA_BYTES - 4096;

/// What happens next, and numbers to choose by.
type Step = (u8, [u32; 5]);

/// A test run.
struct World {
    parties: Parties,
    /// Handles of a datagram and a stream socket of each client.
    sockets: [[u32; 2]; 2],
    /// Requests that the server has, `Send`s that it holds, packets.
    requests: Vec<Request>,
    held: Vec<Request>,
    packets: Vec<Packet>,
    submitted: [u64; 2],
    answered: [u64; 2],
    alive: [bool; 2],
}

fn pick<T: Copy>(from: &[T], n: u32) -> Option<T> {
    from.get((n as usize).checked_rem(from.len())?).copied()
}

impl World {
    fn new(features: u32, threads: u32) -> Self {
        let mut parties = Parties::with(Setup {
            clients: 2,
            features,
            threads,
            ..Setup::ONE
        });
        let kinds = [SocketKind::Udp, SocketKind::Tcp];
        let sockets = [0, 1].map(|client| kinds.map(|kind| parties.open(client, kind).0));
        for (client, [udp, _]) in sockets.into_iter().enumerate() {
            let port = 4000 + client as u16;
            let address = std::net::SocketAddr::from(([10, 0, 2, 15], port)).into();
            let bind = Request {
                address,
                ..Request::new(Op::Bind, udp, 1)
            };
            parties.submit(client, bind);
            let mut bound = parties.forwarded(0).complete(Status::Ok);
            bound.address = address;
            parties.complete(0, bound);
            parties.answer(client);
        }
        Self {
            parties,
            sockets,
            requests: Vec::new(),
            held: Vec::new(),
            packets: Vec::new(),
            submitted: [0; 2],
            answered: [0; 2],
            alive: [true; 2],
        }
    }

    /// Lets all work that can, and looks at what has come.
    fn settle(&mut self) {
        self.parties.run();
        let server = &mut self.parties.servers[0];
        self.requests.extend(server.requests.drain(..));
        for receives in server.receives.drain(..) {
            // Each is answered as the oldest; the room is the manager's to know.
            let mut one = Request::new(Op::Recv, receives.socket, receives.token);
            (one.client, one.extent.len) = (receives.client, u32::MAX);
            let all = std::iter::repeat_n(one, receives.count as usize);
            self.requests.extend(all);
        }
        self.packets.extend(server.packets.drain(..));
        for client in [0, 1] {
            while self.parties.answered(client).is_some() {
                self.answered[client] += 1;
            }
        }
        // A NIC gives back what it is asked for.
        let driver = &mut self.parties.drivers[0];
        let wanted = std::mem::take(&mut driver.wanted);
        let more = !wanted.is_empty();
        for id in wanted {
            let kept = driver.buffers.iter().position(|b| b.entry.id == id);
            if let Some(kept) = kept {
                driver.buffers.remove(kept);
                driver.report(id, 0, 0);
            }
        }
        if more {
            self.settle();
        }
    }

    fn submit(&mut self, n: &[u32; 5]) {
        let client = (n[0] % 2) as usize;
        if !self.alive[client] {
            return;
        }
        let op = [
            Op::Send,
            Op::Send,
            Op::Recv,
            Op::Recv,
            Op::Account,
            Op::Resolve,
            Op::Cancel,
        ];
        let op = pick(&op, n[1]).unwrap();
        let mut request = Request::new(op, 0, u64::from(n[4] % CALLED));
        if matches!(op, Op::Send | Op::Recv) {
            request.socket = self.sockets[client][n[1] as usize / 7 % 2];
            request.flags = if n[2] & 1 != 0 { flags::BLOCKED } else { 0 };
            // All semantics but "move", by which pages change hands.
            let semantics = pick(&[0, 1, 2, 3, 4, 6, 7, 8], n[2] >> 1).unwrap();
            let technique = if n[2] & 0x300 == 0 {
                n[2] >> 16 & 15
            } else {
                0
            };
            let often = if op == Op::Send { 2 } else { 7 };
            let technique = match n[2] >> 10 & 3 {
                0 if semantics == 2 => often,
                _ => technique,
            };
            request.passing = if semantics == 0 {
                0
            } else {
                semantics | technique << 8
            };
        }
        let len = pick(&[0, 1, 100, 1000, 1472, 4096, 4097, 9000], n[3]).unwrap();
        let at = (n[4] % USED) & if n[3] & 64 != 0 { !4095 } else { !0 };
        request.extent = socket_api::Extent {
            address: DATA + at,
            len,
        };
        match op {
            Op::Resolve => request.arg = 256,
            Op::Send if n[0] & 6 == 2 && request.socket == self.sockets[client][0] => {
                request.flags = flags::REPOST;
                request.arg = 1 + u64::from(n[0] >> 8) % 2000;
            }
            Op::Cancel => {
                request.socket = self.sockets[client][n[0] as usize / 7 % 2];
                request.arg = u64::from(n[3] % CALLED);
                request.extent = socket_api::Extent::default();
            }
            _ => {}
        }
        self.submitted[client] += 1;
        self.parties.clients[client]
            .requests
            .push(&request)
            .unwrap();
        let _ = self.parties.clients[client].requests.publish();
    }

    /// The server answers a request as it should.
    fn answer(&mut self, n: &[u32; 5]) {
        if self.requests.is_empty() {
            return;
        }
        let request = self.requests.remove(n[0] as usize % self.requests.len());
        let mut completion = request.complete(Status::Ok);
        match Op::from_number(request.op) {
            Some(Op::Send) => {
                completion.len = request.extent.len;
                if request.flags & flags::MAY_HOLD != 0 && n[1] & 1 != 0 {
                    completion.flags = flags::HELD;
                    completion.arg = u64::from(n[2]) % (u64::from(completion.len) + 1);
                    self.held.push(request);
                }
            }
            Some(Op::Recv) => self.fill(&request, &mut completion, n),
            Some(Op::Resolve) => completion.len = 4 * (n[1] % 5),
            Some(Op::Cancel) => self.cancel(&request, &mut completion),
            Some(Op::DropClient) => {
                // From now on no token of the client is used.
                self.requests.retain(|r| r.client != request.client);
                self.held.retain(|r| r.client != request.client);
            }
            _ => {}
        }
        self.parties.servers[0].say(completion);
    }

    /// The server looks for what is to be cancelled.
    fn cancel(&mut self, request: &Request, completion: &mut Completion) {
        let named = |r: &Request| r.user_data == request.arg;
        let Some(at) = self.requests.iter().position(named) else {
            completion.status = Status::NotFound as u16;
            return;
        };
        let found = self.requests.remove(at);
        // Of those that wait with the manager, it takes one back.
        if found.user_data >= FIRST_TOKEN {
            self.parties.servers[0].say(found.complete(Status::Cancelled));
        }
    }

    /// Where the payload of a packet ends, as its IP header says.
    fn end(&self, packet: &Packet) -> u32 {
        if packet.len == 0 || packet.flags & packet_flags::WHOLE != 0 {
            return packet.len;
        }
        let header = self.parties.servers[0].header(packet);
        let total = u16::from_be_bytes([header[16], header[17]]);
        packet.len.min(14 + u32::from(total))
    }

    fn fill(&mut self, request: &Request, completion: &mut Completion, n: &[u32; 5]) {
        let candidates = self.packets.iter().position(|p| self.end(p) > 42);
        let Some(at) = candidates.filter(|_| n[1] & 3 != 0) else {
            completion.status = Status::Cancelled as u16;
            return;
        };
        let packet = self.packets[at];
        completion.packet = packet.id;
        completion.offset = 42;
        completion.len = (self.end(&packet) - 42).min(request.extent.len);
        if n[1] & 4 == 0 {
            completion.flags = flags::RELEASE;
            self.packets.remove(at);
        } else {
            // Bytes in place are the client's now.
            self.packets[at].len = 0;
        }
    }

    /// The server sends bytes of a request that it has.
    fn transmit(&mut self, n: &[u32; 5]) {
        let sends = self.requests.iter().filter(|r| r.op == Op::Send as u16);
        let sends: Vec<Request> = sends.copied().collect();
        let mut parts = Vec::new();
        for (k, at) in (0..n[0] % 4).zip(&n[1..]) {
            let Some(request) = pick(&sends, at.wrapping_add(k)) else {
                break;
            };
            let len = request.extent.len;
            if len != 0 {
                let offset = at % len;
                parts.push(Part {
                    token: request.user_data,
                    offset,
                    len: (len - offset).min(1 + at % 400),
                });
            }
        }
        if self.parties.servers[0].slots.is_empty() {
            return;
        }
        let mut entry = self.parties.servers[0].transmit(&[3; 54], &parts);
        if n[4] & 1 != 0 {
            entry.flags = packet_flags::CHECKSUM;
            (entry.checksum_start, entry.checksum_offset) = (34, 16);
        }
        // Right only if the last part's send waits.
        if n[4] & 6 == 2
            && let Some(last) = parts.last()
        {
            entry.flags |= packet_flags::DONE;
            self.requests.retain(|r| r.user_data != last.token);
        }
        self.parties.servers[0].say(entry);
    }

    /// A flow that a NIC keeps a buffer for: its port, and the bytes that fit.
    fn kept(&self, n: u32) -> Option<(u16, usize)> {
        let buffers = self.parties.drivers[0].buffers.iter();
        let kept: Vec<_> = buffers.filter(|b| b.entry.flow != 0).collect();
        let buffer = kept.get((n as usize).checked_rem(kept.len())?)?;
        Some((buffer.entry.flow as u16, buffer.room()))
    }

    fn arrive(&mut self, n: &[u32; 5]) {
        let mut payload = vec![n[0] as u8; n[1] as usize % 1400];
        let mut port = 4000 + (n[2] % 2) as u16;
        let mut what = n[3] % 4;
        // Every other time what a NIC waits for, if it waits.
        if let Some((awaited, room)) = self.kept(n[2] >> 2).filter(|_| n[2] & 2 != 0) {
            (port, what) = (awaited, 2);
            payload.truncate(room);
        }
        let mut frame = match what {
            0 => tcp(n[4] as usize % 11 * 4, &payload),
            1 => udp(53, port, &payload),
            _ => udp(9, port, &payload),
        };
        let garbled = n[3] & 0x700 == 0;
        if garbled {
            frame[14 + (n[4] % 20) as usize] ^= n[4] as u8;
        }
        let driver = &mut self.parties.drivers[0];
        let flow = nic_api::udp_flow(port);
        let fits = |b: &Buffer| b.entry.flow & 0xffff_ffff == flow && b.room() >= payload.len();
        let kept = driver.buffers.iter().position(fits);
        match kept.filter(|_| what > 1 && !garbled) {
            Some(kept) => {
                let buffer = driver.buffers.remove(kept).unwrap();
                let steered = nic_api::frame_flags::STEERED;
                driver.fill(&buffer, &frame, steered);
            }
            None if driver.buffers.iter().any(|b| b.entry.flow == 0) => driver.receive(&frame, 0),
            None => {}
        }
    }

    fn release(&mut self, n: &[u32; 5]) {
        let mut release = Release {
            kind: kind::RELEASE,
            ..Release::default()
        };
        while (u32::from(release.count) < n[0] % 14) && !self.packets.is_empty() {
            let packet = self.packets.remove(n[1] as usize % self.packets.len());
            release.packets[usize::from(release.count)] = packet.id;
            release.count += 1;
        }
        self.parties.servers[0].say(release);
    }

    fn retire(&mut self, n: &[u32; 5]) {
        if self.held.is_empty() {
            return;
        }
        let request = self.held.remove(n[0] as usize % self.held.len());
        self.parties.servers[0].say(Retire {
            kind: kind::RETIRE,
            token: request.user_data,
            ..Retire::default()
        });
    }

    /// The server says something that is not right, whatever it is. It may name
    /// what exists, but never answers a request or releases a packet.
    fn lie(&mut self, n: &[u32; 5]) {
        if self.parties.count("server.faults") >= MOST_LIES {
            return;
        }
        let words = [n[1], n[2], n[3], n[4]];
        let random: Vec<u8> = words
            .iter()
            .cycle()
            .take(16)
            .flat_map(|w| w.to_le_bytes())
            .collect();
        let named = self.requests.iter().map(|r| r.user_data);
        let named: Vec<u64> = named.filter(|t| *t >= FIRST_TOKEN).collect();
        let token = pick(&named, n[1]).unwrap_or(0);
        let packet = pick(&self.packets, n[2]).map_or(0, |p| p.id);
        let random = Message::read_from_bytes(&random[..]).unwrap();
        let message: Message = match n[0] % 6 {
            0 => Deliver {
                kind: kind::DELIVER,
                flags: 0,
                packet,
                token: token ^ 1 << 40,
                ..Deliver::from(random)
            }
            .into(),
            1 => Deliver {
                kind: kind::DELIVER,
                flags: 0,
                packet: packet + 2000,
                token,
                ..Deliver::from(random)
            }
            .into(),
            2 => Retire {
                kind: kind::RETIRE,
                token,
                ..Retire::from(random)
            }
            .into(),
            3 => Completion {
                // Of a generation that is not reached; none is the oldest's.
                user_data: token ^ 1 << (40 + n[3] % 24),
                ..Completion::from(random)
            }
            .into(),
            4 => socket_api::Transmit {
                kind: kind::TRANSMIT,
                flags: n[3] as u16 & !packet_flags::MORE | 1 << 15,
                slot: self.parties.servers[0].slots.front().copied().unwrap_or(0),
                ..socket_api::Transmit::from(random)
            }
            .into(),
            _ => {
                let mut release = Release::from(random);
                (release.kind, release.count) = (kind::RELEASE, 1);
                release.packets[0] = 1025 + n[3] % 1000;
                release.into()
            }
        };
        let right = self.parties.count("server.faults") + 1;
        self.parties.servers[0].say(message);
        self.settle();
        assert_eq!(self.parties.count("server.faults"), right, "{message:?}");
    }

    fn drivers_lie(&mut self, n: &[u32; 5]) {
        if self.parties.count("driver.faults") >= MOST_LIES {
            return;
        }
        let right = self.parties.count("driver.faults") + 1;
        match n[0] % 2 {
            0 => self.parties.drivers[0].report(1024 + n[1] % 5000, n[2], n[3] as u16),
            _ => self.parties.drivers[0].tell_sent(256 + n[1] % 5000),
        }
        self.settle();
        assert_eq!(self.parties.count("driver.faults"), right);
    }

    /// A client writes where it likes, as far as it may.
    fn write(&mut self, n: &[u32; 5]) {
        let client = (n[0] % 2) as u16;
        let span = if n[3] & 3 == 0 {
            DATA_BYTES - 600
        } else {
            USED
        };
        let at = DATA + n[1] % span;
        let stored = self
            .parties
            .machine
            .store(client, at, &vec![n[2] as u8; 600]);
        if let Err((_, fault)) = stored {
            self.parties
                .manager
                .fault(client.into(), fault.address, true);
        }
    }

    fn step(&mut self, (what, n): &Step) {
        match what % 16 {
            0..=3 => self.submit(n),
            4..=6 => self.answer(n),
            7 | 8 => self.transmit(n),
            9 | 10 => self.arrive(n),
            11 => self.release(n),
            12 => self.retire(n),
            13 => {
                for _ in 0..n[0] % 5 {
                    self.parties.drivers[0].send();
                }
            }
            14 => self.write(n),
            _ => match n[0] >> 8 & 7 {
                0..=3 => self.lie(n),
                4..=6 => self.drivers_lie(n),
                _ if n[1] & 7 == 0 => self.die(),
                _ => {}
            },
        }
        self.settle();
    }

    /// Client 0 dies.
    fn die(&mut self) {
        self.alive[0] = false;
        self.parties.manager.client_died(0);
    }

    /// Everybody is honest, until nothing is left to do.
    fn finish(&mut self) {
        for round in 0..50 {
            let numbers = [round, 0, 0, 0, 0];
            // A `DropClient` last: afterwards no token of the client is used.
            let last = |r: &Request| r.op == Op::DropClient as u16;
            while !self.held.is_empty() {
                self.retire(&numbers);
            }
            self.requests.sort_by_key(last);
            while !self.requests.is_empty() {
                self.answer(&[0; 5]);
            }
            while !self.packets.is_empty() {
                self.release(&[13, 0, 0, 0, 0]);
            }
            self.parties.drivers[0].send_all();
            self.settle();
        }
    }
}

/// A datagram goes out and another comes in, for client 1.
fn serve_honest(world: &mut World) {
    let parties = &mut world.parties;
    let mut bytes = Vec::new();
    for n in 0..1000u32 {
        bytes.push(n as u8);
    }
    let at = LAST;
    parties.store(1, at, &bytes);
    let [udp_socket, _] = world.sockets[1];
    let request = parties.pass(1, Request::new(Op::Send, udp_socket, 1), (at, 1000));
    let part = Part {
        token: request.user_data,
        offset: 0,
        len: 1000,
    };
    let entry = parties.servers[0].transmit(&[0; 42], &[part]);
    parties.say(0, entry);
    parties.complete(0, request.complete(Status::Ok));
    let frames = parties.drain();
    assert_eq!(parties.answer(1).status, Status::Ok as u16);
    assert_eq!(frames[0][42..], bytes);
    let recv = Request::new(Op::Recv, world.sockets[1][1], 1);
    let request = parties.pass(1, recv, (at, 1000));
    parties.drivers[0].receive(&udp(1, 2, b"served"), 0);
    parties.run();
    let packet = parties.servers[0].packets.pop_front().unwrap();
    let completion = Completion {
        len: 6,
        packet: packet.id,
        offset: 42,
        flags: flags::RELEASE,
        ..request.complete(Status::Ok)
    };
    parties.complete(0, completion);
    assert_eq!(parties.answer(1).len, 6);
    assert_eq!(parties.load(1, at, 6), b"served");
}

/// What must have happened over all runs, or they prove little.
const COVERED: [&str; 23] = [
    "reposts",
    "packets.in",
    "packets.whole",
    "packets.out",
    "drop.malformed",
    "transmit.header",
    "server.faults",
    "driver.faults",
    "clients.dead",
    "output.reference",
    "output.tcow",
    "output.copy-out",
    "output.hide",
    "input.in-place",
    "input.swap",
    "input.copy-in",
    "input.reinstate",
    "tails",
    "copied.tcow",
    "copied.apart",
    "faults.restored",
    "referenced.in",
    "refused.field",
];

fn run(steps: &[Step], features: u32, threads: u32) -> [u64; COVERED.len()] {
    let mut world = World::new(features, threads);
    for step in steps {
        world.step(step);
    }
    world.finish();
    let faults = world.parties.count("server.faults") + world.parties.count("driver.faults");
    assert!(faults <= 2 * MOST_LIES);
    for client in [0, 1] {
        if world.alive[client] {
            assert_eq!(world.answered[client], world.submitted[client]);
        }
    }
    world.parties.assert_settled();
    serve_honest(&mut world);
    world.parties.assert_settled();
    assert_eq!(world.parties.count("servers.gone"), 0);
    COVERED.map(|name| world.parties.count(name))
}

#[test]
fn nothing_is_lost() {
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(1200)
    };
    let features = [0, nic_features::CHECKSUM, nic_features::STEERING];
    let steps = proptest::collection::vec(any::<Step>(), 1..150);
    let inputs = (steps, proptest::sample::select(features.to_vec()), 1..3u32);
    let covered = std::cell::Cell::new([0; COVERED.len()]);
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&inputs, |(steps, features, threads)| {
        let counts = run(&steps, features, threads);
        let mut all = covered.get();
        for (all, count) in all.iter_mut().zip(counts) {
            *all += count;
        }
        covered.set(all);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    for (name, count) in COVERED.into_iter().zip(covered.get()) {
        println!("{name}: {count}");
        assert_ne!(count, 0, "{name} never happened");
    }
}
