//! `cargo ioipc inspect`: what a built system consists of and who may do what.
//!
//! Problem: the description that people write names rights; what the root task
//! carries out are slots, badges and addresses. This shows the second, read
//! back from the image itself, so that it is what will run, and says where the
//! isolation ends.

use std::fmt::{self, Write};

use system_description::{
    Component, DeviceGrant, DeviceKind, Grant, PageSize, SystemDescription, Thread,
};

use crate::components::Built;
use crate::image::{self, ImageError};
use crate::{Error, Prepared};

type Description<'a> = SystemDescription<&'a str, &'a [u8]>;

/// The report on a prepared system, as text.
///
/// # Errors
/// [`Error::Image`] or [`Error::System`] when the image does not read back.
pub fn report(prepared: &Prepared) -> Result<String, Error> {
    let payload = image::open(&prepared.image)?;
    let bytes = payload.description().map_err(ImageError::Payload)?;
    let description = SystemDescription::decode(bytes, payload.images())
        .map_err(|error| Error::System(error.to_string()))?;
    let mut text = String::new();
    let writer = &mut text;
    let written = overview(writer, prepared, &description)
        .and_then(|()| components(writer, prepared, &description))
        .and_then(|()| regions(writer, &description))
        .and_then(|()| trust(writer, prepared, &description));
    match written {
        Ok(()) => Ok(text),
        Err(fmt::Error) => Err(Error::System("the report cannot be written".to_owned())),
    }
}

fn overview(out: &mut String, prepared: &Prepared, system: &Description<'_>) -> fmt::Result {
    let kernel = &prepared.kernel;
    let variant = if kernel.is_debug() {
        "debug"
    } else {
        "release"
    };
    let payload = prepared.image.bytes.len() - prepared.image.payload;
    writeln!(out, "system {}", system.name)?;
    writeln!(
        out,
        "  kernel     seL4 {} ({variant}), {}",
        kernel.version(),
        kernel.prefix().display()
    )?;
    writeln!(out, "  image      {}", prepared.file.display())?;
    writeln!(
        out,
        "  size       {} in all: {} of components and description at {:#x}",
        size(prepared.image.bytes.len() as u64),
        size(payload as u64),
        prepared.image.address
    )?;
    writeln!(out, "  memory     {} MiB", prepared.plan.memory_mib)
}

fn components(out: &mut String, prepared: &Prepared, system: &Description<'_>) -> fmt::Result {
    for component in &system.components {
        writeln!(out, "\ncomponent {}", component.name)?;
        if let Some(built) = prepared.programs.get(usize::from(component.image)) {
            program(out, built)?;
        }
        for part in &component.threads {
            thread(out, part)?;
        }
        for mapping in &component.mappings {
            let region = &system.regions[usize::from(mapping.region)];
            let rights = if mapping.writable { "rw-" } else { "r--" };
            row(
                out,
                "region",
                &format!(
                    "{:#010x} {rights} {:>9}  {}",
                    mapping.vaddr,
                    size(region.bytes),
                    region.name
                ),
            )?;
        }
        capabilities(out, component, system)?;
        for device in &component.devices {
            row(out, "device", &device_text(device))?;
        }
    }
    Ok(())
}

fn program(out: &mut String, built: &Built) -> fmt::Result {
    let name = built.path.file_name().unwrap_or_default().to_string_lossy();
    row(
        out,
        "program",
        &format!("{name}, {}", size(built.bytes.len() as u64)),
    )?;
    for segment in &built.program.segments {
        let right = |bit: u32, letter| {
            if segment.flags & bit != 0 {
                letter
            } else {
                '-'
            }
        };
        row(
            out,
            "segment",
            &format!(
                "{:#010x} {}{}{} {:>9}",
                segment.address,
                right(4, 'r'),
                right(2, 'w'),
                right(1, 'x'),
                size(segment.memory)
            ),
        )?;
    }
    Ok(())
}

fn thread(out: &mut String, thread: &Thread<&str>) -> fmt::Result {
    row(
        out,
        "thread",
        &format!(
            "{:#010x} rw- {:>9}  stack of {}, priority {}",
            thread.stack,
            size(thread.stack_bytes),
            thread.name,
            thread.priority
        ),
    )
}

fn capabilities(
    out: &mut String,
    component: &Component<&str, &[u8]>,
    system: &Description<'_>,
) -> fmt::Result {
    let name = |index: u16| system.components[usize::from(index)].name;
    if component.endpoint {
        row(out, "cap", "receive on its own endpoint")?;
    }
    for cap in &component.caps {
        let text = match cap.grant {
            Grant::Signal { component, badge } => {
                format!("signal {} (badge {badge:#x})", name(component))
            }
            Grant::Call { component, badge } => {
                format!("call {} (badge {badge:#x})", name(component))
            }
            Grant::IoPorts { first, last } => format!("I/O ports {first:#x} to {last:#x}"),
        };
        row(out, "cap", &format!("slot {:#04x}: {text}", cap.slot))?;
    }
    Ok(())
}

fn device_text(device: &DeviceGrant<&str>) -> String {
    let what = match &device.kind {
        DeviceKind::Pci {
            vendor,
            devices,
            nth,
        } => {
            let ids: Vec<String> = devices.iter().map(|id| format!("{id:04x}")).collect();
            format!("PCI {vendor:04x}:{} number {nth}", ids.join("|"))
        }
        DeviceKind::Mmio { paddr, bytes, .. } => format!("memory at {paddr:#x}, {}", size(*bytes)),
        DeviceKind::Ports { first, last, .. } => format!("ports {first:#x} to {last:#x}"),
    };
    let interrupt = match &device.irq {
        Some(irq) => format!(
            "interrupt in slot {:#04x} (badge {:#x})",
            irq.slot, irq.badge
        ),
        None => "no interrupt".to_owned(),
    };
    format!("{}: {what}, {interrupt}", device.name)
}

fn regions(out: &mut String, system: &Description<'_>) -> fmt::Result {
    writeln!(out, "\nregions")?;
    for (index, region) in system.regions.iter().enumerate() {
        let users: Vec<String> = system
            .components
            .iter()
            .flat_map(|component| {
                let ours = component.mappings.iter();
                ours.filter(|mapping| usize::from(mapping.region) == index)
                    .map(|mapping| match mapping.writable {
                        true => component.name.to_owned(),
                        false => format!("{} (reads)", component.name),
                    })
            })
            .collect();
        let page = match region.page {
            PageSize::Small => "4 KiB",
            PageSize::Large => "2 MiB",
        };
        let contiguous = if region.contiguous {
            ", contiguous"
        } else {
            ""
        };
        writeln!(
            out,
            "  {:>9}  {}, pages of {page}{contiguous}: {}",
            size(region.bytes),
            region.name,
            users.join(", ")
        )?;
    }
    Ok(())
}

/// Where the isolation between components ends.
fn trust(out: &mut String, prepared: &Prepared, system: &Description<'_>) -> fmt::Result {
    writeln!(out, "\ntrust")?;
    writeln!(
        out,
        "  root-task: creates everything and keeps all memory and devices not handed out"
    )?;
    for component in &system.components {
        let masters = |device: &DeviceGrant<_>| matches!(device.kind, DeviceKind::Pci { .. });
        if component.devices.iter().any(masters) {
            writeln!(
                out,
                "  {}: drives a device with direct memory access, and no IOMMU confines it: \
                 trusted with all of memory",
                component.name
            )?;
        }
        for region in &component.mappings {
            let region = &system.regions[usize::from(region.region)];
            if region.contiguous && !component.devices.iter().any(masters) {
                writeln!(
                    out,
                    "  {}: shares {} with a device: what it reads there may change under it",
                    component.name, region.name
                )?;
            }
        }
    }
    if prepared.kernel.version() == "5.0.0" {
        writeln!(
            out,
            "  seL4 5.0.0 sets no page no-execute: data that a component can write, it can run"
        )?;
    }
    Ok(())
}

fn row(out: &mut String, kind: &str, text: &str) -> fmt::Result {
    writeln!(out, "  {kind:<9}  {text}")
}

/// A number of bytes as people read it.
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
