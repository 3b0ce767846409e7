//! The functions that execute most, for a terminal.

use std::collections::BTreeMap;
use std::fmt;

use super::super::report::amount;

/// Functions shown of a component, at most.
const MOST: usize = 8;
/// Functions below this share of all are put together.
const LEAST: f64 = 0.004;
/// Characters of a function's name.
const NAME: usize = 72;

/// Instructions of an operation, by component and function.
#[derive(Clone, Debug, PartialEq)]
pub struct Functions {
    components: Vec<Component>,
    total: f64,
}

#[derive(Clone, Debug, PartialEq)]
struct Component {
    name: String,
    total: f64,
    /// Largest first.
    functions: Vec<(String, f64)>,
    /// How many are not shown, and their instructions.
    rest: (usize, f64),
}

impl Functions {
    /// Sorts, and puts the small ones together.
    pub(super) fn new(shares: &BTreeMap<(String, String), f64>, operations: u64) -> Self {
        let total: f64 = shares.values().sum();
        let mut by_component: BTreeMap<&str, Vec<(String, f64)>> = BTreeMap::new();
        for ((component, function), spent) in shares {
            let list = by_component.entry(component).or_default();
            list.push((function.clone(), *spent));
        }
        let of_one = operations.max(1) as f64;
        let least = total * LEAST;
        let mut components: Vec<Component> = by_component
            .into_iter()
            .map(|(name, functions)| Component::new(name, functions, least, of_one))
            .collect();
        components.sort_by(|a, b| b.total.total_cmp(&a.total));
        Self {
            components,
            total: total / of_one,
        }
    }
}

impl Component {
    fn new(name: &str, mut functions: Vec<(String, f64)>, least: f64, of_one: f64) -> Self {
        functions.sort_by(|a, b| b.1.total_cmp(&a.1));
        let total: f64 = functions.iter().map(|(_, spent)| spent).sum();
        let large = functions.iter().take_while(|(_, spent)| *spent >= least);
        let shown = large.count().min(MOST);
        let hidden = functions.split_off(shown);
        let rest: f64 = hidden.iter().map(|(_, spent)| spent).sum();
        for (_, spent) in &mut functions {
            *spent /= of_one;
        }
        Self {
            name: name.to_owned(),
            total: total / of_one,
            functions,
            rest: (hidden.len(), rest / of_one),
        }
    }
}

impl fmt::Display for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for component in &self.components {
            let share = component.total / self.total * 100.0;
            let total = amount(component.total);
            writeln!(f, "{total:>9} {share:>5.1}%  {}", component.name)?;
            for (name, spent) in &component.functions {
                let share = spent / self.total * 100.0;
                let spent = amount(*spent);
                writeln!(f, "{spent:>9} {share:>5.1}%    {}", shortened(name))?;
            }
            let (count, rest) = component.rest;
            if count > 0 && !component.functions.is_empty() {
                let (share, rest) = (rest / self.total * 100.0, amount(rest));
                writeln!(f, "{rest:>9} {share:>5.1}%    {count} more")?;
            }
        }
        Ok(())
    }
}

/// A name that fits a line.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(NAME) {
        None => name.to_owned(),
        Some(_) => name.chars().take(NAME - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn largest_first_and_the_small_ones_together() {
        let shares = [
            (("b", "x"), 10.0),
            (("a", "large"), 600.0),
            (("a", "small"), 1.0),
            (("a", "smaller"), 0.5),
            (("a", "medium"), 388.5),
        ];
        let shares = shares.map(|((c, f), n)| ((c.to_owned(), f.to_owned()), n));
        let text = Functions::new(&shares.into(), 10).to_string();
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines,
            [
                vec!["99.00", "99.0%", "a"],
                vec!["60.00", "60.0%", "large"],
                vec!["38.85", "38.9%", "medium"],
                vec!["0.15", "0.1%", "2", "more"],
                vec!["1.00", "1.0%", "b"],
                vec!["1.00", "1.0%", "x"],
            ]
        );
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(shortened(&"é".repeat(100)).chars().count(), NAME);
        assert_eq!(shortened("é"), "é");
    }
}
