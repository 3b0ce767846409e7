//! Rows that differ in one thing, and their ratio.
//!
//! Invariant: a [`Ratio`] is of two rows of the same panel and size; the spread
//! is that of the quotient: least by greatest, greatest by least.

use super::panel::Panel;
use super::record::{Figure, Passing, Placement, Row};

/// How many times as many instructions one row takes as another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Of the medians.
    pub median: f64,
    /// At least, as the runs say.
    pub min: f64,
    /// At most.
    pub max: f64,
}

impl Ratio {
    /// Of two figures; none if a figure says that nothing was executed.
    #[must_use]
    pub fn of(above: &Figure, below: &Figure) -> Option<Self> {
        (below.min > 0.0).then(|| Self {
            median: above.median / below.median,
            min: above.min / below.max,
            max: above.max / below.min,
        })
    }

    /// Whether the runs tell the two apart.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        !(self.min..=self.max).contains(&1.0)
    }
}

/// User placement by kernel placement.
#[must_use]
pub fn user_by_kernel(panel: &Panel<'_>, passing: Passing, bytes: u32) -> Option<Ratio> {
    let row = |placement| panel.find(placement, passing, bytes);
    instructions(row(Placement::User)?, row(Placement::Kernel)?)
}

/// A way of passing data by the conventional one, in the same placement.
#[must_use]
pub fn by_conventional(
    panel: &Panel<'_>,
    placement: Placement,
    passing: Passing,
    bytes: u32,
) -> Option<Ratio> {
    let row = |passing| panel.find(placement, passing, bytes);
    instructions(row(passing)?, row(Passing::Conventional)?)
}

fn instructions(above: &Row, below: &Row) -> Option<Ratio> {
    Ratio::of(&above.instructions, &below.instructions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(min: f64, median: f64, max: f64) -> Figure {
        Figure { median, min, max }
    }

    #[test]
    fn a_ratio_is_as_uncertain_as_its_figures() {
        let ratio = Ratio::of(&figure(90.0, 100.0, 110.0), &figure(40.0, 50.0, 60.0)).unwrap();
        assert_eq!((ratio.median, ratio.min, ratio.max), (2.0, 1.5, 2.75));
        assert!(ratio.is_certain());
        let close = Ratio::of(&figure(90.0, 100.0, 110.0), &figure(85.0, 95.0, 105.0));
        assert!(!close.unwrap().is_certain());
        assert_eq!(
            Ratio::of(&figure(1.0, 1.0, 1.0), &figure(0.0, 0.0, 0.0)),
            None
        );
    }
}
