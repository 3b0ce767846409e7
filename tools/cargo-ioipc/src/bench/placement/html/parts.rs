//! Where the instructions go, by component.
//!
//! Invariant: a component has the same colour in all plots of a page; those
//! that have least share the last.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::super::panel::{self, PASSINGS, PLACEMENTS, Panel, number};
use super::super::plot::{self, Bar, Bars, PARTS};
use super::super::record::{Record, Row};
use super::section;
use crate::bench::profile::KERNEL;

/// Components by colour.
type Colours<'a> = BTreeMap<&'a str, usize>;

/// The section; empty if instructions were not attributed.
pub(super) fn where_they_go(record: &Record, panels: &[&Panel<'_>]) -> Markup {
    let order = order(record);
    if order.is_empty() {
        return html! {};
    }
    let colours: Colours<'_> = order.iter().copied().zip(0..).collect();
    let how = html! {
        p {
            "The instructions of one operation by the component that executed them, for a small and a "
            "large size: " b { "shorter is better" } ". Each pair is one way of passing data, above in kernel "
            "placement, below in user placement. What grows from the upper to the lower bar is what isolation "
            "costs there. Point at a part for its figure."
        }
        ul.parts {
            @for name in order.iter().take(PARTS) {
                li { span class={ "chip " (plot::part_class(colours[name])) } {} (name) }
            }
            @if order.len() > PARTS {
                li { span class={ "chip " (plot::part_class(PARTS)) } {} "others" }
            }
        }
    };
    let body = html! {
        div.figures {
            @for panel in panels { @for bytes in ends(panel) { (figure(panel, bytes, &colours)) } }
        }
    };
    section("parts", "Where the instructions go", &how, &body)
}

/// Component names, the kernel first, then by what they execute in all rows.
fn order(record: &Record) -> Vec<&str> {
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for row in &record.rows {
        for (name, spent) in &row.components {
            *sums.entry(name).or_default() += spent;
        }
    }
    let mut order: Vec<(&str, f64)> = sums.into_iter().collect();
    order.sort_by(|a, b| {
        (b.0 == KERNEL)
            .cmp(&(a.0 == KERNEL))
            .then(b.1.total_cmp(&a.1))
    });
    order.into_iter().map(|(name, _)| name).collect()
}

/// The smallest size and the one that tells most.
fn ends(panel: &Panel<'_>) -> Vec<u32> {
    let sizes = panel.sizes();
    let mut ends: Vec<u32> = sizes.first().copied().into_iter().collect();
    ends.push(panel.telling);
    ends.dedup();
    ends
}

fn figure(panel: &Panel<'_>, bytes: u32, colours: &Colours<'_>) -> Markup {
    let rows = rows(panel, bytes);
    if rows.is_empty() {
        return html! {};
    }
    let title = format!("{}, {}", panel.shape.title(), panel.operation(bytes));
    let mut last = None;
    let bars = rows.iter().map(|row| {
        let first = last.replace(row.case.passing) != Some(row.case.passing);
        bar(row, first, colours)
    });
    let plot = Bars {
        label: format!("Instructions of an operation by component. {title}."),
        x: "instructions of an operation",
        bars: bars.collect(),
    };
    html! {
        figure.card {
            h3 { (title) }
            (plot::bars(&plot))
            details { summary { "as a table" } (table(&rows, colours)) }
        }
    }
}

/// The attributed rows of a size, placements of a way together.
fn rows<'a>(panel: &Panel<'a>, bytes: u32) -> Vec<&'a Row> {
    let pairs = PASSINGS.into_iter();
    let pairs = pairs.flat_map(|passing| PLACEMENTS.map(|placement| (passing, placement)));
    pairs
        .filter_map(|(passing, placement)| panel.find(placement, passing, bytes))
        .filter(|row| !row.components.is_empty())
        .collect()
}

fn name(row: &Row) -> String {
    let case = &row.case;
    let (passing, placement) = (
        panel::passing(case.passing),
        panel::placement(case.placement),
    );
    format!("{passing}, {placement}")
}

fn bar(row: &Row, first: bool, colours: &Colours<'_>) -> Bar {
    let mut parts: Vec<(usize, f64, String)> = row
        .components
        .iter()
        .filter(|(_, spent)| spent.is_finite() && **spent > 0.0)
        .map(|(component, spent)| {
            let share = spent / row.instructions.median * 100.0;
            let words = format!(
                "{}: {component} {} ({share:.0} %)",
                name(row),
                number(*spent)
            );
            (colours[component.as_str()], *spent, words)
        })
        .collect();
    parts.sort_by_key(|(colour, ..)| *colour);
    Bar {
        name: name(row),
        first,
        total: number(parts.iter().map(|(_, spent, _)| spent).sum()),
        parts,
    }
}

fn table(rows: &[&Row], colours: &Colours<'_>) -> Markup {
    let mut columns: Vec<(&str, usize)> = colours.iter().map(|(name, at)| (*name, *at)).collect();
    columns.retain(|(name, _)| rows.iter().any(|row| row.components.contains_key(*name)));
    columns.sort_by_key(|(_, at)| *at);
    html! {
        div.scroll { table {
            thead { tr { th scope="col" { "" } @for (name, _) in &columns { th.number scope="col" { (name) } } } }
            tbody { @for row in rows {
                tr {
                    th scope="row" { (name(row)) }
                    @for (component, _) in &columns {
                        td.number { (row.components.get(*component).map_or("–".to_owned(), |n| number(*n))) }
                    }
                }
            } }
        } }
    }
}
