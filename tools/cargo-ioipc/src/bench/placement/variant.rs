//! The description of the system that a variant is measured on: one file among
//! the sources, with the keys set in which variants differ.

use std::path::Path;

use toml::{Table, Value};

use super::cases::{MTU, Variant};
use super::record::Placement;
use crate::launch::write_atomically;
use crate::{Error, Home};

/// The file.
const SYSTEM: &str = "tests/systems/placement-bench.toml";

/// Writes the description of a variant to `file`.
pub(super) fn describe(file: &Path, variant: &Variant) -> Result<(), Error> {
    let from = Home::find()?.workspace.root.join(SYSTEM);
    let text = std::fs::read_to_string(&from).map_err(Error::io("read", &from))?;
    let broken = |why: String| Error::System(format!("error: {}: {why}\n", from.display()));
    let system = with_keys(&text, variant).map_err(broken)?;
    write_atomically(file, system.to_string().as_bytes())
}

fn with_keys(text: &str, variant: &Variant) -> Result<Table, String> {
    let mut system: Table = text.parse().map_err(|e: toml::de::Error| e.to_string())?;
    for (path, value) in keys(variant) {
        let (key, tables) = path.split_last().ok_or("no key")?;
        let mut table = &mut system;
        for name in tables {
            let inner = table.get_mut(*name).and_then(Value::as_table_mut);
            table = inner.ok_or_else(|| format!("there is no {}", tables.join(".")))?;
        }
        table.insert((*key).to_owned(), value);
    }
    Ok(system)
}

/// In what a variant differs from the file.
fn keys(variant: &Variant) -> Vec<(&'static [&'static str], Value)> {
    let mut keys: Vec<(&'static [&'static str], Value)> = Vec::new();
    if variant.placement == Placement::Kernel {
        keys.push((&["component", "net", "placement"], "kernel".into()));
        keys.push((&["component", "nic", "placement"], "kernel".into()));
    }
    if variant.conventional {
        keys.push((&["component", "io", "ipc"], "conventional".into()));
    }
    if variant.mtu != MTU {
        let mtu = i64::from(variant.mtu);
        keys.push((&["component", "net", "network", "mtu"], mtu.into()));
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::placement::cases::Plan;

    #[test]
    fn every_variant_differs_in_its_keys_only() {
        let text = "[component.nic]\n[component.net]\n[component.net.network]\n[component.io]\n";
        for variant in &Plan::new(false, &[], &[]).variants {
            let system = with_keys(text, variant).unwrap().to_string();
            let has = |key: &str| system.contains(key);
            let kernel = system.matches("placement = \"kernel\"").count();
            let wanted = usize::from(variant.placement == Placement::Kernel) * 2;
            assert_eq!(kernel, wanted, "{system}");
            assert_eq!(has("ipc = \"conventional\""), variant.conventional);
            assert_eq!(has("mtu = 9000"), variant.mtu == 9000);
        }
        let variant = &Plan::new(true, &[], &[]).variants[0];
        let error = with_keys("[component.net]\n", variant).unwrap_err();
        assert_eq!(error, "there is no component.nic");
    }
}
