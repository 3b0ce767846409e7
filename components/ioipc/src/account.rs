//! What passing data has cost: the manager's account, and our own numbers.

use socket_api::{Account, Op, Request};
use zerocopy::{FromZeros, IntoBytes};

use crate::counters::Counters;
use crate::error::{Error, Result};
use crate::records::NONE;
use crate::stack::{Stack, Wait, stack};

/// The I/O manager's account of this component.
///
/// # Errors
/// `Unsupported` before sockets were set up; `Other` if the manager is not
/// there to ask.
pub fn account() -> Result<Account> {
    stack()?.account()
}

/// The library's own numbers.
///
/// # Errors
/// `Unsupported` before sockets were set up.
pub fn counters() -> Result<Counters> {
    Ok(stack()?.counters())
}

impl Stack {
    /// As [`account()`], of a stack other than the installed one.
    ///
    /// # Errors
    /// As [`account()`].
    pub fn account(&self) -> Result<Account> {
        let unit = self.slot()?;
        let mut request = Request::new(Op::Account, 0, 0);
        let bytes = size_of::<Account>() as u32;
        request.extent = self.lock().buffers.extent(unit, 0, bytes);
        self.call(request, NONE, unit, 0, Wait::Forever)?;
        let mut account = Account::new_zeroed();
        let read = self.with(|core| {
            let read = core.buffers.take(unit, 0, account.as_mut_bytes());
            core.buffers.free(unit, 0);
            read
        });
        match read {
            true => Ok(account),
            false => Err(Error::BROKEN),
        }
    }

    /// As [`counters()`], of a stack other than the installed one.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.lock().counters
    }

    /// A slot of the smallest size, once there is one.
    pub(crate) fn slot(&self) -> Result<u32> {
        self.block(Wait::Forever, false, |core| {
            let unit = core.buffers.alloc(0);
            core.starved |= unit.is_none();
            unit
        })
    }
}
