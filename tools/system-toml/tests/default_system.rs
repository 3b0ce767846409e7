//! The system at the top of the repository: loads without a word, and comes
//! out of the payload's codec as it went in.

use std::path::PathBuf;

use system_description::{
    Component, Keeper, NO_CLIENT, PAYLOAD, Protocol, Record, Role as Side, SystemDescription,
};
use system_toml::{Role, System, load};

fn system() -> System {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../system.toml");
    load(&path).unwrap_or_else(|report| panic!("{report}"))
}

#[test]
fn it_loads_without_warnings() {
    let system = system();
    assert_eq!(system.warnings.to_string(), "");
    assert_eq!(system.memory_mib, 128);
    assert_eq!(system.forwards.len(), 3);
    assert_eq!(system.programs.len(), 8);
    assert!(system.uses_device("virtio-rng"));
    assert!(!system.uses_device("e1000"));
    let networks = system.networks();
    assert_eq!(networks.len(), 1);
    assert_eq!(networks[0].1.address, None);
}

#[test]
fn it_survives_the_payload() {
    let system = system();
    let made = system.describe(|program| u16::try_from(program).unwrap() + 3);
    let bytes = made.encode().unwrap();
    let images = system.programs.len() + 3;
    let read = SystemDescription::decode(&bytes, images).unwrap();
    assert_eq!(read.components.len(), made.components.len());
    assert!(read.components.iter().all(|c| c.image >= 3));
    assert!(SystemDescription::decode(&bytes, images - 1).is_err());
}

/// Both ends of every link agree; each has what its protocol needs.
#[test]
fn links_come_in_pairs() {
    let system = system();
    let made = system.describe(|p| p as u16);
    let links = |name: &str| -> Vec<_> {
        let component = made.components.iter().find(|c| c.name == name).unwrap();
        let links = component.records.iter().filter_map(|r| match r {
            Record::Link(link) => Some(link.clone()),
            _ => None,
        });
        links.collect()
    };
    let pairs = [
        ("echo", "sockets", "io", "sockets.echo", Protocol::Sockets),
        (
            "echo",
            "monitor",
            "console",
            "monitor.echo",
            Protocol::Monitor,
        ),
        ("echo", "timer", "timer", "timer.echo", Protocol::Timer),
        (
            "net",
            "entropy",
            "entropy",
            "entropy.net",
            Protocol::Entropy,
        ),
        ("io", "frames", "nic", "frames.io", Protocol::Frames),
        ("io", "server", "net", "server.io", Protocol::Server),
        ("io", "headers", "net", "headers.io", Protocol::Headers),
    ];
    for (client, at_client, server, at_server, protocol) in pairs {
        let find = |component, name: &str| {
            let found = links(component).into_iter().find(|l| l.name == name);
            found.unwrap_or_else(|| panic!("{component} has no link {name}"))
        };
        let (c, s) = (find(client, at_client), find(server, at_server));
        assert_eq!((c.protocol, s.protocol), (protocol, protocol));
        assert_eq!((c.role, s.role), (Side::Client, Side::Server));
        assert_eq!((c.peer.as_str(), s.peer.as_str()), (server, client));
        assert_eq!(c.control.region, s.control.region);
        // The payload buffers are the manager's alone.
        let shared = protocol != Protocol::Frames;
        assert!(!shared || c.data.region == s.data.region, "{at_client}");
        assert_eq!((c.index, c.params), (s.index, s.params));
        // Whoever is signalled has a badge bit, and the peer the capability.
        assert_eq!(c.signal != 0, s.badge != 0, "{at_client}");
        assert_eq!(s.signal != 0, c.badge != 0, "{at_client}");
        assert_eq!(
            c.call != 0,
            matches!(protocol, Protocol::Timer | Protocol::Entropy)
        );
    }
    let data = |component: &str, link: &str| {
        let link = links(component).into_iter().find(|l| l.name == link);
        let data = link.unwrap().data;
        (data.vaddr != 0, data.bytes)
    };
    assert_eq!(data("echo", "sockets"), (true, 4 << 20));
    // The manager finds it among what it holds.
    assert_eq!(data("io", "sockets.echo"), (false, 4 << 20));
    let payload = 1024 * 4096;
    assert_eq!(data("io", "frames"), (true, payload));
    assert_eq!(data("nic", "frames.io"), (false, 0));
    let headers = socket_api::headers_bytes(1500) as u64;
    assert_eq!(data("net", "headers.io"), (true, headers));
    let slots = socket_api::send_slots_bytes(1500) as u64;
    assert_eq!(data("net", "server.io"), (true, slots));
}

/// The I/O manager holds the clients' memory, a reserve and the payload
/// buffers; nobody else maps what is a client's.
#[test]
fn the_manager_holds_what_it_is_to_pass() {
    let system = system();
    let made = system.describe(|p| p as u16);
    let find = |name: &str| made.components.iter().position(|c| c.name == name).unwrap();
    let (io, echo) = (find("io"), &made.components[find("echo")]);
    let manager = io as u16;
    assert_eq!(echo.keeper, Some(Keeper { manager, client: 0 }));
    let io = &made.components[io];
    let holdings = io.records.iter().filter_map(|record| match record {
        Record::Holding(holding) => Some((holding.client, holding.bytes)),
        _ => None,
    });
    let expected = [(NO_CLIENT, 2 << 20), (PAYLOAD, 1024 * 4096)];
    assert_eq!(holdings.collect::<Vec<_>>(), expected);
    let mut names = Vec::new();
    for mapping in echo.mappings.iter().filter(|m| m.held) {
        let region = &made.regions[mapping.region as usize];
        let maps = |c: &&Component<_, _>| c.mappings.iter().any(|m| m.region == mapping.region);
        assert_eq!(made.components.iter().filter(maps).count(), 1);
        assert_eq!(region.owner, Some(manager));
        names.push(region.name.as_str());
    }
    assert_eq!(names, ["echo.sockets", "echo.data"]);
}

/// A capability without the number that the tool assigned.
fn kind_of(capability: &str) -> &str {
    capability.split(" (").next().unwrap_or(capability)
}

#[test]
fn rights_are_those_of_the_file() {
    let view = system().view();
    let component = |name: &str| view.components.iter().find(|c| c.name == name).unwrap();
    let hello = component("hello");
    assert_eq!(hello.role, Role::Application);
    // It can log, keep time and ask for sockets, nothing else.
    let rights: Vec<&str> = hello.capabilities.iter().map(|c| kind_of(c)).collect();
    assert_eq!(
        rights,
        [
            "wait on its own notification",
            "signal console",
            "call timer",
            "signal io"
        ]
    );
    let nic = component("nic").capabilities.join("\n");
    assert!(
        nic.contains("drive device virtio-net (PCI vendor 1af4"),
        "{nic}"
    );
    assert!(
        view.trust
            .iter()
            .any(|t| t.contains("nic") && t.contains("no IOMMU"))
    );
    let io = component("io").capabilities.join("\n");
    assert!(io.contains("the memory of hello ("), "{io}");
    assert!(
        view.trust
            .iter()
            .any(|t| t.starts_with("io is trusted by its clients"))
    );
    assert!(view.memory.total() < view.memory_bytes);
}
