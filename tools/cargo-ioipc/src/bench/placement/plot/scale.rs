//! Axes with labels at chosen places, and round numbers for them.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

/// An axis; its ends may be in either order, but not the same.
pub(super) struct Scale {
    /// From here to there.
    pub ends: Range<f64>,
    /// Where lines and labels are.
    pub ticks: Vec<f64>,
}

impl Ranged for Scale {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let (from, to) = (f64::from(limit.0), f64::from(limit.1));
        let part = (value - self.ends.start) / (self.ends.end - self.ends.start);
        (from + part * (to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.ends.clone()
    }
}

/// Round values from at most `least` to at least `most`, about `wanted` of
/// them and no fewer than two.
pub(super) fn ticks(least: f64, most: f64, wanted: u32) -> Vec<f64> {
    let span = most - least;
    if !span.is_finite() || span <= 0.0 {
        return vec![0.0, 1.0];
    }
    let rough = span / f64::from(wanted.max(1));
    let power = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|step| step * power);
    let step = steps.into_iter().find(|step| *step >= rough * 0.999);
    let step = step.unwrap_or(10.0 * power);
    let (first, last) = ((least / step).floor() as i64, (most / step).ceil() as i64);
    (first..=last).map(|at| at as f64 * step).collect()
}

/// A value of an axis, with the digits that its steps are worth.
pub(super) fn label(value: f64, step: f64) -> String {
    // 0.25 is worth two digits, 0.5 one.
    let off = |digits: &i32| {
        let scaled = step * 10_f64.powi(*digits);
        (scaled - scaled.round()).abs()
    };
    let digits = (0..3).find(|digits| off(digits) < 1e-6).unwrap_or(3) as usize;
    match digits {
        0 => crate::bench::placement::panel::number(value)
            .trim_end_matches(".00")
            .trim_end_matches(".0")
            .to_owned(),
        _ if value == 0.0 => "0".to_owned(),
        _ => format!("{value:.digits$}"),
    }
}

/// Those of `positions`, ascending, that labels of `width` have room for; the
/// first and the last always.
pub(super) fn apart(positions: &[f64], width: f64) -> Vec<f64> {
    let Some((&last, others)) = positions.split_last() else {
        return Vec::new();
    };
    let mut kept: Vec<f64> = Vec::new();
    for &position in others {
        let behind = kept.last().is_none_or(|before| position - before >= width);
        if behind && last - position >= width {
            kept.push(position);
        }
    }
    kept.push(last);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_beyond() {
        assert_eq!(ticks(0.0, 9.3, 5), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(0.0, 1.74, 5), [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(ticks(0.8, 1.7, 4), [0.75, 1.0, 1.25, 1.5, 1.75]);
        assert_eq!(ticks(0.0, 40_000.0, 4), [0.0, 1e4, 2e4, 3e4, 4e4]);
        for nothing in [0.0, f64::NAN, f64::INFINITY, -1.0] {
            assert_eq!(ticks(0.0, nothing, 5), [0.0, 1.0]);
        }
    }

    #[test]
    fn labels_have_the_digits_of_their_steps() {
        assert_eq!(label(1.5, 0.5), "1.5");
        assert_eq!(label(0.25, 0.05), "0.25");
        assert_eq!(label(1.25, 0.25), "1.25");
        assert_eq!(label(1.1, 1.2 - 1.1), "1.1");
        assert_eq!(label(20_000.0, 5000.0), "20 000");
        assert_eq!(label(8.0, 2.0), "8");
        assert_eq!(label(0.0, 0.5), "0");
    }

    #[test]
    fn labels_do_not_meet() {
        assert_eq!(
            apart(&[6.0, 8.0, 9.0, 10.0, 10.4], 1.0),
            [6.0, 8.0, 9.0, 10.4]
        );
        assert_eq!(apart(&[6.0], 1.0), [6.0]);
        assert_eq!(apart(&[], 1.0), Vec::<f64>::new());
    }
}
