//! A static address in place of the one that a description gives.
//!
//! Problem: most systems ask a DHCP server, and on a TAP device there is none
//! unless somebody starts one. Whoever boots a system there may give it an
//! address; the rest of the description stays as it is, so that it is still
//! the same system that is looked at. A gateway or name server that cannot be
//! reached from the new address is left out, and that is said.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use system_toml::{Network, System};
use toml::{Table, Value};

use crate::Error;
use crate::plan::Changes;

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

impl Address {
    /// Whether `other` is another host of this address's network.
    fn reaches(self, other: Ipv4Addr) -> bool {
        let differ = u32::from(self.own) ^ u32::from(other);
        differ != 0 && differ.checked_shr(32 - u32::from(self.prefix)).unwrap_or(0) == 0
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

/// Puts the address, gateway and name servers of `changes` in place of those of
/// the server of `system` in its `table`. What an address leaves behind stays if
/// it can be reached from there.
///
/// Returns what was left out, a line each, and the options that were used.
///
/// # Errors
/// [`Error::System`] if there is no server.
pub(crate) fn replace(
    table: &mut Table,
    system: &System,
    changes: &Changes,
) -> Result<(Vec<String>, Vec<&'static str>), Error> {
    let options = options(changes);
    if options.is_empty() {
        return Ok((Vec::new(), options));
    }
    let mut servers = system.model.components.iter();
    let found = servers.find_map(|c| Some((&c.name, c.network.as_ref()?)));
    let (server, old) = found.ok_or_else(|| {
        let options = options.join(" ");
        Error::System(format!("error: {options}: no component has a network\n"))
    })?;
    let kept = Kept::of(old, changes);
    if let Some(network) = network(table, server) {
        if let Some(address) = changes.address {
            network.insert("address".to_owned(), text(address));
        }
        set(network, "gateway", kept.gateway.map(text));
        let dns: Vec<Value> = kept.dns.iter().map(text).collect();
        set(network, "dns", (!dns.is_empty()).then(|| dns.into()));
    }
    Ok((kept.left_out, options))
}

/// The options of the command line that ask for these changes.
fn options(changes: &Changes) -> Vec<&'static str> {
    let asked = [
        (changes.address.is_some(), "--address"),
        (changes.gateway.is_some(), "--gateway"),
        (!changes.dns.is_empty(), "--dns"),
    ];
    let asked = asked.into_iter().filter(|(is, _)| *is);
    asked.map(|(_, option)| option).collect()
}

fn text(value: impl fmt::Display) -> Value {
    Value::String(value.to_string())
}

fn set(table: &mut Table, key: &str, value: Option<Value>) {
    match value {
        Some(value) => drop(table.insert(key.to_owned(), value)),
        None => drop(table.remove(key)),
    }
}

/// What goes with an address.
struct Kept {
    gateway: Option<Ipv4Addr>,
    dns: Vec<Ipv4Addr>,
    left_out: Vec<String>,
}

impl Kept {
    /// What is asked for; for the rest, what of `old` still serves.
    fn of(old: &Network, changes: &Changes) -> Self {
        let mut kept = Self {
            gateway: changes.gateway.or(old.gateway),
            dns: changes.dns.clone(),
            left_out: Vec::new(),
        };
        if kept.dns.is_empty() {
            kept.dns.clone_from(&old.dns);
        }
        let Some(address) = changes.address else {
            return kept;
        };
        if changes.gateway.is_none()
            && let Some(gateway) = kept.gateway.take_if(|gateway| !address.reaches(*gateway))
        {
            kept.left_out.push(format!(
                "--address {address} leaves out the gateway {gateway}, which is no neighbour there; \
                 --gateway gives another"
            ));
        }
        if changes.dns.is_empty() {
            kept.leave_out_servers(old, address);
        }
        kept
    }

    /// A name server is reached on the new network, or through the gateway
    /// unless it was one of the old network's own.
    fn leave_out_servers(&mut self, old: &Network, address: Address) {
        let was_near = |server| {
            old.address
                .is_some_and(|(own, prefix)| Address { own, prefix }.reaches(server))
        };
        let routed = self.gateway.is_some();
        let serves = |s: Ipv4Addr| address.reaches(s) || routed && s != address.own && !was_near(s);
        let (stay, go): (Vec<_>, Vec<_>) = self.dns.iter().partition(|server| serves(**server));
        self.dns = stay;
        self.left_out.extend(go.iter().map(|server| {
            format!(
                "--address {address} leaves out the name server {server}, which is not reached \
                 from there; --dns gives another"
            )
        }));
    }
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

    /// A static network with these changes, and what was said.
    fn changed(address: &str, gateway: &str, dns: &str) -> (Network, Vec<String>) {
        let parsed = |text: &str| -> Vec<Ipv4Addr> {
            text.split_whitespace()
                .map(|a| a.parse().unwrap())
                .collect()
        };
        let scratch = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(root().join("tests/systems/wire.toml")).unwrap();
        let mut table: Table = text.parse().unwrap();
        let network = network(&mut table, "net").unwrap();
        network.insert("address".to_owned(), "10.0.2.15/24".into());
        network.insert("gateway".to_owned(), "10.0.2.2".into());
        let dns_before = ["10.0.2.3", "8.8.8.8"].map(Value::from).to_vec();
        network.insert("dns".to_owned(), dns_before.into());
        let file = scratch.path().join("system.toml");
        std::fs::write(&file, table.to_string()).unwrap();
        let changes = Changes {
            address: (!address.is_empty()).then(|| address.parse().unwrap()),
            gateway: parsed(gateway).first().copied(),
            dns: parsed(dns),
            ..Changes::default()
        };
        let plan = plan::load_with(&file, changes).unwrap_or_else(|e| panic!("{e}"));
        (plan.system.networks()[0].1.clone(), plan.notes)
    }

    fn told(network: &Network) -> String {
        let mut all: Vec<String> = network.gateway.iter().map(Ipv4Addr::to_string).collect();
        all.extend(network.dns.iter().map(Ipv4Addr::to_string));
        all.join(" ")
    }

    #[test]
    fn what_still_fits_an_address_stays_with_it() {
        let (network, notes) = changed("10.0.2.77/24", "", "");
        assert_eq!(told(&network), "10.0.2.2 10.0.2.3 8.8.8.8");
        assert!(notes.is_empty(), "{notes:?}");
        // The whole old network lies in the new one.
        let (network, _) = changed("10.0.9.15/16", "", "");
        assert_eq!(told(&network), "10.0.2.2 10.0.2.3 8.8.8.8");
    }

    #[test]
    fn what_does_not_fit_is_left_out_with_a_word() {
        let (network, notes) = changed("10.0.9.15/24", "", "");
        assert_eq!(told(&network), "");
        let about = ["gateway 10.0.2.2,", "server 10.0.2.3,", "server 8.8.8.8,"];
        assert_eq!(notes.len(), about.len(), "{notes:?}");
        for (note, about) in notes.iter().zip(about) {
            assert!(note.contains(about), "{note}");
        }
        // Taking over the gateway's own address leaves none.
        let (network, notes) = changed("10.0.2.2/24", "", "");
        assert_eq!(told(&network), "10.0.2.3");
        assert_eq!(notes.len(), 2, "{notes:?}");
    }

    #[test]
    fn a_name_server_that_the_wire_has_not_is_told() {
        let address = "10.0.2.77/24".parse().ok();
        let dns = vec!["10.0.2.3".parse().unwrap(), "10.0.2.2".parse().unwrap()];
        let changes = Changes {
            address,
            gateway: dns.last().copied(),
            dns,
            ..Changes::default()
        };
        let plan = plan::load_with(&root().join("system.toml"), changes).unwrap();
        let told = plan.wire_notes(&crate::Net::User);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].contains("answers at 10.0.2.2 on this wire; 10.0.2.3"),
            "{told:?}"
        );
        assert!(
            plan.wire_notes(&crate::Net::Tap("tap0".to_owned()))
                .is_empty()
        );
    }

    #[test]
    fn gateway_and_name_servers_can_be_given() {
        let (network, notes) = changed("10.0.9.15/24", "10.0.9.1", "");
        assert_eq!(told(&network), "10.0.9.1 8.8.8.8");
        assert_eq!(notes.len(), 1, "{notes:?}");
        let (network, notes) = changed("10.0.9.15/24", "10.0.9.1", "10.0.9.1 9.9.9.9");
        assert_eq!(told(&network), "10.0.9.1 10.0.9.1 9.9.9.9");
        assert!(notes.is_empty(), "{notes:?}");
        let (network, _) = changed("", "10.0.2.1", "");
        assert_eq!(told(&network), "10.0.2.1 10.0.2.3 8.8.8.8");
    }

    #[test]
    fn an_address_that_no_host_can_have_is_refused() {
        let address: Address = "10.0.9.255/24".parse().unwrap();
        let error = plan::load(&root().join("system.toml"), Some(address)).unwrap_err();
        assert!(error.to_string().contains("10.0.9.255"), "{error}");
    }
}
