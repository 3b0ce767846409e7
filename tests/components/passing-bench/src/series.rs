//! Series of rounds, and what is said of them.

use core::fmt::{self, Write};

use socket_api::Technique;

use crate::cases::{self, Case};
use crate::rounds::{Bench, Failure, Round};

/// Sizes in bytes.
const SIZES: [u32; 9] = [
    64,
    256,
    1 << 10,
    4 << 10,
    16 << 10,
    64 << 10,
    256 << 10,
    1 << 20,
    2 << 20,
];
/// Rounds that are not looked at, and those that are.
const WARM: usize = 2;
const ROUNDS: usize = 5;
/// Rounds of few bytes, of which more can be had.
const MANY: usize = 15;

/// Least, median and most of some rounds, and the technique of all of them.
#[derive(Clone, Copy)]
struct Point {
    least: u64,
    median: u64,
    most: u64,
    technique: Technique,
}

/// A series as a line.
struct Line<'a> {
    case: &'a Case,
    points: &'a [Option<Point>],
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Case {
            way,
            semantics,
            blocked,
            forced,
        } = self.case;
        write!(
            f,
            "{{\"way\":\"{}\",\"semantics\":{},\"blocked\":{},\"forced\":{},\"points\":[",
            way.name(),
            *semantics as u16,
            blocked,
            forced.map_or(0, |t| t as u16)
        )?;
        for (n, point) in self.points.iter().enumerate() {
            if n != 0 {
                f.write_char(',')?;
            }
            match point {
                Some(p) => {
                    let technique = p.technique as u16;
                    write!(f, "[{},{},{},{technique}]", p.median, p.least, p.most)?;
                }
                None => f.write_str("0")?,
            }
        }
        f.write_str("]}")
    }
}

/// Measures all series and logs each; how many. With `quick`, every third size.
pub fn measure_all(mut bench: Bench, quick: bool) -> Result<u32, &'static str> {
    let mut count = 0;
    for case in cases::all() {
        let mut points = [None; SIZES.len()];
        for (n, size) in SIZES.into_iter().enumerate() {
            if quick && n % 3 != 0 {
                continue;
            }
            points[n] = match point(&mut bench, &case, size) {
                Ok(point) => Some(point),
                Err(Failure::Illegal) => None,
                Err(Failure::Broken(why)) => return Err(why),
            };
        }
        if points.iter().any(Option::is_some) {
            count += 1;
            let points = &points;
            log::info!(
                "{}",
                Line {
                    case: &case,
                    points
                }
            );
        }
    }
    Ok(count)
}

fn point(bench: &mut Bench, case: &Case, size: u32) -> Result<Point, Failure> {
    bench.begin()?;
    for _ in 0..WARM {
        bench.round(case, size, false)?;
    }
    let count = if size <= 64 << 10 { MANY } else { ROUNDS };
    let mut counts = [0; MANY];
    let mut technique = None;
    for place in &mut counts[..count] {
        let Round {
            counts,
            technique: this,
        } = bench.round(case, size, false)?;
        *place = counts;
        if technique.replace(this).is_some_and(|last| last != this) {
            return Err(Failure::Broken("the technique changes from round to round"));
        }
    }
    let counts = &mut counts[..count];
    counts.sort_unstable();
    Ok(Point {
        least: counts[0],
        median: counts[count / 2],
        most: counts[count - 1],
        technique: technique.ok_or(Failure::Illegal)?,
    })
}

/// Passes bytes in all ways and looks at them; in how many.
pub fn verify_all(mut bench: Bench) -> Result<u32, &'static str> {
    let mut count = 0;
    for case in cases::all() {
        let mut legal = false;
        for size in [64, 4096, 20_000, 2 << 20] {
            // Twice: pages are not what they were after the first time.
            for _ in 0..2 {
                match bench.round(&case, size, true) {
                    Ok(round) => legal |= case.forced.is_none_or(|t| t == round.technique),
                    Err(Failure::Illegal) => {}
                    Err(Failure::Broken(why)) => {
                        log::error!("{case:?}, {size} bytes");
                        return Err(why);
                    }
                }
            }
        }
        count += u32::from(legal);
    }
    Ok(count)
}
