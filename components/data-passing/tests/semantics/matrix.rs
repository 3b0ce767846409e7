//! The table of legal techniques, made from `choose`, as it stands in
//! `docs/data-passing.md`.
//!
//! Invariant: a cell names every smallest set of conditions under which the
//! technique is legal, found by trying all cases.

use std::fmt::Write;

use data_passing::choose::{InputCase, OutputCase, input_is_legal, output_is_legal};
use socket_api::{Semantics, Technique};

/// A condition: its letter, and whether it holds in a case, which is a number
/// of which each bit is a fact.
type Condition = (&'static str, fn(u32) -> bool);

const OUTPUT: [Condition; 5] = [
    ("B", |case| case & 1 != 0),
    ("A", |case| case & 2 != 0),
    ("W", |case| case & 4 != 0),
    ("R", |case| case & 4 == 0),
    ("N", |case| case & 8 == 0),
];
const INPUT: [Condition; 3] = [
    ("B", |case| case & 1 != 0),
    ("A", |case| case & 2 != 0),
    ("E", |case| case & 4 != 0),
];

fn output(semantics: Semantics, small_pages: bool, technique: Technique, case: u32) -> bool {
    let case = OutputCase {
        semantics,
        len: 4096,
        pages: 1,
        small_pages,
        writable: case & 4 != 0,
        blocked: case & 1 != 0,
        aligned: case & 2 != 0,
        fault_rate: 0,
        protected: 0,
        written: case & 8 != 0,
    };
    output_is_legal(&case, technique)
}

fn input(semantics: Semantics, small_pages: bool, technique: Technique, case: u32) -> bool {
    let case = InputCase {
        semantics,
        len: 4096,
        pages: 1,
        small_pages,
        blocked: case & 1 != 0,
        aligned: case & 2 != 0,
        early: case & 4 != 0,
    };
    input_is_legal(&case, technique)
}

/// The smallest sets of conditions that make it legal, in words.
fn conditions(all: &[Condition], legal: impl Fn(u32) -> bool) -> String {
    let holds = |set: u32, case: u32| {
        let mut needed = all.iter().enumerate().filter(|(n, _)| set >> n & 1 != 0);
        needed.all(|(_, (_, holds))| holds(case))
    };
    let possible = |set: u32| (0..16).any(|case| holds(set, case));
    let enough = |set: u32| (0..16).all(|case| !holds(set, case) || legal(case));
    let sets: Vec<u32> = (0..1 << all.len())
        .filter(|set| possible(*set) && enough(*set))
        .collect();
    let smallest = sets.iter().filter(|set| {
        let inside = |other: &&u32| **other != **set && **other & **set == **other;
        sets.iter().find(inside).is_none()
    });
    let name = |set: &u32| {
        let letters = all.iter().enumerate().filter(|(n, _)| set >> n & 1 != 0);
        let letters: Vec<&str> = letters.map(|(_, (letter, _))| *letter).collect();
        if letters.is_empty() {
            "always".to_owned()
        } else {
            letters.join(" ")
        }
    };
    let names: Vec<String> = smallest.map(name).collect();
    if names.is_empty() {
        "–".to_owned()
    } else {
        names.join(" or ")
    }
}

/// The table.
fn matrix() -> String {
    let mut text = String::from("| technique | grain |");
    for semantics in Semantics::ALL {
        let _ = write!(text, " {semantics} |");
    }
    text += "\n| --- | --- |";
    text += &" --- |".repeat(Semantics::ALL.len());
    for &technique in Technique::ALL {
        for (grain, small) in [("4 KiB", true), ("2 MiB", false)] {
            let is_input = technique as u16 >= Technique::InPlace as u16;
            let direction = if is_input { "in" } else { "out" };
            let _ = write!(text, "\n| {direction}: {technique} | {grain} |");
            for &semantics in Semantics::ALL {
                let cell = match is_input {
                    true => conditions(&INPUT, |c| input(semantics, small, technique, c)),
                    false => conditions(&OUTPUT, |c| output(semantics, small, technique, c)),
                };
                let _ = write!(text, " {cell} |");
            }
        }
    }
    text
}

#[test]
fn the_documentation_has_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/data-passing.md");
    let text = std::fs::read_to_string(path).expect("docs/data-passing.md");
    let table = matrix();
    let section = text
        .split("\n## ")
        .find(|s| s.starts_with("Legal techniques\n"));
    let section = section.expect("the section `Legal techniques`");
    assert!(section.contains(&table), "the table should be:\n{table}\n");
}
