//! The profile of a load, for people and programs.

use std::fmt;

use serde_json::{Value, json};

use super::super::report::amount;
use super::{Attribution, UNATTRIBUTED};

/// Where the instructions of a load go.
#[derive(Clone, Debug)]
pub struct LoadProfile {
    /// The load.
    pub name: String,
    /// What is counted.
    pub unit: &'static str,
    /// Units in all runs together.
    pub units: u64,
    /// The instructions of all runs together.
    pub attribution: Attribution,
}

impl LoadProfile {
    /// Instructions of a unit by component, for programs.
    pub(in super::super) fn json(&self) -> Value {
        json!({
            "load": self.name,
            "unit": self.unit,
            "components": self.attribution.per_component(self.units),
        })
    }
}

impl fmt::Display for LoadProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { units, unit, .. } = *self;
        let attribution = &self.attribution;
        let of_one = |all: f64| amount(all / units.max(1) as f64);
        let total = of_one(attribution.total());
        writeln!(
            f,
            "{}: {total} instructions a {unit}, mean of all runs",
            self.name
        )?;
        write!(f, "{}", attribution.functions(units))?;
        let nobodys = attribution.per_component(1).get(UNATTRIBUTED).copied();
        writeln!(
            f,
            "  {} of no program, {} of text that several programs share, divided like the rest",
            of_one(nobodys.unwrap_or(0.0)),
            of_one(attribution.shared())
        )
    }
}
