//! `cargo ioipc compare`: verdicts, exit status, and what it says of files that
//! it cannot read.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

mod sample;

use std::path::PathBuf;
use std::process::Command;

use cargo_ioipc::bench::placement::record::{Figure, Record};
use cargo_ioipc::compare::{Verdict, compare};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Files to compare.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.0.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    fn record(&self, name: &str, record: &Record) -> PathBuf {
        self.write(name, &serde_json::to_string_pretty(record).unwrap())
    }

    /// What is said of a file with this text, without the directory.
    fn refusal(&self, text: &str) -> String {
        let good = self.record("good.json", &sample::record());
        let error = compare(&good, &self.write("bad.json", text)).unwrap_err();
        let directory = format!("{}/", self.0.path().display());
        error.to_string().replace(&directory, "")
    }
}

/// Every figure times this.
fn scaled(figure: Figure, factor: f64) -> Figure {
    Figure {
        median: figure.median * factor,
        min: figure.min * factor,
        max: figure.max * factor,
    }
}

/// The record, with its first three rows slower, faster, and slower within the
/// spread; and another row in place of the last.
fn later() -> Record {
    let mut record = sample::record();
    for (row, factor) in record.rows.iter_mut().zip([1.5, 0.5, 1.015]) {
        row.instructions = scaled(row.instructions, factor);
        row.crossings *= factor;
    }
    record.kernel = "seL4 5.0.0 with a fix".to_owned();
    record.rows.last_mut().unwrap().case.bytes = 1 << 20;
    record
}

#[test]
fn worse_better_and_within_are_told_apart_and_nothing_is_left_out() {
    let files = Files::new();
    let record = sample::record();
    let (a, b) = (
        files.record("a.json", &record),
        files.record("b.json", &later()),
    );
    let comparison = compare(&a, &b).unwrap();
    let counts = [Verdict::Worse, Verdict::Better, Verdict::Within].map(|v| comparison.count(v));
    assert_eq!(counts, [1, 1, record.rows.len() - 3]);
    let text = comparison.render(false);
    let lines: Vec<&str> = text.lines().collect();
    let at = |start: &str| {
        lines
            .iter()
            .position(|line| line.starts_with(start))
            .unwrap()
    };
    assert!(at("worse    +50.0 %") < at("better   -50.0 %"), "{text}");
    assert!(at("better   -50.0 %") < at("within    +1.5 %"), "{text}");
    assert!(
        lines[at("worse")].contains("crossings 0.03 → 0.05"),
        "{text}"
    );
    let last = "TCP, echo, one at a time, packets of 9000 bytes, conventional";
    assert!(
        text.contains(&format!("only in A  {last}, 60 KiB, user placement")),
        "{text}"
    );
    assert!(
        text.contains(&format!("only in B  {last}, 1 MiB, user placement")),
        "{text}"
    );
    assert!(text.contains("not the same: kernel: seL4 5.0.0, then seL4 5.0.0 with a fix"));
    assert!(text.contains("caches, TLB and DMA are not in them"));
    assert!(!text.contains('\u{1b}'));
    // On a terminal, what is within the spread is dim.
    assert!(comparison.render(true).contains("\u{1b}[2mwithin"));
}

#[test]
fn only_strict_makes_a_difference_a_failure() {
    let files = Files::new();
    let (a, b) = (
        files.record("a.json", &sample::record()),
        files.record("b.json", &later()),
    );
    let mut empty = sample::record();
    empty.rows.clear();
    let none = files.record("none.json", &empty);
    for (words, strict) in [([&a, &b], 1), ([&a, &a], 0), ([&a, &none], 1)] {
        let run = |more: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-ioipc"));
            let output = command
                .arg("compare")
                .args(words)
                .args(more)
                .output()
                .unwrap();
            assert!(!output.stdout.contains(&0x1b), "colours without a terminal");
            output.status.code().unwrap()
        };
        assert_eq!(run(&[]), 0);
        assert_eq!(run(&["--strict"]), strict, "{words:?}");
    }
}

#[test]
fn what_is_wrong_with_a_file_is_named_with_its_place() {
    let files = Files::new();
    let valid = serde_json::to_string_pretty(&sample::record()).unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut value: Value = serde_json::from_str(&valid).unwrap();
        change(&mut value);
        files.refusal(&format!("{value:#}"))
    };
    assert_eq!(
        files.refusal("{\n  \"format\": nonsense }"),
        "bad.json:2:14: format: expected ident"
    );
    assert_eq!(files.refusal(""), "bad.json:1:0: EOF while parsing a value");
    assert_eq!(
        files.refusal(&format!("{valid}\n]")),
        format!(
            "bad.json:{}:1: trailing characters",
            valid.lines().count() + 1
        )
    );
    assert_eq!(
        with(&|v| v["format"] = json!("ioipc-placement/9")),
        "bad.json: format \"ioipc-placement/9\" instead of \"ioipc-placement/1\""
    );
    for foreign in ["[1, 2]", "{\"rows\": []}", "null"] {
        assert_eq!(
            files.refusal(foreign),
            "bad.json: neither `bench placement` nor `bench echo` wrote this"
        );
    }
    let wrong_kind = with(&|v| v["rows"][1]["instructions"]["median"] = json!("many"));
    assert!(
        wrong_kind.starts_with("bad.json:") && wrong_kind.contains(": rows[1]"),
        "{wrong_kind}"
    );
    assert!(wrong_kind.ends_with("expected f64"), "{wrong_kind}");
    let missing = with(&|v| drop(v.as_object_mut().unwrap().remove("kernel")));
    assert!(missing.ends_with("missing field `kernel`"), "{missing}");
}

#[test]
fn figures_that_cannot_be_are_refused() {
    let files = Files::new();
    let refusal = |change: &dyn Fn(&mut Record)| {
        let mut record = sample::record();
        change(&mut record);
        files.refusal(&serde_json::to_string(&record).unwrap())
    };
    let impossible = Figure {
        median: 3.5,
        min: 4.5,
        max: 5.5,
    };
    assert_eq!(
        refusal(&|r| r.rows[2].instructions = impossible),
        "bad.json: rows[2]: instructions an operation: median 3.5 is not between 4.5 and 5.5"
    );
    assert!(refusal(&|r| r.rows[0].instructions.min = -1.0).contains("rows[0]"));
    let twice = refusal(&|r| r.rows[1] = r.rows[0].clone());
    assert!(
        twice.starts_with("bad.json: rows[1]: \"UDP, ") && twice.ends_with("for the second time"),
        "{twice}"
    );
}

#[test]
fn figures_of_the_echo_service_are_compared_too() {
    let files = Files::new();
    let row = |load: &str, median: f64, beside: bool| {
        json!({
            "load": load, "unit": "packet", "idle_connections": beside, "instructions": median,
            "min": median - 10.0, "max": median + 10.0, "syscalls": 19.0, "user": 1.0,
        })
    };
    let echo = |tap: f64| {
        let rows = [
            row("UDP 64 B", 5000.0, false),
            row("UDP 64 B", 5100.0, true),
        ];
        let tap = json!({ "rows": [row("UDP 64 B", tap, false)], "runs": 5 });
        json!({ "note": "", "runs": 5, "quick": true, "rows": rows, "tap": tap }).to_string()
    };
    let a = files.write("a.json", &echo(4000.0));
    let b = files.write("b.json", &echo(4400.0));
    let comparison = compare(&a, &b).unwrap();
    let text = comparison.render(false);
    assert_eq!(comparison.count(Verdict::Within), 2);
    assert!(
        text.contains("worse    +10.0 %        4 000 → 4 400       TAP, UDP 64 B\n"),
        "{text}"
    );
    let only_user = files.write("c.json", r#"{"tap": {"not_measured": "no root"}}"#);
    assert!(compare(&a, &only_user).unwrap().fails());
    let other = files.refusal(&echo(4000.0));
    assert_eq!(
        other,
        "good.json is of `bench placement` and bad.json of `bench echo`; only runs of one \
         benchmark can be compared"
    );
    let missing = r#"{"tap": {}, "rows": [{"load": "x"}]}"#;
    let error = compare(&a, &files.write("d.json", missing)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("d.json:1:34: rows[0]: missing field `unit`"),
        "{error}"
    );
}
