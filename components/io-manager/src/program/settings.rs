//! What the system description says of costs and of null sockets.
//!
//! Invariant: a setting that is not a number, or not one that is possible, is
//! logged and has its default.

use component_runtime::Component;
use data_passing::{Cost, Costs};

/// The keys of `[component.NAME.config]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The costs that are pinned.
    pub costs: Costs,
    /// Whether what can be measured is measured.
    pub calibrated: bool,
    /// How many times as long page operations are made to take; the pinned
    /// costs say so.
    pub burden: u32,
    /// Frames of the reserve for what null sockets receive; none: there are no
    /// null sockets.
    pub null_frames: u32,
}

/// Keys of the numbers.
const COSTS: [(&str, Cost); 8] = [
    ("costs.copy", Cost::Copy),
    ("costs.copy-page", Cost::CopyPage),
    ("costs.map", Cost::Map),
    ("costs.unmap", Cost::Unmap),
    ("costs.protect", Cost::Protect),
    ("costs.fault", Cost::Fault),
    ("costs.reference", Cost::Reference),
    ("costs.post", Cost::Post),
];

impl Settings {
    /// Those of this component.
    pub(crate) fn of(component: &Component) -> Self {
        let burden = number(component, "burden").unwrap_or(1).clamp(1, 1000);
        let mut costs = Costs::PINNED;
        for which in [Cost::Map, Cost::Unmap, Cost::Protect] {
            costs = costs.with(which, costs.get(which) * burden);
        }
        for (key, which) in COSTS {
            if let Some(number) = number(component, key) {
                costs = costs.with(which, number);
            }
        }
        Self {
            costs,
            calibrated: match component.config("cost-model") {
                None | Some("pinned") => false,
                Some("calibrated") => true,
                Some(other) => {
                    log::warn!("cost-model is {other:?}, neither pinned nor calibrated: pinned");
                    false
                }
            },
            burden,
            null_frames: number(component, "null-frames").unwrap_or(0),
        }
    }
}

fn number(component: &Component, key: &str) -> Option<u32> {
    let text = component.config(key)?;
    let number = text.parse().ok();
    if number.is_none() {
        log::warn!("{key} is {text:?}, not a number: left as it is by default");
    }
    number
}
