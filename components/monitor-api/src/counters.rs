//! A page of named 64-bit numbers that a component writes and others read.
//!
//! Problem: the numbers must cost one instruction to bump and be readable at
//! any moment. Invariant: a slot becomes visible only once its name is
//! complete, and a reader takes nothing for granted that the writer could
//! have broken.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 4 | magic `"cntr"` |
//! | 4 | 4 | version |
//! | 64 + 40 n | 28 | name of slot n |
//! | 92 + 40 n | 4 | state: 0 free, 1 being written, or kind + length << 8 |
//! | 96 + 40 n | 8 | value |

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use shared_ring::{OutOfRange, SharedMemory};

/// Bytes of a counter page.
pub const PAGE_BYTES: usize = 4096;
/// Slots of a counter page.
pub const SLOTS: usize = 100;
/// Most bytes of a name.
pub const NAME_BYTES: usize = 28;

const MAGIC: u32 = u32::from_le_bytes(*b"cntr");
const VERSION: u32 = 1;
const FIRST_SLOT: usize = 64;
const SLOT_BYTES: usize = 40;
const STATE: usize = 28;
const VALUE: usize = 32;
const FREE: u32 = 0;
const CLAIMED: u32 = 1;

const _: () = assert!(FIRST_SLOT + SLOTS * SLOT_BYTES <= PAGE_BYTES);

/// How a number behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows: events since the component started.
    Counter = 2,
    /// Goes up and down: what is in use or free now.
    Gauge = 3,
}

/// Why a number could not be registered; the caller is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegisterError {
    /// The name is empty, longer than [`NAME_BYTES`], or has characters other
    /// than letters, digits, `.`, `_` and `-`.
    Name,
    /// All slots are taken.
    Full,
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "not a legal counter name",
            Self::Full => "the counter page is full",
        })
    }
}

impl core::error::Error for RegisterError {}

fn legal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

const fn slot_offset(slot: usize) -> usize {
    FIRST_SLOT + slot * SLOT_BYTES
}

/// One number, as its owner holds it. One thread at a time may change it:
/// the update is not a locked instruction.
#[derive(Clone, Copy, Debug)]
pub struct Counter(&'static AtomicU64);

static DETACHED: AtomicU64 = AtomicU64::new(0);

impl Counter {
    /// A number that nobody reads, for a component without a monitor.
    #[must_use]
    pub fn detached() -> Self {
        Self(&DETACHED)
    }

    /// Adds `n`, wrapping.
    #[inline]
    pub fn add(self, n: u64) {
        self.set(self.get().wrapping_add(n));
    }

    /// Subtracts `n`, wrapping (gauges).
    #[inline]
    pub fn sub(self, n: u64) {
        self.set(self.get().wrapping_sub(n));
    }

    /// Sets the value.
    #[inline]
    pub fn set(self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value.
    #[inline]
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The owner's side of a counter page.
#[derive(Clone, Copy, Debug)]
pub struct CounterPage {
    page: SharedMemory,
}

impl CounterPage {
    /// Makes the first page of `region` an empty counter page.
    ///
    /// # Errors
    /// [`OutOfRange`] if the region is smaller than a page.
    pub fn create(region: SharedMemory) -> Result<Self, OutOfRange> {
        let page = region.slice(0, PAGE_BYTES)?;
        page.store32(0, 0)?;
        for slot in 0..SLOTS {
            page.store32(slot_offset(slot) + STATE, FREE)?;
        }
        page.store32(4, VERSION)?;
        page.word32(0)?.store(MAGIC, Ordering::Release);
        Ok(Self { page })
    }

    /// The number called `name`: a new one that starts at 0, or the one
    /// registered under that name before.
    ///
    /// # Errors
    /// [`RegisterError`]; nothing changes then.
    pub fn register(&self, name: &str, kind: Kind) -> Result<Counter, RegisterError> {
        if name.is_empty() || name.len() > NAME_BYTES || !name.bytes().all(legal) {
            return Err(RegisterError::Name);
        }
        for slot in 0..SLOTS {
            if let Some(counter) = self.try_slot(slot_offset(slot), name, kind) {
                return Ok(counter);
            }
        }
        Err(RegisterError::Full)
    }

    /// Registers `name` as a counter; a detached one if that is impossible.
    #[must_use]
    pub fn counter(&self, name: &str) -> Counter {
        self.register(name, Kind::Counter)
            .unwrap_or_else(|_| Counter::detached())
    }

    /// Registers `name` as a gauge; a detached one if that is impossible.
    #[must_use]
    pub fn gauge(&self, name: &str) -> Counter {
        self.register(name, Kind::Gauge)
            .unwrap_or_else(|_| Counter::detached())
    }

    /// Claims the slot at `at` if it is free, or finds `name` there.
    fn try_slot(&self, at: usize, name: &str, kind: Kind) -> Option<Counter> {
        let state = self.page.word32(at + STATE).ok()?;
        let value = self.page.word64(at + VALUE).ok()?;
        let claim = state.compare_exchange(FREE, CLAIMED, Ordering::Acquire, Ordering::Acquire);
        match claim {
            Ok(_) => {
                let mut padded = [0; NAME_BYTES];
                padded[..name.len()].copy_from_slice(name.as_bytes());
                self.page.write(at, &padded).ok()?;
                value.store(0, Ordering::Relaxed);
                // Release: whoever sees the kind sees the name.
                state.store(kind as u32 | (name.len() as u32) << 8, Ordering::Release);
                Some(Counter(value))
            }
            Err(seen) => {
                let taken = read_name(&self.page, at, seen)?;
                (taken.as_str() == name).then_some(Counter(value))
            }
        }
    }
}

/// A slot's name, made printable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; NAME_BYTES],
    len: u8,
}

impl Name {
    /// The name; letters, digits, `.`, `_`, `-`, and `?` for anything else.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.bytes
            .get(..self.len as usize)
            .and_then(|b| core::str::from_utf8(b).ok())
            .unwrap_or("?")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The name at `at` of a slot in `state`; `None` if the slot is not in use.
fn read_name(page: &SharedMemory, at: usize, state: u32) -> Option<Name> {
    let len = (state >> 8) as usize;
    if kind_of(state).is_none() || len == 0 || len > NAME_BYTES {
        return None;
    }
    let mut bytes = [0; NAME_BYTES];
    page.read(at, &mut bytes).ok()?;
    for byte in &mut bytes {
        if !legal(*byte) {
            *byte = b'?';
        }
    }
    Some(Name {
        bytes,
        len: len as u8,
    })
}

fn kind_of(state: u32) -> Option<Kind> {
    match state & 0xff {
        2 => Some(Kind::Counter),
        3 => Some(Kind::Gauge),
        _ => None,
    }
}

/// One number, as a reader found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its name.
    pub name: Name,
    /// How it behaves.
    pub kind: Kind,
    /// Its value at the time of reading.
    pub value: u64,
}

/// A reader's side of a counter page. Believes nothing in the page.
#[derive(Clone, Copy, Debug)]
pub struct CounterReader {
    page: SharedMemory,
}

impl CounterReader {
    /// Reads the counter page at the start of `region`.
    ///
    /// # Errors
    /// [`OutOfRange`] if the region is smaller than a page.
    pub fn attach(region: SharedMemory) -> Result<Self, OutOfRange> {
        Ok(Self {
            page: region.slice(0, PAGE_BYTES)?,
        })
    }

    /// The numbers now; none while the owner has not created the page. Ends
    /// after [`SLOTS`] steps whatever is in the page.
    pub fn samples(&self) -> impl Iterator<Item = Sample> + '_ {
        let slots = if self.valid() { SLOTS } else { 0 };
        (0..slots).filter_map(|slot| self.sample(slot_offset(slot)))
    }

    fn valid(&self) -> bool {
        self.page
            .word32(0)
            .is_ok_and(|m| m.load(Ordering::Acquire) == MAGIC)
            && self.page.load32(4) == Ok(VERSION)
    }

    fn sample(&self, at: usize) -> Option<Sample> {
        let state = self.page.word32(at + STATE).ok()?.load(Ordering::Acquire);
        Some(Sample {
            kind: kind_of(state)?,
            name: read_name(&self.page, at, state)?,
            value: self.page.word64(at + VALUE).ok()?.load(Ordering::Relaxed),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;
    use std::string::ToString;
    use std::vec;
    use std::vec::Vec;

    fn page() -> SharedMemory {
        SharedMemory::from_static(Box::leak(vec![0u64; PAGE_BYTES / 8].into_boxed_slice()))
    }

    #[test]
    fn what_is_counted_is_read() {
        let memory = page();
        let reader = CounterReader::attach(memory).unwrap();
        assert_eq!(reader.samples().count(), 0, "not created yet");
        let page = CounterPage::create(memory).unwrap();
        let frames = page.register("frames.rx", Kind::Counter).unwrap();
        let free = page.register("frames-free", Kind::Gauge).unwrap();
        frames.add(3);
        frames.add(4);
        free.set(9);
        free.sub(1);
        let seen: Vec<_> = reader
            .samples()
            .map(|s| (s.name.to_string(), s.kind, s.value))
            .collect();
        assert_eq!(
            seen,
            [
                ("frames.rx".to_string(), Kind::Counter, 7),
                ("frames-free".to_string(), Kind::Gauge, 8)
            ]
        );
    }

    #[test]
    fn the_same_name_is_the_same_slot() {
        let page = CounterPage::create(page()).unwrap();
        page.counter("a").add(1);
        page.counter("a").add(1);
        assert_eq!(page.counter("a").get(), 2);
    }

    #[test]
    fn bad_names_and_a_full_page_are_refused() {
        let page = CounterPage::create(page()).unwrap();
        for bad in ["", "with space", "ü", "a23456789012345678901234567890"] {
            let refused = page.register(bad, Kind::Counter).unwrap_err();
            assert_eq!(refused, RegisterError::Name, "{bad:?}");
        }
        for n in 0..SLOTS {
            page.register(&std::format!("n{n}"), Kind::Gauge).unwrap();
        }
        let refused = page.register("more", Kind::Gauge).unwrap_err();
        assert_eq!(refused, RegisterError::Full);
    }

    #[test]
    fn a_page_of_garbage_yields_only_printable_names() {
        let memory = page();
        CounterPage::create(memory).unwrap();
        for at in (FIRST_SLOT..PAGE_BYTES).step_by(4) {
            memory.store32(at, 0xfefe_0502 ^ (at as u32) << 3).unwrap();
        }
        for slot in 0..SLOTS {
            let state = [0x0502, 0xffff_ff02, 0x1d03, 0x1c03, 1, 4][slot % 6];
            memory.store32(slot_offset(slot) + STATE, state).unwrap();
        }
        let reader = CounterReader::attach(memory).unwrap();
        let samples: Vec<_> = reader.samples().collect();
        assert_eq!(samples.len(), SLOTS.div_ceil(6) + (SLOTS - 3).div_ceil(6));
        for sample in samples {
            let printable = |b: u8| legal(b) || b == b'?';
            assert!(sample.name.as_str().bytes().all(printable));
        }
    }
}
