//! The manual against the parser: every key with type, default and role, every
//! device and every rule stands in `docs/system-toml.md`, and nothing else
//! does; its examples load.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use system_toml::{Rule, keys, parse};

fn manual() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/system-toml.md");
    std::fs::read_to_string(path).unwrap()
}

/// Rows of the tables whose first cell is code, by heading; the last cell
/// (what it means) is the manual's own.
fn rows(manual: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut heading = String::new();
    for line in manual.lines() {
        if let Some(text) = line.strip_prefix('#') {
            heading = text.trim_start_matches('#').trim().replace('`', "");
            found.entry(heading.clone()).or_default();
        } else if line.starts_with("| `") {
            let facts = line
                .trim_end_matches('|')
                .rsplit_once('|')
                .unwrap()
                .0
                .trim();
            let rows = found.get_mut(&heading).unwrap();
            assert!(rows.insert(facts.to_owned()), "{heading} has {facts} twice");
        }
    }
    found
}

#[test]
fn keys_are_those_of_the_parser() {
    let rows = rows(&manual());
    for table in keys::TABLES {
        let row = |key: &keys::Key| {
            let default = key.default.unwrap_or("required");
            let roles: Vec<&str> = key.roles.iter().map(|r| r.word()).collect();
            let roles = if roles.is_empty() {
                "all".to_owned()
            } else {
                roles.join(", ")
            };
            let what = key.kind.words();
            match table.heading {
                "[component.NAME]" => format!("| `{}` | {what} | {default} | {roles}", key.name),
                _ => format!("| `{}` | {what} | {default}", key.name),
            }
        };
        let known: BTreeSet<String> = table.keys.iter().map(row).collect();
        let written = rows.get(table.heading).cloned();
        let written = written.unwrap_or_else(|| panic!("no section {}", table.heading));
        let missing: Vec<_> = known.difference(&written).collect();
        let extra: Vec<_> = written.difference(&known).collect();
        assert!(
            missing.is_empty() && extra.is_empty(),
            "{}: the manual lacks {missing:#?} and has {extra:#?}",
            table.heading
        );
    }
}

#[test]
fn rules_are_those_of_the_parser() {
    let known: BTreeSet<String> = Rule::ALL
        .iter()
        .map(|r| format!("| `{}`", r.name()))
        .collect();
    assert_eq!(rows(&manual())["Rules"], known);
}

#[test]
fn devices_are_those_of_the_parser() {
    let known: BTreeSet<String> = ["virtio-net", "virtio-rng", "hpet", "serial", "exit"]
        .iter()
        .map(|d| format!("| `{d}`"))
        .collect();
    assert_eq!(rows(&manual())["Known devices"], known);
    // A device that is not there is answered with the list of those that are.
    let text = "[system]\nname = \"x\"\n[component.a]\nprogram = \"a\"\ndevices = \"zzzzzzzz\"\n";
    let report = parse("x.toml", Path::new("."), text)
        .unwrap_err()
        .to_string();
    let list: Vec<String> = ["virtio-net", "virtio-rng", "hpet", "serial", "exit"]
        .iter()
        .map(|d| format!("`{d}`"))
        .collect();
    assert!(
        report.contains(&format!("{}\n", list.join(", "))),
        "{report}"
    );
}

/// Every ```toml block that holds a whole system loads without a word.
#[test]
fn examples_load() {
    let manual = manual();
    let blocks = manual.split("```toml\n").skip(1);
    let blocks = blocks.map(|b| b.split("```").next().unwrap());
    let whole: Vec<&str> = blocks.filter(|b| b.contains("[system]")).collect();
    assert!(!whole.is_empty());
    for block in whole {
        match parse("example.toml", Path::new("."), block) {
            Ok(system) => assert_eq!(system.warnings.to_string(), ""),
            Err(report) => panic!("{report}"),
        }
    }
}
