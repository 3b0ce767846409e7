//! Enumerations, simple typedefs and structures of the interface headers.
//!
//! Works on text that `text::preprocess` has been through.

use crate::cexpr::{Scope, evaluate};

/// How many elements a field has.
#[derive(Debug, Clone)]
pub enum Count {
    /// It is not an array.
    One,
    /// That many.
    Many(usize),
    /// An expression that is not a constant.
    Unknown(String),
}

/// One field of a structure.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its C type, without qualifiers; `*` for any pointer.
    pub c_type: String,
    /// Whether it is an array.
    pub count: Count,
}

/// A structure.
#[derive(Debug, Clone)]
pub struct Struct {
    /// The name that the typedef gives it.
    pub name: String,
    /// Whether it has no padding.
    pub packed: bool,
    /// Its fields in order.
    pub fields: Vec<Field>,
}

/// Adds the constants of every `enum` in `source` to `scope`.
pub fn enums(source: &str, scope: &mut Scope) {
    let mut rest = source;
    while let Some(at) = find_word(rest, "enum") {
        rest = &rest[at + "enum".len()..];
        let (Some(open), Some(end)) = (rest.find('{'), rest.find('}')) else {
            return;
        };
        // A mention of an enum without a body, as in a parameter.
        if rest.find(';').is_some_and(|semicolon| semicolon < open) {
            continue;
        }
        let mut next = Some(0);
        for item in rest[open + 1..end].split(',') {
            let (name, value) = match item.split_once('=') {
                Some((name, value)) => (name.trim(), evaluate(value, scope)),
                None => (item.trim(), next),
            };
            if name.is_empty() || name.contains('(') {
                continue;
            }
            scope.define(name, value);
            next = value.map(|value| value + 1);
        }
        rest = &rest[end..];
    }
}

/// Every `typedef OLD NEW;` in `source`, as pairs of new and old name.
pub fn typedefs(source: &str) -> Vec<(String, String)> {
    statements(source)
        .filter_map(|statement| {
            let mut words = statement.strip_prefix("typedef")?.split_whitespace();
            let (old, new) = (words.next()?, words.next()?);
            (words.next().is_none() && !statement.contains('{'))
                .then(|| (new.to_owned(), old.to_owned()))
        })
        .collect()
}

/// Text between semicolons, cut at whatever brace ended the last body.
fn statements(source: &str) -> impl Iterator<Item = &str> {
    source
        .split(';')
        .map(|part| part.rsplit(['{', '}']).next().unwrap_or(part).trim())
}

/// Every `typedef struct … { … } NAME;` in `source`.
pub fn structs(source: &str, scope: &Scope) -> Vec<Struct> {
    let mut out = Vec::new();
    let mut rest = source;
    while let Some(at) = rest.find("typedef struct") {
        rest = &rest[at + "typedef struct".len()..];
        let Some((open, close)) = rest.find('{').zip(rest.find('}')) else {
            return out;
        };
        let body = &rest[open + 1..close];
        let tail = &rest[close + 1..];
        let Some(end) = tail.find(';') else {
            return out;
        };
        let trailer = tail[..end].split("__attribute__").next().unwrap_or("");
        let name = trailer
            .split_whitespace()
            .find(|&word| word != "SEL4_PACKED");
        if let Some(name) = name {
            out.push(Struct {
                name: name.to_owned(),
                packed: trailer.contains("SEL4_PACKED"),
                fields: body
                    .split(';')
                    .flat_map(|line| fields(line, scope))
                    .collect(),
            });
        }
        rest = tail;
    }
    out
}

fn count(size: &str, scope: &Scope) -> Count {
    evaluate(size, scope)
        .and_then(|count| usize::try_from(count).ok())
        .map_or_else(|| Count::Unknown(size.to_owned()), Count::Many)
}

/// The fields that one declaration declares.
fn fields(declaration: &str, scope: &Scope) -> Vec<Field> {
    let declaration = declaration.trim();
    let Some((c_type, names)) = declaration.split_once(char::is_whitespace) else {
        return Vec::new();
    };
    let pointer = c_type.ends_with('*');
    names
        .split(',')
        .map(|name| {
            let (name, count) = match name.trim().split_once('[') {
                Some((name, size)) => (name, count(size.trim_end_matches(']'), scope)),
                None => (name.trim(), Count::One),
            };
            Field {
                name: name.trim().trim_start_matches('*').to_owned(),
                c_type: if pointer || name.starts_with('*') {
                    "*".to_owned()
                } else {
                    c_type.to_owned()
                },
                count,
            }
        })
        .collect()
}

/// Where `word` stands by itself in `text`.
fn find_word(text: &str, word: &str) -> Option<usize> {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(word)
        .map(|(at, _)| at)
        .find(|&at| !text[..at].ends_with(inside) && !text[at + word.len()..].starts_with(inside))
}
