//! What the components have counted, and what that says of an operation.
//!
//! Problem: a crossing is a switch from one protection domain to another, which
//! nobody counts as such. But every hand-over of the data path is a signal to or
//! from the I/O manager, which counts its own wake-ups and the signals that it
//! sends (to those who sleep, and only to those). An interrupt that finds the
//! processor idle leaves no domain, so those that wake the manager itself, with the
//! driver inside it, are taken off. A call of the timer is two crossings, an expiry
//! one.

use std::collections::BTreeMap;
use std::ops::Sub;

use serde_json::Value;

use super::record::Placement;

/// Copies of payload bytes, wherever they are made.
const COPIED: [&str; 13] = [
    "io.copied.in",
    "io.copied.out",
    "io.copied.tail",
    "io.copied.tcow",
    "io.copied.reverse",
    "io.copied.apart",
    "net.bytes_copied",
    "net.copied_frame_to_socket",
    "net.copied_socket_to_message",
    "net.copied_message_to_socket",
    "net.copied_socket_to_frame",
    "bench.ioipc.copied.in",
    "bench.ioipc.copied.out",
];
const PAGES: [&str; 3] = ["io.pages.mapped", "io.pages.unmapped", "io.pages.protected"];
const CROSSED: [&str; 6] = [
    "io.wakeups",
    "io.signals.client",
    "io.signals.server",
    "io.signals.driver",
    "timer.arms",
    "timer.arms",
];

/// Numbers by `component.name`.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers(BTreeMap<String, u64>);

/// What was done between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tally {
    /// Switches of protection domain.
    pub crossings: u64,
    /// Payload bytes copied.
    pub copied: u64,
    /// Page operations.
    pub pages: u64,
}

impl Numbers {
    /// Those in an answer of the serial monitor to `counters`.
    pub fn parse(answer: &Value) -> Option<Self> {
        let components = answer["counters"].as_object()?;
        let mut numbers = BTreeMap::new();
        for (component, named) in components {
            for (name, value) in named.as_object()? {
                numbers.insert(format!("{component}.{name}"), value.as_u64()?);
            }
        }
        (!numbers.is_empty()).then_some(Self(numbers))
    }

    fn sum(&self, names: &[&str]) -> u64 {
        names.iter().filter_map(|name| self.0.get(*name)).sum()
    }

    /// What these numbers, which are a difference, say.
    pub fn tally(&self, placement: Placement) -> Tally {
        let own = match placement {
            Placement::Kernel => self.sum(&["nic.irqs"]),
            Placement::User => 0,
        };
        let crossed = self.sum(&CROSSED) + self.sum(&["timer.expiries"]);
        Tally {
            crossings: crossed.saturating_sub(own),
            copied: self.sum(&COPIED),
            pages: self.sum(&PAGES),
        }
    }
}

impl Sub for &Numbers {
    type Output = Numbers;

    /// The difference of two readings, the later one first.
    fn sub(self, earlier: &Numbers) -> Numbers {
        let difference = |(name, now): (&String, &u64)| {
            let before = earlier.0.get(name).copied().unwrap_or(0);
            (name.clone(), now.saturating_sub(before))
        };
        Numbers(self.0.iter().map(difference).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_difference_is_summed_up() {
        let reading = |wakeups: u64, copied: u64| {
            let answer = json!({"counters": {
                "io": {"wakeups": wakeups, "signals.client": 5, "copied.in": copied,
                       "pages.mapped": 3},
                "bench": {"ioipc.copied.out": copied},
                "timer": {"arms": wakeups / 5, "irqs": 9},
                "nic": {"irqs": wakeups / 10},
            }});
            Numbers::parse(&answer).unwrap()
        };
        let spent = &reading(30, 100) - &reading(10, 64);
        let tally = spent.tally(Placement::User);
        // Twenty wake-ups, four calls of the timer.
        assert_eq!(tally.crossings, 20 + 2 * 4);
        assert_eq!((tally.copied, tally.pages), (72, 0));
        // Two interrupts woke the manager.
        assert_eq!(spent.tally(Placement::Kernel).crossings, 26);
        for bad in [json!({}), json!({"counters": {}}), json!({"counters": 1})] {
            assert!(Numbers::parse(&bad).is_none(), "{bad}");
        }
    }
}
