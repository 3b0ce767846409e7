//! Sizes as people write them: a number, and `B`, `KiB`, `MiB` or `GiB`.

/// The units and their bytes.
pub(crate) const UNITS: [(&str, u64); 4] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Bytes of a size such as `64 KiB`; a bare number counts bytes. `None` if it
/// is not a size, or more than 2^64 bytes.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start();
    let scale = match unit {
        "" => 1,
        unit => UNITS.iter().find(|(name, _)| *name == unit)?.1,
    };
    number.parse::<u64>().ok()?.checked_mul(scale)
}

/// The size in the largest unit that divides it.
#[must_use]
pub fn show_size(bytes: u64) -> String {
    let divides = |(_, scale): &&(&str, u64)| bytes != 0 && bytes.is_multiple_of(*scale);
    match UNITS.iter().rev().find(divides) {
        Some((unit, scale)) => format!("{} {unit}", bytes / scale),
        None => "0".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_with_binary_units() {
        assert_eq!(parse_size("64 KiB"), Some(65536));
        assert_eq!(parse_size("2MiB"), Some(2 << 20));
        assert_eq!(parse_size(" 1 GiB "), Some(1 << 30));
        assert_eq!(parse_size("0"), Some(0));
        for wrong in [
            "",
            "KiB",
            "-1",
            "1 KB",
            "1.5 MiB",
            "1 kib",
            "99999999999999 GiB",
        ] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_largest_unit_that_divides_them() {
        assert_eq!(show_size(65536), "64 KiB");
        assert_eq!(show_size(0), "0");
        assert_eq!(show_size(4097), "4097 B");
        assert_eq!(show_size(3 << 30), "3 GiB");
    }
}
