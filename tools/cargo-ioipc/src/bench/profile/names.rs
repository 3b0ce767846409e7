//! What a symbol says: a function's name for people, and its crates.
//!
//! Problem: a generic function of a library is compiled for the crate that uses
//! it, and does that crate's work. Invariant: the crates of a function are those
//! that its name mentions, in that order, without the standard library's.

use rustc_demangle::demangle;

/// Crates that do others' work.
const STANDARD: &[&str] = &["core", "alloc", "std", "compiler_builtins", "__rustc"];

/// A symbol's name for people, without hashes.
pub(super) fn readable(symbol: &str) -> String {
    format!("{:#}", demangle(symbol))
}

/// The crates of a function, by its readable name.
pub(super) fn crates(readable: &str) -> impl Iterator<Item = &str> {
    roots(readable).filter(|root| !STANDARD.contains(root))
}

/// Where paths begin in a name: what stands before a `::` and not behind one.
fn roots(name: &str) -> impl Iterator<Item = &str> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    name.match_indices("::").filter_map(move |(end, _)| {
        let before = &name[..end];
        let start = before.rfind(|c| !word(c)).map_or(0, |at| at + 1);
        let root = &before[start..];
        // Behind a `::` it is not the first; behind `}` or `>` nothing is left.
        (!root.is_empty() && !before[..start].ends_with("::")).then_some(root)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_those_at_the_beginnings_of_paths() {
        for (name, expected) in [
            ("net_server::train::Train::file", &["net_server"][..]),
            (
                "<io_manager::Turn as core::ops::drop::Drop>::drop",
                &["io_manager"],
            ),
            (
                "core::iter::traits::iterator::Iterator::fold::<smoltcp::wire::Repr, \
                 net_server::poll::{closure#0}>",
                &["smoltcp", "net_server"],
            ),
            ("<[u8] as virtio_queue::Bytes>::len", &["virtio_queue"]),
            ("<&mut (shared_ring::A, u8)>::next", &["shared_ring"]),
            (
                "net_server::x::<impl net_server::y::Server>::pump",
                &["net_server", "net_server"],
            ),
            ("core::fmt::write", &[]),
            ("__rustc::__rust_alloc", &[]),
            ("memcpy", &[]),
            ("", &[]),
        ] {
            assert_eq!(crates(name).collect::<Vec<_>>(), expected, "{name}");
        }
    }

    #[test]
    fn both_manglings_are_read() {
        let legacy = "_ZN10net_server5train5Train4file17h0123456789abcdefE";
        let v0 = "_RNvMNtCsgEmfK2I1SDS_10net_server5trainNtB2_5Train4file";
        assert_eq!(readable(legacy), "net_server::train::Train::file");
        assert_eq!(crates(&readable(v0)).next(), Some("net_server"));
        assert_eq!(readable("_start"), "_start");
    }
}
