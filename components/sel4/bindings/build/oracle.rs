//! Writes what `tests/oracle.rs` asks the kernel's own tools.
//!
//! Each question is a C expression, or a call of one of libsel4's stubs, beside
//! the bindings' answer. Every constant, layout, bit field and message of the
//! bindings is asked about, so that nothing new escapes the test.

use crate::{
    emit::{BLOCKS, FAULTS, STRUCTS, is_ours, short},
    error::Error,
    interface::{Kind, Method, Param},
    kernel::Kernel,
};
use std::fmt::Write;

/// The source of `oracle.rs`.
pub fn questions(kernel: &Kernel) -> Result<String, Error> {
    let mut out = String::from("pub const VALUES: &[(&str, u64)] = &[\n");
    for (name, _) in kernel.constants.values().filter(|c| is_ours(c.0)) {
        value(&mut out, name, &format!("sel4_bindings::{name}"));
    }
    for (tag, _) in &kernel.bitfields.union(FAULTS)?.tags {
        let name = format!("{FAULTS}_{tag}");
        value(&mut out, &name, &format!("sel4_bindings::{name}"));
    }
    for method in &kernel.methods {
        value(
            &mut out,
            &method.id,
            &format!("sel4_bindings::label::{}", method.id),
        );
    }
    let labels = kernel.methods.len() + 1;
    value(&mut out, "nArchInvocationLabels", &labels.to_string());
    for (name, _) in &kernel.syscalls {
        let ours = format!("sel4_bindings::syscall::{name}");
        value(&mut out, &format!("seL4_Sys{name}"), &ours);
    }
    layouts(kernel, &mut out);
    for name in BLOCKS {
        block(kernel, name, &mut out)?;
    }
    out.push_str("];\n\npub fn requests() -> Vec<(&'static str, Message)> {\nvec![\n");
    for method in &kernel.methods {
        request(method, &mut out);
    }
    out.push_str("]\n}\n");
    Ok(out)
}

/// One expression of C beside one of Rust.
fn value(out: &mut String, c: &str, rust: &str) {
    let _ = writeln!(out, "({c:?}, ({rust}) as u64),");
}

fn layouts(kernel: &Kernel, out: &mut String) {
    for item in kernel
        .structs
        .iter()
        .filter(|s| STRUCTS.contains(&s.name.as_str()))
    {
        let name = &item.name;
        let ours = format!("core::mem::size_of::<sel4_bindings::{name}>()");
        value(out, &format!("sizeof({name})"), &ours);
        for field in &item.fields {
            let ours = format!(
                "core::mem::offset_of!(sel4_bindings::{name}, {})",
                field.name
            );
            value(out, &format!("offsetof({name}, {})", field.name), &ours);
        }
    }
}

/// Each field by itself set to ones, and read from a word of ones.
fn block(kernel: &Kernel, name: &str, out: &mut String) -> Result<(), Error> {
    let block = kernel.bitfields.block(name)?;
    for (index, field) in block.fields.iter().enumerate() {
        let ones = u64::MAX >> (64 - field.width);
        let arguments: Vec<String> = (0..block.fields.len())
            .map(|other| {
                if other == index {
                    format!("{ones:#x}")
                } else {
                    "0".to_owned()
                }
            })
            .collect();
        let arguments = arguments.join(", ");
        value(
            out,
            &format!("{name}_new({arguments}).words[0]"),
            &format!("sel4_bindings::{name}::new({arguments}).0"),
        );
        value(
            out,
            &format!("{name}_get_{}(({name}_t){{{{~0ull}}}})", field.name),
            &format!("sel4_bindings::{name}(u64::MAX).get_{}()", field.name),
        );
    }
    Ok(())
}

/// One stub called with arguments that are all different.
fn request(method: &Method, out: &mut String) {
    let (mut c, mut rust) = (vec!["0x5e41ce".to_owned()], Vec::new());
    for (index, param) in method.inputs.iter().enumerate() {
        let (c_value, rust_value) = sample(index as u64 + 1, param);
        c.push(c_value);
        rust.push(rust_value);
    }
    for name in &method.out_structs {
        c.push(format!("&({name}){{0}}"));
    }
    let call = format!("{}_{}({})", method.interface, method.name, c.join(", "));
    let _ = writeln!(
        out,
        "({call:?}, flat(sel4_bindings::request::{}_{}({}))),",
        short(&method.interface),
        method.name,
        rust.join(", ")
    );
}

/// The same argument in C and in Rust.
fn sample(seed: u64, param: &Param) -> (String, String) {
    let word = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    match param.kind {
        Kind::Bits(1) => ("1".to_owned(), "true".to_owned()),
        Kind::Bits(width @ (8 | 16 | 32)) => {
            let text = format!("{:#x}", word & (u64::MAX >> (64 - width)));
            (text.clone(), text)
        }
        Kind::Cap | Kind::Bits(_) => {
            let text = format!("{word:#x}");
            let c = match param.c_type.ends_with("_t") {
                true => format!("({}){{{{{text}ull}}}}", param.c_type),
                false => format!("{text}ull"),
            };
            (c, text)
        }
        Kind::Words(count) => {
            let words: Vec<String> = (0..count as u64)
                .map(|index| format!("{:#x}", word ^ index))
                .collect();
            let words = words.join(", ");
            (
                format!("&({}){{{words}}}", param.c_type),
                format!("[{words}]"),
            )
        }
    }
}
