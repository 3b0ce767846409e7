//! The sockets of one client.
//!
//! Invariant: every slot is either free (and in the free list) or in use, and
//! a handle is good only while the socket that it was made for is open: the
//! generation in it changes with each use of the slot.

use alloc::boxed::Box;
use alloc::vec;

use socket_api::SocketKind;

/// No slot.
pub(crate) const NO_SOCKET: u16 = u16::MAX;

/// What a slot is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    /// Given a number at the server, not yet known to the client.
    Reserved,
    Open,
    /// A `Close` is on its way.
    Closing,
}

/// One socket.
#[derive(Clone, Copy, Debug)]
struct Slot {
    generation: u16,
    next_free: u16,
    /// Requests that the server has.
    outstanding: u16,
    /// Requests that only a device holds up.
    waiting: u16,
    /// The token slot of a `Close` that waits for those, or [`NO_SOCKET`].
    close: u16,
    /// Receives that wait in order of which the server was not told.
    untold: u16,
    /// The local port, 0 if not known; a null socket's options.
    port: u16,
    server: u8,
    state: State,
    kind: SocketKind,
    /// Whether it hears one peer only.
    connected: bool,
}

/// A client's sockets, numbered at the server from `base`.
#[derive(Debug)]
pub(crate) struct Sockets {
    slots: Box<[Slot]>,
    base: u32,
    free: u16,
    used: u16,
    /// `Close`s that wait for devices.
    held: u16,
    /// Requests that only a device holds up, of which no frame told it to say when
    /// it is done.
    stuck: u16,
}

impl Sockets {
    /// Room for `count` sockets (below [`NO_SOCKET`]).
    pub fn new(count: u16, base: u32) -> Self {
        let blank = Slot {
            generation: 1,
            next_free: NO_SOCKET,
            outstanding: 0,
            waiting: 0,
            close: NO_SOCKET,
            untold: 0,
            port: 0,
            server: 0,
            state: State::Free,
            kind: SocketKind::Tcp,
            connected: false,
        };
        let mut this = Self {
            slots: vec![blank; count as usize].into_boxed_slice(),
            base,
            free: NO_SOCKET,
            used: 0,
            held: 0,
            stuck: 0,
        };
        for index in (0..count).rev() {
            this.slots[index as usize].next_free = this.free;
            this.free = index;
        }
        this
    }

    /// Sockets in use.
    pub fn used(&self) -> u16 {
        self.used
    }

    /// The socket's number at its server.
    #[inline(always)]
    pub fn number(&self, index: u16) -> u32 {
        self.base + u32::from(index)
    }

    /// The client's name for the socket.
    #[inline]
    pub fn handle(&self, index: u16) -> u32 {
        let generation = self.slots.get(index as usize).map_or(0, |s| s.generation);
        u32::from(generation) << 16 | u32::from(index)
    }

    /// The open socket that `handle` names, and its server.
    #[inline(always)]
    pub fn find(&self, handle: u32) -> Option<(u16, u8)> {
        let index = handle as u16;
        let slot = self.slots.get(index as usize)?;
        if cfg!(feature = "mutation-no-validation") {
            return Some((index, slot.server));
        }
        (slot.state == State::Open && u32::from(slot.generation) == handle >> 16)
            .then_some((index, slot.server))
    }

    /// Takes a free slot for a socket at `server`.
    #[inline]
    pub fn reserve(&mut self, server: u8, kind: SocketKind) -> Option<u16> {
        let index = self.free;
        let slot = self.slots.get_mut(index as usize)?;
        self.free = slot.next_free;
        *slot = Slot {
            generation: slot.generation,
            next_free: NO_SOCKET,
            outstanding: 0,
            waiting: 0,
            close: NO_SOCKET,
            untold: 0,
            port: 0,
            server,
            state: State::Reserved,
            kind,
            connected: false,
        };
        self.used += 1;
        Some(index)
    }

    /// Whether the socket is one for datagrams.
    #[inline(always)]
    pub fn is_datagram(&self, index: u16) -> bool {
        let slot = self.slots.get(index as usize);
        slot.is_some_and(|s| s.kind == SocketKind::Udp)
    }

    /// Whether the socket's receives wait here, in order: those of one for
    /// datagrams of which it is known that it is bound.
    #[inline(always)]
    pub fn keeps_order(&self, index: u16) -> bool {
        let slot = self.slots.get(index as usize);
        slot.is_some_and(|s| s.kind == SocketKind::Udp && s.port != 0)
    }

    /// Whether the socket is open, and no `Close` on its way.
    #[inline(always)]
    pub fn is_open(&self, index: u16) -> bool {
        let slot = self.slots.get(index as usize);
        slot.is_some_and(|s| s.state == State::Open)
    }

    /// A `Send`, which a device held up if it was `delayed`, is a receive now that
    /// the server is to be told of; true for the first.
    #[inline(always)]
    pub fn becomes_recv(&mut self, index: u16, delayed: bool) -> bool {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return false;
        };
        slot.waiting = slot.waiting.saturating_sub(u16::from(delayed));
        slot.outstanding += 1;
        slot.untold = slot.untold.saturating_add(1);
        slot.untold == 1
    }

    /// One more receive that the server is to be told of; true for the first.
    #[inline(always)]
    pub fn add_untold(&mut self, index: u16) -> bool {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return false;
        };
        slot.untold = slot.untold.saturating_add(1);
        slot.untold == 1
    }

    /// One receive less that the server is to be told of; false if there is none.
    pub fn drop_untold(&mut self, index: u16) -> bool {
        let slot = self.slots.get_mut(index as usize);
        let slot = slot.filter(|slot| slot.untold != 0);
        slot.map(|slot| slot.untold -= 1).is_some()
    }

    /// Of how many receives the server is told now.
    #[inline]
    pub fn take_untold(&mut self, index: u16) -> u16 {
        let slot = self.slots.get_mut(index as usize);
        slot.map_or(0, |slot| core::mem::take(&mut slot.untold))
    }

    /// The server of a socket.
    #[inline]
    pub fn server(&self, index: u16) -> Option<u8> {
        self.slots.get(index as usize).map(|slot| slot.server)
    }

    /// The local port of a bound socket for datagrams, and whether it hears
    /// one peer only.
    pub fn flow(&self, index: u16) -> Option<(u16, bool)> {
        let slot = self.slots.get(index as usize)?;
        (slot.kind == SocketKind::Udp && slot.port != 0).then_some((slot.port, slot.connected))
    }

    /// The options of a null socket; 0 of another.
    pub fn options(&self, index: u16) -> u16 {
        let slot = self.slots.get(index as usize);
        let null = slot.filter(|s| s.kind == SocketKind::Null);
        null.map_or(0, |s| s.port)
    }

    /// The server has given the socket a local port, or connected it too.
    pub fn bound(&mut self, index: u16, port: u16, connected: bool) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.port = port;
            slot.connected |= connected;
        }
    }

    /// One more request that only a device holds up, which is `stuck` if no frame
    /// told that to say when it is done.
    #[inline(always)]
    pub fn hold_up(&mut self, index: u16, stuck: bool) {
        self.stuck += u16::from(stuck);
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.waiting += 1;
        }
    }

    /// One request less that a device holds up; the token slot of the `Close`
    /// that nothing holds up any more.
    #[inline(always)]
    pub fn let_on(&mut self, index: u16, stuck: bool) -> Option<u16> {
        self.stuck = self.stuck.saturating_sub(u16::from(stuck));
        let slot = self.slots.get_mut(index as usize)?;
        slot.waiting = slot.waiting.saturating_sub(1);
        if slot.waiting != 0 {
            return None;
        }
        let close = core::mem::replace(&mut slot.close, NO_SOCKET);
        self.held -= u16::from(close != NO_SOCKET);
        (close != NO_SOCKET).then_some(close)
    }

    /// Whether somebody waits for a device to let go that was not told to say so.
    #[inline]
    pub const fn waits_for_device(&self) -> bool {
        self.held != 0 || self.stuck != 0
    }

    /// Keeps the `Close` in a token slot until devices have let go; false if
    /// they have.
    pub fn hold_close(&mut self, index: u16, token: u16) -> bool {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return false;
        };
        if slot.waiting != 0 {
            self.held += u16::from(slot.close == NO_SOCKET);
            slot.close = token;
        }
        slot.waiting != 0
    }

    /// The server has made the socket.
    pub fn open(&mut self, index: u16) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.state = State::Open;
        }
    }

    /// A `Close` goes out: nothing else may follow.
    pub fn close(&mut self, index: u16) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.state = State::Closing;
        }
    }

    /// Counts a request on its way.
    #[inline(always)]
    pub fn begin(&mut self, index: u16) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.outstanding += 1;
        }
    }

    /// Counts a request as answered.
    #[inline(always)]
    pub fn end(&mut self, index: u16) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.outstanding = slot.outstanding.saturating_sub(1);
        }
    }

    /// Requests on their way.
    pub fn outstanding(&self, index: u16) -> u16 {
        self.slots.get(index as usize).map_or(0, |s| s.outstanding)
    }

    /// Frees the slot; handles to it are void from now on.
    pub fn release(&mut self, index: u16) {
        let Some(slot) = self.slots.get_mut(index as usize) else {
            return;
        };
        if slot.state == State::Free {
            return;
        }
        slot.state = State::Free;
        // Never 0, so that the handle 0 names nothing.
        slot.generation = slot.generation.checked_add(1).unwrap_or(1);
        slot.next_free = self.free;
        self.free = index;
        self.used -= 1;
    }

    /// Frees every slot.
    pub fn release_all(&mut self) {
        for index in 0..self.slots.len() as u16 {
            self.release(index);
        }
    }
}
