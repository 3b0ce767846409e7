//! One fixture per rule: `fixtures/RULE.toml` (or `RULE--variant.toml`) breaks
//! that rule and no other, and `fixtures/RULE.txt` is the whole message.
//! `BLESS=1 cargo test -p system-toml` rewrites the messages; read the
//! difference before you commit it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use system_toml::{Report, Rule, parse};

/// Breaks many rules at once, and so has no rule's name.
const SEVERAL: &str = "several-at-once";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Stems of the files with this extension.
fn stems(extension: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(directory()).unwrap();
    let paths = entries.map(|e| e.unwrap().path());
    let wanted = paths.filter(|p| p.extension().is_some_and(|e| e == extension));
    wanted
        .map(|p| p.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect()
}

fn report(stem: &str) -> Report {
    let name = format!("{stem}.toml");
    let text = fs::read_to_string(directory().join(&name)).unwrap();
    match parse(&name, &directory(), &text) {
        Ok(system) => system.warnings,
        Err(report) => report,
    }
}

fn rule_of(stem: &str) -> &str {
    stem.split_once("--").map_or(stem, |(rule, _)| rule)
}

#[test]
fn every_message_is_as_expected() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    for stem in stems("toml") {
        let shown = report(&stem).render(false);
        let path = directory().join(format!("{stem}.txt"));
        if bless {
            fs::write(&path, &shown).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if shown != expected {
            wrong.push(format!("{stem}: expected\n{expected}\nbut it is\n{shown}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_expectation_has_its_fixture() {
    assert_eq!(stems("txt"), stems("toml"));
}

#[test]
fn every_fixture_breaks_its_rule_and_no_other() {
    for stem in stems("toml").iter().filter(|s| *s != SEVERAL) {
        let report = report(stem);
        assert!(!report.is_empty(), "{stem} breaks nothing");
        for diagnostic in report.diagnostics() {
            assert_eq!(diagnostic.rule.name(), rule_of(stem), "{stem}: {report}");
        }
    }
}

#[test]
fn every_rule_has_a_fixture() {
    let stems = stems("toml");
    let covered: BTreeSet<&str> = stems.iter().map(|s| rule_of(s)).collect();
    // A file that is not there cannot be a fixture; it has a test of its own.
    let rules = Rule::ALL.iter().filter(|r| **r != Rule::Unreadable);
    for rule in rules {
        assert!(
            covered.contains(rule.name()),
            "no fixture for {}",
            rule.name()
        );
    }
}

#[test]
fn a_file_that_is_not_there_is_reported() {
    let report = system_toml::load(Path::new("/nowhere/system.toml")).unwrap_err();
    assert_eq!(report.errors(), 1);
    assert_eq!(report.diagnostics()[0].rule, Rule::Unreadable);
    let shown = report.to_string();
    assert!(
        shown.starts_with("error[unreadable]: cannot read /nowhere/system.toml"),
        "{shown}"
    );
}

/// Syntax errors, wrong values and broken references in one file are all
/// reported, in order of position.
#[test]
fn several_mistakes_are_reported_in_order() {
    let report = report(SEVERAL);
    let rules: Vec<&str> = report.diagnostics().iter().map(|d| d.rule.name()).collect();
    assert_eq!(
        rules,
        [
            "unknown-key",
            "size-out-of-range",
            "syntax",
            "syntax",
            "out-of-range",
            "unknown-device",
            "wrong-role",
            "unknown-component",
            "multicast-mac",
        ],
        "{report}"
    );
    let starts: Vec<usize> = report
        .diagnostics()
        .iter()
        .map(|d| d.span.as_ref().unwrap().start)
        .collect();
    assert!(starts.is_sorted());
}

#[test]
fn colours_change_nothing_but_colours() {
    let report = report(SEVERAL);
    let coloured = report.render(true);
    assert!(coloured.contains("\u{1b}["));
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    plain.push_str(rest);
    assert_eq!(plain, report.render(false));
}
