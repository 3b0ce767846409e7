//! Two hosts on one wire.
//!
//! Invariant: nothing happens but in [`World::step`], so a run is determined by
//! what the test does and by the seed of the wire's faults. Time is the world's
//! own, also where a wire takes some ([`World::set_conditions`]).

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use frame_peer::relay::{Conditions, Direction, Line, Tally};
use ioipc::{Platform, Settings, Stack};
use shared_ring::{Region, SharedMemory};
use socket_api::Extent;

use crate::background;
use crate::host::{DATA_EXTENT, Host, HostConfig, quota};

/// What the wire does to frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wire {
    /// One frame in so many is lost; 0 for none.
    pub lose: u32,
    /// One frame in so many overtakes the one before; 0 for none.
    pub swap: u32,
    /// State of the generator.
    pub seed: u64,
}

impl Wire {
    fn one_in(&mut self, n: u32) -> bool {
        // Knuth's MMIX generator.
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        n != 0 && (self.seed >> 33).is_multiple_of(u64::from(n))
    }
}

/// Both hosts, the wire and the time.
pub struct Inner {
    /// The hosts.
    pub hosts: Vec<Host>,
    /// The wire.
    pub wire: Wire,
    /// The lines that it has in its place, if it is one of conditions.
    long: Option<Long>,
    /// Frames that leave each NIC in a step.
    pub frames: usize,
    /// The time.
    pub now_ns: u64,
}

/// A wire that takes time.
struct Long {
    /// What the lines take for the beginning of the world's time.
    epoch: Instant,
    /// From host 0 and from host 1.
    lines: [Line; 2],
}

impl Long {
    fn at(&self, now_ns: u64) -> Instant {
        self.epoch + Duration::from_nanos(now_ns)
    }

    /// When the next frame arrives.
    fn next_ns(&self) -> Option<u64> {
        let next = self.lines.iter().filter_map(Line::next_at).min()?;
        let since = next.saturating_duration_since(self.epoch);
        u64::try_from(since.as_nanos()).ok()
    }
}

/// Two hosts on one wire, for ever.
pub struct World {
    inner: Mutex<Inner>,
}

impl World {
    /// Builds two hosts, which have announced their addresses.
    #[must_use]
    pub fn new(configs: [HostConfig; 2]) -> &'static Self {
        let mut inner = Inner {
            hosts: configs.iter().map(Host::new).collect(),
            wire: Wire::default(),
            long: None,
            frames: 64,
            now_ns: 1_000_000,
        };
        while inner.now_ns < ANNOUNCED_NS {
            inner.step();
        }
        Box::leak(Box::new(Self {
            inner: Mutex::new(inner),
        }))
    }

    /// Builds two hosts for as long as `run` takes. Sockets must be gone then;
    /// what is left of them does nothing any more.
    pub fn with<R>(configs: [HostConfig; 2], run: impl FnOnce(&'static Self) -> R) -> R {
        let end = End(Self::new(configs));
        run(end.0)
    }

    /// Everything.
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        // A test that panicked has failed already.
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Lets everybody work once; true if somebody did something.
    pub fn step(&self) -> bool {
        self.lock().step()
    }

    /// Steps until nothing happens any more, or so often.
    pub fn settle(&self, most: usize) {
        for _ in 0..most {
            if !self.step() {
                return;
            }
        }
    }

    /// Has a wire of these conditions in place of the one that takes no time.
    pub fn set_conditions(&self, conditions: &Conditions) {
        let directions = [Direction::There, Direction::Back];
        self.lock().long = Some(Long {
            epoch: Instant::now(),
            lines: directions.map(|direction| Line::new(conditions, direction)),
        });
    }

    /// What became of the frames since the conditions were set; `there` is from
    /// host 0.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let inner = self.lock();
        let counts = |from: usize| inner.long.as_ref().map(|long| long.lines[from].counts());
        Tally {
            there: counts(0).unwrap_or_default(),
            back: counts(1).unwrap_or_default(),
        }
    }

    /// Writes as a client does.
    ///
    /// # Panics
    /// If it may not.
    pub fn store(&self, host: usize, client: u16, address: u32, bytes: &[u8]) {
        let stored = self.lock().hosts[host].store(client, address, bytes);
        assert_eq!(stored, Ok(()), "{} bytes at {address:#x}", bytes.len());
    }

    /// Reads as a client does.
    ///
    /// # Panics
    /// If it may not.
    #[must_use]
    pub fn load(&self, host: usize, client: u16, address: u32, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let loaded = self.lock().hosts[host].load(client, address, &mut bytes);
        assert_eq!(loaded, Ok(()), "{len} bytes at {address:#x}");
        bytes
    }

    /// The sockets of a client on a host.
    ///
    /// # Panics
    /// If the library refuses its memory.
    #[must_use]
    pub fn stack(&'static self, host: usize, client: usize, settings: Settings) -> &'static Stack {
        let mut inner = self.lock();
        let control = inner.hosts[host].controls[client];
        let memory = inner.hosts[host].manager.memory();
        let single = memory.is_single_threaded(client as u16);
        drop(inner);
        let platform: &'static ModelPlatform = Box::leak(Box::new(ModelPlatform {
            world: self,
            host,
            client: client as u16,
            control,
            single,
            woken: AtomicBool::new(false),
            heard: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }));
        let bytes = ioipc::bookkeeping_bytes(32, 256) + 16 * (DATA_EXTENT.len as usize >> 11);
        let memory = Box::leak(vec![0u64; bytes.div_ceil(8) + 1].into_boxed_slice());
        let memory = zeroed_bytes(memory);
        let stack = Stack::new(platform, memory, settings).expect("enough memory");
        Box::leak(Box::new(stack))
    }
}

/// The end of a world.
struct End(&'static World);

impl Drop for End {
    fn drop(&mut self) {
        let hosts = std::mem::take(&mut self.0.lock().hosts);
        hosts.into_iter().for_each(Host::give_back);
    }
}

/// The words as bytes.
fn zeroed_bytes(words: &'static mut [u64]) -> &'static mut [u8] {
    zerocopy::IntoBytes::as_mut_bytes(words)
}

impl Inner {
    fn step(&mut self) -> bool {
        let mut busy = false;
        for host in &mut self.hosts {
            busy |= host.step(self.now_ns, self.frames);
        }
        for from in 0..2 {
            busy |= self.carry(from);
        }
        self.now_ns += if busy { 10_000 } else { self.rest() };
        busy
    }

    /// How long until somebody wants to be called.
    fn rest(&self) -> u64 {
        let deadlines = self.hosts.iter().filter_map(|h| h.deadline_ns);
        let arrival = self.long.as_ref().and_then(Long::next_ns);
        let next = deadlines
            .chain(arrival)
            .min()
            .unwrap_or(self.now_ns + 1_000_000);
        next.saturating_sub(self.now_ns)
            .clamp(10_000, 1_000_000_000)
    }

    /// Carries what host `from` has sent to the other.
    fn carry(&mut self, from: usize) -> bool {
        let mut frames: Vec<Vec<u8>> = self.hosts[from].nic.wire.drain(..).collect();
        let busy = !frames.is_empty();
        for n in 1..frames.len() {
            if self.wire.one_in(self.wire.swap) {
                frames.swap(n - 1, n);
            }
        }
        for frame in frames {
            if self.wire.one_in(self.wire.lose) {
                continue;
            }
            match &mut self.long {
                Some(long) => {
                    let now = long.at(self.now_ns);
                    long.lines[from].push(frame, now);
                }
                None => self.hosts[1 - from].nic.receive(&frame),
            }
        }
        busy | self.arrive(from)
    }

    /// Hands the other host what has arrived from host `from`.
    fn arrive(&mut self, from: usize) -> bool {
        let mut busy = false;
        if let Some(long) = &mut self.long {
            let now = long.at(self.now_ns);
            while let Some(frame) = long.lines[from].pop(now) {
                self.hosts[1 - from].nic.receive(&frame);
                busy = true;
            }
        }
        busy
    }
}

/// A client's platform: its memory is the model's, its waiting is the world's
/// going on.
pub struct ModelPlatform {
    world: &'static World,
    host: usize,
    client: u16,
    control: SharedMemory,
    single: bool,
    /// Another thread of the client's wants this one to look.
    woken: AtomicBool,
    /// Signals of the manager's that were noticed.
    heard: AtomicU64,
    /// Signals to the manager.
    sent: AtomicU64,
}

/// When servers have said all that they say of their addresses at the start.
const ANNOUNCED_NS: u64 = 7_000_000_000;
/// Steps after which somebody who waits must have been woken.
const PATIENCE: usize = 100_000;

impl ModelPlatform {
    /// Whether the thread has been woken since it last was.
    fn is_woken(&self) -> bool {
        let signals = self
            .world
            .lock()
            .hosts
            .get(self.host)
            .map_or(u64::MAX, |h| h.signals[usize::from(self.client)]);
        let heard = self.heard.swap(signals, Relaxed);
        self.woken.swap(false, Relaxed) | (heard != signals)
    }
}

impl Platform for ModelPlatform {
    fn control(&self) -> SharedMemory {
        self.control
    }

    fn data(&self) -> Extent {
        DATA_EXTENT
    }

    fn region(&self) -> Option<Region> {
        None
    }

    fn quota(&self) -> ioipc::Quota {
        let quota = quota();
        ioipc::Quota {
            sockets: quota.sockets,
            requests: quota.requests,
            queued_bytes: quota.queued_bytes,
        }
    }

    fn signal_manager(&self) {
        self.sent.fetch_add(1, Relaxed);
    }

    fn now_ns(&self) -> u64 {
        self.world.lock().now_ns
    }

    fn resolution_ns(&self) -> u64 {
        1
    }

    fn wait(&self, _: usize, _: bool, deadline_ns: Option<u64>) {
        for _ in 0..PATIENCE {
            if self.is_woken() || deadline_ns.is_some_and(|end| self.now_ns() >= end) {
                return;
            }
            self.world.step();
            background::run();
        }
        panic!("nobody wakes client {} of host {}", self.client, self.host);
    }

    fn wake(&self, _: usize) {
        self.woken.store(true, Relaxed);
    }

    fn yield_now(&self) {
        self.world.step();
    }

    fn is_simulated(&self) -> bool {
        true
    }

    fn is_single_threaded(&self) -> bool {
        self.single
    }

    fn read(&self, address: u32, into: &mut [u8]) -> bool {
        let mut inner = self.world.lock();
        inner.hosts[self.host]
            .load(self.client, address, into)
            .is_ok()
    }

    fn write(&self, address: u32, from: &[u8]) -> bool {
        let mut inner = self.world.lock();
        inner.hosts[self.host]
            .store(self.client, address, from)
            .is_ok()
    }
}
