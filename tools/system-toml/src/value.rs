//! Values: from what TOML knows to what a key asks for.
//!
//! Invariant: a value that is not what its key asks for yields one diagnostic
//! and no value; whoever asks for it then goes on without.

use std::net::Ipv4Addr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::keys::Kind;
use crate::report::{Diagnostic, Span};
use crate::rule::Rule;
use crate::units::{parse_size, show_size};

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

type Parsed<'a> = Result<Value<'a>, Box<Diagnostic>>;

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

fn wrong_type(key: &str, kind: Kind, value: &Spanned<DeValue<'_>>) -> Box<Diagnostic> {
    let found = type_of(value.get_ref());
    let message = format!("`{key}` cannot be {found}");
    let diagnostic = Diagnostic::error(Rule::WrongType, &value.span(), message)
        .label(format!("this is {found}"))
        .help(format!("`{key}` takes: {}", kind.words()));
    Box::new(diagnostic)
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
        (Kind::Size(..), DeValue::Integer(_)) => {
            let bytes = integer(value.get_ref()).and_then(|i| u64::try_from(i).ok());
            size(key, kind, bytes, &span)
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

fn ranged(
    key: &str,
    min: i64,
    max: i64,
    value: Option<i64>,
    span: &Span,
) -> Result<i64, Box<Diagnostic>> {
    value.filter(|v| (min..=max).contains(v)).ok_or_else(|| {
        let message = format!("`{key}` is out of range");
        let label = format!("must be {min} to {max}");
        Box::new(Diagnostic::error(Rule::OutOfRange, span, message).label(label))
    })
}

fn size<'a>(key: &str, kind: Kind, bytes: Option<u64>, span: &Span) -> Parsed<'a> {
    let Kind::Size(min, max, step) = kind else {
        return Ok(Value::Size(bytes.unwrap_or(0)));
    };
    let error = |rule, what: String, label: String| {
        Err(Box::new(Diagnostic::error(rule, span, what).label(label)))
    };
    match bytes {
        None => error(
            Rule::BadSize,
            format!("`{key}` is not a size"),
            "not a number and a unit".to_owned(),
        )
        .map_err(|d| {
            Box::new(d.help("write a whole number and one of B, KiB, MiB, GiB: \"64 KiB\""))
        }),
        Some(b) if b < min || b > max => error(
            Rule::SizeOutOfRange,
            format!("`{key}` is too {}", if b < min { "small" } else { "large" }),
            format!("must be {} to {}", show_size(min), show_size(max)),
        ),
        Some(b) if !b.is_multiple_of(step) => {
            let (below, above) = (b / step * step, b.next_multiple_of(step));
            let near = if below < min { above } else { below };
            error(
                Rule::SizeNotMultiple,
                format!("`{key}` is not a multiple of {}", show_size(step)),
                format!("{} is the nearest that is", show_size(near)),
            )
        }
        Some(b) => Ok(Value::Size(b)),
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
            Err(Box::new(diagnostic.label("must not be empty")))
        }
        Kind::Text | Kind::Program => Ok(owned()),
        Kind::Name => named(Rule::BadName),
        // Names of components that do not exist are told apart later, with a
        // suggestion.
        Kind::Component | Kind::ComponentOrFlag => Ok(owned()),
        Kind::Size(..) => size(key, kind, parse_size(text), span),
        Kind::Word(words) if words.contains(&text) => Ok(owned()),
        Kind::Word(words) => {
            let message = format!("`{key}` cannot be `{text}`");
            let diagnostic = Diagnostic::error(Rule::UnknownValue, span, message)
                .label("unknown word")
                .suggest(text, words.iter().copied());
            Err(Box::new(diagnostic))
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
        Kind::Ipv4List => {
            let all: Result<Vec<_>, _> = texts()?
                .into_iter()
                .map(|t| host(key, &t.value, &t.span).map(|a| At::new(a, t.span)))
                .collect();
            Some(all.map(Value::Ipv4))
        }
        Kind::Ports => {
            let ports: Option<Vec<u16>> = elements
                .iter()
                .map(|e| integer(e.get_ref()).and_then(|i| u16::try_from(i).ok()))
                .collect();
            match ports.as_deref() {
                Some([first, last]) if first <= last => Some(Ok(Value::Ports(*first, *last))),
                _ => Some(Err(Box::new(
                    Diagnostic::error(
                        Rule::OutOfRange,
                        &value.span(),
                        format!("`{key}` is out of range"),
                    )
                    .label("must be first and last port, each 0 to 65535"),
                ))),
            }
        }
        _ => None,
    }
}

/// Checks a name of a component, thread, channel or device.
pub(crate) fn name(text: &str, span: &Span, rule: Rule) -> Result<(), Box<Diagnostic>> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let starts = text.starts_with(|c: char| c.is_ascii_lowercase());
    if starts && text.len() <= 32 && text.chars().all(legal) {
        return Ok(());
    }
    let message = format!("`{text}` cannot be a name");
    let diagnostic = Diagnostic::error(rule, span, message)
        .label("not a name")
        .help("a name has up to 32 characters of a-z, 0-9 and -, and begins with a letter");
    Err(Box::new(diagnostic))
}

fn bad_address(span: &Span, text: &str, label: &str) -> Box<Diagnostic> {
    let message = format!("`{text}` is not usable as an address here");
    Box::new(Diagnostic::error(Rule::BadAddress, span, message).label(label))
}

/// An address that a single host can have.
fn host(key: &str, text: &str, span: &Span) -> Result<Ipv4Addr, Box<Diagnostic>> {
    let address: Ipv4Addr = text.parse().map_err(|_| {
        let ipv6 = text.parse::<std::net::Ipv6Addr>().is_ok();
        let label = if ipv6 {
            "IPv6 is not available yet"
        } else {
            "not an IPv4 address"
        };
        let example = format!("write `{key}` like \"10.0.2.2\"");
        Box::new(bad_address(span, text, label).help(example))
    })?;
    unicast(address, text, span)?;
    Ok(address)
}

fn unicast(address: Ipv4Addr, text: &str, span: &Span) -> Result<(), Box<Diagnostic>> {
    let why = if address.is_multicast() {
        "a multicast group"
    } else if address.is_loopback() {
        "a loopback address"
    } else if address.is_broadcast() || address.octets()[0] >= 240 {
        "not the address of a host"
    } else if address.octets()[0] == 0 {
        "no address at all"
    } else {
        return Ok(());
    };
    Err(bad_address(span, text, why))
}

/// `10.0.2.15/24`.
fn network(text: &str, span: &Span) -> Result<(Ipv4Addr, u8), Box<Diagnostic>> {
    let parts = text.split_once('/').and_then(|(address, prefix)| {
        let prefix = prefix.parse::<u8>().ok().filter(|p| (1..=30).contains(p))?;
        Some((address.parse::<Ipv4Addr>().ok()?, prefix))
    });
    let Some((address, prefix)) = parts else {
        let help = "write \"dhcp\", or address and prefix length (1 to 30): \"10.0.2.15/24\"";
        let diagnostic = bad_address(span, text, "not an IPv4 address with a prefix length");
        return Err(Box::new(diagnostic.help(help)));
    };
    unicast(address, text, span)?;
    let host_bits = u32::from(address) & (u32::MAX >> prefix);
    if host_bits == 0 {
        return Err(bad_address(span, text, "the address of the network itself"));
    }
    if host_bits == u32::MAX >> prefix {
        return Err(bad_address(span, text, "the network's broadcast address"));
    }
    Ok((address, prefix))
}

fn mac(text: &str, span: &Span) -> Result<[u8; 6], Box<Diagnostic>> {
    let octet = |part: &str| match part.len() {
        2 => u8::from_str_radix(part, 16).ok(),
        _ => None,
    };
    let octets: Option<Vec<u8>> = text.split(':').map(octet).collect();
    let Some(mac) = octets.and_then(|o| <[u8; 6]>::try_from(o).ok()) else {
        let message = format!("`{text}` is not a MAC address");
        let diagnostic = Diagnostic::error(Rule::BadMac, span, message)
            .label("not six pairs of hexadecimal digits")
            .help("write it like \"52:54:00:12:34:56\"");
        return Err(Box::new(diagnostic));
    };
    if mac[0] & 1 == 1 || mac == [0; 6] {
        let what = if mac == [0; 6] {
            "names nobody"
        } else {
            "names a group"
        };
        let message = format!("the MAC address `{text}` {what}");
        let diagnostic = Diagnostic::error(Rule::MulticastMac, span, message)
            .label("not the address of one interface")
            .help("the lowest bit of the first octet must be 0; \"52:54:00:…\" is customary");
        return Err(Box::new(diagnostic));
    }
    Ok(mac)
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
