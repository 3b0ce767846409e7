//! The honest client: number 0 on both hosts, at the first server.

use ioipc::UserBuffer;
use ioipc::net::{TcpStream, UdpSocket};
use model_tests::pairs::{Pair, Reader, address, direct};
use model_tests::{HEAP, HostConfig, World, pattern};
use socket_api::Extent;

/// The host with the hostile parties.
pub const HOST: usize = 1;
/// The hostile or misled client there.
pub const OTHER: usize = 1;

/// Two hosts; the second has a server that does what a test says.
pub fn hosts() -> [HostConfig; 2] {
    let rogue = HostConfig {
        rogue: true,
        ..HostConfig::stock(2)
    };
    [HostConfig::stock(1), rogue]
}

/// The same where payload is passed by value.
pub fn by_value() -> [HostConfig; 2] {
    hosts().map(|host| HostConfig {
        conventional: true,
        ..host
    })
}

/// Traffic that must not suffer.
pub struct Honest {
    pair: Pair,
    datagrams: [UdpSocket; 2],
    streams: [TcpStream; 2],
    reader: Reader,
    sent: Vec<u8>,
    round: u32,
}

impl Honest {
    pub fn new(world: &'static World) -> Self {
        let pair = Pair::new(world, 0, direct());
        let streams = pair.connection(80);
        let room = Extent {
            address: HEAP + 100_000,
            len: 9000,
        };
        Self {
            reader: Reader::new(pair, 0, &streams[0], room),
            datagrams: pair.datagrams(7),
            streams,
            pair,
            sent: Vec::new(),
            round: 0,
        }
    }

    /// A datagram there and back, and some of a stream from the host of the
    /// hostile parties.
    pub fn exchange(&mut self) {
        self.round += 1;
        let len = 1 + self.round as usize * 997 % 5000;
        for from in 0..2 {
            let bytes = pattern(len, self.round * 2 + from as u32);
            self.pair.store(from, HEAP, &bytes);
            let memory = UserBuffer::at(HEAP, len as u32);
            let to = address(1 - from, 7);
            let sent = self.datagrams[from].send_memory_to(memory, to, None);
            assert_eq!(sent, Ok(len));
            let room = UserBuffer::at(HEAP + 50_000, 6000);
            let got = self.datagrams[1 - from].recv_memory_from(room, None);
            assert_eq!(got.map(|(len, _)| len), Ok(len));
            assert!(self.pair.load(1 - from, HEAP + 50_000, len) == bytes);
            if from == HOST {
                let written = self.streams[HOST].write_memory(memory, None).unwrap();
                self.sent.extend(&bytes[..written]);
            }
        }
        self.reader.wait_for(self.sent.len());
        assert!(self.reader.got == self.sent);
    }

    /// What the manager counts under a name.
    pub fn count(&self, name: &str) -> u64 {
        self.pair.world.lock().hosts[HOST].count(name)
    }

    /// Ends all traffic, once the hostile parties are gone; nothing is lost.
    pub fn end(self) {
        let world = self.pair.world;
        self.end_without_reserve();
        let reserve = world.lock().hosts[HOST].manager.books().reserve;
        assert_eq!(reserve, model_tests::RESERVE);
    }

    /// As `end`, where pages may have been moved away for good, or come from
    /// the reserve.
    pub fn end_without_reserve(self) {
        let pair = self.pair;
        drop((self.reader, self.streams, self.datagrams));
        for _ in 0..200 {
            let books = pair.world.lock().hosts[HOST].manager.books();
            let clients = books.clients.iter().all(|c| c.slots == 0 && c.sockets == 0);
            let nics = books
                .nics
                .iter()
                .all(|n| n.with_server == 0 && n.slots_away == 0);
            if clients && nics {
                let whole = books.nics.iter().all(|n| n.whole_free == 64);
                return assert!(whole, "{books:#?}");
            }
            pair.stacks[HOST].account().unwrap();
            pair.world.settle(50);
            pair.world.lock().now_ns += 500_000_000;
        }
        let books = pair.world.lock().hosts[HOST].manager.books();
        panic!("something is lost: {books:#?}");
    }
}
