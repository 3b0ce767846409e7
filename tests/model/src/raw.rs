//! Parties that do exactly what a test tells them.
//!
//! Problem: hostile parties write what the library and the server never would.
//! Invariant: nothing here checks or repairs anything.

use io_manager::ServerConfig;
use model_platform::ModelNic;
use shared_ring::{Consumer, Producer, RingLayout, SharedMemory};
use socket_api as api;
use socket_api::{Completion, Message, Op, Request, SlotDone, SocketKind};

use crate::world::World;

/// Where in a ring its producer's index lies.
pub const TAIL: usize = 64;
/// Where in a ring its consumer's index lies.
pub const HEAD: usize = 128;

fn ring(control: &SharedMemory, at: usize, layout: RingLayout) -> SharedMemory {
    control
        .slice(at, layout.bytes())
        .expect("room for the ring")
}

/// A client without the library.
pub struct RawClient {
    world: &'static World,
    host: usize,
    /// The region with its rings.
    pub control: SharedMemory,
    /// Its requests.
    pub requests: Producer<Request>,
    /// Its answers.
    pub completions: Consumer<Completion>,
}

impl RawClient {
    /// Client number `client` of a host.
    ///
    /// # Panics
    /// If its rings are damaged.
    #[must_use]
    pub fn new(world: &'static World, host: usize, client: usize) -> Self {
        let control = world.lock().hosts[host].controls[client];
        let requests = ring(&control, api::REQUESTS_OFFSET, api::CLIENT_RING);
        let completions = ring(&control, api::COMPLETIONS_OFFSET, api::CLIENT_RING);
        Self {
            world,
            host,
            control,
            requests: Producer::attach(requests, api::CLIENT_RING).expect("a formatted ring"),
            completions: Consumer::attach(completions, api::CLIENT_RING).expect("a formatted ring"),
        }
    }

    /// Puts a request on the ring, if there is room.
    pub fn submit(&mut self, request: &Request) {
        // A full ring is the client's own fault.
        let _ = self.requests.push(request);
        let _ = self.requests.publish();
    }

    /// Lets the world go on by one step.
    pub fn step(&self) {
        self.world.step();
    }

    /// The next answer, if there is one.
    pub fn answer(&mut self) -> Option<Completion> {
        self.completions.pop().ok().flatten()
    }

    /// Submits a request and lets the world go on until it is answered.
    ///
    /// # Panics
    /// If it is not.
    pub fn call(&mut self, request: &Request) -> Completion {
        self.submit(request);
        for _ in 0..10_000 {
            if let Some(answer) = self.answer() {
                return answer;
            }
            self.world.step();
        }
        panic!("host {}: no answer to {request:?}", self.host);
    }

    /// Opens a socket at the server of NIC number `nic`, which answers.
    pub fn open(&mut self, kind: SocketKind, nic: u32) -> u32 {
        let mut request = Request::new(Op::Open, 0, 1);
        request.arg = kind as u64;
        request.address.nic = nic;
        self.call(&request).socket
    }
}

/// A second server of a host, and its NIC.
pub struct RogueServer {
    /// What the manager says.
    pub to: Consumer<Message>,
    /// What it says.
    pub from: Producer<Message>,
    /// Send slots that come back.
    pub done: Consumer<SlotDone>,
    /// The region with its rings.
    pub control: SharedMemory,
    /// The headers that it may read.
    pub headers: SharedMemory,
    /// The send slots that it may write.
    pub slots: SharedMemory,
    /// Its NIC.
    pub nic: ModelNic,
}

impl RogueServer {
    pub(crate) fn new(config: &ServerConfig, nic: ModelNic) -> Self {
        let at = |offset, layout| ring(&config.control, offset, layout);
        let attached = "a formatted ring";
        Self {
            to: Consumer::attach(at(api::TO_SERVER_OFFSET, api::TO_SERVER), api::TO_SERVER)
                .expect(attached),
            from: Producer::attach(
                at(api::FROM_SERVER_OFFSET, api::FROM_SERVER),
                api::FROM_SERVER,
            )
            .expect(attached),
            done: Consumer::attach(at(api::SLOTS_DONE_OFFSET, api::SLOTS_DONE), api::SLOTS_DONE)
                .expect(attached),
            control: config.control,
            headers: config.headers.memory,
            slots: config.send_slots.memory,
            nic,
        }
    }

    /// What the manager says next.
    pub fn hear(&mut self) -> Option<Message> {
        self.to.pop().ok().flatten()
    }

    /// Says something.
    pub fn say(&mut self, message: impl Into<Message>) {
        // A full ring is its own fault.
        let _ = self.from.push(&message.into());
        let _ = self.from.publish();
    }
}
