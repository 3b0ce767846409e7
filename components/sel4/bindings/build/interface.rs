//! Invocations from the interface XML: labels and message formats.
//!
//! Labels are numbered from 1 in the order of the files, methods whose
//! condition does not hold left out. Parameters are packed into message words
//! each aligned to its own size; capabilities travel apart.

use crate::{
    cexpr::{Scope, holds},
    error::Error,
};
use roxmltree::Node;
use std::path::Path;

/// What a parameter is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A capability address, in the IPC buffer's capability list.
    Cap,
    /// A value of that many bits within one word.
    Bits(u32),
    /// A structure of that many words.
    Words(usize),
}

/// One input parameter.
#[derive(Debug, Clone)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// Its C type.
    pub c_type: String,
    /// How it travels.
    pub kind: Kind,
}

/// One invocation.
#[derive(Debug, Clone)]
pub struct Method {
    /// `seL4_CNode` and the like.
    pub interface: String,
    /// `Copy` and the like.
    pub name: String,
    /// The kernel's name of the label.
    pub id: String,
    /// The label.
    pub label: u64,
    /// Input parameters in order, the invoked capability left out.
    pub inputs: Vec<Param>,
    /// C types of the structures that the answer is written to.
    pub out_structs: Vec<String>,
}

/// How the types of one kernel version travel.
pub struct Types<'a> {
    /// Names of types that are capability addresses.
    pub caps: &'a [&'a str],
    /// Names of the types that fill a word.
    pub words: &'a [&'a str],
    /// Structure types with their number of words.
    pub structs: &'a [(&'a str, usize)],
}

impl Types<'_> {
    fn kind(&self, name: &str) -> Option<Kind> {
        if self.caps.contains(&name) {
            return Some(Kind::Cap);
        }
        if self.words.contains(&name) {
            return Some(Kind::Bits(64));
        }
        if let Some((_, words)) = self.structs.iter().find(|(known, _)| *known == name) {
            return Some(Kind::Words(*words));
        }
        Some(Kind::Bits(match name {
            "seL4_Bool" => 1,
            "seL4_Uint8" => 8,
            "seL4_Uint16" => 16,
            "seL4_Uint32" | "int" => 32,
            "seL4_Word" | "seL4_Uint64" => 64,
            _ => return None,
        }))
    }
}

/// Adds the methods of one file to `methods`, continuing the numbering.
pub fn read(
    path: &Path,
    xml: &str,
    config: &Scope,
    types: &Types<'_>,
    methods: &mut Vec<Method>,
) -> Result<(), Error> {
    let malformed = |what: String| Error::Malformed {
        path: path.to_owned(),
        what,
    };
    let document = roxmltree::Document::parse(xml).map_err(|e| malformed(e.to_string()))?;
    for node in document.descendants().filter(|n| n.has_tag_name("method")) {
        let condition = node.attribute("condition").unwrap_or("");
        if !condition.is_empty() && !holds(condition, config) {
            continue;
        }
        let label = methods.len() as u64 + 1;
        methods.push(method(node, label, types).map_err(malformed)?);
    }
    Ok(())
}

fn method(node: Node<'_, '_>, label: u64, types: &Types<'_>) -> Result<Method, String> {
    let attribute = |name: &str| {
        node.attribute(name)
            .map(str::to_owned)
            .ok_or_else(|| format!("a method without `{name}`"))
    };
    let interface = node
        .parent_element()
        .and_then(|parent| parent.attribute("name"))
        .ok_or("a method outside an interface")?
        .to_owned();
    let (mut inputs, mut out_structs) = (Vec::new(), Vec::new());
    for param in node.children().filter(|n| n.has_tag_name("param")) {
        let name = param.attribute("name").ok_or("a param without `name`")?;
        let c_type = param.attribute("type").ok_or("a param without `type`")?;
        let kind = types
            .kind(c_type)
            .ok_or_else(|| format!("parameter `{name}` has the unknown type `{c_type}`"))?;
        if param.attribute("dir") == Some("in") {
            inputs.push(Param {
                name: name.to_owned(),
                c_type: c_type.to_owned(),
                kind,
            });
        } else if matches!(kind, Kind::Words(_)) {
            out_structs.push(c_type.to_owned());
        }
    }
    Ok(Method {
        id: attribute("id")?,
        name: attribute("name")?,
        interface,
        label,
        inputs,
        out_structs,
    })
}

impl Method {
    /// The message words as Rust expressions over the parameters' names.
    pub fn words(&self) -> Vec<String> {
        let mut words: Vec<Vec<String>> = Vec::new();
        let mut bit: u32 = 0;
        for param in &self.inputs {
            match param.kind {
                Kind::Cap => {}
                Kind::Words(count) => {
                    bit = bit.next_multiple_of(64) + 64 * count as u32;
                    words.extend((0..count).map(|i| vec![format!("{}[{i}]", param.name)]));
                }
                Kind::Bits(width) => {
                    bit = bit.next_multiple_of(width);
                    let (word, shift) = ((bit / 64) as usize, bit % 64);
                    words.resize(words.len().max(word + 1), Vec::new());
                    words[word].push(placed(&param.name, width, shift));
                    bit += width;
                }
            }
        }
        words.iter().map(|parts| parts.join(" | ")).collect()
    }
}

/// `name` as a 64-bit value moved up by `shift`.
fn placed(name: &str, width: u32, shift: u32) -> String {
    let value = if width == 64 {
        name.to_owned()
    } else {
        format!("{name} as u64")
    };
    match shift {
        0 => value,
        _ => format!("(({value}) << {shift})"),
    }
}
