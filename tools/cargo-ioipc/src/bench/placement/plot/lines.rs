//! Something by size, a line for each data passing and placement.

use std::error::Error;

use maud::{Markup, html};
use plotters::prelude::{
    Cartesian2d, ChartBuilder, ChartContext, Circle, Color, IntoDrawingArea, IntoFont, LineSeries,
    PathElement, SVGBackend, ShapeStyle,
};

use super::super::panel;
use super::super::record::{Passing, Placement};
use super::scale::Scale;
use super::{Ink, TEXT, WIDTH, finish, refused, scale, series_class};

const HEIGHT: u32 = 760;
/// Width of a label below the axis, in doublings of the size.
const LABEL: f64 = 1.0 / 8.5;

/// A plot with lines.
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    /// What it shows, for those who cannot see it.
    pub label: String,
    /// What stands at the axes.
    pub x: &'a str,
    /// Likewise.
    pub y: &'a str,
    /// A value to draw a line at.
    pub reference: Option<f64>,
    /// The y axis reaches at least from here to here.
    pub reach: [f64; 2],
    /// The lines; an empty one is left out.
    pub lines: Vec<Line>,
}

/// A line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its colour.
    pub passing: Passing,
    /// Dashed and hollow for kernel, drawn through and full for user.
    pub placement: Placement,
    /// From left to right.
    pub points: Vec<Point>,
}

/// A point with its spread.
#[derive(Clone, Debug)]
pub struct Point {
    /// Where.
    pub bytes: u32,
    /// Least, median, greatest.
    pub values: [f64; 3],
    /// What is said of it.
    pub words: String,
}

impl Point {
    /// Where on the x axis.
    fn x(&self) -> f64 {
        f64::from(self.bytes.max(1)).log2()
    }
}

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Scale, Scale>>;
/// Where a point is in the picture.
type Place<'a> = (&'a Line, &'a Point, (i32, i32));

/// Draws it.
#[must_use]
pub fn lines(plot: &Lines<'_>) -> Markup {
    let mut drawn = String::new();
    match draw(plot, &mut drawn) {
        Ok(places) => finish(&drawn, HEIGHT, &plot.label, &words(&places)),
        Err(error) => refused(&*error),
    }
}

fn draw<'a>(plot: &'a Lines<'_>, drawn: &mut String) -> Result<Vec<Place<'a>>, Box<dyn Error>> {
    let area = SVGBackend::with_string(drawn, (WIDTH, HEIGHT)).into_drawing_area();
    let points = || plot.lines.iter().flat_map(|line| &line.points);
    let mut sizes: Vec<f64> = points().map(Point::x).collect();
    sizes.sort_unstable_by(f64::total_cmp);
    sizes.dedup();
    let ends = (sizes.first().copied(), sizes.last().copied());
    let (from, to) = (ends.0.unwrap_or(0.0) - 0.4, ends.1.unwrap_or(0.0) + 0.4);
    let [least, most] = plot.reach;
    let least = points().map(|p| p.values[0]).fold(least, f64::min);
    let most = points().map(|p| p.values[2]).fold(most, f64::max);
    let ticks = scale::ticks(least, most, 5);
    let (bottom, top) = (ticks[0], ticks[ticks.len() - 1]);
    let labels = scale::apart(&sizes, (to - from) * LABEL);
    let mut chart = ChartBuilder::on(&area)
        .margin(14)
        .margin_right(24)
        .x_label_area_size(84)
        .y_label_area_size(116)
        .build_cartesian_2d(
            Scale {
                ends: from..to,
                ticks: labels,
            },
            Scale {
                ends: bottom..top,
                ticks: ticks.clone(),
            },
        )?;
    axes(&mut chart, plot, ticks[1] - ticks[0])?;
    if let Some(value) = plot.reference {
        let across = vec![(from, value), (to, value)];
        chart.draw_series([PathElement::new(across, stroke(Ink::Axis, 3))])?;
    }
    let mut places = Vec::new();
    for line in plot.lines.iter().filter(|line| !line.points.is_empty()) {
        series(&mut chart, line)?;
        let place = |point: &'a Point| {
            let at = chart.backend_coord(&(point.x(), point.values[1]));
            (line, point, at)
        };
        places.extend(line.points.iter().map(place));
    }
    area.present()?;
    Ok(places)
}

fn axes(chart: &mut Chart<'_, '_>, plot: &Lines<'_>, step: f64) -> Result<(), Box<dyn Error>> {
    let text = ("sans-serif", TEXT).into_font().color(&Ink::Text.rgb());
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(ShapeStyle::from(Ink::Grid.rgb().mix(0.0)))
        .bold_line_style(Ink::Grid.rgb())
        .axis_style(stroke(Ink::Axis, 2))
        .label_style(text.clone())
        .axis_desc_style(text)
        .x_desc(plot.x)
        .y_desc(plot.y)
        .x_label_formatter(&|x| panel::size(x.exp2().round() as u32))
        .y_label_formatter(&|y| scale::label(*y, step))
        .draw()?;
    Ok(())
}

fn series(chart: &mut Chart<'_, '_>, line: &Line) -> Result<(), Box<dyn Error>> {
    let ink = Ink::Series(line.passing, line.placement);
    let at = |point: &Point| (point.x(), point.values[1]);
    let spread = |point: &Point| {
        let [least, _, most] = point.values;
        PathElement::new(vec![(point.x(), least), (point.x(), most)], stroke(ink, 3))
    };
    chart.draw_series(line.points.iter().map(spread))?;
    chart.draw_series(LineSeries::new(line.points.iter().map(at), stroke(ink, 5)))?;
    let (inside, hollow) = match line.placement {
        Placement::Kernel => (Ink::Page, true),
        Placement::User => (ink, false),
    };
    let mark = |point: &Point| Circle::new(at(point), 7, inside.rgb().filled());
    chart.draw_series(line.points.iter().map(mark))?;
    if hollow {
        let ring = |point: &Point| Circle::new(at(point), 7, stroke(ink, 4));
        chart.draw_series(line.points.iter().map(ring))?;
    }
    Ok(())
}

/// A line that is drawn through; what is dashed is the style sheet's matter.
fn stroke(ink: Ink, width: u32) -> ShapeStyle {
    ink.rgb().stroke_width(width)
}

/// What is said of the point that is pointed at.
fn words(places: &[Place<'_>]) -> Markup {
    html! {
        @for (line, point, (x, y)) in places {
            circle class={ "hit " (series_class(line.passing, line.placement)) }
                cx=(x) cy=(y) r="18" { title { (point.words) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Vec<Point>) -> String {
        let line = Line {
            passing: Passing::Share,
            placement: Placement::Kernel,
            points,
        };
        let plot = Lines {
            label: "a <plot>".to_owned(),
            x: "bytes",
            y: "much",
            reference: Some(1.0),
            reach: [0.0, 1.0],
            lines: vec![line],
        };
        lines(&plot).into_string()
    }

    fn point(bytes: u32, value: f64) -> Point {
        Point {
            bytes,
            values: [value, value, value],
            words: format!("<{bytes}>"),
        }
    }

    #[test]
    fn every_point_is_marked_and_said() {
        let svg = plot(vec![point(64, 1.0), point(1024, 2.0), point(65_536, 4.0)]);
        assert_eq!(svg.matches("class=\"hit s-share p-kernel\"").count(), 3);
        assert!(svg.contains("<title>&lt;1024&gt;</title>"), "{svg}");
        assert!(svg.contains("64 KiB") && svg.contains("a &lt;plot&gt;"));
        assert!(!svg.contains("#02") && !svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn little_or_nothing_is_drawn_too() {
        assert!(plot(Vec::new()).contains("<svg"));
        let one = plot(vec![point(0, 0.0)]);
        assert!(one.contains("class=\"hit") && !one.contains("NaN"), "{one}");
    }
}
