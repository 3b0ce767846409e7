//! The figures for a terminal: placements side by side.

use std::fmt::Write as _;

use super::pairs;
use super::panel::{self, CAVEAT, Panel, number, size};
use super::record::{Passing, Placement, Record, Row};

/// Widths of the columns of each placement: instructions, crossings, system
/// calls, bytes copied, page operations.
const WIDTHS: [usize; 5] = [11, 7, 7, 9, 7];
/// Their heads.
const HEADS: [&str; 5] = ["instr", "cross", "calls", "copied", "pages"];
/// In front of them: data passing and bytes.
const NAME: usize = 15;
const BYTES: usize = 8;

/// The record as a table. Ratios are of the medians; `~` stands where the runs
/// of the two placements overlap.
#[must_use]
pub fn table(record: &Record) -> String {
    let mut text = String::new();
    // Writing into a string does not fail.
    let _written = write(&mut text, record);
    text
}

fn write(text: &mut String, record: &Record) -> std::fmt::Result {
    writeln!(
        text,
        "Protocol server and driver inside the I/O manager (kernel) and on their own (user):\n\
         figures of one operation, medians of {} runs; {}, {}, ioipc {}",
        record.runs, record.kernel, record.accel, record.version
    )?;
    for panel in panel::panels(record) {
        writeln!(text, "\n{}", panel.shape.title())?;
        head(text)?;
        for passing in panel::PASSINGS {
            for bytes in panel.sizes() {
                line(text, &panel, passing, bytes)?;
            }
        }
        writeln!(text, "  {CAVEAT}")?;
    }
    foot(text, record)
}

fn head(text: &mut String) -> std::fmt::Result {
    let half: usize = WIDTHS.iter().sum();
    let front = NAME + BYTES;
    writeln!(
        text,
        "{:front$} {:>half$} {:>half$}  user÷",
        "", "kernel", "user"
    )?;
    write!(text, "{:NAME$}{:>BYTES$} ", "data passing", "bytes")?;
    heads(text)?;
    text.push(' ');
    heads(text)?;
    writeln!(text, "  kernel")
}

fn heads(text: &mut String) -> std::fmt::Result {
    let mut columns = HEADS.iter().zip(WIDTHS);
    columns.try_for_each(|(head, width)| write!(text, "{head:>width$}"))
}

/// A way and size in both placements, if either was measured.
fn line(text: &mut String, panel: &Panel<'_>, passing: Passing, bytes: u32) -> std::fmt::Result {
    let row = |placement| panel.find(placement, passing, bytes);
    let (kernel, user) = (row(Placement::Kernel), row(Placement::User));
    if kernel.is_none() && user.is_none() {
        return Ok(());
    }
    let (name, bytes_text) = (panel::passing(passing), size(bytes));
    write!(text, "{name:NAME$}{bytes_text:>BYTES$} ")?;
    columns(text, kernel)?;
    text.push(' ');
    columns(text, user)?;
    match pairs::user_by_kernel(panel, passing, bytes) {
        Some(ratio) => {
            let mark = if ratio.is_certain() { ' ' } else { '~' };
            writeln!(text, " {mark}{:>6.2}", ratio.median)
        }
        None => writeln!(text, "  {:>6}", "-"),
    }
}

fn columns(text: &mut String, row: Option<&Row>) -> std::fmt::Result {
    let figures = row.map(|row| {
        [
            number(row.instructions.median),
            number(row.crossings),
            number(row.system_calls),
            number(row.copied),
            number(row.page_operations),
        ]
    });
    let figures = figures.unwrap_or_else(|| std::array::from_fn(|_| "-".to_owned()));
    let mut columns = figures.iter().zip(WIDTHS);
    columns.try_for_each(|(figure, width)| write!(text, "{figure:>width$}"))
}

fn foot(text: &mut String, record: &Record) -> std::fmt::Result {
    let idle: Vec<String> = record
        .idle
        .iter()
        .map(|(boot, rate)| format!("{boot} {}", number(*rate)))
        .collect();
    writeln!(
        text,
        "\nuser÷kernel: instructions, medians; ~ where the runs of the two overlap.\n\
         Idle, included above, instructions a second: {}.",
        match idle.is_empty() {
            true => "not measured".to_owned(),
            false => idle.join(", "),
        }
    )?;
    match record.quick {
        true => writeln!(text, "A quick subset: for a look, not for the record."),
        false => Ok(()),
    }
}
