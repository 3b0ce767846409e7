//! System call numbers from `syscall.xml`.
//!
//! Calls are numbered downwards from -1 in the order of the file, those whose
//! configuration condition does not hold left out.

use crate::{
    cexpr::{Scope, holds},
    error::Error,
};
use std::path::Path;

/// The names and numbers of the system calls that the kernel has.
pub fn numbers(path: &Path, xml: &str, config: &Scope) -> Result<Vec<(String, i64)>, Error> {
    let malformed = |what: String| Error::Malformed {
        path: path.to_owned(),
        what,
    };
    let document = roxmltree::Document::parse(xml).map_err(|e| malformed(e.to_string()))?;
    let mut calls = Vec::new();
    let mut next = -1;
    for part in ["api", "debug"] {
        let Some(list) = document.descendants().find(|node| node.has_tag_name(part)) else {
            continue;
        };
        for group in list.children().filter(|node| node.has_tag_name("config")) {
            let condition = group.attribute("condition").unwrap_or("");
            if !condition.is_empty() && !holds(condition, config) {
                continue;
            }
            for call in group.children().filter(|node| node.has_tag_name("syscall")) {
                let name = call
                    .attribute("name")
                    .ok_or_else(|| malformed("a syscall without a name".to_owned()))?;
                calls.push((name.to_owned(), next));
                next -= 1;
            }
        }
    }
    Ok(calls)
}
