//! Devices: those that are known by name, and those that the file describes.

use system_description::{DeviceKind, IrqPin};

use crate::model::Device;
use crate::raw::Named;
use crate::report::Diagnostic;
use crate::rule::Rule;
use crate::section::{Log, Section};
use crate::value::At;

const PCI_WINDOW: u64 = 1 << 20;

/// The devices that need no description.
pub(crate) fn known() -> Vec<Device> {
    let pci = |name: &str, devices: [u16; 2], irq| Device {
        name: name.to_owned(),
        kind: DeviceKind::Pci {
            vendor: 0x1af4,
            devices: devices.to_vec(),
            nth: 0,
        },
        window_bytes: PCI_WINDOW,
        irq,
    };
    let edge = |pin| {
        Some(IrqPin {
            pin,
            level: false,
            low: false,
        })
    };
    let other = |name: &str, kind, window_bytes, irq| Device {
        name: name.to_owned(),
        kind,
        window_bytes,
        irq,
    };
    let hpet = DeviceKind::Mmio {
        paddr: 0xfed0_0000,
        bytes: 4096,
        irq: edge(2),
    };
    let ports = |first, last, irq| DeviceKind::Ports { first, last, irq };
    vec![
        pci("virtio-net", [0x1041, 0x1000], true),
        // Polled; and on `pc` its interrupt pin may be the network device's.
        pci("virtio-rng", [0x1044, 0x1005], false),
        other("hpet", hpet, 4096, true),
        other("serial", ports(0x3f8, 0x3ff, edge(4)), 0, true),
        other("exit", ports(0xf4, 0xf7, None), 0, false),
    ]
}

/// All devices: known ones, and those of the file.
pub(crate) fn read(log: &mut Log, described: &[Named<'_>]) -> Vec<Device> {
    let mut devices = known();
    for raw in described {
        if devices.iter().any(|d| d.name == raw.name.value) {
            let message = format!("the device `{}` is known already", raw.name.value);
            let diagnostic = Diagnostic::error(Rule::ReservedName, &raw.name.span, message);
            log.push(diagnostic.label("choose another name"));
            continue;
        }
        // A device that could not be read stays known by name.
        let device = read_one(log, raw).unwrap_or(Device {
            name: raw.name.value.clone(),
            kind: DeviceKind::Pci {
                vendor: 0,
                devices: Vec::new(),
                nth: 0,
            },
            window_bytes: 0,
            irq: false,
        });
        devices.push(device);
    }
    devices
}

fn read_one(log: &mut Log, raw: &Named<'_>) -> Option<Device> {
    let section = &raw.section;
    let ways = ["pci", "mmio", "ports"]
        .iter()
        .filter(|w| section.key_span(w).is_some())
        .count();
    if ways != 1 {
        let message = format!("device `{}` is not described in one way", raw.name.value);
        log.push(
            Diagnostic::error(Rule::BadDevice, &raw.name.span, message)
                .label(format!("has {ways} of `pci`, `mmio` and `ports`"))
                .help("give exactly one of `pci`, `mmio` and `ports`"),
        );
        return None;
    }
    let irq = read_irq(raw);
    let window = section.size("window").map_or(PCI_WINDOW, |s| s.value);
    let (kind, window_bytes, irq) = if let Some(ids) = section.texts("pci") {
        (read_pci(log, section, &ids)?, window, true)
    } else if let Some(paddr) = section.integer("mmio") {
        let bytes = section.size("size").map_or(4096, |s| s.value);
        if !paddr.value.cast_unsigned().is_multiple_of(4096) {
            let message = format!("device `{}` does not begin a page", raw.name.value);
            let diagnostic = Diagnostic::error(Rule::BadDevice, &paddr.span, message);
            log.push(diagnostic.label("must be a multiple of 4096"));
        }
        let paddr = paddr.value.cast_unsigned();
        (DeviceKind::Mmio { paddr, bytes, irq }, bytes, irq.is_some())
    } else {
        let (first, last) = section.ports("ports")?.value;
        (DeviceKind::Ports { first, last, irq }, 0, irq.is_some())
    };
    Some(Device {
        name: raw.name.value.clone(),
        kind,
        window_bytes,
        irq,
    })
}

fn read_irq(raw: &Named<'_>) -> Option<IrqPin> {
    let irq = raw.below.as_ref()?;
    let is = |key, word: &str| irq.text(key).is_some_and(|t| t.value == word);
    Some(IrqPin {
        pin: u8::try_from(irq.integer("pin")?.value).ok()?,
        level: is("trigger", "level"),
        low: is("polarity", "low"),
    })
}

fn read_pci(log: &mut Log, section: &Section<'_>, ids: &At<Vec<At<String>>>) -> Option<DeviceKind> {
    let mut vendor = None;
    let mut devices = Vec::new();
    for id in &ids.value {
        let hex = |part: &str| match part.len() {
            4 => u16::from_str_radix(part, 16).ok(),
            _ => None,
        };
        let parts = id
            .value
            .split_once(':')
            .and_then(|(v, d)| Some((hex(v)?, hex(d)?)));
        match parts {
            Some((v, d)) if vendor.is_none_or(|known| known == v) => {
                vendor = Some(v);
                devices.push(d);
            }
            _ => {
                let message = format!("`{}` is not a PCI identity that fits here", id.value);
                log.push(
                    Diagnostic::error(Rule::BadDevice, &id.span, message)
                        .label("not vendor and device of one vendor")
                        .help("write vendor and device as hexadecimal digits: \"1af4:1041\""),
                );
                return None;
            }
        }
    }
    let nth = section.integer("nth").map_or(0, |i| i.value);
    Some(DeviceKind::Pci {
        vendor: vendor?,
        devices,
        nth: u8::try_from(nth).ok()?,
    })
}
