//! Integer constant expressions of C, as far as the interface headers use them.
//!
//! An unknown name makes the whole expression unknown, except in a condition,
//! where it is zero, as the C preprocessor has it.

use std::collections::BTreeMap;

/// How deep definitions may refer to each other.
const DEPTH: u32 = 16;

/// What a name stands for.
#[derive(Debug, Clone)]
enum Meaning {
    /// A number.
    Number(i128),
    /// Text to be read when it is asked for, as the preprocessor does.
    Text(String),
    /// Something else than an integer.
    Other,
}

/// Names with what they stand for.
#[derive(Debug, Default, Clone)]
pub struct Scope {
    names: BTreeMap<String, Meaning>,
}

impl Scope {
    /// Defines `name`; `None` for something that is not an integer.
    pub fn define(&mut self, name: &str, value: Option<i128>) {
        let meaning = value.map_or(Meaning::Other, Meaning::Number);
        self.names.insert(name.to_owned(), meaning);
    }

    /// Defines `name` as whatever `text` means when it is asked for.
    pub fn define_text(&mut self, name: &str, text: &str) {
        self.names
            .insert(name.to_owned(), Meaning::Text(text.to_owned()));
    }

    /// Whether `name` was defined.
    pub fn is_defined(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// The value of `name`, if it has one.
    fn get(&self, name: &str, depth: u32) -> Option<i128> {
        match self.names.get(name)? {
            Meaning::Number(value) => Some(*value),
            Meaning::Text(text) if depth < DEPTH => run(text, self, None, depth + 1),
            Meaning::Text(_) | Meaning::Other => None,
        }
    }

    /// Every name that has a value, sorted.
    pub fn values(&self) -> impl Iterator<Item = (&str, i128)> {
        self.names
            .keys()
            .filter_map(|name| Some((name.as_str(), self.get(name, 0)?)))
    }
}

/// The value of `expression`, or `None` where it is not an integer constant.
pub fn evaluate(expression: &str, scope: &Scope) -> Option<i128> {
    run(expression, scope, None, 0)
}

/// Whether a preprocessor condition holds; one that cannot be read does not.
pub fn holds(condition: &str, scope: &Scope) -> bool {
    run(condition, scope, Some(0), 0).is_some_and(|value| value != 0)
}

fn run(expression: &str, scope: &Scope, unknown: Option<i128>, depth: u32) -> Option<i128> {
    let mut parser = Parser {
        tokens: tokens(expression)?,
        at: 0,
        scope,
        unknown,
        depth,
    };
    let value = parser.binary(0)?;
    (parser.at == parser.tokens.len()).then_some(value)
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(i128),
    Name(String),
    Sign(&'static str),
}

/// Signs, the longer ones first.
const SIGNS: [&str; 20] = [
    "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "<", ">", "+", "-", "*", "/", "|", "&", "!",
    "~", "(", ")",
];

fn tokens(mut rest: &str) -> Option<Vec<Token>> {
    let mut out = Vec::new();
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else {
            return Some(out);
        };
        if first.is_ascii_alphanumeric() || first == '_' {
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            out.push(if first.is_ascii_digit() {
                Token::Number(number(word)?)
            } else {
                Token::Name(word.to_owned())
            });
            rest = after;
        } else {
            let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign))?;
            out.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        }
    }
}

/// An integer literal with its suffix.
fn number(word: &str) -> Option<i128> {
    let digits = word.trim_end_matches(['u', 'U', 'l', 'L']);
    match digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        Some(hex) => i128::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    }
}

struct Parser<'a> {
    tokens: Vec<Token>,
    at: usize,
    scope: &'a Scope,
    /// What a name without a value counts as.
    unknown: Option<i128>,
    depth: u32,
}

impl Parser<'_> {
    fn take(&mut self, sign: &str) -> bool {
        let hit = matches!(self.tokens.get(self.at), Some(Token::Sign(s)) if *s == sign);
        self.at += usize::from(hit);
        hit
    }

    /// Precedence climbing: operators of at least `level`.
    fn binary(&mut self, level: u8) -> Option<i128> {
        let mut left = self.unary()?;
        while let Some(Token::Sign(sign)) = self.tokens.get(self.at).cloned() {
            let Some(binds) = precedence(sign).filter(|&binds| binds >= level) else {
                break;
            };
            self.at += 1;
            let right = self.binary(binds + 1)?;
            left = apply(sign, left, right)?;
        }
        Some(left)
    }

    fn unary(&mut self) -> Option<i128> {
        if self.take("-") {
            return Some(-self.unary()?);
        }
        if self.take("!") {
            return Some(i128::from(self.unary()? == 0));
        }
        if self.take("~") {
            return Some(!self.unary()?);
        }
        if self.take("(") {
            let value = self.binary(0)?;
            return self.take(")").then_some(value);
        }
        match self.tokens.get(self.at).cloned()? {
            Token::Number(value) => {
                self.at += 1;
                Some(value)
            }
            Token::Name(name) => {
                self.at += 1;
                self.named(&name)
            }
            Token::Sign(_) => None,
        }
    }

    /// A name: `defined`, the one function-like macro in use, or a constant.
    fn named(&mut self, name: &str) -> Option<i128> {
        match name {
            "defined" => {
                let bracket = self.take("(");
                let Some(Token::Name(what)) = self.tokens.get(self.at).cloned() else {
                    return None;
                };
                self.at += 1;
                (!bracket || self.take(")")).then(|| i128::from(self.scope.is_defined(&what)))
            }
            "LIBSEL4_BIT" => {
                let bit = self.unary()?;
                1i128.checked_shl(u32::try_from(bit).ok()?)
            }
            _ => self.scope.get(name, self.depth).or(self.unknown),
        }
    }
}

fn precedence(sign: &str) -> Option<u8> {
    Some(match sign {
        "||" => 0,
        "&&" => 1,
        "|" => 2,
        "&" => 3,
        "==" | "!=" => 4,
        "<" | ">" | "<=" | ">=" => 5,
        "<<" | ">>" => 6,
        "+" | "-" => 7,
        "*" | "/" => 8,
        _ => return None,
    })
}

fn apply(sign: &str, left: i128, right: i128) -> Option<i128> {
    let shift = u32::try_from(right).ok();
    Some(match sign {
        "||" => i128::from(left != 0 || right != 0),
        "&&" => i128::from(left != 0 && right != 0),
        "|" => left | right,
        "&" => left & right,
        "==" => i128::from(left == right),
        "!=" => i128::from(left != right),
        "<" => i128::from(left < right),
        ">" => i128::from(left > right),
        "<=" => i128::from(left <= right),
        ">=" => i128::from(left >= right),
        "<<" => left.checked_shl(shift?)?,
        ">>" => left.checked_shr(shift?)?,
        "+" => left.checked_add(right)?,
        "-" => left.checked_sub(right)?,
        "*" => left.checked_mul(right)?,
        "/" => left.checked_div(right)?,
        _ => return None,
    })
}
