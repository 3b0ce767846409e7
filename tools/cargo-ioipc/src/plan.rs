//! What building and booting need of a system description.

use std::io::IsTerminal;
use std::net::Ipv4Addr;
use std::path::Path;

use system_toml::{Forward as Forwarded, ForwardProtocol, ProgramSource, System};

use crate::address::{self, Address};
use crate::components::Source;
use crate::machine::{Forward, Net, Transport};
use crate::placement::{self, Placement};
use crate::{Error, Subnet};

/// Hardware address of the network device when the description names none:
/// locally administered.
const DEFAULT_MAC: [u8; 6] = [0x02, b'i', b'o', b'i', b'p', b'c'];

/// A validated system, reduced to what building and booting it takes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The system's name.
    pub name: String,
    /// The programs, as the description numbers them.
    pub programs: Vec<Source>,
    /// The encoded description, for the payload.
    pub encoded: Vec<u8>,
    /// Memory of the machine in MiB.
    pub memory_mib: u32,
    /// Hardware address of the network device; `None`: no component drives
    /// one, so the machine has none.
    pub mac: Option<[u8; 6]>,
    /// The system's own address, if it is a static one.
    pub address: Option<Ipv4Addr>,
    /// The network that the user network makes around it.
    pub subnet: Subnet,
    /// What follows from the changes that were asked for, a line each.
    pub notes: Vec<String>,
    /// Ports that lead into the system.
    pub forwards: Vec<Forward>,
    /// The system as its description says.
    pub system: System,
}

/// What whoever boots a system wants otherwise than its description says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The system's address.
    pub address: Option<Address>,
    /// Its gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Its name servers, if any are named.
    pub dns: Vec<Ipv4Addr>,
    /// Where servers and drivers run.
    pub placement: Option<Placement>,
}

/// Reads, checks and reduces a system description; `address` replaces the one
/// that it gives the system.
///
/// # Errors
/// [`Error::System`] with every mistake in it.
pub fn load(path: &Path, address: Option<Address>) -> Result<Plan, Error> {
    let changes = Changes {
        address,
        ..Changes::default()
    };
    load_with(path, changes)
}

/// Reads, checks and reduces a system description, with `changes`.
///
/// # Errors
/// [`Error::System`] with every mistake in it.
pub fn load_with(path: &Path, changes: Changes) -> Result<Plan, Error> {
    let colours = std::io::stderr().is_terminal();
    let mut system =
        system_toml::load(path).map_err(|report| Error::System(report.render(colours)))?;
    let mut notes = Vec::new();
    if changes != Changes::default() {
        (system, notes) = change(&system, path, &changes)?;
    }
    let description = system.describe(|program| program as u16);
    let encoded = description.encode().map_err(|error| {
        let path = path.display();
        Error::System(format!("error: {path} cannot be encoded: {error}\n"))
    })?;
    let network = system.networks().first().map(|(_, network)| *network);
    let configured = network.and_then(|network| network.mac);
    Ok(Plan {
        name: system.model.name.clone(),
        programs: system.programs.iter().map(source).collect(),
        encoded,
        memory_mib: u32::try_from(system.memory_mib).unwrap_or(u32::MAX),
        mac: system
            .uses_device("virtio-net")
            .then(|| configured.unwrap_or(DEFAULT_MAC)),
        address: network
            .and_then(|network| network.address)
            .map(|(own, _)| own),
        subnet: network.map_or_else(Subnet::default, |network| {
            Subnet::around(network.address, network.gateway, &network.dns)
        }),
        notes,
        forwards: system.forwards.iter().map(forward).collect(),
        system,
    })
}

impl Plan {
    /// Checks that `net` can carry the network of the system in the file at
    /// `path`.
    ///
    /// # Errors
    /// [`Error::System`].
    pub fn check_wire(&self, path: &Path, net: &Net) -> Result<(), Error> {
        let mut components = self.system.model.components.iter();
        let server = components.find(|component| component.network.is_some());
        let name = server.map_or("", |server| &server.name);
        self.subnet.fits(net).map_err(|why| {
            let path = path.display();
            Error::System(format!(
                "error: {path}: [component.{name}.network]: {why}\n"
            ))
        })
    }

    /// What is worth knowing about its network on `net`, a line each.
    #[must_use]
    pub fn wire_notes(&self, net: &Net) -> Vec<String> {
        let networks = self.system.networks();
        let Some((_, network)) = networks.first() else {
            return Vec::new();
        };
        if !matches!(net, Net::User | Net::Passt) || network.address.is_none() {
            return Vec::new();
        }
        let silent = self.subnet.silent_servers(&network.dns);
        let names = self.subnet.names;
        let tell = |server| {
            format!(
                "no name server answers at {server} on this wire; {names} stands for the host's"
            )
        };
        silent.into_iter().map(tell).collect()
    }
}

/// The sound system in the file at `path`, with `changes`, and what follows from
/// them.
fn change(system: &System, path: &Path, changes: &Changes) -> Result<(System, Vec<String>), Error> {
    let unreadable = |why: String| Error::System(format!("error: {}: {why}\n", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    let table: Result<toml::Table, _> = text.parse();
    let mut table = table.map_err(|_| unreadable("not TOML".to_owned()))?;
    let (notes, mut options) = address::replace(&mut table, system, changes)?;
    if let Some(placement) = changes.placement {
        placement::replace(&mut table, system, placement);
        options.push("--placement");
    }
    let directory = path.parent().unwrap_or(Path::new(""));
    // The file itself is sound: what is wrong is what was asked for.
    let mut changed = system_toml::parse(&options.join(" "), directory, &table.to_string())
        .map_err(|report| Error::System(report.render(false)))?;
    // The warnings that count are about the file, with its lines.
    changed.warnings = system.warnings.clone();
    Ok((changed, notes))
}

fn source(program: &system_toml::Program) -> Source {
    let host = simple(&program.source);
    match program.guests.is_empty() {
        true => host,
        false => Source::Hosting {
            host: Box::new(host),
            guests: program.guests.iter().map(simple).collect(),
        },
    }
}

fn simple(source: &ProgramSource) -> Source {
    match source.clone() {
        ProgramSource::Package(name) => Source::Package(name),
        ProgramSource::Path { directory, package } => Source::Path { directory, package },
    }
}

fn forward(forward: &Forwarded) -> Forward {
    Forward {
        transport: match forward.protocol {
            ForwardProtocol::Udp => Transport::Udp,
            ForwardProtocol::Tcp => Transport::Tcp,
        },
        host: forward.host_port.unwrap_or(0),
        guest: forward.guest_port,
    }
}
