//! Throughput, the price of isolation, and jumbo frames.

use maud::{Markup, html};

use super::super::pairs::{self, Ratio};
use super::super::panel::{self, Bundle, CAVEAT, PASSINGS, PLACEMENTS, Panel, number, size};
use super::super::plot::{self, Line, Lines, Point};
use super::super::record::{Passing, Placement, Row};
use super::{caveat, section, times};

/// Throughput by size.
pub(super) fn throughput(panels: &[&Panel<'_>]) -> Markup {
    let how = html! {
        p {
            "How many bytes of payload a thousand instructions move, by the size of an operation: "
            b { "higher is better" } ". Colours are ways of passing data; solid lines with full dots are the "
            "user placement, dashed lines with hollow dots the kernel placement. The closer a solid line is to "
            "the dashed one of its colour, the less isolation costs. Point at a dot for its figures."
        }
    };
    let body = html! {
        div.figures { @for panel in panels { (throughput_of(panel, best(panel))) } }
    };
    section("throughput", "Throughput by size", &how, &body)
}

fn throughput_of(panel: &Panel<'_>, most: f64) -> Markup {
    let title = panel.shape.title();
    let plot = Lines {
        label: format!("Payload bytes per 1000 instructions by size of an operation. {title}."),
        x: "bytes of an operation",
        y: "bytes per 1000 instructions",
        reference: None,
        reach: [0.0, most],
        lines: series(panel),
    };
    html! {
        figure.card {
            h3 { (title) }
            (plot::lines(&plot))
        }
    }
}

fn series(panel: &Panel<'_>) -> Vec<Line> {
    let pairs = PASSINGS.into_iter();
    let pairs = pairs.flat_map(|passing| PLACEMENTS.map(|placement| (passing, placement)));
    let line = |(passing, placement)| Line {
        passing,
        placement,
        points: panel
            .series(placement, passing)
            .filter_map(throughput_point)
            .collect(),
    };
    pairs.map(line).collect()
}

fn throughput_point(row: &Row) -> Option<Point> {
    let figure = &row.instructions;
    let values = [figure.max, figure.median, figure.min]
        .map(|spent| 1000.0 / row.per_byte() * figure.median / spent);
    let case = &row.case;
    let [_, bytes, _] = values;
    let words = format!(
        "{}, {} placement, {} × {}: {} bytes per 1000 instructions ({} instructions an operation, {} to {})",
        panel::passing(case.passing),
        panel::placement(case.placement),
        size(case.bytes),
        case.outstanding,
        number(bytes),
        number(figure.median),
        number(figure.min),
        number(figure.max),
    );
    values
        .iter()
        .all(|value| value.is_finite())
        .then_some(Point {
            bytes: case.bytes,
            values,
            words,
        })
}

/// The highest throughput of a panel.
fn best(panel: &Panel<'_>) -> f64 {
    let points = panel.rows.iter().filter_map(|row| throughput_point(row));
    points.map(|point| point.values[2]).fold(0.0, f64::max)
}

/// User by kernel placement.
pub(super) fn isolation(panels: &[&Panel<'_>]) -> Markup {
    let how = html! {
        p {
            "How many times as many instructions the user placement takes as the kernel placement, with the same "
            "way of passing data: " b { "1 means that isolation is free, lower is better" } ". Small operations pay "
            "for crossings, large ones for bytes. Ratios are of medians; the thin lines show how far the runs leave "
            "them open."
        }
    };
    let ratios: Vec<Markup> = panels
        .iter()
        .filter_map(|panel| ratio_figure(panel))
        .collect();
    let body = html! {
        @if ratios.is_empty() { p.empty { "No case was measured in both placements." } }
        div.figures { @for ratio in &ratios { (ratio) } }
    };
    section(
        "isolation",
        "What isolation costs: user ÷ kernel",
        &how,
        &body,
    )
}

/// None without a case in both placements.
fn ratio_figure(panel: &Panel<'_>) -> Option<Markup> {
    let line = |passing| Line {
        passing,
        placement: Placement::User,
        points: panel
            .sizes()
            .into_iter()
            .filter_map(|bytes| ratio_point(panel, passing, bytes))
            .collect(),
    };
    let lines: Vec<Line> = PASSINGS.into_iter().map(line).collect();
    lines
        .iter()
        .any(|line| !line.points.is_empty())
        .then_some(())?;
    let title = panel.shape.title();
    let plot = Lines {
        label: format!(
            "Instructions in user placement divided by those in kernel placement. {title}. {CAVEAT}"
        ),
        x: "bytes of an operation",
        y: "user ÷ kernel",
        reference: Some(1.0),
        reach: [0.95, 1.2],
        lines,
    };
    Some(html! {
        figure.card {
            h3 { (title) }
            (plot::lines(&plot))
            figcaption { (conclusion(panel)) (caveat()) }
        }
    })
}

fn ratio_point(panel: &Panel<'_>, passing: Passing, bytes: u32) -> Option<Point> {
    let ratio = pairs::user_by_kernel(panel, passing, bytes)?;
    let Ratio { median, min, max } = ratio;
    let words = format!(
        "{}, {}: {} ({} to {})",
        panel::passing(passing),
        size(bytes),
        times(median),
        number(min),
        number(max)
    );
    Some(Point {
        bytes,
        values: [min, median, max],
        words,
    })
}

/// What the plot says of the largest size.
fn conclusion(panel: &Panel<'_>) -> Markup {
    let bytes = panel.telling;
    let said = |passing| {
        let ratio = pairs::user_by_kernel(panel, passing, bytes)?;
        Some(html! { (panel::passing(passing)) " " b { (times(ratio.median)) } })
    };
    let said: Vec<Markup> = [Passing::EmulatedCopy, Passing::Conventional]
        .into_iter()
        .filter_map(said)
        .collect();
    html! {
        @if !said.is_empty() {
            p {
                "At " (panel.operation(bytes)) ": "
                @for (at, said) in said.iter().enumerate() { @if at > 0 { ", " } (said) }
                "."
            }
        }
    }
}

/// Jumbo frames beside ordinary ones, on the same scale.
pub(super) fn jumbo(reference: &[&Panel<'_>], jumbo: &[&Panel<'_>]) -> Markup {
    if jumbo.is_empty() {
        return html! {};
    }
    let how = html! {
        p {
            "Ordinary Ethernet carries packets of 1500 bytes, jumbo frames up to 9000. With larger packets, fewer "
            "have to be handled for the same bytes, so what is left is the cost of passing data. Left the ordinary "
            "network, right jumbo frames, on the same scale; below, how many times as many bytes the same number "
            "of instructions moves."
        }
    };
    let body = html! { @for large in jumbo { (beside(reference, large)) } };
    section("jumbo", "Jumbo frames beside the reference", &how, &body)
}

fn beside(reference: &[&Panel<'_>], large: &Panel<'_>) -> Markup {
    let same = |panel: &&&Panel<'_>| {
        let shape = panel.shape;
        let one = |bundle| bundle == Bundle::One;
        (shape.protocol, shape.pattern, one(shape.bundle))
            == (
                large.shape.protocol,
                large.shape.pattern,
                one(large.shape.bundle),
            )
    };
    let small = reference.iter().find(same);
    let most = small.map_or(0.0, |small| best(small)).max(best(large));
    html! {
        div.figures.pair {
            @if let Some(small) = small { (throughput_of(small, most)) }
            (throughput_of(large, most))
        }
        @if let Some(small) = small {
            (gains(small, large))
            (caveat())
        }
    }
}

/// What jumbo frames gain at sizes that were measured with both.
fn gains(small: &Panel<'_>, large: &Panel<'_>) -> Markup {
    let gain = |placement, passing| {
        let both = |bytes: &u32| {
            let row = |panel: &Panel<'_>| panel.find(placement, passing, *bytes).map(Row::per_byte);
            Some((*bytes, row(small)? / row(large)?))
        };
        large.sizes().iter().rev().find_map(both)
    };
    html! {
        table.gains {
            caption { (large.shape.title()) ": jumbo ÷ ordinary, bytes per instruction" }
            thead { tr { th scope="col" { "data passing" } th scope="col" { "bytes" }
                @for placement in PLACEMENTS { th.number scope="col" { (panel::placement(placement)) } } } }
            tbody {
                @for passing in PASSINGS {
                    @let found = PLACEMENTS.map(|placement| gain(placement, passing));
                    @if let Some((bytes, _)) = found.iter().flatten().next() {
                        tr {
                            th scope="row" { (panel::passing(passing)) }
                            td { (size(*bytes)) }
                            @for gain in found {
                                td.number { @if let Some((_, gain)) = gain { (times(gain)) } @else { "–" } }
                            }
                        }
                    }
                }
            }
        }
    }
}
