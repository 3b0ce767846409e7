//! Taking C text apart: comments away, preprocessor conditions applied.
//!
//! The interface headers use `#if`, `#ifdef` and `#define` of integers, and no
//! macro tricks that matter here, so a C compiler is not needed.

use crate::cexpr::{Scope, holds};

/// `source` without comments; newlines stay.
pub fn strip_comments(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(at) = rest.find('/') {
        let (before, tail) = rest.split_at(at);
        out.push_str(before);
        rest = if let Some(body) = tail.strip_prefix("/*") {
            let end = body.find("*/").map_or(body.len(), |end| end + 2);
            let (comment, after) = body.split_at(end);
            out.extend(comment.chars().filter(|&c| c == '\n'));
            after
        } else if tail.starts_with("//") {
            &tail[tail.find('\n').unwrap_or(tail.len())..]
        } else {
            out.push('/');
            &tail[1..]
        };
    }
    out.push_str(rest);
    out
}

/// One level of `#if`: whether an arm was taken, and whether this arm is it.
struct Level {
    taken: bool,
    active: bool,
}

/// Applies `#if…` and `#define NAME value` to `source`.
///
/// Returns the lines that remain. Definitions go into `scope`; a definition
/// that is not an integer constant counts as defined only. Includes and other
/// directives are dropped.
pub fn preprocess(source: &str, scope: &mut Scope) -> String {
    let joined = strip_comments(source).replace("\\\n", " ");
    let mut levels: Vec<Level> = Vec::new();
    let mut out = String::new();
    for line in joined.lines() {
        let active = levels.iter().all(|level| level.active);
        let Some(directive) = line.trim_start().strip_prefix('#') else {
            if active {
                out.push_str(line);
                out.push('\n');
            }
            continue;
        };
        let directive = directive.trim_start();
        let (word, rest) = directive
            .split_once(|c: char| c.is_whitespace() || c == '(')
            .unwrap_or((directive, ""));
        match word {
            "if" => open(&mut levels, holds(&directive[2..], scope)),
            "ifdef" => open(&mut levels, scope.is_defined(rest.trim())),
            "ifndef" => open(&mut levels, !scope.is_defined(rest.trim())),
            "elif" => turn(&mut levels, holds(rest, scope)),
            "else" => turn(&mut levels, true),
            "endif" => drop(levels.pop()),
            "define" if active => define(rest, scope),
            _ => {}
        }
    }
    out
}

fn open(levels: &mut Vec<Level>, holds: bool) {
    levels.push(Level {
        taken: holds,
        active: holds,
    });
}

fn turn(levels: &mut [Level], holds: bool) {
    if let Some(level) = levels.last_mut() {
        level.active = holds && !level.taken;
        level.taken |= holds;
    }
}

fn define(rest: &str, scope: &mut Scope) {
    let rest = rest.trim();
    let end = rest
        .find(|c: char| !(c.is_alphanumeric() || c == '_'))
        .unwrap_or(rest.len());
    let (name, body) = rest.split_at(end);
    if !body.starts_with('(') {
        scope.define_text(name, body.trim());
    }
}
