//! The figures of both wires together.

use std::path::Path;

use serde_json::{Value, json};

use super::{Report, TapReport};
use crate::Error;
use crate::launch::write_atomically;

/// What was measured, and why not what was not.
#[derive(Clone, Debug)]
pub struct Results {
    /// On the emulator's user network, if that was asked for.
    pub user: Option<Report>,
    /// On a TAP device, or why there are no figures.
    pub tap: Result<TapReport, String>,
}

impl Results {
    /// What exceeds the project's limits, in words. What was not measured
    /// exceeds none, and meets none.
    pub fn excesses(&self) -> Vec<String> {
        let user = self.user.iter().flat_map(Report::excesses);
        let tap = self.tap.iter().flat_map(TapReport::excesses);
        user.chain(tap).collect()
    }

    /// Everything, for programs: the figures on the user network, and those
    /// on the TAP device under `tap`.
    pub fn json(&self) -> Value {
        let mut value = self.user.as_ref().map_or_else(|| json!({}), Report::json);
        value["tap"] = match &self.tap {
            Ok(report) => report.json(),
            Err(why) => json!({ "not_measured": why }),
        };
        value
    }

    /// Writes [`Results::json`] to a file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write_json(&self, file: &Path) -> Result<(), Error> {
        write_atomically(file, format!("{:#}\n", self.json()).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_measured_says_why_and_passes_for_nothing() {
        let results = Results {
            user: None,
            tap: Err("no root".to_owned()),
        };
        assert_eq!(
            results.json(),
            json!({ "tap": { "not_measured": "no root" } })
        );
        assert!(results.excesses().is_empty());
    }
}
