//! Plots as inline SVG.
//!
//! Problem: the plotting library draws axes and marks well, but in fixed
//! colours and without words for those who cannot see them. So it draws in
//! colours that nothing else has, one for each [`Ink`]; these become classes,
//! which the page's style sheet colours for light and for dark. What the
//! library cannot draw, words over a mark and labels of rows, is laid over it.
//!
//! Invariant: all text is escaped, by the library or by the page's templates;
//! a plot needs nothing from outside.

mod bars;
mod lines;
mod scale;

use maud::{Markup, PreEscaped, html};
use plotters::style::RGBColor;

use super::panel;
use super::record::{Passing, Placement};

pub use bars::{Bar, Bars, bars};
pub use lines::{Line, Lines, Point, lines};

/// Components that have a colour of their own.
pub const PARTS: usize = 8;
/// Plots are drawn at twice their size, since the library knows whole pixels
/// only.
const WIDTH: u32 = 1200;
/// Size of text, as the library counts: it takes off a fifth.
const TEXT: u32 = 31;

/// What something is drawn in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ink {
    Text,
    Axis,
    Grid,
    /// The page itself, inside a hollow mark.
    Page,
    /// A way of passing data in a placement.
    Series(Passing, Placement),
    /// A component; those without a colour of their own share the last.
    Part(usize),
}

impl Ink {
    /// Every ink.
    fn all() -> impl Iterator<Item = Self> {
        let series = panel::PASSINGS.into_iter().flat_map(|passing| {
            let series = move |placement| Self::Series(passing, placement);
            panel::PLACEMENTS.into_iter().map(series)
        });
        let plain = [Self::Text, Self::Axis, Self::Grid, Self::Page];
        let parts = (0..=PARTS).map(Self::Part);
        plain.into_iter().chain(series).chain(parts)
    }

    /// The colour that stands for it until it is replaced; no two alike.
    fn rgb(self) -> RGBColor {
        match self {
            Self::Text => RGBColor(1, 0, 0),
            Self::Axis => RGBColor(1, 0, 1),
            Self::Grid => RGBColor(1, 0, 2),
            Self::Page => RGBColor(1, 0, 3),
            Self::Series(passing, placement) => RGBColor(2, passing as u8, placement as u8),
            Self::Part(part) => RGBColor(3, 0, part as u8),
        }
    }

    /// The classes that replace it.
    fn class(self) -> String {
        match self {
            Self::Text => "ink-text".to_owned(),
            Self::Axis => "ink-axis".to_owned(),
            Self::Grid => "ink-grid".to_owned(),
            Self::Page => "ink-page".to_owned(),
            Self::Series(passing, placement) => series_class(passing, placement),
            Self::Part(part) => part_class(part),
        }
    }
}

/// Classes of a series, in plots and legends.
pub fn series_class(passing: Passing, placement: Placement) -> String {
    format!(
        "{} p-{}",
        passing_class(passing),
        panel::placement(placement)
    )
}

/// Class of a way of passing data.
pub fn passing_class(passing: Passing) -> String {
    format!("s-{}", panel::passing(passing).replace(' ', "-"))
}

/// Class of a component.
pub fn part_class(part: usize) -> String {
    format!("c-{}", part.min(PARTS))
}

/// The plot around what the library drew, with `over` laid over it.
fn finish(drawn: &str, height: u32, label: &str, over: &Markup) -> Markup {
    let inside = drawn
        .split_once('>')
        .and_then(|(_, rest)| rest.rsplit_once("</svg>"))
        .map_or("", |(inside, _)| inside);
    html! {
        svg.plot viewBox={ "0 0 " (WIDTH) " " (height) } role="img" aria-label=(label) {
            (PreEscaped(with_classes(inside)))
            (over)
        }
    }
}

/// Replaces colours by classes.
fn with_classes(drawn: &str) -> String {
    Ink::all().fold(drawn.to_owned(), |drawn, ink| {
        let RGBColor(r, g, b) = ink.rgb();
        let (class, colour) = (ink.class(), format!("#{r:02X}{g:02X}{b:02X}"));
        drawn
            .replace(
                &format!("fill=\"{colour}\""),
                &format!("class=\"fill {class}\""),
            )
            .replace(
                &format!("stroke=\"{colour}\""),
                &format!("class=\"line {class}\""),
            )
    })
}

/// What is shown where a plot could not be drawn.
fn refused(error: &dyn std::fmt::Display) -> Markup {
    html! { p.refused { "This plot could not be drawn: " (error) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inks_are_told_apart() {
        let mut colours: Vec<_> = Ink::all().map(|ink| ink.rgb()).collect();
        let all = colours.len();
        colours.sort_unstable_by_key(|RGBColor(r, g, b)| (*r, *g, *b));
        colours.dedup();
        assert_eq!(colours.len(), all);
    }

    #[test]
    fn colours_become_classes_and_text_is_escaped() {
        let drawn = "<svg a=\"1\">\n<polyline fill=\"none\" stroke=\"#020001\"/></svg>\n";
        let markup = finish(drawn, 10, "a \"b\" <c>", &html! {}).into_string();
        assert!(markup.contains("<polyline fill=\"none\" class=\"line s-copy p-user\"/>"));
        assert!(
            markup.contains("aria-label=\"a &quot;b&quot; &lt;c&gt;\""),
            "{markup}"
        );
    }
}
