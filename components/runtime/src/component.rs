//! Who this component is, and what it was given.

use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use spin::Once;

use sel4::cap;
use shared_ring::{Region, SharedMemory};
use system_description::fault::Fault;
use system_description::startup::{HEADER_BYTES, Records, StartupError};
use system_description::{Protocol, Record, Role, ThreadRecord, map};

use crate::link::is_own;
use crate::{Device, Link, Timer};

/// Everything the root task gave this component, by name.
///
/// Possessing one proves that the start-up page was checked.
#[derive(Clone, Copy, Debug)]
pub struct Component {
    records: Records<'static>,
    name: &'static str,
    system: &'static str,
    index: u16,
    /// Whose records of the start-up page these are: 0 for the component that
    /// the page is for, then its guests.
    place: usize,
}

/// What [`Component::recv`] got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Badge bits of those who signalled since the last time.
    Signals(u64),
    /// A call, to be answered with [`Component::reply`] before the next
    /// `recv`.
    Call {
        /// The caller's number, as system.toml orders the callers.
        caller: u16,
        /// Label and length of the message.
        info: sel4::MessageInfo,
        /// The message; words beyond its length are zero.
        mrs: [u64; 4],
    },
    /// A thread of a client of this I/O manager faulted and stands still, until
    /// [`Component::resume`] before the next `recv`, or for good if
    /// [`Component::forward_fault`] has the client ended.
    Fault(Fault),
}

/// Components that a start-up page can describe.
pub(crate) const PLACES: usize = 1 + map::MAX_GUESTS;

/// By place: the component, then its guests.
static COMPONENTS: [Once<Component>; PLACES] = [const { Once::new() }; PLACES];
/// By place: one bit for each `Memory` record that was taken, in order.
static TAKEN: [AtomicU32; PLACES] = [const { AtomicU32::new(0) }; PLACES];
/// The data region was taken.
static REGION_TAKEN: AtomicBool = AtomicBool::new(false);

impl Component {
    /// Checks the start-up page: the component that it is for. Its guests are
    /// known from then on.
    ///
    /// # Errors
    /// A [`StartupError`] if root task and component do not match.
    pub(crate) fn from_startup_page() -> Result<&'static Self, StartupError> {
        // SAFETY: the root task maps at least one page there, read-only, and
        // never changes it.
        let page = unsafe { slice::from_raw_parts(map::STARTUP as *const u8, map::PAGE as usize) };
        let mut len = [0; 4];
        len.copy_from_slice(&page[12..HEADER_BYTES]);
        let bytes = HEADER_BYTES + u32::from_le_bytes(len) as usize;
        if bytes as u64 > map::STARTUP_MAX {
            return Err(StartupError::Malformed);
        }
        // SAFETY: as above; it maps as many pages as the header says.
        let page = unsafe { slice::from_raw_parts(map::STARTUP as *const u8, bytes) };
        let (mut records, mut rest) = Records::new(page)?.split();
        for (place, at) in COMPONENTS.iter().enumerate() {
            let component = Self::of(records, place)?;
            at.call_once(|| component);
            if rest.is_empty() {
                return COMPONENTS[0].get().ok_or(StartupError::Malformed);
            }
            (records, rest) = rest.split();
        }
        // More guests than there are places.
        Err(StartupError::Malformed)
    }

    /// The component with these records.
    fn of(records: Records<'static>, place: usize) -> Result<Self, StartupError> {
        match { records }.next() {
            Some(Record::Component {
                name,
                system,
                index,
            }) => Ok(Self {
                records,
                name,
                system,
                index,
                place,
            }),
            _ => Err(StartupError::Malformed),
        }
    }

    /// The components that run in this one's protection domain and first
    /// thread, in order of start. Their capabilities, memory and signals are
    /// this one's; each knows only its own by name.
    pub fn guests(&self) -> impl Iterator<Item = &'static Self> + use<> {
        let behind = match self.place {
            0 => &COMPONENTS[1..],
            _ => &[],
        };
        behind.iter().map_while(Once::get)
    }

    /// Badge bits of all signals that are for this component.
    #[must_use]
    pub fn hears(&self) -> u64 {
        let links = self.links().fold(0, |bits, link| bits | link.badge);
        let irqs = self.devices().filter_map(|device| device.irq);
        irqs.fold(links, |bits, irq| bits | irq.badge)
    }

    pub(crate) fn place(&self) -> usize {
        self.place
    }

    pub(crate) fn records(&self) -> Records<'static> {
        self.records
    }

    /// The component's name in system.toml.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The system's name in system.toml.
    #[must_use]
    pub fn system(&self) -> &'static str {
        self.system
    }

    /// The component's number in the system, in order of start.
    #[must_use]
    pub fn index(&self) -> u16 {
        self.index
    }

    /// The configuration value called `key` (nested tables joined by dots).
    #[must_use]
    pub fn config(&self, key: &str) -> Option<&'static str> {
        self.configs().find(|(k, _)| *k == key).map(|(_, v)| v)
    }

    /// All configuration keys and values.
    pub fn configs(&self) -> impl Iterator<Item = (&'static str, &'static str)> + use<> {
        self.records().filter_map(|record| match record {
            Record::Config { key, value } => Some((key, value)),
            _ => None,
        })
    }

    /// All links of this component, in order.
    pub fn links(&self) -> impl Iterator<Item = Link> + use<> {
        self.records().filter_map(|record| match record {
            Record::Link(link) => Some(Link::new(&link)),
            _ => None,
        })
    }

    /// The links that speak `protocol` with this component as `role`.
    pub fn links_of(&self, protocol: Protocol, role: Role) -> impl Iterator<Item = Link> + use<> {
        self.links()
            .filter(move |link| link.protocol == protocol && link.role == role)
    }

    /// The first of [`Component::links_of`].
    #[must_use]
    pub fn link(&self, protocol: Protocol, role: Role) -> Option<Link> {
        self.links_of(protocol, role).next()
    }

    /// The link called `name`.
    #[must_use]
    pub fn link_named(&self, name: &str) -> Option<Link> {
        self.links().find(|link| link.name == name)
    }

    /// The devices this component drives.
    pub fn devices(&self) -> impl Iterator<Item = Device> + use<> {
        self.records().filter_map(|record| match record {
            Record::Device(device) => Some(Device::new(&device)),
            _ => None,
        })
    }

    /// The device called `name`.
    #[must_use]
    pub fn device(&self, name: &str) -> Option<Device> {
        self.devices().find(|device| device.name == name)
    }

    /// This component's threads, in order; the first runs `main`.
    pub fn threads(&self) -> impl Iterator<Item = ThreadRecord<&'static str>> + use<> {
        self.records().filter_map(|record| match record {
            Record::Thread(thread) => Some(thread),
            _ => None,
        })
    }

    /// The service that keeps time, if this component may use it.
    #[must_use]
    pub fn timer(&self) -> Option<Timer> {
        self.link(Protocol::Timer, Role::Client).map(Timer::new)
    }

    /// The private memory called `name`, zeroed; `None` if there is none or
    /// if it was taken before.
    #[must_use]
    pub fn memory(&self, name: &str) -> Option<&'static mut [u8]> {
        let memories = self.records().filter_map(|record| match record {
            Record::Memory { name, span } => Some((name, span)),
            _ => None,
        });
        let (nth, (_, span)) = memories
            .enumerate()
            .take(32)
            .find(|(_, (n, span))| *n == name && span.paddr == 0)?;
        let base = NonNull::new(span.vaddr as *mut u8)?;
        let bit = 1 << nth;
        if TAKEN[self.place].fetch_or(bit, Ordering::Relaxed) & bit != 0 {
            return None;
        }
        // SAFETY: the root task maps this span for this component alone and
        // for good, and the bit above makes this the only reference.
        Some(unsafe { slice::from_raw_parts_mut(base.as_ptr(), span.bytes as usize) })
    }

    /// The data region of the component's sockets: its own, but for what it has
    /// the I/O manager do there. `None` if it has none, or if it was taken
    /// before.
    #[must_use]
    pub fn take_region(&self) -> Option<Region> {
        let span = self.records().find_map(|record| match record {
            Record::Link(link) if is_own(&link) => Some(link.data),
            _ => None,
        })?;
        let base = NonNull::new(span.vaddr as *mut u8)?;
        if span.bytes == 0 || REGION_TAKEN.swap(true, Ordering::Relaxed) {
            return None;
        }
        // SAFETY: the root task maps this span, zeroed, for this component and
        // its I/O manager alone, and for good; `Link` does not give it out, and
        // the flag above makes this the only hold on it. The manager is trusted
        // with all memory of the component, and writes only what a request
        // names.
        Some(unsafe { Region::new(base, span.bytes as usize) })
    }

    /// The private memory called `name` as a device sees it too: shared with
    /// hardware, hence never a slice, and its physical address. `None` if
    /// there is none, or if it is not contiguous.
    #[must_use]
    pub fn dma(&self, name: &str) -> Option<(SharedMemory, u64)> {
        let found = self.records().find_map(|record| match record {
            Record::Memory { name: n, span } if n == name && span.paddr != 0 => Some(span),
            _ => None,
        })?;
        Some((crate::link::span(&found)?, found.paddr))
    }

    /// The component's own notification, bound to its first thread.
    #[must_use]
    pub fn notification(&self) -> cap::Notification {
        slot(map::slot::NOTIFICATION)
    }

    /// The component's endpoint; without callers only signals end a `recv`.
    #[must_use]
    pub fn endpoint(&self) -> cap::Endpoint {
        slot(map::slot::ENDPOINT)
    }

    /// Sleeps until somebody signals; the badge bits of all who did.
    pub fn wait(&self) -> u64 {
        self.notification().wait().1
    }

    /// The badge bits of all who signalled, 0 if nobody did. Does not sleep.
    pub fn poll(&self) -> u64 {
        self.notification().poll().1
    }

    /// Sleeps until somebody signals or calls, or a client faults. First thread
    /// only.
    pub fn recv(&self) -> Event {
        event(&self.endpoint().recv_with_mrs(()))
    }

    /// What [`Component::recv`] would return without sleeping, if anything.
    /// First thread only.
    pub fn try_recv(&self) -> Option<Event> {
        let got = self.endpoint().nb_recv_with_mrs(());
        (got.badge != 0).then(|| event(&got))
    }

    /// Answers the call that `recv` returned, with label 0.
    pub fn reply(&self, mrs: [u64; 4]) {
        self.reply_with_label(0, mrs);
    }

    /// Answers the call that `recv` returned.
    pub fn reply_with_label(&self, label: u64, mrs: [u64; 4]) {
        let info = sel4::MessageInfo::new(label, 0, 0, mrs.len());
        sel4::with_ipc_buffer_mut(|buffer| {
            for (register, word) in buffer.msg_regs_mut().iter_mut().zip(mrs) {
                *register = word;
            }
            sel4::reply(buffer, info);
        });
    }
}

/// What a signal or message is.
#[inline]
fn event(got: &sel4::RecvWithMRs) -> Event {
    if got.badge & map::CALL_BADGE == 0 {
        return Event::Signals(got.badge);
    }
    if let Some((client, thread)) = map::faulting(got.badge) {
        return Event::Fault(fault(client, thread, got));
    }
    let mut mrs = got.msg;
    if let Some(unused) = mrs.get_mut(got.info.length()..) {
        unused.fill(0);
    }
    Event::Call {
        caller: (got.badge & !map::CALL_BADGE) as u16,
        info: got.info,
        mrs,
    }
}

/// The fault in the message `got`, of which the words beyond the fourth are in
/// the IPC buffer.
fn fault(client: u16, thread: u8, got: &sel4::RecvWithMRs) -> Fault {
    sel4::with_ipc_buffer_mut(|buffer| {
        for (register, word) in buffer.msg_regs_mut().iter_mut().zip(got.msg) {
            *register = word;
        }
    });
    let (kind, words) = crate::fault::decode(got.info);
    Fault {
        client,
        thread,
        kind,
        words,
    }
}

/// The capability in slot `slot` of this component's CSpace.
pub(crate) fn slot<T: sel4::CapType>(slot: u32) -> sel4::Cap<T> {
    sel4::Cap::from_bits(u64::from(slot))
}
