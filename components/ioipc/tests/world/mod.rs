//! A system in one process: client libraries, the real I/O manager, and a
//! protocol server whose network is a loop.
//!
//! Each party has a thread of its own and sees the others through the same
//! rings as on seL4.

// Each test program uses a part of this.
#![allow(dead_code, reason = "each test program uses a part")]

pub mod looped;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use io_manager::{Bells, ClientConfig, Manager, ServerConfig};
use ioipc::{MAX_THREADS, Platform, Quota, Settings, Stack};
use shared_ring::SharedMemory;
use socket_api as api;
use zerocopy::IntoBytes;

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
    data: SharedMemory,
    quota: Quota,
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
    fn data(&self) -> SharedMemory {
        self.data
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
    /// The manager signals.
    fn ring(&self) {
        self.bells[self.leader.load(Ordering::SeqCst)].ring();
    }
}

/// The parties.
pub struct World {
    pub stacks: Vec<&'static Stack>,
    pub hosts: Vec<&'static Host>,
    stop: Arc<AtomicBool>,
    manager_bell: Arc<Bell>,
    server_bell: Arc<Bell>,
    /// Kills the server when set.
    pub kill_server: Arc<AtomicBool>,
    pub usage: Arc<Mutex<Vec<(u16, u16)>>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// How large the world is.
#[derive(Clone, Copy)]
pub struct Size {
    pub clients: usize,
    pub quota: Quota,
    pub data_bytes: usize,
    pub settings: Settings,
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
        }
    }
}

struct Ringer {
    hosts: Vec<&'static Host>,
    server: Arc<Bell>,
}

impl Bells for Ringer {
    fn client(&mut self, index: usize) {
        self.hosts[index].ring();
    }
    fn server(&mut self, _: usize) {
        self.server.ring();
    }
}

impl World {
    pub fn new(size: Size) -> Self {
        let (manager_bell, server_bell) = (Arc::<Bell>::default(), Arc::<Bell>::default());
        let server_control = memory(api::SERVER_CONTROL_BYTES);
        for at in [api::SERVER_REQUESTS_OFFSET, api::SERVER_COMPLETIONS_OFFSET] {
            let ring = server_control.slice(at, api::SERVER_RING.bytes()).unwrap();
            api::SERVER_RING.format(&ring).unwrap();
        }
        let mut configs = Vec::new();
        let mut hosts = Vec::new();
        for _ in 0..size.clients {
            let control = memory(api::CLIENT_CONTROL_BYTES);
            for at in [api::REQUESTS_OFFSET, api::COMPLETIONS_OFFSET] {
                let ring = control.slice(at, api::CLIENT_RING.bytes()).unwrap();
                api::CLIENT_RING.format(&ring).unwrap();
            }
            let host: &Host = Box::leak(Box::new(Host {
                control,
                data: memory(size.data_bytes),
                quota: size.quota,
                manager: manager_bell.clone(),
                bells: Default::default(),
                leader: AtomicUsize::new(0),
                start: Instant::now(),
                signals: AtomicUsize::new(0),
            }));
            hosts.push(host);
            configs.push(ClientConfig {
                name: "client",
                control,
                data_bytes: size.data_bytes as u32,
                quota: io_manager::Quota {
                    sockets: size.quota.sockets,
                    requests: size.quota.requests,
                    queued_bytes: size.quota.queued_bytes,
                    share: 32,
                },
            });
        }
        let servers = [ServerConfig {
            control: server_control,
        }];
        let mut world = Self {
            stacks: Vec::new(),
            hosts: hosts.clone(),
            stop: Arc::default(),
            manager_bell,
            server_bell,
            kill_server: Arc::default(),
            usage: Arc::default(),
            threads: Vec::new(),
        };
        world.start_manager(Manager::new(&configs, &servers, None).unwrap());
        world.start_server(server_control);
        let (sockets, requests) = (size.quota.sockets as usize, size.quota.requests as usize);
        let bytes = ioipc::bookkeeping_bytes(sockets, requests);
        for host in hosts {
            let books: &'static mut [u64] = Box::leak(vec![0; bytes / 8].into_boxed_slice());
            let stack = Stack::new(host, books.as_mut_bytes(), size.settings).unwrap();
            world.stacks.push(Box::leak(Box::new(stack)));
        }
        world
    }

    pub fn one() -> Self {
        Self::new(Size::default())
    }

    fn start_manager(&mut self, mut manager: Manager) {
        let mut ringer = Ringer {
            hosts: self.hosts.clone(),
            server: self.server_bell.clone(),
        };
        let (stop, bell) = (self.stop.clone(), self.manager_bell.clone());
        let (kill, usage) = (self.kill_server.clone(), self.usage.clone());
        let clients = self.hosts.len();
        self.threads.push(std::thread::spawn(move || {
            let mut killed = false;
            while !stop.load(Ordering::Relaxed) {
                if kill.load(Ordering::Relaxed) && !killed {
                    killed = true;
                    manager.server_died(0);
                }
                while manager.turn(&mut ringer) {}
                *usage.lock().unwrap() = (0..clients).map(|c| manager.in_use(c)).collect();
                if manager.arm() {
                    bell.wait(Some(Duration::from_millis(50)));
                }
            }
        }));
    }

    fn start_server(&mut self, control: SharedMemory) {
        let regions = self.hosts.iter().map(|h| h.data).collect();
        let mut server = looped::Server::new(control, regions);
        let (stop, bell) = (self.stop.clone(), self.server_bell.clone());
        let (manager, kill) = (self.manager_bell.clone(), self.kill_server.clone());
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) && !kill.load(Ordering::Relaxed) {
                if server.turn() {
                    manager.ring();
                }
                if server.arm() {
                    bell.wait(Some(Duration::from_millis(50)));
                }
            }
        }));
    }

    /// Waits until every client has `sockets` sockets in use.
    pub fn settle(&self, sockets: u16) {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            self.manager_bell.ring();
            let usage = self.usage.lock().unwrap().clone();
            if !usage.is_empty() && usage.iter().all(|(s, _)| *s == sockets) {
                return;
            }
            assert!(
                Instant::now() < end,
                "sockets and requests in use: {usage:?}"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.manager_bell.ring();
        self.server_bell.ring();
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.unwrap();
            }
        }
    }
}
