//! Where the isolation of a system ends.

use crate::model::Model;
use crate::role::Role;

/// What must be trusted, and why.
pub(crate) fn notes(model: &Model) -> Vec<String> {
    let mut notes = vec!["the kernel and the root task are trusted by everybody".to_owned()];
    for (index, component) in model.components.iter().enumerate() {
        let name = &component.name;
        let mut devices = component.devices.iter();
        if devices.any(|d| model.devices[*d].has_dma()) {
            notes.push(format!(
                "{name} is trusted by everybody: its device reads and writes memory by DMA, and there is no IOMMU support"
            ));
        }
        notes.extend(role(model, index).map(|note| format!("{name} {note}")));
        if let Some(host) = component.host {
            notes.push(not_isolated(model, index, host));
        }
    }
    notes.push(
        "all memory that is mapped can be executed: kernel 5.0.0 never sets the no-execute bit"
            .to_owned(),
    );
    notes
}

/// What others trust a component for by its role.
fn role(model: &Model, index: usize) -> Option<&'static str> {
    let component = &model.components[index];
    match component.role {
        Role::IoManager => Some(
            "is trusted by its clients: it sees and changes all of their memory, resolves their faults, and they end with it",
        ),
        Role::NetServer if component.host.is_some() => Some(
            "is trusted by the clients of its I/O manager for where data comes from and goes to",
        ),
        Role::NetServer if model.messages_of(index).is_some() => Some(
            "is trusted by the clients of its I/O manager with all that they send and receive: ipc = \"conventional\" copies it into messages, and the server reads whatever arrives",
        ),
        Role::NetServer => Some(
            "is trusted by the clients of its I/O manager for where data comes from and goes to; it sees the headers of packets, and the whole of ARP, ICMP, DHCP and DNS, not what the clients send and receive",
        ),
        Role::Console => Some("sees everybody's log and counters, and can end the system"),
        Role::TimerDriver => {
            Some("is trusted for time by those that use it: timeouts depend on it")
        }
        Role::EntropyDriver => Some(
            "is trusted for entropy by those that use it: it could predict their ports and sequence numbers",
        ),
        Role::NicDriver | Role::Application => None,
    }
}

/// What a component gives up that runs inside another.
fn not_isolated(model: &Model, index: usize, host: usize) -> String {
    let name = |i: usize| model.components[i].name.as_str();
    let others = model.guests(host).filter(|guest| *guest != index);
    let others: Vec<&str> = [name(host)].into_iter().chain(others.map(name)).collect();
    let (guest, host_name) = (name(index), name(host));
    format!(
        "{guest} is not isolated from {}: it runs inside {host_name}, may do all that {host_name} may, sees and changes the memory of its clients, and a fault of it ends {host_name} and them",
        others.join(" and ")
    )
}
