//! A static address in place of the one that a description gives.
//!
//! Problem: most systems ask a DHCP server, and on a TAP device there is none
//! unless somebody starts one. Whoever boots a system there may give it an
//! address; the rest of the description stays as it is, so that it is still
//! the same system that is looked at.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use system_toml::System;
use toml::{Table, Value};

use crate::Error;

/// An IPv4 address and the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub own: Ipv4Addr,
    /// Bits of it that are those of the network.
    pub prefix: u8,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.own, self.prefix)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/');
        let parsed =
            parts.and_then(|(own, prefix)| Some((own.parse().ok()?, prefix.parse().ok()?)));
        let (own, prefix): (Ipv4Addr, u8) =
            parsed.ok_or("expected an address and a prefix length: 10.0.9.15/24")?;
        Ok(Self { own, prefix })
    }
}

/// Puts `address` in place of that of the server of `system` in its `table`;
/// what goes with an address, gateway and name servers, goes too.
///
/// # Errors
/// [`Error::System`] if there is no server.
pub(crate) fn replace(table: &mut Table, system: &System, address: Address) -> Result<(), Error> {
    let mut servers = system.model.components.iter();
    let server = servers
        .find(|component| component.network.is_some())
        .ok_or_else(|| Error::System(format!("error: {address}: no component has a network\n")))?;
    if let Some(network) = network(table, &server.name) {
        network.insert("address".to_owned(), Value::String(address.to_string()));
        network.remove("gateway");
        network.remove("dns");
    }
    Ok(())
}

/// The network of the component `server`, made if it is not there.
fn network<'a>(table: &'a mut Table, server: &str) -> Option<&'a mut Table> {
    table
        .get_mut("component")?
        .get_mut(server)?
        .as_table_mut()?
        .entry("network")
        .or_insert_with(|| Value::Table(Table::new()))
        .as_table_mut()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::plan;

    fn root() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
    }

    #[test]
    fn addresses_are_written_with_their_prefix() {
        let address: Address = "10.0.9.15/24".parse().unwrap();
        assert_eq!(address.to_string(), "10.0.9.15/24");
        for bad in ["10.0.9.15", "10.0.9/24", "x/24", "10.0.9.15/999"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn any_system_can_be_given_an_address_and_stays_itself() {
        let address: Address = "10.0.9.15/24".parse().unwrap();
        for file in [
            "system.toml",
            "tests/systems/wire.toml",
            "tests/systems/jumbo.toml",
        ] {
            let path = root().join(file);
            let (before, after) = (
                plan::load(&path, None).unwrap(),
                plan::load(&path, Some(address)).unwrap(),
            );
            assert_eq!(after.address, Some(address.own), "{file}");
            assert_ne!(before.encoded, after.encoded, "{file}");
            assert_eq!(before.programs, after.programs, "{file}");
            assert_eq!(before.forwards, after.forwards, "{file}");
            let network = |plan: &plan::Plan| plan.system.networks()[0].1.clone();
            assert_eq!(network(&after).gateway, None);
            assert_eq!(network(&before).mtu, network(&after).mtu);
        }
    }

    #[test]
    fn an_address_that_no_host_can_have_is_refused() {
        let address: Address = "10.0.9.255/24".parse().unwrap();
        let error = plan::load(&root().join("system.toml"), Some(address)).unwrap_err();
        assert!(error.to_string().contains("10.0.9.255"), "{error}");
    }
}
