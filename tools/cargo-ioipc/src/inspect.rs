//! `cargo ioipc inspect`: what a built system consists of and who may do what.
//!
//! Problem: the description that people write names rights; what the root task
//! carries out are slots, badges and addresses. This shows the second, beside
//! the sizes of what was built, and says where the isolation ends.

use std::fmt::{self, Write};

use system_toml::view::{ComponentView, Memory, View};
use system_toml::{Crossings, show_size};

use crate::Prepared;
use crate::components::Built;

/// The report on a prepared system.
#[derive(Debug)]
pub struct Report<'a> {
    prepared: &'a Prepared,
    view: View,
}

impl<'a> Report<'a> {
    /// Looks at a prepared system.
    #[must_use]
    pub fn new(prepared: &'a Prepared) -> Self {
        Self {
            view: prepared.plan.system.view(),
            prepared,
        }
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        overview(&mut text, self.prepared, &self.view)?;
        let programs = self.prepared.plan.system.model.components.iter();
        for (component, made) in self.view.components.iter().zip(programs) {
            component_part(&mut text, component, &self.prepared.programs[made.program])?;
        }
        memory(&mut text, &self.view.memory, self.view.memory_bytes)?;
        crossings(&mut text, &self.view.crossings)?;
        writeln!(text, "\ntrust")?;
        for note in &self.view.trust {
            writeln!(text, "  {note}")?;
        }
        f.write_str(&text)
    }
}

fn overview(out: &mut String, prepared: &Prepared, view: &View) -> fmt::Result {
    let kernel = &prepared.kernel;
    let variant = if kernel.is_debug() {
        "debug"
    } else {
        "release"
    };
    let image = &prepared.image;
    writeln!(out, "system {}", view.name)?;
    row(
        out,
        "kernel",
        &format!(
            "seL4 {} ({variant}) in {}",
            kernel.version(),
            kernel.prefix().display()
        ),
    )?;
    row(out, "image", &prepared.file.display().to_string())?;
    row(
        out,
        "",
        &format!(
            "{}, of which {} are components and description, at {:#x}",
            size(image.bytes.len() as u64),
            size((image.bytes.len() - image.payload) as u64),
            image.address
        ),
    )
}

fn component_part(out: &mut String, component: &ComponentView, built: &Built) -> fmt::Result {
    let (name, role) = (&component.name, component.role.word());
    writeln!(out, "\ncomponent {name} ({role})")?;
    let bytes = size(built.bytes.len() as u64);
    match &component.host {
        None => {
            row(out, "program", &format!("{}, {bytes}", component.program))?;
            row(out, "runs", "in a protection domain of its own")?;
        }
        Some(host) => {
            let program = format!("{}, linked into that of {host}", component.program);
            row(out, "program", &program)?;
            row(out, "runs", &format!("inside {host}, in its thread"))?;
        }
    }
    for (thread, priority) in &component.threads {
        row(out, "thread", &format!("{thread}, priority {priority}"))?;
    }
    for capability in &component.capabilities {
        row(out, "may", capability)?;
    }
    let own = component.host.is_none();
    for segment in built.program.segments.iter().filter(|_| own) {
        let right = |bit: u32, letter| {
            if segment.flags & bit != 0 {
                letter
            } else {
                '-'
            }
        };
        let rights: String = [right(4, 'r'), right(2, 'w'), right(1, 'x')]
            .iter()
            .collect();
        map(out, segment.address, &rights, segment.memory, "program")?;
    }
    for line in &component.map {
        let rights = if line.writable { "rw-" } else { "r--" };
        let name = match line.page {
            4096 => line.name.clone(),
            page => format!("{} (pages of {})", line.name, show_size(page)),
        };
        map(out, line.vaddr, rights, line.bytes, &name)?;
    }
    Ok(())
}

fn map(out: &mut String, at: u64, rights: &str, bytes: u64, what: &str) -> fmt::Result {
    let text = format!("{at:#010x} {rights} {:>9}  {what}", size(bytes));
    row(out, "memory", &text)
}

fn memory(out: &mut String, memory: &Memory, machine: u64) -> fmt::Result {
    writeln!(out, "\nmemory")?;
    for (what, bytes) in memory.parts() {
        writeln!(out, "  {:>9}  {what}", size(bytes))?;
    }
    let total = memory.total();
    writeln!(out, "  {:>9}  in all, of {}", size(total), size(machine))
}

fn crossings(out: &mut String, clients: &[Crossings]) -> fmt::Result {
    writeln!(out, "\ncrossings, one operation outstanding")?;
    for client in clients {
        writeln!(out, "  {:<8} receive  {}", client.client, client.receive)?;
        writeln!(out, "  {:<8} send     {}", "", client.send)?;
    }
    Ok(())
}

fn row(out: &mut String, kind: &str, text: &str) -> fmt::Result {
    writeln!(out, "  {kind:<8} {text}")
}

/// A number of bytes as people read it, rounded up.
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_to_whole_kibibytes() {
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1025), "2 KiB");
        assert_eq!(size(3 << 19), "1.5 MiB");
    }
}
