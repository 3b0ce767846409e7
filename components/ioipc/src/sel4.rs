//! The platform of components on seL4.
//!
//! Problem: the manager's signals, timer expiries and signals of the
//! application's own links arrive on one notification, which the kernel lets
//! only the first thread wait for. Invariant: badge bits that are not ours
//! are kept for [`take_signals`].

use core::sync::atomic::{AtomicU64, Ordering};

use component_runtime::{Component, Link, Protocol, Role, Timer, clock, quota, threads};
use monitor_api::Counter;
use shared_ring::{Region, SharedMemory};
use socket_api::Extent;
use spin::Once;

use crate::counters::Counters;
use crate::error::SetupError;
use crate::platform::{Platform, Quota};
use crate::settings::Settings;
use crate::stack::{Stack, install};

/// Badge bits that came while the library waited, and are not its own.
static OTHERS: AtomicU64 = AtomicU64::new(0);
static PLATFORM: Once<Sel4> = Once::new();

/// How many counters the library has.
const COUNTERS: usize = Counters::ZERO.named().len();

/// A component on seL4.
struct Sel4 {
    component: &'static Component,
    link: Link,
    control: SharedMemory,
    /// The only thread there can be.
    single_threaded: bool,
    /// Where the library's counters are shown, in their order.
    counters: Option<[Counter; COUNTERS]>,
    timer: Option<Timer>,
    /// The deadline that the timer is set to; 0: none.
    armed: AtomicU64,
}

/// Sets the component's sockets up, with the default settings.
///
/// # Errors
/// A [`SetupError`] that says what system.toml lacks.
pub fn init(component: &'static Component) -> Result<&'static Stack, SetupError> {
    init_with(component, Settings::DEFAULT)
}

/// Sets the component's sockets up, with settings of its own.
///
/// # Errors
/// As [`init`].
pub fn init_with(
    component: &'static Component,
    settings: Settings,
) -> Result<&'static Stack, SetupError> {
    if PLATFORM.is_completed() {
        return Err(SetupError::Twice);
    }
    let link = component
        .link(Protocol::Sockets, Role::Client)
        .ok_or(SetupError::NoLink)?;
    let control = link.control.ok_or(SetupError::NoLink)?;
    let memory = component.memory("sockets").ok_or(SetupError::NoMemory)?;
    if !clock::init(component) {
        log::warn!("no timer: time stands still, and timeouts never end");
    }
    let platform = PLATFORM.call_once(|| Sel4 {
        component,
        link,
        control,
        single_threaded: component.threads().count() == 1,
        counters: component_runtime::counters(component)
            .map(|page| Counters::ZERO.named().map(|(name, _)| page.counter(name))),
        timer: component.timer(),
        armed: AtomicU64::new(0),
    });
    install(Stack::new(platform, memory, settings)?)
}

/// Takes the badge bits of others who signalled while the library waited.
#[must_use]
pub fn take_signals() -> u64 {
    OTHERS.swap(0, Ordering::Relaxed)
}

impl Sel4 {
    /// Has the timer signal at `deadline` at the latest. An earlier deadline
    /// that is still to come stays: the caller looks at the clock again.
    fn arm(&self, timer: &Timer, deadline: u64) {
        let armed = self.armed.load(Ordering::Relaxed);
        if armed != 0 && armed <= deadline && armed > clock::now_ns() {
            return;
        }
        match timer.arm(deadline) {
            Ok(()) => self.armed.store(deadline, Ordering::Relaxed),
            Err(error) => log::error!("a timeout is lost: {error}"),
        }
    }

    /// Books the badge bits of a wake-up.
    fn woken(&self, bits: u64) {
        let mut own = self.link.badge;
        if let Some(timer) = &self.timer {
            if bits & timer.badge() != 0 {
                self.armed.store(0, Ordering::Relaxed);
            }
            own |= timer.badge();
        }
        if bits & !own != 0 {
            OTHERS.fetch_or(bits & !own, Ordering::Relaxed);
        }
    }
}

impl Platform for Sel4 {
    fn control(&self) -> SharedMemory {
        self.control
    }

    fn data(&self) -> Extent {
        // All user addresses lie below 4 GiB.
        Extent {
            address: self.link.data_vaddr as u32,
            len: self.link.data_bytes as u32,
        }
    }

    fn region(&self) -> Option<Region> {
        self.component.take_region()
    }

    fn is_single_threaded(&self) -> bool {
        self.single_threaded
    }

    fn publish(&self, counters: &Counters) {
        if let Some(shown) = &self.counters {
            for (counter, (_, value)) in shown.iter().zip(counters.named()) {
                counter.set(value);
            }
        }
    }

    fn quota(&self) -> Quota {
        let at = |which: usize| self.link.params[which];
        Quota {
            sockets: at(quota::SOCKETS).min(u32::from(u16::MAX)) as u16,
            requests: at(quota::REQUESTS).min(u32::from(u16::MAX)) as u16,
            queued_bytes: at(quota::QUEUED_BYTES),
        }
    }

    fn signal_manager(&self) {
        self.link.signal();
    }

    fn now_ns(&self) -> u64 {
        clock::now_ns()
    }

    fn resolution_ns(&self) -> u64 {
        clock::resolution_ns()
    }

    fn wait(&self, thread: usize, _lead: bool, deadline_ns: Option<u64>) {
        if thread != 0 {
            // Woken by the leader, which keeps the deadlines of all.
            threads::wait(thread);
            return;
        }
        if let (Some(timer), Some(deadline)) = (&self.timer, deadline_ns) {
            self.arm(timer, deadline);
        }
        self.woken(self.component.wait());
    }

    fn wake(&self, thread: usize) {
        threads::wake(self.component, thread);
    }

    fn thread(&self) -> usize {
        threads::thread_index()
    }

    fn yield_now(&self) {
        threads::yield_now();
    }
}
