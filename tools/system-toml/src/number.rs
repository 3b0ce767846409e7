//! Numbers and sizes against their ranges.

use crate::keys::Kind;
use crate::report::{Diagnostic, Span};
use crate::rule::Rule;
use crate::units::show_size;
use crate::value::{Faults, one};

/// An integer from `min` to `max`; `None` is one beyond 64 bits.
pub(crate) fn ranged(
    key: &str,
    min: i64,
    max: i64,
    value: Option<i64>,
    span: &Span,
) -> Result<i64, Faults> {
    value.filter(|v| (min..=max).contains(v)).ok_or_else(|| {
        let message = format!("`{key}` is out of range");
        let label = format!("must be {min} to {max}");
        one(Diagnostic::error(Rule::OutOfRange, span, message).label(label))
    })
}

/// A size of this kind; `None` is text that is not a size.
pub(crate) fn size(key: &str, kind: Kind, bytes: Option<u64>, span: &Span) -> Result<u64, Faults> {
    let (min, max) = match kind {
        Kind::Size(min, max, _) | Kind::Power(min, max) => (min, max),
        _ => (0, u64::MAX),
    };
    let fault = |rule, what: &str, label: String| {
        one(Diagnostic::error(rule, span, format!("`{key}` {what}")).label(label))
    };
    let Some(bytes) = bytes else {
        let diagnostic = Diagnostic::error(Rule::BadSize, span, format!("`{key}` is not a size"))
            .label("not a number and a unit")
            .help("write a whole number and one of B, KiB, MiB, GiB: \"64 KiB\"");
        return Err(one(diagnostic));
    };
    if bytes < min || bytes > max {
        let what = if bytes < min {
            "is too small"
        } else {
            "is too large"
        };
        let label = format!("must be {} to {}", show_size(min), show_size(max));
        return Err(fault(Rule::SizeOutOfRange, what, label));
    }
    let (fits, what, near) = match kind {
        Kind::Size(_, _, step) => {
            let below = bytes / step * step;
            let near = if below < min { below + step } else { below };
            let what = format!("is not a multiple of {}", show_size(step));
            (bytes.is_multiple_of(step), what, near)
        }
        Kind::Power(..) => {
            let near = bytes.next_power_of_two();
            (bytes == near, "is not a power of two".to_owned(), near)
        }
        _ => (true, String::new(), bytes),
    };
    if fits {
        return Ok(bytes);
    }
    let label = format!("{} is the nearest that is", show_size(near));
    Err(fault(Rule::SizeNotMultiple, &what, label))
}
