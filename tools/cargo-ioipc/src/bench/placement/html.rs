//! The record as one page: words, plots and tables.
//!
//! Problem: a table of some hundred rows answers no question by itself, and who
//! has not read the papers does not know which to ask. Invariants: the page is
//! one file, without scripts, and fetches nothing; everything from the record
//! is escaped; beside every ratio stands what is not in it.

mod figures;
mod numbers;
mod parts;
mod words;

use maud::{DOCTYPE, Markup, PreEscaped, html as markup};

use super::panel::{self, CAVEAT, PASSINGS, number};
use super::plot;
use super::record::{Passing, Placement, Record};

/// Its colours and layout.
const STYLE: &str = include_str!("html/page.css");
/// Packets of an ordinary network; larger ones are jumbo frames.
const REFERENCE: u32 = 1500;

/// The record as a page, to be written to a file.
#[must_use]
pub fn html(record: &Record) -> String {
    let panels = panel::panels(record);
    let (reference, jumbo): (Vec<_>, Vec<_>) = panels
        .iter()
        .partition(|panel| panel.shape.mtu <= REFERENCE);
    let page = markup! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "ioipc: placement of server and driver" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head(record))
                main {
                    @if record.rows.is_empty() {
                        p.empty { "This record has no rows." }
                    } @else {
                        (numbers::in_short(&reference))
                        (words::introduction())
                        (legend(record))
                        (figures::throughput(&reference))
                        (figures::isolation(&reference))
                        (parts::where_they_go(record, &reference))
                        (figures::jumbo(&reference, &jumbo))
                        (numbers::demands(record))
                        (numbers::tables(&panels))
                    }
                    (words::method(record))
                }
            }
        }
    };
    page.into_string()
}

fn head(record: &Record) -> Markup {
    let accel = match record.accel.as_str() {
        "tcg" => "emulated (tcg)",
        other => other,
    };
    markup! {
        header {
            p.over { "ioipc · bench placement" }
            h1 { "What does it cost to take the network stack out of the kernel?" }
            p.lead {
                "The same protocol server and network driver, once inside the privileged domain and once as "
                "programs of their own; with I/O-oriented IPC, and with messages that are copied as user-level "
                "servers have had to. Counted in processor instructions."
            }
            ul.facts {
                li { b { (record.kernel) } " kernel" }
                li { b { (accel) } }
                li { b { "ioipc " (record.version) } }
                li { "medians of " b { (record.runs) } " runs" }
                li { b { (record.rows.len()) } " rows" }
                @if record.quick {
                    li.warning { "a quick subset: for a look, not for the record" }
                }
            }
        }
    }
}

/// Names of lines, which can be switched off.
fn legend(record: &Record) -> Markup {
    let occurs = |passing: &Passing| record.rows.iter().any(|row| row.case.passing == *passing);
    markup! {
        fieldset.legend {
            legend { "Lines, to be hidden or shown" }
            @for passing in PASSINGS.into_iter().filter(occurs) {
                label {
                    input type="checkbox" checked id={ "show-" (plot::passing_class(passing)) };
                    (swatch(passing, Placement::User))
                    (panel::passing(passing))
                }
            }
            span.styles {
                span { (swatch(Passing::Conventional, Placement::Kernel)) "kernel placement" }
                span { (swatch(Passing::Conventional, Placement::User)) "user placement" }
            }
        }
    }
}

/// A piece of a line.
fn swatch(passing: Passing, placement: Placement) -> Markup {
    let class = plot::series_class(passing, placement);
    markup! {
        svg.swatch viewBox="0 0 34 12" aria-hidden="true" {
            polyline class={ "line " (class) } fill="none" stroke-width="2.5" points="1,6 33,6" {}
            circle class={ "dot line fill " (class) } cx="17" cy="6" r="3.4" stroke-width="2" {}
        }
    }
}

/// A section with a heading and what to know of its plots.
fn section(id: &str, title: &str, how: &Markup, body: &Markup) -> Markup {
    markup! {
        section id=(id) {
            h2 { (title) }
            div.how { (how) }
            (body)
        }
    }
}

/// What stands beside every ratio.
fn caveat() -> Markup {
    markup! { p.caveat { (CAVEAT) } }
}

/// A ratio for people: `1.23 ×`.
fn times(value: f64) -> String {
    format!("{} ×", number(value))
}
