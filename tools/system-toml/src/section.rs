//! Reading one table against its keys.
//!
//! Invariant: every key of the table is either one that is known, with a
//! value of its type, or the subject of a diagnostic; every key that must be
//! there is there, or is the subject of a diagnostic.

use std::net::Ipv4Addr;

use toml::de::DeTable;

use crate::keys::{Key, Table};
use crate::report::{Diagnostic, Span};
use crate::rule::Rule;
use crate::units::parse_size;
use crate::value::{At, Value, parse};

/// Where diagnostics gather.
pub(crate) type Log = Vec<Diagnostic>;

/// A key that was given.
struct Given<'a> {
    key: &'static Key,
    key_span: Span,
    value_span: Span,
    value: Option<Value<'a>>,
}

/// A table that was read.
pub(crate) struct Section<'a> {
    given: Vec<Given<'a>>,
}

/// Reads `table` against `keys`. `what` names the table in messages, `span`
/// is its header.
pub(crate) fn read<'a>(
    log: &mut Log,
    keys: &'static Table,
    what: &str,
    span: &Span,
    table: &'a DeTable<'a>,
) -> Section<'a> {
    let mut given = Vec::new();
    for (name, value) in table.iter() {
        // Where the syntax was wrong the parser leaves values of no extent.
        if value.span().is_empty() {
            continue;
        }
        let found = keys.keys.iter().find(|k| k.name == name.get_ref().as_ref());
        match found {
            None => log.push(unknown_key(keys, what, name.get_ref(), &name.span())),
            Some(key) => {
                let parsed = parse(key.name, key.kind, value);
                given.push(Given {
                    key,
                    key_span: name.span(),
                    value_span: value.span(),
                    value: parsed.map_err(|faults| log.extend(faults)).ok(),
                });
            }
        }
    }
    for key in keys.keys.iter().filter(|k| k.default.is_none()) {
        if !table.keys().any(|k| k.get_ref() == key.name) {
            let message = format!("{what} lacks `{}`", key.name);
            log.push(
                Diagnostic::error(Rule::MissingKey, span, message)
                    .label(format!("needs `{}`", key.name))
                    .help(format!("`{}` takes: {}", key.name, key.kind.words())),
            );
        }
    }
    Section { given }
}

fn unknown_key(keys: &Table, what: &str, name: &str, span: &Span) -> Diagnostic {
    Diagnostic::error(
        Rule::UnknownKey,
        span,
        format!("{what} has no key `{name}`"),
    )
    .label("unknown key")
    .suggest(name, keys.keys.iter().map(|k| k.name))
}

impl<'a> Section<'a> {
    /// A table in which nothing is given.
    pub(crate) fn empty() -> Self {
        Self { given: Vec::new() }
    }

    fn find<T>(&self, name: &str, pick: impl FnOnce(&Value<'a>) -> Option<T>) -> Option<At<T>> {
        let given = self.given.iter().find(|g| g.key.name == name)?;
        let value = pick(given.value.as_ref()?)?;
        Some(At::new(value, given.value_span.clone()))
    }

    /// Keys that were given, with where they stand.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&'static Key, &Span)> {
        self.given.iter().map(|g| (g.key, &g.key_span))
    }

    /// Where this key stands, whether or not its value is of use.
    pub(crate) fn key_span(&self, name: &str) -> Option<Span> {
        let given = self.given.iter().find(|g| g.key.name == name)?;
        Some(given.key_span.clone())
    }

    pub(crate) fn text(&self, name: &str) -> Option<At<String>> {
        self.find(name, |v| match v {
            Value::Text(t) => Some(t.clone()),
            _ => None,
        })
    }

    pub(crate) fn flag(&self, name: &str) -> Option<At<bool>> {
        self.find(name, |v| match v {
            Value::Flag(f) => Some(*f),
            _ => None,
        })
    }

    pub(crate) fn integer(&self, name: &str) -> Option<At<i64>> {
        self.find(name, |v| match v {
            Value::Integer(i) => Some(*i),
            _ => None,
        })
    }

    pub(crate) fn size(&self, name: &str) -> Option<At<u64>> {
        self.find(name, |v| match v {
            Value::Size(s) => Some(*s),
            _ => None,
        })
    }

    pub(crate) fn texts(&self, name: &str) -> Option<At<Vec<At<String>>>> {
        self.find(name, |v| match v {
            Value::Texts(t) => Some(t.clone()),
            _ => None,
        })
    }

    pub(crate) fn network(&self, name: &str) -> Option<At<Option<(Ipv4Addr, u8)>>> {
        self.find(name, |v| match v {
            Value::Network(n) => Some(*n),
            _ => None,
        })
    }

    pub(crate) fn addresses(&self, name: &str) -> Vec<At<Ipv4Addr>> {
        let found = self.find(name, |v| match v {
            Value::Ipv4(a) => Some(a.clone()),
            _ => None,
        });
        found.map(|f| f.value).unwrap_or_default()
    }

    pub(crate) fn mac(&self, name: &str) -> Option<At<[u8; 6]>> {
        self.find(name, |v| match v {
            Value::Mac(m) => Some(*m),
            _ => None,
        })
    }

    pub(crate) fn ports(&self, name: &str) -> Option<At<(u16, u16)>> {
        self.find(name, |v| match v {
            Value::Ports(a, b) => Some((*a, *b)),
            _ => None,
        })
    }

    pub(crate) fn table(&self, name: &str) -> Option<At<&'a DeTable<'a>>> {
        self.find(name, |v| match v {
            Value::Table(t) => Some(*t),
            _ => None,
        })
    }

    pub(crate) fn tables(&self, name: &str) -> Option<Vec<At<&'a DeTable<'a>>>> {
        let found = self.find(name, |v| match v {
            Value::Array(a) => Some(a.clone()),
            _ => None,
        });
        found.map(|f| f.value)
    }
}

fn default_of(table: &'static Table, name: &str) -> &'static str {
    let key = table.keys.iter().find(|k| k.name == name);
    key.and_then(|k| k.default).unwrap_or("")
}

/// The size given, or the default of the key.
pub(crate) fn size_of(section: &Section<'_>, table: &'static Table, name: &str) -> u64 {
    let default = || parse_size(default_of(table, name)).unwrap_or(0);
    section.size(name).map_or_else(default, |s| s.value)
}

/// The integer given, or the default of the key.
pub(crate) fn u32_of(section: &Section<'_>, table: &'static Table, name: &str) -> u32 {
    let default = || default_of(table, name).parse().unwrap_or(0);
    let given = section.integer(name);
    given.map_or_else(default, |i| u32::try_from(i.value).unwrap_or(0))
}

/// The word given, or the default of the key.
pub(crate) fn text_of(section: &Section<'_>, table: &'static Table, name: &str) -> String {
    let default = || default_of(table, name).to_owned();
    section.text(name).map_or_else(default, |t| t.value)
}
