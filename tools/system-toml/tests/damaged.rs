//! Damaged files: whatever is in one, the answer is a system or a report that
//! can be shown.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use proptest::prelude::*;
use system_toml::parse;

const WHOLE: &str = include_str!("../../../system.toml");

/// Pieces that tend to upset parsers.
const PIECES: [&str; 20] = [
    "=",
    "[",
    "]",
    "[[",
    "\"",
    "'",
    "\"\"\"",
    "{",
    "}",
    ",",
    ".",
    "\n",
    "\r",
    "#",
    "ä€𝄞",
    "\u{0}",
    "-1",
    "99999999999999999999",
    "1e999",
    "[component.echo]\n",
];

fn damage() -> impl Strategy<Value = (usize, usize, &'static str)> {
    (
        0..WHOLE.len(),
        0..30usize,
        prop::sample::select(&PIECES[..]),
    )
}

fn show(text: &str) {
    let report = match parse("damaged.toml", Path::new("."), text) {
        Ok(system) => system.warnings,
        Err(report) => {
            assert!(report.errors() > 0);
            report
        }
    };
    assert_eq!(report.render(false).is_empty(), report.is_empty());
    assert_eq!(report.render(true).is_empty(), report.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_file_is_reported(damages in prop::collection::vec(damage(), 1..6)) {
        let mut text = WHOLE.to_owned();
        for (at, removed, piece) in damages {
            let boundary = |from: usize| {
                let last = from.min(text.len());
                (0..=last).rev().find(|i| text.is_char_boundary(*i)).unwrap()
            };
            let (start, end) = (boundary(at), boundary(at + removed));
            text.replace_range(start..end, piece);
        }
        show(&text);
    }

    #[test]
    fn any_text_is_answered(text in "\\PC{0,200}") {
        show(&text);
    }
}

/// The file, cut off at the end of every line.
#[test]
fn a_file_cut_off_is_reported() {
    let mut text = String::new();
    for line in WHOLE.lines() {
        text.push_str(line);
        show(&text);
        text.push('\n');
    }
}
