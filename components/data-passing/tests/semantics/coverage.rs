//! Which cells there are, and how often each was hit.
//!
//! A cell is a direction, a semantics, a technique and a grain; each counts
//! apart for every size class. The cells are those for which
//! `data_passing::choose` knows a legal case at all. None of them is left
//! out; what is not a cell, and why:
//!
//! * every pair of semantics and technique that `choose` never allows;
//! * copy on write, page swap, removal and creation of large pages: a frame of
//!   2 MiB cannot be split, and the reserve has none.

use std::fmt::Write;
use std::sync::LazyLock;

use data_passing::choose::{InputCase, OutputCase, input_is_legal, output_is_legal};
use socket_api::{Semantics, Technique};

use crate::program::SIZES;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub input: bool,
    pub semantics: Semantics,
    pub technique: Technique,
    pub large: bool,
}

impl Cell {
    /// Whether other operations in the same pages or a small reserve are
    /// often in its way.
    pub fn is_often_refused(&self) -> bool {
        use Technique as T;
        self.technique == T::Swap
            || (self.large && matches!(self.technique, T::Hide | T::Reinstate))
            || (self.large && self.semantics == Semantics::EmulatedCopy)
    }

    /// Whether some case makes it legal.
    fn is_legal(&self) -> bool {
        let cases = (0..4_u8).map(|bits| (bits & 1 != 0, bits & 2 != 0));
        cases.into_iter().any(|(blocked, early)| {
            let (semantics, small_pages) = (self.semantics, !self.large);
            let input = InputCase {
                semantics,
                len: 4096,
                pages: 1,
                small_pages,
                blocked,
                aligned: true,
                early,
            };
            let output = OutputCase {
                semantics,
                len: 4096,
                pages: 1,
                small_pages,
                writable: true,
                blocked,
                aligned: true,
                fault_rate: 0,
                protected: 0,
                written: false,
            };
            match self.input {
                true => input_is_legal(&input, self.technique),
                false => output_is_legal(&output, self.technique),
            }
        })
    }
}

/// All legal cells.
pub static CELLS: LazyLock<Vec<Cell>> = LazyLock::new(|| {
    let mut cells = Vec::new();
    for input in [false, true] {
        for &semantics in Semantics::ALL {
            for &technique in Technique::ALL {
                for large in [false, true] {
                    let cell = Cell {
                        input,
                        semantics,
                        technique,
                        large,
                    };
                    cells.extend(cell.is_legal().then_some(cell));
                }
            }
        }
    }
    cells
});

/// Hits of every cell and size class.
#[derive(Clone, Debug)]
pub struct Coverage {
    hits: Vec<[u32; SIZES.len()]>,
    /// Operations carried out.
    pub operations: u64,
    /// Faults resolved, by a copy and by restoring access, and put off.
    pub faults: [u64; 3],
    /// Operations refused.
    pub refused: u64,
}

impl Coverage {
    pub fn new() -> Self {
        Self {
            hits: vec![[0; SIZES.len()]; CELLS.len()],
            operations: 0,
            faults: [0; 3],
            refused: 0,
        }
    }

    /// Counts an operation that has been carried out and checked.
    pub fn hit(&mut self, cell: Cell, size: usize) -> Result<(), String> {
        let found = CELLS.iter().position(|c| *c == cell);
        let row = found.ok_or_else(|| format!("{cell:?} is not legal, and was carried out"))?;
        self.hits[row][size] += 1;
        Ok(())
    }

    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.hits.iter_mut().zip(&other.hits) {
            for (mine, theirs) in mine.iter_mut().zip(theirs) {
                *mine += theirs;
            }
        }
        for (mine, theirs) in self.faults.iter_mut().zip(other.faults) {
            *mine += theirs;
        }
        self.operations += other.operations;
        self.refused += other.refused;
    }

    /// The cells that were hit less than `least` times.
    pub fn missed(&self, least: u32) -> Vec<String> {
        let mut missed = Vec::new();
        for (cell, hits) in CELLS.iter().zip(&self.hits) {
            for (hits, size) in hits.iter().zip(SIZES) {
                if *hits < least {
                    missed.push(format!("{cell:?} of {size}: {hits}"));
                }
            }
        }
        missed
    }

    /// How often the rarest was hit.
    pub fn least(&self) -> u32 {
        self.hits.iter().flatten().copied().min().unwrap_or(0)
    }

    /// As a table.
    pub fn table(&self) -> String {
        let mut text = format!("{:52}", "");
        for size in SIZES {
            let _ = write!(text, "{size:>9}");
        }
        for (cell, hits) in CELLS.iter().zip(&self.hits) {
            let direction = if cell.input { "in" } else { "out" };
            let grain = if cell.large { "2 MiB" } else { "4 KiB" };
            let (semantics, technique) = (cell.semantics.to_string(), cell.technique.to_string());
            let _ = write!(
                text,
                "\n{direction:4}{semantics:20}{technique:14}{grain:>10}    "
            );
            for hits in hits {
                let _ = write!(text, "{hits:9}");
            }
        }
        text
    }
}
