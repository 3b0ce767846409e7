//! The figures themselves: the few that matter most, and all of them.

use maud::{Markup, html};

use super::super::pairs::{self, Ratio};
use super::super::panel::{self, CAVEAT, PASSINGS, PLACEMENTS, Panel, number, size};
use super::super::ratios::{self, Check, Limit};
use super::super::record::{Figure, Passing, Placement, Record, Row};
use super::{caveat, section, times};

/// Three ratios of each panel, at the size that tells most.
pub(super) fn in_short(panels: &[&Panel<'_>]) -> Markup {
    let found: Vec<_> = panels.iter().filter_map(|panel| short(panel)).collect();
    if found.is_empty() {
        return html! {};
    }
    html! {
        section id="short" {
            h2 { "In short" }
            div.scroll { table.short {
                thead { tr {
                    th scope="col" { "size × burst" }
                    th.number scope="col" { "I/O-oriented" small { "user ÷ kernel placement" } }
                    th.number scope="col" { "conventional" small { "user ÷ kernel placement" } }
                    th.number scope="col" { "I/O-oriented ÷ conventional" small { "both at user level" } }
                } }
                tbody { @for (title, ratios) in &found {
                    tr {
                        th scope="row" { (title) }
                        @for ratio in ratios { td.number { (cell(ratio.as_ref())) } }
                    }
                } }
            } }
            p.note {
                "Instructions divided by instructions; I/O-oriented is emulated copy, the default. Grey: the runs do "
                "not tell the two apart."
            }
            (caveat())
        }
    }
}

/// Title and ratios of a panel; none if nothing can be compared.
fn short(panel: &Panel<'_>) -> Option<(String, [Option<Ratio>; 3])> {
    let bytes = panel.telling;
    let ratios = [
        pairs::user_by_kernel(panel, Passing::EmulatedCopy, bytes),
        pairs::user_by_kernel(panel, Passing::Conventional, bytes),
        pairs::by_conventional(panel, Placement::User, Passing::EmulatedCopy, bytes),
    ];
    let case = &panel.rows.iter().find(|row| row.case.bytes == bytes)?.case;
    let title = format!(
        "{}, {}, {} × {}",
        panel::protocol(case.protocol),
        panel::pattern(case.pattern),
        size(bytes),
        case.outstanding
    );
    ratios
        .iter()
        .any(Option::is_some)
        .then_some((title, ratios))
}

fn cell(ratio: Option<&Ratio>) -> Markup {
    html! {
        @match ratio {
            Some(ratio) if ratio.is_certain() => b { (times(ratio.median)) },
            Some(ratio) => span.open { (times(ratio.median)) },
            None => "–",
        }
    }
}

/// What the project demands of the figures; empty if none of it was measured.
pub(super) fn demands(record: &Record) -> Markup {
    let checks = ratios::checks(record);
    if checks.is_empty() {
        return html! {};
    }
    let how = html! {
        p {
            "What the project has set itself, and what was measured. Throughput is by instructions: what the kernel "
            "placement takes for an operation over what the user placement takes. It is demanded of bursts; a single "
            "operation on an idle system wakes everybody for itself, and is told beside them."
        }
    };
    let body = html! {
        div.scroll { table.demands {
            thead { tr {
                th scope="col" { "demand" } th.number scope="col" { "measured" }
                th.number scope="col" { "limit" } th scope="col" { "" }
            } }
            tbody { @for check in &checks { (demand(check)) } }
        } }
        (caveat())
    };
    section("demands", "What is demanded", &how, &body)
}

fn demand(check: &Check) -> Markup {
    let limit = match check.limit {
        Limit::AtLeast(limit) => format!("at least {}", number(limit)),
        Limit::AtMost(limit) => format!("at most {}", number(limit)),
        Limit::Told => "–".to_owned(),
    };
    let (class, verdict) = match (check.limit, check.is_met()) {
        (Limit::Told, _) => ("", "not demanded"),
        (_, true) => ("met", "met"),
        (_, false) => ("missed", "missed"),
    };
    html! {
        tr {
            th scope="row" { (check.name) }
            td.number { b { (number(check.value)) } }
            td.number { (limit) }
            td { span class=(class) { (verdict) } }
        }
    }
}

/// All rows, a table for each panel.
pub(super) fn tables(panels: &[Panel<'_>]) -> Markup {
    let how = html! {
        p {
            "Figures of one operation: medians, and least to greatest of the runs. Crossings are switches of "
            "protection domain; copied are payload bytes copied by the processor; pages are page operations."
        }
    };
    let body = html! {
        @for panel in panels {
            details.numbers {
                summary { (panel.shape.title()) }
                div.scroll { (table(panel)) }
                (caveat())
            }
        }
    };
    section("numbers", "All figures", &how, &body)
}

fn table(panel: &Panel<'_>) -> Markup {
    let timed = panel.rows.iter().any(|row| row.nanoseconds.is_some());
    let span = if timed { 7 } else { 6 };
    html! {
        table.figures-of {
            thead {
                tr {
                    th colspan="2" {}
                    @for placement in PLACEMENTS { th.group colspan=(span) scope="colgroup" { (panel::placement(placement)) " placement" } }
                    th.group title=(CAVEAT) { "user ÷ kernel" }
                }
                tr {
                    th scope="col" { "data passing" } th.number scope="col" { "bytes" }
                    @for _ in PLACEMENTS {
                        @for head in ["instructions", "of them kernel", "crossings", "calls", "copied", "pages"] { th.number scope="col" { (head) } }
                        @if timed { th.number scope="col" { "ns" } }
                    }
                    th.number scope="col" { "instructions" }
                }
            }
            tbody {
                @for passing in PASSINGS {
                    @for bytes in panel.sizes() {
                        (line(panel, passing, bytes, timed))
                    }
                }
            }
        }
    }
}

fn line(panel: &Panel<'_>, passing: Passing, bytes: u32, timed: bool) -> Markup {
    let rows = PLACEMENTS.map(|placement| panel.find(placement, passing, bytes));
    if rows.iter().all(Option::is_none) {
        return html! {};
    }
    let ratio = pairs::user_by_kernel(panel, passing, bytes);
    html! {
        tr {
            th scope="row" { (panel::passing(passing)) }
            td.number { (panel.operation(bytes)) }
            @for row in rows { (cells(row, timed)) }
            td.number { (cell(ratio.as_ref())) }
        }
    }
}

fn cells(row: Option<&Row>, timed: bool) -> Markup {
    let Some(row) = row else {
        return html! { td.absent colspan=(if timed { 7 } else { 6 }) { "not measured" } };
    };
    html! {
        td.number { (figure(&row.instructions)) }
        td.number { (number(row.kernel.median)) }
        @for value in [row.crossings, row.system_calls, row.copied, row.page_operations] {
            td.number { (number(value)) }
        }
        @if timed { td.number { @if let Some(time) = &row.nanoseconds { (figure(time)) } @else { "–" } } }
    }
}

/// Median, with its range below.
fn figure(figure: &Figure) -> Markup {
    html! {
        (number(figure.median))
        small { (number(figure.min)) " – " (number(figure.max)) }
    }
}
