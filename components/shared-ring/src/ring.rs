//! The two ends of a ring.
//!
//! Invariant: an end's own index lives in private memory; the copy in shared
//! memory is only for the peer to read. The peer's index is read once an
//! operation (Acquire, pairing with the peer's Release) and refused when it
//! is further away than the ring is long.
//!
//! The ends are generic over [`RingMemory`] so that the very same code runs
//! on shared pages and under loom.

use core::fmt;
use core::marker::PhantomData;
use core::sync::atomic::{AtomicU32, Ordering, fence};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::copy::copy_entry;
use crate::layout::{AttachError, HEAD, HEADER_BYTES, RingLayout, TAIL, WANTS_SIGNAL};
use crate::memory::SharedMemory;

/// What may be passed through a ring: plain bytes, any pattern valid.
pub trait Entry: Copy + FromBytes + IntoBytes + Immutable + KnownLayout {}
impl<T: Copy + FromBytes + IntoBytes + Immutable + KnownLayout> Entry for T {}

/// The three shared words of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Entries ever produced, modulo 2^32; written by the producer.
    Tail,
    /// Entries ever consumed, modulo 2^32; written by the consumer.
    Head,
    /// Not 0 while the consumer sleeps or is about to: 1 if quiet entries are
    /// no reason to wake it, 2 if everything is. Set by the consumer, cleared
    /// by whoever answers it.
    WantsSignal,
}

/// Where a ring's words and entries live.
pub trait RingMemory {
    /// Reads a word.
    fn load(&self, word: Word, order: Ordering) -> u32;
    /// Writes a word.
    fn store(&self, word: Word, value: u32, order: Ordering);
    /// Orders what came before against what comes after, loads included.
    fn fence(&self);
    /// Copies the entry that an index, modulo the capacity, stands for out.
    fn read_entry(&self, index: u32, into: &mut [u8]);
    /// Copies `from` into the entry of an index.
    fn write_entry(&self, index: u32, from: &[u8]);
}

/// Values of [`Word::WantsSignal`].
const NEVER: u32 = 0;
const LOUD: u32 = 1;
const ANY: u32 = 2;

/// What the peer did to the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingError {
    /// The peer's index is further from ours than the ring is long.
    IndexJump {
        /// Our own index.
        own: u32,
        /// What the peer wrote.
        peer: u32,
    },
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::IndexJump { own, peer } = self;
        write!(
            f,
            "the peer moved its ring index to {peer} while ours is {own}"
        )
    }
}

impl core::error::Error for RingError {}

/// The ring has no room; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the ring is full")
    }
}

impl core::error::Error for Full {}

/// The end that writes entries.
#[derive(Debug)]
pub struct Producer<T, M = SharedRing<T>> {
    memory: M,
    tail: u32,
    head: u32,
    published: u32,
    capacity: u32,
    /// Something that is not quiet was pushed since the last `publish`.
    loud: bool,
    entry: PhantomData<fn(T)>,
}

impl<T: Entry> Producer<T> {
    /// Attaches to the ring at the start of `at`.
    ///
    /// # Errors
    /// As [`RingLayout::verify`]; `BadLayout` too when `T` has another size.
    pub fn attach(at: SharedMemory, layout: RingLayout) -> Result<Self, AttachError> {
        Ok(Self::over(SharedRing::attach(at, layout)?, layout.capacity))
    }
}

impl<T: Entry, M: RingMemory> Producer<T, M> {
    /// The producing end of an empty ring of `capacity` entries (a power of
    /// two) in `memory`.
    pub fn over(memory: M, capacity: u32) -> Self {
        Self {
            memory,
            tail: 0,
            head: 0,
            published: 0,
            capacity,
            loud: false,
            entry: PhantomData,
        }
    }

    /// Room for how many entries, as far as known without asking the peer; at
    /// least one if the ring is not full.
    ///
    /// # Errors
    /// [`RingError`] if the consumer's index is impossible.
    #[inline]
    pub fn room(&mut self) -> Result<u32, RingError> {
        self.has_room(1)?;
        Ok(self.known_room())
    }

    /// Whether there is room for `entries`; asks the peer only when that was
    /// not known already.
    ///
    /// # Errors
    /// As [`Producer::room`].
    #[inline(always)]
    pub fn has_room(&mut self, entries: u32) -> Result<bool, RingError> {
        match self.known_room() >= entries {
            true => Ok(true),
            false => self.ask_for_room(entries),
        }
    }

    /// As [`Producer::has_room`], when it is not known.
    #[inline(never)]
    fn ask_for_room(&mut self, entries: u32) -> Result<bool, RingError> {
        let peer = self.memory.load(Word::Head, Ordering::Acquire);
        if self.tail.wrapping_sub(peer) > self.capacity {
            return Err(RingError::IndexJump {
                own: self.tail,
                peer,
            });
        }
        self.head = peer;
        Ok(self.known_room() >= entries)
    }

    /// Room as of the last look at the peer's index.
    #[inline(always)]
    fn known_room(&self) -> u32 {
        self.capacity - self.tail.wrapping_sub(self.head)
    }

    /// Writes an entry that the consumer does not see before [`publish`].
    ///
    /// A consumer whose index is impossible counts as full: it harms only
    /// itself.
    ///
    /// # Errors
    /// [`Full`] if there is no room.
    ///
    /// [`publish`]: Producer::publish
    #[inline(always)]
    pub fn push(&mut self, entry: &T) -> Result<(), Full> {
        self.push_quietly(entry)?;
        self.loud = true;
        Ok(())
    }

    /// As [`push`], for an entry that is no reason to wake the consumer: it
    /// is found when the consumer wakes for another reason, or at once if the
    /// consumer asked to be woken for anything.
    ///
    /// # Errors
    /// As [`push`].
    ///
    /// [`push`]: Producer::push
    #[inline(always)]
    pub fn push_quietly(&mut self, entry: &T) -> Result<(), Full> {
        if !matches!(self.has_room(1), Ok(true)) {
            return Err(Full);
        }
        self.memory.write_entry(self.tail, entry.as_bytes());
        self.tail = self.tail.wrapping_add(1);
        Ok(())
    }

    /// Shows all pushed entries to the consumer; true if it must be signalled.
    ///
    /// Signalling protocol, steps P1 to P3.
    #[inline]
    #[must_use = "the consumer sleeps until it is signalled"]
    pub fn publish(&mut self) -> bool {
        if self.published == self.tail {
            return false;
        }
        self.published = self.tail;
        // P1: Release, so that the entries are visible before the index.
        self.memory.store(Word::Tail, self.tail, Ordering::Release);
        // P2: the index must be visible before we look at the flag.
        self.memory.fence();
        // P3: answer the flag once; the signal follows the clearing. Quiet
        // entries alone answer only a consumer that asked for anything.
        let least = if core::mem::take(&mut self.loud) {
            LOUD
        } else {
            ANY
        };
        if self.memory.load(Word::WantsSignal, Ordering::Relaxed) < least {
            return false;
        }
        self.memory
            .store(Word::WantsSignal, NEVER, Ordering::Relaxed);
        true
    }

    /// Whether the consumer has asked to be woken for anything, and was not
    /// since.
    #[inline]
    #[must_use]
    pub fn is_asked_for_anything(&self) -> bool {
        self.memory.load(Word::WantsSignal, Ordering::Relaxed) >= ANY
    }

    /// Entries published that the consumer has not taken, as it says.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.published
            .wrapping_sub(self.memory.load(Word::Head, Ordering::Acquire))
            .min(self.capacity)
    }
}

/// The end that reads entries.
#[derive(Debug)]
pub struct Consumer<T, M = SharedRing<T>> {
    memory: M,
    head: u32,
    tail: u32,
    capacity: u32,
    /// What [`Consumer::arm`] asks for.
    wish: u32,
    /// What was asked for last, having found nothing after that.
    asked: u32,
    entry: PhantomData<fn() -> T>,
}

impl<T: Entry> Consumer<T> {
    /// Attaches to the ring at the start of `at`.
    ///
    /// # Errors
    /// As [`RingLayout::verify`]; `BadLayout` too when `T` has another size.
    pub fn attach(at: SharedMemory, layout: RingLayout) -> Result<Self, AttachError> {
        Ok(Self::over(SharedRing::attach(at, layout)?, layout.capacity))
    }
}

impl<T: Entry, M: RingMemory> Consumer<T, M> {
    /// The consuming end of an empty ring of `capacity` entries (a power of
    /// two) in `memory`.
    pub fn over(memory: M, capacity: u32) -> Self {
        Self {
            memory,
            head: 0,
            tail: 0,
            capacity,
            wish: LOUD,
            asked: NEVER,
            entry: PhantomData,
        }
    }

    /// Has [`Consumer::arm`] ask for nothing, if `near`: the producer runs in
    /// the thread that calls it, which then looks again by itself.
    #[must_use]
    pub fn near(self, near: bool) -> Self {
        if !near {
            return self;
        }
        // A ring begins with its consumer taken to sleep.
        self.memory
            .store(Word::WantsSignal, NEVER, Ordering::Relaxed);
        Self {
            wish: NEVER,
            ..self
        }
    }

    /// Takes the next entry, if there is one.
    ///
    /// # Errors
    /// [`RingError`] if the producer's index is impossible; the ring stays as
    /// it was, and the caller should cut the peer off.
    #[inline(always)]
    pub fn pop(&mut self) -> Result<Option<T>, RingError> {
        if !self.has_next()? {
            return Ok(None);
        }
        let mut entry = T::new_zeroed();
        self.take(&mut entry);
        Ok(Some(entry))
    }

    /// Takes the next entry into `entry`; false if there is none. For large
    /// entries taken one after another: none is cleared or moved about.
    ///
    /// # Errors
    /// As [`Consumer::pop`].
    #[inline(always)]
    pub fn pop_into(&mut self, entry: &mut T) -> Result<bool, RingError> {
        if !self.has_next()? {
            return Ok(false);
        }
        self.take(entry);
        Ok(true)
    }

    /// Whether there is an entry to take. Each batch ends with finding none, for
    /// which a glance is enough.
    #[inline(always)]
    fn has_next(&mut self) -> Result<bool, RingError> {
        Ok(self.head != self.tail || (!self.looks_empty() && self.refresh()?))
    }

    /// Takes the next entry, which there is.
    #[inline(always)]
    fn take(&mut self, entry: &mut T) {
        self.memory.read_entry(self.head, entry.as_mut_bytes());
        self.head = self.head.wrapping_add(1);
        self.memory.store(Word::Head, self.head, Ordering::Release);
    }

    /// Whether no entry is there, as far as a glance tells: an index that is
    /// impossible counts as entries.
    #[inline]
    #[must_use]
    pub fn looks_empty(&self) -> bool {
        self.head == self.tail && self.memory.load(Word::Tail, Ordering::Relaxed) == self.head
    }

    /// Asks for a signal, then looks once more; true if the caller may sleep.
    /// Whoever has asked before, and was not answered since, need not again.
    ///
    /// Signalling protocol, steps C1 to C4.
    ///
    /// # Errors
    /// As [`Consumer::pop`].
    #[inline]
    pub fn arm(&mut self) -> Result<bool, RingError> {
        self.arm_with(self.wish)
    }

    /// As [`Consumer::arm`], asking to be woken for quiet entries too.
    ///
    /// # Errors
    /// As [`Consumer::pop`].
    #[inline]
    pub fn arm_for_anything(&mut self) -> Result<bool, RingError> {
        self.arm_with(ANY)
    }

    #[inline(always)]
    fn arm_with(&mut self, wish: u32) -> Result<bool, RingError> {
        // Who asks for nothing, and had not asked, only looks.
        if wish == NEVER && self.asked == NEVER {
            return Ok(self.looks_empty());
        }
        // C4: what was asked for stands, so a signal is still to come for what
        // we have not seen: it follows the clearing.
        let stands = wish != NEVER
            && self.asked == wish
            && self.head == self.tail
            && self.memory.load(Word::WantsSignal, Ordering::Relaxed) == wish;
        match stands {
            true => Ok(true),
            false => self.ask(wish),
        }
    }

    #[inline(never)]
    fn ask(&mut self, wish: u32) -> Result<bool, RingError> {
        self.asked = NEVER;
        // C1: ask.
        self.memory
            .store(Word::WantsSignal, wish, Ordering::Relaxed);
        // C2: the asking must be visible before we look again.
        self.memory.fence();
        // C3: look again; an entry published before the flag was seen is here.
        let idle = self.head == self.tail && !self.refresh()?;
        if idle {
            self.asked = wish;
        }
        Ok(idle)
    }

    /// Whether the producer has been able to see since the last
    /// [`Consumer::arm_for_anything`] that anything is asked for.
    #[inline]
    #[must_use]
    pub fn is_asking_for_anything(&self) -> bool {
        self.asked == ANY && self.memory.load(Word::WantsSignal, Ordering::Relaxed) == ANY
    }

    /// Withdraws the request for a signal, once awake for another reason.
    #[inline]
    pub fn disarm(&mut self) {
        self.asked = NEVER;
        self.memory
            .store(Word::WantsSignal, NEVER, Ordering::Relaxed);
    }

    #[inline(never)]
    fn refresh(&mut self) -> Result<bool, RingError> {
        let peer = self.memory.load(Word::Tail, Ordering::Acquire);
        if peer.wrapping_sub(self.head) > self.capacity {
            return Err(RingError::IndexJump {
                own: self.head,
                peer,
            });
        }
        self.tail = peer;
        Ok(peer != self.head)
    }
}

/// A ring of entries `T` in shared pages.
#[derive(Clone, Copy, Debug)]
pub struct SharedRing<T> {
    tail: &'static AtomicU32,
    head: &'static AtomicU32,
    wants_signal: &'static AtomicU32,
    /// The first of `mask + 1` entries, all in a span that stays mapped for
    /// good.
    entries: SharedMemory,
    mask: u32,
    entry: PhantomData<fn() -> T>,
}

impl<T: Entry> SharedRing<T> {
    fn attach(at: SharedMemory, layout: RingLayout) -> Result<Self, AttachError> {
        let entry_bytes = size_of::<T>();
        if entry_bytes != layout.entry_bytes as usize {
            return Err(AttachError::BadLayout);
        }
        layout.verify(&at)?;
        Ok(Self {
            tail: at.word32(TAIL)?,
            head: at.word32(HEAD)?,
            wants_signal: at.word32(WANTS_SIGNAL)?,
            entries: at.slice(HEADER_BYTES, entry_bytes * layout.capacity as usize)?,
            mask: layout.capacity - 1,
            entry: PhantomData,
        })
    }

    #[inline(always)]
    fn word(&self, word: Word) -> &'static AtomicU32 {
        match word {
            Word::Tail => self.tail,
            Word::Head => self.head,
            Word::WantsSignal => self.wants_signal,
        }
    }

    /// The first byte of an entry.
    #[inline(always)]
    fn entry(&self, index: u32) -> *mut u8 {
        let offset = (index & self.mask) as usize * size_of::<T>();
        // SAFETY: the slot is below the capacity, and `attach` took a slice
        // of that many entries.
        unsafe { self.entries.base().as_ptr().add(offset) }
    }
}

impl<T: Entry> RingMemory for SharedRing<T> {
    #[inline(always)]
    fn load(&self, word: Word, order: Ordering) -> u32 {
        self.word(word).load(order)
    }

    #[inline(always)]
    fn store(&self, word: Word, value: u32, order: Ordering) {
        self.word(word).store(value, order);
    }

    #[inline]
    fn fence(&self) {
        fence(Ordering::SeqCst);
    }

    #[inline(always)]
    fn read_entry(&self, index: u32, into: &mut [u8]) {
        if into.len() <= size_of::<T>() {
            // SAFETY: an entry has that many bytes; `into` is private, which
            // shared memory never overlaps.
            unsafe { copy_entry(self.entry(index), into.as_mut_ptr(), into.len()) };
        }
    }

    #[inline(always)]
    fn write_entry(&self, index: u32, from: &[u8]) {
        if from.len() <= size_of::<T>() {
            // SAFETY: as in `read_entry`, the other way round.
            unsafe { copy_entry(from.as_ptr(), self.entry(index), from.len()) };
        }
    }
}
