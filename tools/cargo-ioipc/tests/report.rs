//! What shows a record, on one with made-up figures.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

mod sample;

use cargo_ioipc::bench::placement::ratios::{self, Check, Limit};
use cargo_ioipc::bench::placement::record::{Passing, Placement};
use cargo_ioipc::bench::placement::{html, table};

const CAVEAT: &str = "caches, TLB and DMA are not in them";

#[test]
fn the_table_has_every_row_and_the_caveat_beside_every_block() {
    let record = sample::record();
    let text = table(&record);
    let lines = |name: &str| text.lines().filter(|line| line.starts_with(name)).count();
    // Two placements make a line.
    for (name, passing) in [
        ("copy", Passing::Copy),
        ("emulated copy", Passing::EmulatedCopy),
        ("conventional", Passing::Conventional),
    ] {
        let rows = record.rows.iter().filter(|row| row.case.passing == passing);
        assert_eq!(lines(name), rows.count() / 2, "{name}");
    }
    let blocks = text.matches("data passing").count();
    assert_eq!((blocks, text.matches(CAVEAT).count()), (24, 24), "{text}");
    let width = text.lines().map(|line| line.chars().count()).max();
    assert!(width.unwrap() <= 116, "{width:?}");
}

#[test]
fn a_row_without_its_other_placement_has_no_ratio() {
    let mut record = sample::record();
    let first = record.rows[0].case.clone();
    record.rows.retain(|row| row.case.passing == Passing::Copy);
    record.rows.remove(0);
    let text = table(&record);
    let burst = format!("{} B × {}", first.bytes, first.outstanding);
    let line = text.lines().find(|line| line.contains(&burst)).unwrap();
    assert!(line.ends_with(" -") && line.contains("3 106"), "{line}");
    // If nothing was measured in a placement, it has no columns.
    record
        .rows
        .retain(|row| row.case.placement == Placement::User);
    record.quick = true;
    let text = table(&record);
    let line = text.lines().find(|line| line.contains(&burst)).unwrap();
    assert!(line.ends_with(" 0.00") && line.contains("3 106"), "{line}");
    assert!(!text.contains("kernel\n") && text.contains("A quick subset"));
}

#[test]
fn a_difference_within_the_spread_is_marked() {
    let mut record = sample::record();
    for row in &mut record.rows {
        row.instructions.min = 0.5;
    }
    let text = table(&record);
    let line = text.lines().find(|line| line.starts_with("copy")).unwrap();
    assert!(line.contains('~'), "{line}");
}

#[test]
fn the_page_has_a_plot_for_every_panel_and_the_caveat_beside_every_ratio() {
    let record = sample::record();
    let page = html(&record);
    // Twelve panels at 1500 bytes a packet: throughput, ratio, parts of two sizes;
    // twelve of jumbo frames, each beside its reference.
    let plots = page.matches("<svg class=\"plot\"").count();
    assert_eq!(plots, 12 + 12 + 12 * 2 + 12 * 2);
    let caveats = page.matches("<p class=\"caveat\">").count();
    let tables = 24;
    assert_eq!(caveats, 1 + 12 + 12 + 1 + tables);
    assert_eq!(page.matches("<details class=\"numbers\">").count(), tables);
    for wrong in ["NaN", "inf", "#02", "#03", "could not be drawn"] {
        assert!(!page.contains(wrong), "{wrong}");
    }
}

#[test]
fn what_is_demanded_is_said_to_be_met_or_missed() {
    let record = sample::record();
    let page = html(&record);
    let checks = ratios::checks(&record);
    let told = |check: &&Check| check.limit == Limit::Told;
    let told = checks.iter().filter(told).count();
    let missed = checks.iter().filter(|check| !check.is_met()).count();
    let met = checks.len() - told - missed;
    assert!(met > 0 && missed > 0 && told > 0, "{checks:?}");
    assert_eq!(page.matches("class=\"met\"").count(), met);
    assert_eq!(page.matches("class=\"missed\"").count(), missed);
    assert_eq!(page.matches("not demanded").count(), told);
}

#[test]
fn the_page_fetches_nothing_and_runs_nothing() {
    let page = html(&sample::record());
    for wrong in [
        "<script", "http:", "https:", "src=", "href=", "@import", "url(", "onload",
    ] {
        assert!(!page.contains(wrong), "{wrong}");
    }
}

#[test]
fn what_a_record_says_is_text_on_the_page() {
    let hostile = "<script>alert('&')</script>\"";
    let mut record = sample::record();
    record.kernel = hostile.to_owned();
    record.version = hostile.to_owned();
    record.accel = hostile.to_owned();
    record.idle.insert(hostile.to_owned(), 1.0);
    for row in &mut record.rows {
        row.components.insert(hostile.to_owned(), 1.0);
    }
    let page = html(&record);
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"));
    assert!(!page.contains("</script>"));
}

#[test]
fn odd_records_have_a_page_too() {
    let mut record = sample::record();
    record.rows.truncate(1);
    assert!(html(&record).contains("No case was measured in both placements"));
    let row = &mut record.rows[0];
    row.payload = 0;
    row.instructions.median = 0.0;
    row.instructions.min = 0.0;
    row.instructions.max = 0.0;
    row.components.clear();
    let page = html(&record);
    assert!(!page.contains("NaN") && !page.contains("Where the instructions go"));
    record.rows.clear();
    assert!(html(&record).contains("This record has no rows"));
    assert!(table(&record).contains("Idle"));
}
