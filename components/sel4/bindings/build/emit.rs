//! Writes the Rust source of the bindings.
//!
//! Names are libsel4's, so that its manual can be searched for them.

use crate::{
    bitfield::Block,
    cheader::{Count, Struct},
    error::Error,
    interface::{Kind, Method},
    kernel::Kernel,
};
use std::fmt::Write;

/// Structures that the typed layer needs.
pub const STRUCTS: [&str; 6] = [
    "seL4_SlotRegion",
    "seL4_UntypedDesc",
    "seL4_BootInfo",
    "seL4_BootInfoHeader",
    "seL4_IPCBuffer",
    "seL4_UserContext",
];

/// Bit field blocks that the typed layer needs.
pub const BLOCKS: [&str; 5] = [
    "seL4_MessageInfo",
    "seL4_PrioProps",
    "seL4_CapRights",
    "cnode_capdata",
    "io_port_capdata",
];

/// The union whose tags are the labels of faults.
pub const FAULTS: &str = "seL4_Fault";

/// The whole of `bindings.rs`.
pub fn bindings(kernel: &Kernel) -> Result<String, Error> {
    let mut out = String::new();
    line(&mut out, "/// The kernel's version.");
    line(
        &mut out,
        &format!("pub const VERSION: &str = {:?};", kernel.version),
    );
    line(
        &mut out,
        "/// Whether the kernel is a debug build, which has more system calls.",
    );
    line(
        &mut out,
        &format!("pub const DEBUG: bool = {};", kernel.debug),
    );
    constants(kernel, &mut out)?;
    labels(kernel, &mut out);
    syscalls(kernel, &mut out);
    for name in BLOCKS {
        block(kernel.bitfields.block(name)?, &mut out);
    }
    for name in STRUCTS {
        let found = kernel.structs.iter().find(|s| s.name == name);
        structure(kernel, found.ok_or_else(|| missing(name))?, &mut out)?;
    }
    line(&mut out, "/// Messages of the kernel's invocations.");
    line(&mut out, "pub mod request {");
    line(&mut out, "use super::Request;");
    for method in &kernel.methods {
        request(method, &mut out);
    }
    line(&mut out, "}");
    Ok(out)
}

fn missing(name: &str) -> Error {
    Error::Missing {
        what: name.to_owned(),
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// Every integer constant of the headers and the configuration.
fn constants(kernel: &Kernel, out: &mut String) -> Result<(), Error> {
    for (name, value) in kernel.constants.values() {
        if !is_ours(name) {
            continue;
        }
        let kind = if value < 0 { "i64" } else { "u64" };
        line(out, &format!("/// `{name}` of libsel4."));
        line(out, &format!("pub const {name}: {kind} = {value};"));
    }
    for (tag, value) in &kernel.bitfields.union(FAULTS)?.tags {
        line(out, &format!("/// Label of fault `{tag}`."));
        line(out, &format!("pub const {FAULTS}_{tag}: u64 = {value};"));
    }
    Ok(())
}

/// Whether a constant of the headers is part of the bindings.
pub fn is_ours(name: &str) -> bool {
    ["seL4_", "CONFIG_", "IRQ_OFFSET", "VECTOR_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// The interface's name without libsel4's prefix.
pub fn short(interface: &str) -> &str {
    interface.strip_prefix("seL4_").unwrap_or(interface)
}

fn labels(kernel: &Kernel, out: &mut String) {
    line(out, "/// Invocation labels.");
    line(out, "pub mod label {");
    for Method { id, label, .. } in &kernel.methods {
        line(out, &format!("/// `{id}`."));
        line(out, &format!("pub const {id}: u64 = {label};"));
    }
    line(out, "/// Every label with its kernel name, in order.");
    line(out, "pub const ALL: &[(&str, u64)] = &[");
    for Method { id, label, .. } in &kernel.methods {
        line(out, &format!("({id:?}, {label}),"));
    }
    line(out, "];\n}");
}

fn syscalls(kernel: &Kernel, out: &mut String) {
    line(out, "/// System call numbers.");
    line(out, "pub mod syscall {");
    for (name, number) in &kernel.syscalls {
        line(out, &format!("/// `seL4_Sys{name}`."));
        line(out, &format!("pub const {name}: i64 = {number};"));
    }
    line(out, "/// Every system call with its name, in order.");
    line(out, "pub const ALL: &[(&str, i64)] = &[");
    for (name, number) in &kernel.syscalls {
        line(out, &format!("({name:?}, {number}),"));
    }
    line(out, "];");
    for (name, constant) in [
        ("DebugPutChar", "DEBUG_PUT_CHAR"),
        ("DebugNameThread", "DEBUG_NAME_THREAD"),
    ] {
        let call = kernel.syscalls.iter().find(|call| call.0 == name);
        let number = call.map(|call| call.1);
        line(out, &format!("/// `{name}`, where the kernel has it."));
        line(
            out,
            &format!("pub const {constant}: Option<i64> = {number:?};"),
        );
    }
    line(out, "}");
}

/// A block of one word as a transparent type with constructor and accessors.
fn block(block: &Block, out: &mut String) {
    let name = &block.name;
    let mut fields = block.fields.clone();
    fields.reverse();
    let _ = writeln!(
        out,
        "/// Bit field `{name}`, {} bits.\n#[repr(transparent)]\n\
         #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]\n\
         pub struct {name}(pub u64);\nimpl {name} {{",
        block.bits
    );
    let parameters: Vec<_> = block
        .fields
        .iter()
        .map(|f| format!("{}: u64", f.name))
        .collect();
    let value: Vec<_> = fields
        .iter()
        .map(|f| format!("(({} & {:#x}) << {})", f.name, mask(f.width), f.shift))
        .collect();
    let _ = writeln!(
        out,
        "/// Puts the fields together; bits that do not fit are cut off.\n#[inline(always)]\n\
         pub const fn new({}) -> Self {{ Self({}) }}",
        parameters.join(", "),
        value.join(" | ")
    );
    for field in &fields {
        let _ = writeln!(
            out,
            "/// Field `{0}`.\n#[inline(always)]\npub const fn get_{0}(self) -> u64 \
             {{ (self.0 >> {1}) & {2:#x} }}\n\
             /// Width of field `{0}` in bits.\npub const WIDTH_OF_{0}: u32 = {3};",
            field.name,
            field.shift,
            mask(field.width),
            field.width
        );
    }
    line(out, "}");
}

fn mask(width: u32) -> u64 {
    u64::MAX >> (64 - width)
}

fn structure(kernel: &Kernel, item: &Struct, out: &mut String) -> Result<(), Error> {
    let repr = if item.packed { "C, packed" } else { "C" };
    let _ = writeln!(
        out,
        "/// `{0}` of libsel4.\n#[repr({repr})]\n#[derive(Clone, Copy)]\npub struct {0} {{",
        item.name
    );
    for field in &item.fields {
        let kind = rust_type(kernel, &field.c_type)?;
        let kind = match &field.count {
            Count::One => kind,
            Count::Many(count) => format!("[{kind}; {count}]"),
            Count::Unknown(size) => return Err(missing(size)),
        };
        let _ = writeln!(out, "/// Field `{0}`.\npub {0}: {kind},", field.name);
    }
    line(out, "}");
    Ok(())
}

/// The Rust type of a C type; pointers are words.
fn rust_type(kernel: &Kernel, c_type: &str) -> Result<String, Error> {
    let known = match c_type {
        "seL4_Uint8" => "u8",
        "seL4_Uint16" => "u16",
        "seL4_Uint32" => "u32",
        "seL4_Uint64" | "*" => "u64",
        name if STRUCTS.contains(&name) => name,
        name => {
            if let Some(plain) = name.strip_suffix("_t").filter(|p| BLOCKS.contains(p)) {
                return Ok(plain.to_owned());
            }
            let alias = kernel.typedefs.iter().find(|alias| alias.0 == name);
            let (_, old) = alias.ok_or_else(|| missing(name))?;
            return rust_type(kernel, old);
        }
    };
    Ok(known.to_owned())
}

/// The function that puts an invocation's message together.
fn request(method: &Method, out: &mut String) {
    let interface = short(&method.interface);
    let parameters: Vec<String> = method
        .inputs
        .iter()
        .map(|param| {
            let kind = match param.kind {
                Kind::Words(count) => format!("[u64; {count}]"),
                Kind::Bits(1) => "bool".to_owned(),
                Kind::Bits(width @ (8 | 16 | 32)) => format!("u{width}"),
                Kind::Cap | Kind::Bits(_) => "u64".to_owned(),
            };
            format!("{}: {kind}", param.name)
        })
        .collect();
    let caps: Vec<&str> = method
        .inputs
        .iter()
        .filter(|param| param.kind == Kind::Cap)
        .map(|param| param.name.as_str())
        .collect();
    let words = method.words();
    let _ = writeln!(
        out,
        "/// Message of `{0}_{1}`.\n#[inline(always)]\n#[must_use]\n\
         pub const fn {interface}_{1}({2}) -> Request<{3}, {4}> {{\n\
         Request {{ label: {5}, caps: [{6}], words: [{7}] }}\n}}",
        method.interface,
        method.name,
        parameters.join(", ").replace("type:", "r#type:"),
        caps.len(),
        words.len(),
        method.label,
        caps.join(", "),
        words
            .iter()
            .map(|word| if word == "type" {
                "r#type"
            } else {
                word.as_str()
            })
            .collect::<Vec<_>>()
            .join(", "),
    );
}
