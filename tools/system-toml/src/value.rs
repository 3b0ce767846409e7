//! Values: from what TOML knows to what a key asks for.
//!
//! Invariant: a value that is not what its key asks for yields one diagnostic
//! and no value; whoever asks for it then goes on without.

use std::net::Ipv4Addr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::address::{host, mac, network};
use crate::keys::Kind;
use crate::number::{ranged, size};
use crate::report::{Diagnostic, Span};
use crate::rule::Rule;
use crate::units::parse_size;

/// Something and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The thing.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

impl<T> At<T> {
    pub(crate) fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// A value of the type that its key asks for.
#[derive(Clone, Debug)]
pub(crate) enum Value<'a> {
    Text(String),
    Flag(bool),
    Integer(i64),
    Size(u64),
    Texts(Vec<At<String>>),
    /// Address and prefix length; `None` = DHCP.
    Network(Option<(Ipv4Addr, u8)>),
    Ipv4(Vec<At<Ipv4Addr>>),
    Mac([u8; 6]),
    Ports(u16, u16),
    Table(&'a DeTable<'a>),
    Array(Vec<At<&'a DeTable<'a>>>),
}

/// What is wrong with a value.
pub(crate) type Faults = Vec<Diagnostic>;

type Parsed<'a> = Result<Value<'a>, Faults>;

/// A single fault.
pub(crate) fn one(diagnostic: Diagnostic) -> Faults {
    vec![diagnostic]
}

/// What TOML calls the type of a value.
fn type_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a floating-point number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

fn wrong_type(key: &str, kind: Kind, value: &Spanned<DeValue<'_>>) -> Faults {
    let found = type_of(value.get_ref());
    let message = format!("`{key}` cannot be {found}");
    let diagnostic = Diagnostic::error(Rule::WrongType, &value.span(), message)
        .label(format!("this is {found}"))
        .help(format!("`{key}` takes: {}", kind.words()));
    one(diagnostic)
}

/// The integer, unless it is larger than 64 bits.
fn integer(value: &DeValue<'_>) -> Option<i64> {
    match value {
        DeValue::Integer(i) => i64::from_str_radix(i.as_str(), i.radix()).ok(),
        _ => None,
    }
}

/// Reads the value of a key of this kind.
pub(crate) fn parse<'a>(key: &str, kind: Kind, value: &'a Spanned<DeValue<'a>>) -> Parsed<'a> {
    let wrong = || wrong_type(key, kind, value);
    let span = value.span();
    match (kind, value.get_ref()) {
        (Kind::Flag | Kind::ComponentOrFlag, DeValue::Boolean(b)) => Ok(Value::Flag(*b)),
        (Kind::Integer(min, max), DeValue::Integer(_)) => {
            ranged(key, min, max, integer(value.get_ref()), &span).map(Value::Integer)
        }
        (Kind::Threads, DeValue::Integer(_)) => {
            let most = system_description::map::MAX_THREADS as i64;
            ranged(key, 1, most, integer(value.get_ref()), &span).map(Value::Integer)
        }
        (Kind::Size(..) | Kind::Power(..), DeValue::Integer(_)) => {
            let bytes = integer(value.get_ref()).and_then(|i| u64::try_from(i).ok());
            size(key, kind, bytes, &span).map(Value::Size)
        }
        (_, DeValue::String(text)) => {
            string(key, kind, text, &span).unwrap_or_else(|| Err(wrong()))
        }
        (_, DeValue::Array(_)) => array(key, kind, value).unwrap_or_else(|| Err(wrong())),
        (Kind::Table | Kind::Tables | Kind::Free | Kind::Program, DeValue::Table(t)) => {
            Ok(Value::Table(t))
        }
        _ => Err(wrong()),
    }
}

/// A string for a key of this kind; `None` if the key takes no string.
fn string<'a>(key: &str, kind: Kind, text: &str, span: &Span) -> Option<Parsed<'a>> {
    let owned = || Value::Text(text.to_owned());
    let named = |rule| name(text, span, rule).map(|()| owned());
    Some(match kind {
        Kind::Text | Kind::Program if text.is_empty() => {
            let message = format!("`{key}` is empty");
            let diagnostic = Diagnostic::error(Rule::WrongType, span, message);
            Err(one(diagnostic.label("must not be empty")))
        }
        Kind::Text | Kind::Program => Ok(owned()),
        Kind::Name => named(Rule::BadName),
        // Names of components that do not exist are told apart later, with a
        // suggestion.
        Kind::Component | Kind::ComponentOrFlag => Ok(owned()),
        Kind::Size(..) | Kind::Power(..) => {
            size(key, kind, parse_size(text), span).map(Value::Size)
        }
        Kind::Word(words) if words.contains(&text) => Ok(owned()),
        Kind::Word(words) => {
            let message = format!("`{key}` cannot be `{text}`");
            let diagnostic = Diagnostic::error(Rule::UnknownValue, span, message)
                .label("unknown word")
                .suggest(text, words.iter().copied());
            Err(one(diagnostic))
        }
        Kind::Names | Kind::Texts => Ok(Value::Texts(vec![At::new(text.to_owned(), span.clone())])),
        Kind::Network if text == "dhcp" => Ok(Value::Network(None)),
        Kind::Network => network(text, span).map(|n| Value::Network(Some(n))),
        Kind::Ipv4 | Kind::Ipv4List => {
            host(key, text, span).map(|a| Value::Ipv4(vec![At::new(a, span.clone())]))
        }
        Kind::Mac => mac(text, span).map(Value::Mac),
        _ => return None,
    })
}

/// An array for a key of this kind; `None` if it does not fit.
fn array<'a>(key: &str, kind: Kind, value: &'a Spanned<DeValue<'a>>) -> Option<Parsed<'a>> {
    let elements = match value.get_ref() {
        DeValue::Array(elements) => elements,
        _ => return None,
    };
    let tables = || {
        let table = |e: &'a Spanned<DeValue<'a>>| match e.get_ref() {
            DeValue::Table(t) => Some(At::new(t, e.span())),
            _ => None,
        };
        let all: Option<Vec<_>> = elements.iter().map(table).collect();
        all.map(Value::Array)
    };
    let texts = || {
        let text = |e: &Spanned<DeValue<'_>>| match e.get_ref() {
            DeValue::String(s) => Some(At::new(s.to_string(), e.span())),
            _ => None,
        };
        let all: Option<Vec<_>> = elements.iter().map(text).collect();
        all
    };
    match kind {
        Kind::Array => tables().map(Ok),
        Kind::Threads if elements.is_empty() => None,
        Kind::Threads => tables().or_else(|| texts().map(Value::Texts)).map(Ok),
        Kind::Names | Kind::Texts => texts().map(|t| Ok(Value::Texts(t))),
        Kind::Ipv4List => texts().map(|t| hosts(key, value, t)),
        Kind::Ports => {
            let ports: Option<Vec<u16>> = elements
                .iter()
                .map(|e| integer(e.get_ref()).and_then(|i| u16::try_from(i).ok()))
                .collect();
            match ports.as_deref() {
                Some([first, last]) if first <= last => Some(Ok(Value::Ports(*first, *last))),
                _ => Some(Err(one(Diagnostic::error(
                    Rule::OutOfRange,
                    &value.span(),
                    format!("`{key}` is out of range"),
                )
                .label("must be first and last port, each 0 to 65535")))),
            }
        }
        _ => None,
    }
}

/// Up to three addresses; all that are wrong are reported.
fn hosts<'a>(key: &str, value: &Spanned<DeValue<'_>>, texts: Vec<At<String>>) -> Parsed<'a> {
    const MOST: usize = 3;
    let mut faults = Vec::new();
    if texts.len() > MOST {
        let message = format!("`{key}` is too long");
        let diagnostic = Diagnostic::error(Rule::OutOfRange, &value.span(), message);
        faults.push(diagnostic.label(format!("must be up to {MOST} addresses")));
    }
    let mut addresses = Vec::new();
    for text in texts {
        match host(key, &text.value, &text.span) {
            Ok(address) => addresses.push(At::new(address, text.span)),
            Err(fault) => faults.extend(fault),
        }
    }
    if faults.is_empty() {
        Ok(Value::Ipv4(addresses))
    } else {
        Err(faults)
    }
}

/// Checks a name of a component, thread, channel or device.
pub(crate) fn name(text: &str, span: &Span, rule: Rule) -> Result<(), Faults> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let starts = text.starts_with(|c: char| c.is_ascii_lowercase());
    if starts && text.len() <= 32 && text.chars().all(legal) {
        return Ok(());
    }
    let message = format!("`{text}` cannot be a name");
    let diagnostic = Diagnostic::error(rule, span, message)
        .label("not a name")
        .help("a name has up to 32 characters of a-z, 0-9 and -, and begins with a letter");
    Err(one(diagnostic))
}

/// Text of a free value: scalars as TOML shows them, arrays of scalars joined
/// by commas. `None` for what has no text form.
pub(crate) fn free_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(s) => Some(s.to_string()),
        DeValue::Integer(i) => i64::from_str_radix(i.as_str(), i.radix())
            .ok()
            .map(|v| v.to_string()),
        DeValue::Float(f) => Some(f.as_str().to_owned()),
        DeValue::Boolean(b) => Some(b.to_string()),
        DeValue::Datetime(d) => Some(d.to_string()),
        DeValue::Array(elements) => {
            let scalar = |e: &Spanned<DeValue<'_>>| match e.get_ref() {
                DeValue::Array(_) | DeValue::Table(_) => None,
                DeValue::String(s) if s.contains(',') => None,
                other => free_text(other),
            };
            let parts: Option<Vec<String>> = elements.iter().map(scalar).collect();
            parts.map(|p| p.join(","))
        }
        DeValue::Table(_) => None,
    }
}
