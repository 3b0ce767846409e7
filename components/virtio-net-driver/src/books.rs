//! Who owns which buffer.
//!
//! Invariant: a buffer changes sides only through [`Books::give`] and
//! [`Books::take`], and each refuses a buffer that is not on the side it
//! would leave.

use nic_api::BUFFERS;

/// For each buffer of one direction, whether the driver (or its device) has
/// it; else the server has.
#[derive(Debug)]
pub(crate) struct Books {
    ours: [bool; BUFFERS as usize],
    count: u32,
}

impl Books {
    /// All buffers with the driver, or all with the server.
    pub(crate) const fn new(ours: bool) -> Self {
        Self {
            ours: [ours; BUFFERS as usize],
            count: if ours { BUFFERS } else { 0 },
        }
    }

    /// Buffers with the driver.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// Takes buffer `n` from the server; false if it does not have it.
    #[inline]
    pub(crate) fn take(&mut self, n: u32) -> bool {
        match self.ours.get_mut(n as usize) {
            Some(ours) if !*ours => {
                *ours = true;
                self.count += 1;
                true
            }
            _ => false,
        }
    }

    /// Gives buffer `n` to the server; false if the driver does not have it.
    #[inline]
    pub(crate) fn give(&mut self, n: u32) -> bool {
        match self.ours.get_mut(n as usize) {
            Some(ours) if *ours => {
                *ours = false;
                self.count -= 1;
                true
            }
            _ => false,
        }
    }
}

/// Receive buffers of ours that the device's queue has no room for.
#[derive(Debug)]
pub(crate) struct Spare {
    buffers: [u16; BUFFERS as usize],
    len: usize,
}

impl Spare {
    pub(crate) const fn new() -> Self {
        Self {
            buffers: [0; BUFFERS as usize],
            len: 0,
        }
    }

    /// Keeps buffer `n`. There is room for each buffer once.
    pub(crate) fn push(&mut self, n: u32) {
        if let Some(slot) = self.buffers.get_mut(self.len) {
            *slot = n as u16;
            self.len += 1;
        }
    }

    /// A buffer that was kept, if there is one.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<u32> {
        let left = self.len.checked_sub(1)?;
        self.len = left;
        self.buffers.get(left).map(|n| u32::from(*n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spare_buffers_come_back() {
        let mut spare = Spare::new();
        for n in 0..BUFFERS + 1 {
            spare.push(n);
        }
        let back: Vec<_> = std::iter::from_fn(|| spare.pop()).collect();
        assert!(back.iter().copied().eq((0..BUFFERS).rev()));
    }

    #[test]
    fn a_buffer_is_on_one_side() {
        let mut books = Books::new(true);
        assert!(books.give(7) && !books.give(7));
        assert_eq!(books.count(), BUFFERS - 1);
        assert!(books.take(7) && !books.take(7));
        assert!(!books.take(BUFFERS) && !books.give(u32::MAX));
        assert_eq!(books.count(), BUFFERS);
        assert_eq!(Books::new(false).count(), 0);
    }
}
