//! Amounts made of parts, a bar for each.

use std::error::Error;

use maud::{Markup, html};
use plotters::prelude::{
    ChartBuilder, Color, IntoDrawingArea, IntoFont, Rectangle, SVGBackend, ShapeStyle,
};

use super::scale::Scale;
use super::{Ink, TEXT, WIDTH, finish, part_class, refused, scale};

/// Height of a bar and of what is between bars.
const BAR: u32 = 46;
/// Height of the axis, its labels and margins.
const FRAME: u32 = 118;
/// Room for the names of the bars.
const NAMES: u32 = 330;
/// Room for the figure behind the longest bar.
const BEHIND: i32 = 130;

/// A plot with bars.
#[derive(Clone, Debug)]
pub struct Bars<'a> {
    /// What it shows, for those who cannot see it.
    pub label: String,
    /// What stands at the axis.
    pub x: &'a str,
    /// From top to bottom.
    pub bars: Vec<Bar>,
}

/// A bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Its name.
    pub name: String,
    /// Whether it begins a group.
    pub first: bool,
    /// Part, amount, and what is said of it; from left to right.
    pub parts: Vec<(usize, f64, String)>,
    /// What stands behind it.
    pub total: String,
}

/// A part's place in the picture: left, right, top and bottom.
struct Place<'a> {
    part: &'a (usize, f64, String),
    corners: ((i32, i32), (i32, i32)),
}

/// What [`draw`] leaves to be laid over.
struct Drawn<'a> {
    parts: Vec<Place<'a>>,
    /// Right end and middle of each bar.
    bars: Vec<(&'a Bar, (i32, i32))>,
}

/// Draws it.
#[must_use]
pub fn bars(plot: &Bars<'_>) -> Markup {
    let height = rows(plot).last().map_or(0, |row| row + 1) as u32 * BAR / 4 + FRAME;
    let mut drawn = String::new();
    match draw(plot, height, &mut drawn) {
        Ok(places) => finish(&drawn, height, &plot.label, &words(&places)),
        Err(error) => refused(&*error),
    }
}

/// The last quarter of a bar's height that each bar takes.
fn rows(plot: &Bars<'_>) -> Vec<u64> {
    let mut row = 0;
    let mut place = |bar: &Bar| {
        row += if bar.first { 5 } else { 4 };
        row
    };
    plot.bars.iter().map(&mut place).collect()
}

fn draw<'a>(
    plot: &'a Bars<'_>,
    height: u32,
    drawn: &mut String,
) -> Result<Drawn<'a>, Box<dyn Error>> {
    let area = SVGBackend::with_string(drawn, (WIDTH, height)).into_drawing_area();
    let sum = |bar: &Bar| bar.parts.iter().map(|(_, amount, _)| amount).sum::<f64>();
    let most = plot.bars.iter().map(sum).fold(0.0, f64::max);
    let ticks = scale::ticks(0.0, most, 4);
    let (top, step) = (ticks[ticks.len() - 1], ticks[1]);
    let rows = rows(plot);
    let down = rows.last().map_or(1, |row| row + 1) as f64;
    let mut chart = ChartBuilder::on(&area)
        .margin(10)
        .margin_right(BEHIND)
        .x_label_area_size(84)
        .y_label_area_size(NAMES)
        .build_cartesian_2d(
            Scale {
                ends: 0.0..top,
                ticks,
            },
            Scale {
                ends: down..0.0,
                ticks: Vec::new(),
            },
        )?;
    let text = ("sans-serif", TEXT).into_font().color(&Ink::Text.rgb());
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(0)
        .light_line_style(ShapeStyle::from(Ink::Grid.rgb().mix(0.0)))
        .bold_line_style(Ink::Grid.rgb())
        .axis_style(Ink::Axis.rgb().stroke_width(2))
        .label_style(text.clone())
        .axis_desc_style(text)
        .x_desc(plot.x)
        .x_label_formatter(&|x| scale::label(*x, step))
        .draw()?;
    let (mut parts, mut bars) = (Vec::new(), Vec::new());
    for (bar, row) in plot.bars.iter().zip(rows) {
        let (above, below) = (row as f64 - 3.5, row as f64 - 0.1);
        let mut left = 0.0;
        for part in &bar.parts {
            let corners = [(left, above), (left + part.1, below)];
            let ink = Ink::Part(part.0.min(super::PARTS));
            chart.draw_series([Rectangle::new(corners, ink.rgb().filled())])?;
            let [a, b] = corners.map(|corner| chart.backend_coord(&corner));
            parts.push(Place {
                part,
                corners: (a, b),
            });
            left += part.1;
        }
        let middle = chart.backend_coord(&(left, f64::midpoint(above, below)));
        bars.push((bar, middle));
    }
    area.present()?;
    Ok(Drawn { parts, bars })
}

/// Names, totals, and what is said of the part that is pointed at.
fn words(drawn: &Drawn<'_>) -> Markup {
    let span = |a: i32, b: i32| (b - a).unsigned_abs();
    html! {
        @for (bar, (right, middle)) in &drawn.bars {
            text.row x=(NAMES - 2) y=(middle) { (bar.name) }
            text.total x=(right + 12) y=(middle) { (bar.total) }
        }
        @for Place { part: (part, _, words), corners: (a, b) } in &drawn.parts {
            rect class={ "hit " (part_class(*part)) } x=(a.0) y=(a.1)
                width=(span(a.0, b.0)) height=(span(a.1, b.1)) { title { (words) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_and_are_said() {
        let bar = |name: &str, amounts: &[f64]| Bar {
            name: name.to_owned(),
            first: true,
            parts: amounts
                .iter()
                .enumerate()
                .map(|(part, amount)| (part, *amount, format!("{name}&{part}")))
                .collect(),
            total: "30".to_owned(),
        };
        let plot = Bars {
            label: "bars".to_owned(),
            x: "instructions",
            bars: vec![bar("<a>", &[10.0, 20.0]), bar("b", &[5.0, 0.0])],
        };
        let svg = bars(&plot).into_string();
        assert_eq!(svg.matches("class=\"hit c-").count(), 4, "{svg}");
        assert!(svg.contains("&lt;a&gt;") && svg.contains("&lt;a&gt;&amp;1"));
        assert!(!svg.contains("#03") && !svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn no_bars_are_a_plot_without_marks() {
        let plot = Bars {
            label: String::new(),
            x: "",
            bars: Vec::new(),
        };
        assert!(!bars(&plot).into_string().contains("class=\"hit"));
    }
}
