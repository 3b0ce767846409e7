//! The application's hold on a socket record.
//!
//! Invariant: while a `Handle` exists its record belongs to it and its
//! clones; the last one dropped starts closing.

use core::net::SocketAddr;
use core::time::Duration;

use socket_api::{Completion, Op, Passing, WireAddress, flags};

use crate::core_state::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::records::{SocketRecord, flag, kind};
use crate::stack::{Stack, Wait, nanoseconds};

/// How long dropping a socket waits for a free request.
const SUBMISSION_NS: u64 = 100_000_000;

const NO_ADDRESS: Error = Error::new(ErrorKind::NotConnected, "no address");

/// A socket.
#[derive(Debug)]
pub(crate) struct Handle {
    pub stack: &'static Stack,
    pub index: u16,
}

impl Handle {
    /// Opens a socket.
    pub fn open(stack: &'static Stack, wire_kind: u64, socket_kind: u16) -> Result<Self> {
        let index = stack.open(wire_kind, socket_kind)?;
        Ok(Self { stack, index })
    }

    /// Reads or changes the record.
    #[inline]
    pub fn record<R>(&self, work: impl FnOnce(&mut SocketRecord) -> R) -> R {
        work(self.stack.lock().socket(self.index))
    }

    /// Submits `op` with an address and waits for the answer.
    pub fn control(
        &self,
        op: Op,
        address: Option<SocketAddr>,
        arg: u64,
        wait: Wait,
    ) -> Result<Completion> {
        let mut request = self.stack.lock().request(op, self.index);
        request.address = address.map_or(WireAddress::NONE, Into::into);
        request.arg = arg;
        if op == Op::Bind {
            request.flags = flags::REUSE_ADDRESS;
        }
        self.stack.control(request, self.index, wait)
    }

    /// As [`Handle::control`] for `Bind` and `Connect`: notes the local
    /// address.
    pub fn attach(&self, op: Op, address: SocketAddr, wait: Wait) -> Result<()> {
        let completion = self.control(op, Some(address), 0, wait)?;
        self.record(|r| r.local = completion.address);
        Ok(())
    }

    /// The socket may receive from now on, into slots of size class `order`.
    pub fn start(&self, order: u16) {
        self.record(|r| {
            r.order = order;
            r.flags |= flag::STARTED;
        });
    }

    /// Submits accepts ahead of time from now on.
    pub fn start_accepts(&self) {
        self.stack.with(|core| {
            core.socket(self.index).flags |= flag::STARTED;
            core.start_ahead(self.index);
        });
    }

    /// How sending passes data from now on.
    pub fn set_send_semantics(&self, passing: Passing) {
        self.record(|r| match passing.semantics.is_system_allocated() {
            true => r.passing.send_buffer = passing.word(),
            false => r.passing.send = passing.word(),
        });
    }

    /// How receiving passes data from now on.
    pub fn set_receive_semantics(&self, passing: Passing) {
        self.record(|r| match passing.semantics.is_system_allocated() {
            true => r.passing.receive_buffer = passing.word(),
            false => r.passing.receive = passing.word(),
        });
    }

    /// Another hold on the same socket.
    pub fn again(&self) -> Self {
        self.record(|r| r.references += 1);
        Self {
            stack: self.stack,
            index: self.index,
        }
    }

    pub fn local(&self) -> Result<SocketAddr> {
        self.record(|r| r.local).to_socket_addr().ok_or(NO_ADDRESS)
    }

    pub fn peer(&self) -> Result<SocketAddr> {
        self.record(|r| r.peer).to_socket_addr().ok_or(NO_ADDRESS)
    }

    pub fn set_flag(&self, bit: u16, on: bool) {
        self.record(|r| match on {
            true => r.flags |= bit,
            false => r.flags &= !bit,
        });
    }

    pub fn has_flag(&self, bit: u16) -> bool {
        self.record(|r| r.flags & bit != 0)
    }

    /// Takes the pending error.
    pub fn take_error(&self) -> Option<Error> {
        let status = self.stack.lock().take_error(self.index)?;
        Some(Error::from_status(status))
    }

    /// Starts closing, and waits for it as long as the linger time says.
    fn close(&self) {
        let (index, stack) = (self.index, self.stack);
        let (linger, life) = self.record(|r| match r.kind {
            kind::STREAM => (r.linger, r.life),
            _ => (0, r.life),
        });
        stack.with(|core| core.start_close(index));
        if linger == 0 || linger == u64::MAX {
            // Waits for a free slot, if all are on their way to be answered.
            let wait = Wait::For(SUBMISSION_NS);
            let submitted = |core: &mut Core| core.close_is_under_way(index, life).then_some(());
            stack.block(wait, true, submitted).ok();
            return;
        }
        let wait = Wait::For(linger.saturating_mul(1_000_000));
        let closed = |core: &mut Core| core.is_gone(index, life).then_some(());
        if stack.block(wait, false, closed).is_err() {
            // The time is over: drop what is left.
            stack.with(|core| {
                if !core.is_gone(index, life) {
                    core.socket(index).linger = 0;
                    core.finish_close(index);
                }
            });
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let last = self.record(|r| {
            r.references = r.references.saturating_sub(1);
            r.references == 0
        });
        if last {
            self.close();
        }
    }
}

/// A timeout as the record keeps it.
///
/// # Errors
/// `InvalidInput` for a timeout of no time, as in `std::net`.
pub(crate) fn timeout(timeout: Option<Duration>) -> Result<u64> {
    const ZERO: Error = Error::new(ErrorKind::InvalidInput, "a timeout of no time");
    match timeout.map(nanoseconds) {
        None => Ok(0),
        Some(0) => Err(ZERO),
        Some(ns) => Ok(ns),
    }
}

/// The other way round.
pub(crate) fn duration(ns: u64) -> Option<Duration> {
    (ns != 0).then(|| Duration::from_nanos(ns))
}
