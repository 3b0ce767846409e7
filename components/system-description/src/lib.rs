//! What the host tool tells the root task, and the root task tells a
//! component.
//!
//! Problem: people write names, sizes, rights and priorities in
//! `system.toml`; the kernel wants slots, addresses and badges. The host tool
//! decides all of those; the root task only carries them out; a component
//! only looks its own up by name. Invariant: both hand-overs carry a magic
//! word, a version and a size, and are refused when one differs.
//!
//! * [`payload`]: the segment that the host tool appends to the root task.
//! * [`SystemDescription`] (feature `alloc`): the whole system, in the payload.
//! * [`fault`]: what a component did, as an I/O manager hears of it and passes
//!   it on to the root task.
//! * [`startup`]: the page with one component's [`Record`]s.
//!
//! Types are generic over the string type `S`: `String` where they are made,
//! `&str` where they are read.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;

#[cfg(feature = "alloc")]
mod description;
pub mod fault;
pub mod map;
pub mod payload;
mod record;
pub mod startup;

#[cfg(feature = "alloc")]
pub use description::{
    Component, DescriptionError, DeviceGrant, DeviceKind, Grant, GrantedCap, Keeper, Keeps,
    Lifecycle, Mapping, PageSize, Region, RingFormat, RootMonitor, SystemDescription, Thread,
};
pub use record::{
    Bar, DeviceRecord, Holding, IrqPin, IrqRecord, LinkRecord, NO_CLIENT, NO_COMPONENT, PAYLOAD,
    Protocol, Record, Role, Span, ThreadRecord, message, quota,
};
