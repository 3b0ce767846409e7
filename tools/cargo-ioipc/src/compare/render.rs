//! A comparison for a terminal, or for a file.

use std::fmt::{self, Write as _};

use anstyle::{AnsiColor, Style};

use super::{Change, Comparison, Verdict};
use crate::bench::placement::{CAVEAT, number};

impl Comparison {
    /// The comparison in lines; with `colours`, red, green and dim as well as
    /// in words.
    #[must_use]
    pub fn render(&self, colours: bool) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _written = self.write(&mut text, colours);
        text
    }

    fn write(&self, text: &mut String, colours: bool) -> fmt::Result {
        let [(before, says_before), (after, says_after)] = &self.about;
        writeln!(text, "A: {}: {says_before}", before.display())?;
        writeln!(text, "B: {}: {says_after}", after.display())?;
        for difference in &self.differences {
            writeln!(text, "not the same: {difference}")?;
        }
        let unit = self.changes.first().map(|change| &change.unit);
        let one_unit = self.changes.iter().all(|change| Some(&change.unit) == unit);
        if let (true, Some(unit)) = (one_unit, unit) {
            writeln!(text, "{unit}:")?;
        }
        for (at, change) in self.changes.iter().enumerate() {
            let new = at == 0 || self.changes[at - 1].verdict != change.verdict;
            text.push_str(if new { "\n" } else { "" });
            line(text, change, one_unit, colours)?;
        }
        for (file, only) in [("A", &self.only_before), ("B", &self.only_after)] {
            text.push_str(if only.is_empty() { "" } else { "\n" });
            only.iter()
                .try_for_each(|row| writeln!(text, "only in {file}  {row}"))?;
        }
        self.summary(text)
    }

    fn summary(&self, text: &mut String) -> fmt::Result {
        if self.changes.is_empty() {
            writeln!(text, "\nThe two have no row in common.")?;
        }
        writeln!(
            text,
            "\n{} worse, {} better, {} within the spread of the runs; {} rows only in A, {} only in B.\n\
             Less is better; medians. {CAVEAT}",
            self.count(Verdict::Worse),
            self.count(Verdict::Better),
            self.count(Verdict::Within),
            self.only_before.len(),
            self.only_after.len(),
        )
    }
}

fn line(text: &mut String, change: &Change, one_unit: bool, colours: bool) -> fmt::Result {
    let (word, style) = match change.verdict {
        Verdict::Worse => ("worse", AnsiColor::Red.on_default()),
        Verdict::Better => ("better", AnsiColor::Green.on_default()),
        Verdict::Within => ("within", Style::new().dimmed()),
    };
    let style = if colours { style } else { Style::new() };
    let (before, after) = (number(change.before.median), number(change.after.median));
    let growth = change.growth() * 100.0;
    write!(
        text,
        "{style}{word:<6} {growth:>+7.1} %  {before:>11} → {after:<11} {}",
        change.name
    )?;
    if !one_unit {
        write!(text, ", {}", change.unit)?;
    }
    for (at, (name, before, after)) in change.counts.iter().enumerate() {
        let between = if at == 0 { "; " } else { ", " };
        let (before, after) = (number(*before), number(*after));
        write!(text, "{between}{name} {before} → {after}")?;
    }
    writeln!(text, "{style:#}")
}
