//! A system in one process: client libraries, and a manager and server in one
//! whose network is a loop.
//!
//! Each party has a thread of its own and sees the others through the same
//! rings as on seL4; the manager knows the clients' memory by address.

// Each test program uses a part of this.
#![allow(dead_code, reason = "each test program uses a part")]

pub mod looped;
pub mod manager;
pub mod memory;
pub mod sockets;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use ioipc::{Counters, MAX_THREADS, Platform, Quota, Settings, Stack};
use shared_ring::{Region, SharedMemory};
use socket_api as api;
use socket_api::{Extent, Op, Request};
use zerocopy::IntoBytes;

use manager::{Client, Manager, Switches};
use memory::Memory;

/// A notification: a flag that one thread waits for.
#[derive(Default)]
pub struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Bell {
    pub fn ring(&self) {
        *self.rung.lock().unwrap() = true;
        self.changed.notify_all();
    }

    pub fn wait(&self, limit: Option<Duration>) {
        let mut rung = self.rung.lock().unwrap();
        let end = limit.map(|l| Instant::now() + l);
        while !*rung {
            let left = end.map(|e| e.saturating_duration_since(Instant::now()));
            rung = match left {
                Some(Duration::ZERO) => return,
                Some(left) => self.changed.wait_timeout(rung, left).unwrap().0,
                None => self.changed.wait(rung).unwrap(),
            };
        }
        *rung = false;
    }
}

pub fn memory(bytes: usize) -> SharedMemory {
    SharedMemory::from_static(Box::leak(vec![0; bytes / 8].into_boxed_slice()))
}

/// What a client library stands on here.
pub struct Host {
    control: SharedMemory,
    pub memory: Arc<Memory>,
    quota: Quota,
    pub single_threaded: AtomicBool,
    simulated: bool,
    /// Everything asked of the manager.
    log: Arc<Mutex<Vec<Request>>>,
    /// What the library published last.
    pub published: Mutex<Counters>,
    manager: Arc<Bell>,
    bells: [Bell; MAX_THREADS],
    leader: AtomicUsize,
    start: Instant,
    pub signals: AtomicUsize,
}

std::thread_local! {
    static THREAD: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Gives the calling thread its number.
pub fn be_thread(number: usize) {
    THREAD.set(number);
}

impl Platform for Host {
    fn control(&self) -> SharedMemory {
        self.control
    }
    fn data(&self) -> Extent {
        self.memory.data()
    }
    fn region(&self) -> Option<Region> {
        (!self.simulated).then(|| self.memory.region())
    }
    fn address_of(&self, pointer: usize, len: usize) -> Option<u32> {
        let known = !self.simulated;
        known.then(|| self.memory.address_of(pointer, len))?
    }
    fn is_simulated(&self) -> bool {
        self.simulated
    }
    fn read(&self, address: u32, into: &mut [u8]) -> bool {
        let len = into.len() as u32;
        into.copy_from_slice(&self.memory.read(Extent { address, len }));
        self.simulated
    }
    fn write(&self, address: u32, from: &[u8]) -> bool {
        self.memory.write(address, from);
        self.simulated
    }
    fn is_single_threaded(&self) -> bool {
        self.single_threaded.load(Ordering::Relaxed)
    }
    fn publish(&self, counters: &Counters) {
        *self.published.lock().unwrap() = *counters;
    }
    fn quota(&self) -> Quota {
        self.quota
    }
    fn signal_manager(&self) {
        self.signals.fetch_add(1, Ordering::Relaxed);
        self.manager.ring();
    }
    fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
    fn resolution_ns(&self) -> u64 {
        1
    }
    fn wait(&self, thread: usize, lead: bool, deadline_ns: Option<u64>) {
        if lead {
            // Signals that came while nobody led went to the last leader.
            let last = self.leader.swap(thread, Ordering::SeqCst);
            if last != thread {
                let rung = std::mem::take(&mut *self.bells[last].rung.lock().unwrap());
                if rung {
                    self.bells[thread].ring();
                    self.bells[last].ring();
                }
            }
        }
        let now = self.now_ns();
        let left = deadline_ns.map(|d| Duration::from_nanos(d.saturating_sub(now)));
        self.bells[thread].wait(left);
    }
    fn wake(&self, thread: usize) {
        self.bells[thread].ring();
    }
    fn thread(&self) -> usize {
        THREAD.get()
    }
    fn may_lead(&self, _: usize) -> bool {
        true
    }
    fn yield_now(&self) {
        std::thread::yield_now();
    }
}

impl Host {
    /// Requests of one kind so far.
    pub fn asked(&self, op: Op) -> Vec<Request> {
        let log = self.log.lock().unwrap();
        log.iter().filter(|r| r.op == op as u16).copied().collect()
    }

    /// The manager signals.
    fn ring(&self) {
        self.bells[self.leader.load(Ordering::SeqCst)].ring();
    }
}

/// The parties.
pub struct World {
    pub stacks: Vec<&'static Stack>,
    pub hosts: Vec<&'static Host>,
    pub switches: Arc<Switches>,
    stop: Arc<AtomicBool>,
    manager_bell: Arc<Bell>,
    usage: Arc<Mutex<Vec<u16>>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// How large the world is.
#[derive(Clone, Copy)]
pub struct Size {
    pub clients: usize,
    pub quota: Quota,
    pub data_bytes: usize,
    pub settings: Settings,
    /// The library reaches memory by address only.
    pub simulated: bool,
}

impl Default for Size {
    fn default() -> Self {
        Self {
            clients: 1,
            quota: Quota {
                sockets: 128,
                requests: 256,
                queued_bytes: 256 << 10,
            },
            data_bytes: 2 << 20,
            settings: Settings::DEFAULT,
            simulated: false,
        }
    }
}

impl World {
    pub fn new(size: Size) -> Self {
        let mut world = Self {
            stacks: Vec::new(),
            hosts: Vec::new(),
            switches: Arc::default(),
            stop: Arc::default(),
            manager_bell: Arc::default(),
            usage: Arc::default(),
            threads: Vec::new(),
        };
        let clients = (0..size.clients).map(|_| world.add_client(&size)).collect();
        world.start(Manager::new(clients, world.switches.clone()));
        let (sockets, requests) = (size.quota.sockets as usize, size.quota.requests as usize);
        let bytes = ioipc::bookkeeping_bytes(sockets, requests);
        for host in world.hosts.clone() {
            let books: &'static mut [u64] = Box::leak(vec![0; bytes / 8].into_boxed_slice());
            let stack = Stack::new(host, books.as_mut_bytes(), size.settings).unwrap();
            world.stacks.push(Box::leak(Box::new(stack)));
        }
        world
    }

    pub fn one() -> Self {
        Self::new(Size::default())
    }

    fn add_client(&mut self, size: &Size) -> Client {
        let control = memory(api::CLIENT_CONTROL_BYTES);
        for at in [api::REQUESTS_OFFSET, api::COMPLETIONS_OFFSET] {
            let ring = control.slice(at, api::CLIENT_RING.bytes()).unwrap();
            api::CLIENT_RING.format(&ring).unwrap();
        }
        let memory = Arc::new(Memory::new(size.data_bytes));
        let client = Client::new(control, memory.clone(), size.quota.sockets);
        self.hosts.push(Box::leak(Box::new(Host {
            control,
            memory,
            quota: size.quota,
            single_threaded: AtomicBool::new(false),
            simulated: size.simulated,
            log: client.log.clone(),
            published: Mutex::default(),
            manager: self.manager_bell.clone(),
            bells: Default::default(),
            leader: AtomicUsize::new(0),
            start: Instant::now(),
            signals: AtomicUsize::new(0),
        })));
        client
    }

    fn start(&mut self, mut manager: Manager) {
        let hosts = self.hosts.clone();
        let (stop, bell) = (self.stop.clone(), self.manager_bell.clone());
        let usage = self.usage.clone();
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                for client in manager.turn() {
                    hosts[client].ring();
                }
                *usage.lock().unwrap() = manager.usage();
                if manager.arm() {
                    bell.wait(Some(Duration::from_millis(50)));
                }
            }
        }));
    }

    /// Has the manager look at the switches.
    pub fn nudge(&self) {
        self.manager_bell.ring();
    }

    /// Waits until every client has `sockets` sockets in use.
    pub fn settle(&self, sockets: u16) {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            self.manager_bell.ring();
            let usage = self.usage.lock().unwrap().clone();
            if !usage.is_empty() && usage.iter().all(|s| *s == sockets) {
                return;
            }
            assert!(Instant::now() < end, "sockets in use: {usage:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.manager_bell.ring();
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}
