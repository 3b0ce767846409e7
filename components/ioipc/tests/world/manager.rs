//! An I/O manager and protocol server in one, small enough to be right: it
//! answers the clients' rings itself.
//!
//! It checks requests as the real one does, as far as a client library could
//! get them wrong, and touches a client's memory as late as it may: bytes are
//! read when they are delivered, not when they are submitted.

use std::collections::HashMap;
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use shared_ring::{Consumer, Producer, SharedMemory};
use socket_api as api;
use socket_api::{Account, Completion, Op, Passing, Request, Status, flags};
use zerocopy::IntoBytes;

use super::looped::{Asked, Network};
use super::memory::{ARENA, Memory};

/// What tests may switch while the world runs.
#[derive(Default)]
pub struct Switches {
    /// The device lets go of nothing, and nobody acknowledges.
    pub hold_sends: AtomicBool,
    /// Extents outside the data region are refused.
    pub refuse_arena: AtomicBool,
    /// The server is gone.
    pub kill_server: AtomicBool,
    /// No `Send` becomes a `Recv`.
    pub no_reposts: AtomicBool,
    /// Requests on their way, by client and its word.
    pub outstanding: Mutex<HashMap<(usize, u64), Request>>,
}

impl Switches {
    /// Requests on their way that name memory outside the data regions.
    pub fn naming_the_arena(&self) -> usize {
        let outstanding = self.outstanding.lock().unwrap();
        let named = outstanding.values().filter(|r| r.extent.address >= ARENA);
        named.count()
    }
}

pub struct Client {
    requests: Consumer<Request>,
    completions: Producer<Completion>,
    pub memory: Arc<Memory>,
    sockets: u16,
    account: Account,
    /// Everything that was asked, in order.
    pub log: Arc<Mutex<Vec<Request>>>,
}

impl Client {
    pub fn new(control: SharedMemory, memory: Arc<Memory>, sockets: u16) -> Self {
        let ring = |at| control.slice(at, api::CLIENT_RING.bytes()).unwrap();
        Self {
            requests: Consumer::attach(ring(api::REQUESTS_OFFSET), api::CLIENT_RING).unwrap(),
            completions: Producer::attach(ring(api::COMPLETIONS_OFFSET), api::CLIENT_RING).unwrap(),
            memory,
            sockets,
            account: Account::default(),
            log: Arc::default(),
        }
    }
}

pub struct Manager {
    clients: Vec<Client>,
    network: Network,
    switches: Arc<Switches>,
}

impl Manager {
    pub fn new(clients: Vec<Client>, switches: Arc<Switches>) -> Self {
        Self {
            clients,
            network: Network::new(),
            switches,
        }
    }

    /// Does what there is to do; which clients to signal.
    pub fn turn(&mut self) -> Vec<usize> {
        for client in 0..self.clients.len() {
            while let Some(request) = self.clients[client].requests.pop().unwrap() {
                self.clients[client].log.lock().unwrap().push(request);
                self.clients[client].account.requests += 1;
                self.take(client, request);
            }
        }
        if self.switches.kill_server.load(Ordering::Relaxed) {
            let lost = std::mem::take(&mut *self.switches.outstanding.lock().unwrap());
            for ((client, _), request) in lost {
                self.answer(client, &request, request.complete(Status::ServerGone));
            }
        } else {
            self.network.hold = self.switches.hold_sends.load(Ordering::Relaxed);
            self.network.pump();
            self.deliver();
        }
        let clients = self.clients.iter_mut().enumerate();
        clients
            .filter_map(|(n, c)| c.completions.publish().then_some(n))
            .collect()
    }

    /// Asks everybody for signals; whether to sleep.
    pub fn arm(&mut self) -> bool {
        let armed = self.clients.iter_mut().map(|c| c.requests.arm().unwrap());
        armed.fold(true, |all, one| all & one)
    }

    /// Sockets of each client.
    pub fn usage(&self) -> Vec<u16> {
        let sockets = (0..self.clients.len()).map(|c| self.network.sockets_of(c));
        sockets.collect()
    }

    fn take(&mut self, client: usize, request: Request) {
        if let Err(refusal) = self.check(client, &request) {
            return self.answer(client, &request, refusal);
        }
        let op = Op::from_number(request.op).unwrap();
        let mut outstanding = self.switches.outstanding.lock().unwrap();
        let before = outstanding.insert((client, request.user_data), request);
        drop(outstanding);
        assert!(before.is_none(), "a word is used twice: {request:?}");
        if self.switches.kill_server.load(Ordering::Relaxed) {
            return;
        }
        if op == Op::Account {
            let c = &mut self.clients[client];
            c.memory.write(request.extent.address, c.account.as_bytes());
            return self.complete(client, request.complete(Status::Ok));
        }
        let memory = self.clients[client].memory.clone();
        let sockets = self.clients[client].sockets;
        let asked = Asked {
            request,
            client,
            memory,
        };
        self.network.request(op, asked, sockets);
        self.deliver();
    }

    /// What the real manager checks.
    fn check(&self, client: usize, request: &Request) -> Result<(), Completion> {
        let field = |offset: usize| Completion {
            arg: offset as u64,
            ..request.complete(Status::BadRequest)
        };
        let op = Op::from_number(request.op).ok_or(field(offset_of!(Request, op)))?;
        if request.flags & !flags::REQUEST_ALL != 0 {
            return Err(field(offset_of!(Request, flags)));
        }
        assert_eq!(request.client, 0, "{request:?}");
        let passing = Passing::from_word(request.passing);
        let passing = passing.ok_or(field(offset_of!(Request, passing)))?;
        let uses = matches!(op, Op::Open | Op::Resolve | Op::AwaitAddress | Op::Account);
        if !uses && !self.network.is_socket(client, request.socket) {
            return Err(request.complete(Status::BadSocket));
        }
        let named = match op {
            Op::Send | Op::Recv | Op::Resolve | Op::Account => true,
            _ => {
                assert_eq!(request.extent, api::Extent::default(), "{request:?}");
                assert_eq!(request.passing, 0, "{request:?}");
                false
            }
        };
        let writes = matches!(op, Op::Recv | Op::Resolve | Op::Account);
        let memory = &self.clients[client].memory;
        let refused =
            self.switches.refuse_arena.load(Ordering::Relaxed) && request.extent.address >= ARENA;
        if named && (refused || !memory.may_name(request.extent, writes, passing.semantics)) {
            return Err(field(offset_of!(Request, extent)));
        }
        Ok(())
    }

    /// Passes on what the network has answered.
    fn deliver(&mut self) {
        for (client, completion) in std::mem::take(&mut self.network.answers) {
            self.complete(client, completion);
        }
    }

    fn complete(&mut self, client: usize, completion: Completion) {
        let key = (client, completion.user_data);
        let request = self.switches.outstanding.lock().unwrap().remove(&key);
        let request = request.expect("asked for");
        let passing = Passing::from_word(request.passing).unwrap();
        let ok = completion.status == Status::Ok as u16;
        let c = &mut self.clients[client];
        if request.op == Op::Send as u16 {
            c.account.referenced_out += u64::from(completion.len);
            if ok {
                c.memory.depart(request.extent, passing.semantics);
            }
            if ok && self.repost(client, &request) {
                return;
            }
        } else if request.op == Op::Recv as u16 {
            c.account.copied_in += u64::from(completion.len);
        }
        self.answer(client, &request, completion);
    }

    /// Has a `Send` that is over become the `Recv` that it asked to be.
    fn repost(&mut self, client: usize, send: &Request) -> bool {
        let recv = Request {
            op: Op::Recv as u16,
            flags: 0,
            extent: api::Extent {
                len: send.arg as u32,
                ..send.extent
            },
            arg: 0,
            address: api::WireAddress::NONE,
            ..*send
        };
        let wanted = send.flags & flags::REPOST != 0;
        let may = wanted && !self.switches.no_reposts.load(Ordering::Relaxed);
        let becomes = may && self.check(client, &recv).is_ok();
        if becomes {
            self.take(client, recv);
        }
        becomes
    }

    fn answer(&mut self, client: usize, request: &Request, completion: Completion) {
        let c = &mut self.clients[client];
        c.account.completions += 1;
        let quiet = request.flags & flags::QUIET != 0 && completion.status == Status::Ok as u16;
        match quiet {
            true => c.completions.push_quietly(&completion).unwrap(),
            false => c.completions.push(&completion).unwrap(),
        }
    }
}
