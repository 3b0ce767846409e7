//! One end of a link to another component.

use core::ptr::NonNull;

use sel4::cap;
use shared_ring::SharedMemory;
use system_description::{LinkRecord, Protocol, Role, Span};

use crate::component::slot;

/// One end of a link.
///
/// Possessing one from [`Component`](crate::Component) proves that its spans
/// are mapped for as long as the component runs.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// The link's name, unique in the component.
    pub name: &'static str,
    /// The component at the other end.
    pub peer: &'static str,
    /// Its number in the system, as in the lifecycle region.
    pub peer_index: u16,
    /// Whether it runs in the same thread as this one: signals to it do
    /// nothing, since it looks by itself when this one is done.
    pub near: bool,
    /// What is spoken.
    pub protocol: Protocol,
    /// Which end this is.
    pub role: Role,
    /// At the serving end: the client's number, counted per protocol from 0.
    pub index: u16,
    /// Meaning by protocol.
    pub params: [u32; 6],
    /// Badge bit with which the peer signals this component; 0 if never.
    /// Several links may share a bit.
    pub badge: u64,
    /// The control region. It may be mapped read-only (clock and lifecycle
    /// pages): storing to it then faults.
    pub control: Option<SharedMemory>,
    /// The data region, if it is mapped here and shared. A client's own, of a
    /// `Sockets` link, is not: [`Component::take_region`].
    ///
    /// [`Component::take_region`]: crate::Component::take_region
    pub data: Option<SharedMemory>,
    /// Bytes of the data region, also when it is not mapped here.
    pub data_bytes: u64,
    /// Where the data region is mapped; 0 if it is not.
    pub data_vaddr: u64,
    /// Physical address of the data region; 0 if it is not contiguous.
    pub data_paddr: u64,
    signal: u32,
    call: u32,
}

impl Link {
    pub(crate) fn new(record: &LinkRecord<&'static str>) -> Self {
        Self {
            name: record.name,
            peer: record.peer,
            peer_index: record.peer_index,
            near: record.near,
            protocol: record.protocol,
            role: record.role,
            index: record.index,
            params: record.params,
            badge: record.badge,
            control: span(&record.control),
            data: match is_own(record) {
                true => None,
                false => span(&record.data),
            },
            data_bytes: record.data.bytes,
            data_vaddr: record.data.vaddr,
            data_paddr: record.data.paddr,
            signal: record.signal,
            call: record.call,
        }
    }

    /// Wakes the peer. Does nothing if this end may not, if the peer is near, or
    /// if it died.
    #[inline]
    pub fn signal(&self) {
        if self.signal != 0 {
            slot::<sel4::cap_type::Notification>(self.signal).signal();
        }
    }

    /// The endpoint to call the peer on, if there is one.
    #[must_use]
    pub fn endpoint(&self) -> Option<cap::Endpoint> {
        (self.call != 0).then(|| slot(self.call))
    }

    /// Calls the peer and sleeps until it answers: the label of the answer
    /// and its words. `None` if there is no endpoint; an answer with a label
    /// other than 0 also comes from the kernel once the peer is dead.
    #[must_use]
    pub fn call(&self, label: u64, mrs: [u64; 4]) -> Option<(u64, [u64; 4])> {
        let info = sel4::MessageInfo::new(label, 0, 0, mrs.len());
        let answer = self.endpoint()?.call_with_mrs(info, mrs);
        Some((answer.info.label(), answer.msg))
    }
}

/// Whether the link's data region is this component's alone.
pub(crate) fn is_own(record: &LinkRecord<&'static str>) -> bool {
    record.protocol == Protocol::Sockets && record.role == Role::Client
}

/// The memory of `span`, if it is mapped.
pub(crate) fn span(span: &Span) -> Option<SharedMemory> {
    if span.bytes == 0 {
        return None;
    }
    let base = NonNull::new(span.vaddr as *mut u8)?;
    // SAFETY: the root task mapped the whole region there, page-aligned and
    // for good, and no Rust reference to it is ever made.
    Some(unsafe { SharedMemory::new(base, span.bytes as usize) })
}
