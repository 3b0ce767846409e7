//! What something has cost.

use ioipc::{Account, Counters, account, counters};

use crate::failure::Result;
use crate::text::Text;

/// The numbers at the beginning.
pub struct Meter {
    account: Account,
    counters: Counters,
}

impl Meter {
    /// Counts from now on. The manager answers this in its turn, so it has taken
    /// everything that was submitted before.
    pub fn start() -> Result<Self> {
        Ok(Self {
            account: account()?,
            counters: counters()?,
        })
    }

    /// Says what has been counted.
    pub fn stop(&self, answer: &mut Text) -> Result<()> {
        let (was, now) = (&self.account, account()?);
        let (had, have) = (&self.counters, counters()?);
        let words = [
            ("copied_in", was.copied_in, now.copied_in),
            ("copied_out", was.copied_out, now.copied_out),
            ("copied_tail", was.copied_tail, now.copied_tail),
            ("copied_tcow", was.copied_tcow, now.copied_tcow),
            ("copied", was.copied(), now.copied()),
            ("cleared", was.cleared, now.cleared),
            ("referenced_out", was.referenced_out, now.referenced_out),
            ("referenced_in", was.referenced_in, now.referenced_in),
            ("mapped", was.mapped, now.mapped),
            ("unmapped", was.unmapped, now.unmapped),
            ("protected", was.protected, now.protected),
            ("pages", was.page_operations(), now.page_operations()),
            ("restored", was.faults_restored, now.faults_restored),
            ("faults", was.faults_copied, now.faults_copied),
            ("library", had.copied(), have.copied()),
            ("refused", had.refused, have.refused),
        ];
        for (name, was, now) in words {
            answer.say(format_args!(" {name}={}", now - was));
        }
        Ok(())
    }
}
