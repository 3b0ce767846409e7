//! The figures for a terminal: placements side by side.

use std::fmt::Write as _;

use super::pairs;
use super::panel::{self, CAVEAT, Panel, number};
use super::record::{Passing, Placement, Record, Row};

/// A column of each placement.
struct Column {
    head: &'static str,
    width: usize,
    figure: fn(&Row) -> Option<f64>,
}

const fn column(head: &'static str, width: usize, figure: fn(&Row) -> Option<f64>) -> Column {
    Column {
        head,
        width,
        figure,
    }
}

/// The last is left out if nothing was timed.
const COLUMNS: [Column; 6] = [
    column("instr", 11, |row| Some(row.instructions.median)),
    column("cross", 7, |row| Some(row.crossings)),
    column("calls", 7, |row| Some(row.system_calls)),
    column("copied", 9, |row| Some(row.copied)),
    column("pages", 7, |row| Some(row.page_operations)),
    column("ns", 10, |row| row.nanoseconds.map(|time| time.median)),
];
/// In front of them: data passing and bytes.
const NAME: usize = 13;
const BYTES: usize = 12;

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
    let timed = record.rows.iter().any(|row| row.nanoseconds.is_some());
    let columns = &COLUMNS[..COLUMNS.len() - usize::from(!timed)];
    let measured = |place: &Placement| record.rows.iter().any(|row| row.case.placement == *place);
    let placements: Vec<Placement> = panel::PLACEMENTS.into_iter().filter(measured).collect();
    let layout = Layout {
        columns,
        placements: &placements,
    };
    for panel in panel::panels(record) {
        writeln!(text, "\n{}", panel.shape.title())?;
        layout.head(text)?;
        for passing in panel::PASSINGS {
            for bytes in panel.sizes() {
                layout.line(text, &panel, passing, bytes)?;
            }
        }
        writeln!(text, "  {CAVEAT}")?;
    }
    foot(text, record)
}

/// What stands beside each other; a placement that was not measured does not.
struct Layout<'a> {
    columns: &'a [Column],
    placements: &'a [Placement],
}

impl Layout<'_> {
    fn head(&self, text: &mut String) -> std::fmt::Result {
        let half: usize = self.columns.iter().map(|column| column.width).sum();
        write!(text, "{:front$}", "", front = NAME + BYTES)?;
        for (between, placement) in self.sides() {
            write!(text, "{between}{:>half$}", panel::placement(placement))?;
        }
        writeln!(text, "{}", if self.compares() { "  user÷" } else { "" })?;
        write!(text, "{:NAME$}{:>BYTES$}", "data passing", "bytes")?;
        for (between, _) in self.sides() {
            text.push_str(between);
            for Column { head, width, .. } in self.columns {
                write!(text, "{head:>width$}")?;
            }
        }
        writeln!(text, "{}", if self.compares() { "  kernel" } else { "" })
    }

    /// The placements, and what is in front of each.
    fn sides(&self) -> impl Iterator<Item = (&'static str, Placement)> {
        let between = ["", " "].into_iter();
        between.zip(self.placements.iter().copied())
    }

    fn compares(&self) -> bool {
        self.placements.len() > 1
    }

    /// A way and size, if it was measured in either placement.
    fn line(
        &self,
        text: &mut String,
        panel: &Panel<'_>,
        passing: Passing,
        bytes: u32,
    ) -> std::fmt::Result {
        let row = |placement| panel.find(placement, passing, bytes);
        if self.placements.iter().all(|place| row(*place).is_none()) {
            return Ok(());
        }
        let (name, operation) = (panel::passing(passing), panel.operation(bytes));
        write!(text, "{name:NAME$}{operation:>BYTES$}")?;
        for (between, placement) in self.sides() {
            text.push_str(between);
            self.figures(text, row(placement))?;
        }
        match pairs::user_by_kernel(panel, passing, bytes) {
            _ if !self.compares() => writeln!(text),
            Some(ratio) => {
                let mark = if ratio.is_certain() { ' ' } else { '~' };
                writeln!(text, " {mark}{:>6.2}", ratio.median)
            }
            None => writeln!(text, "  {:>6}", "-"),
        }
    }

    fn figures(&self, text: &mut String, row: Option<&Row>) -> std::fmt::Result {
        for Column { width, figure, .. } in self.columns {
            let value = row.and_then(figure).map_or("-".to_owned(), number);
            write!(text, "{value:>width$}")?;
        }
        Ok(())
    }
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
