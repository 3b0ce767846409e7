//! Properties of the layout, over random systems: nothing overlaps, both ends
//! of every link agree, and the root task can carry everything out.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;

use proptest::prelude::*;
use system_description::{
    Component, Grant, LinkRecord, PageSize, Protocol, Record, SystemDescription, map, startup,
};
use system_toml::parse;

type Description = SystemDescription<String, Vec<u8>>;

const INFRASTRUCTURE: &str = r#"
[system]
name = "random"
memory = "3 GiB"
[component.console]
program = "console"
devices = ["serial", "exit"]
[component.timer]
program = "hpet-driver"
devices = ["hpet"]
[component.entropy]
program = "virtio-rng-driver"
devices = ["virtio-rng"]
[component.io]
program = "io-manager"
"#;

#[derive(Clone, Debug)]
struct Application {
    sockets: bool,
    large: bool,
    data_pages: u64,
    heap_pages: u64,
    stack_pages: u64,
    threads: u8,
}

fn application() -> impl Strategy<Value = Application> {
    // Small enough for one manager to hold the pages of all.
    let sizes = (64..500u64, 0..300u64, 1..16u64, 1..=16u8);
    (any::<bool>(), any::<bool>(), sizes).prop_map(|(sockets, large, sizes)| Application {
        sockets,
        large,
        data_pages: sizes.0,
        heap_pages: sizes.1,
        stack_pages: sizes.2,
        threads: sizes.3,
    })
}

#[derive(Clone, Debug)]
struct Channel {
    from: usize,
    to: usize,
    pages: u64,
    notify: &'static str,
    write: &'static str,
    call: bool,
}

fn channel() -> impl Strategy<Value = Channel> {
    let word = || prop::sample::select(vec!["both", "from", "to", "none"]);
    (
        0..50usize,
        0..50usize,
        1..40u64,
        word(),
        word(),
        any::<bool>(),
    )
        .prop_map(|(from, to, pages, notify, write, call)| Channel {
            from,
            to,
            pages,
            notify,
            write,
            call,
        })
}

/// Where server and driver run.
type Placements = [&'static str; 2];

fn placements() -> impl Strategy<Value = Placements> {
    let place = || prop::sample::select(vec!["user", "kernel"]);
    [place(), place()]
}

fn text(
    mtu: u32,
    [server, driver]: Placements,
    applications: &[Application],
    channels: &[Channel],
) -> String {
    let mut text = INFRASTRUCTURE.to_owned();
    writeln!(
        text,
        "[component.nic]\nprogram = \"virtio-net-driver\"\ndevices = [\"virtio-net\"]\nplacement = \"{driver}\"\n\
         [component.net]\nprogram = \"net-server\"\nplacement = \"{server}\"\n\
         [component.net.network]\nmtu = {mtu}"
    )
    .unwrap();
    for (n, a) in applications.iter().enumerate() {
        writeln!(text, "[component.a{n}]\nprogram = \"app\"").unwrap();
        writeln!(
            text,
            "threads = {}\nheap = {}",
            a.threads,
            a.heap_pages * 4096
        )
        .unwrap();
        writeln!(text, "stack = {}", a.stack_pages * 4096).unwrap();
        if a.sockets {
            let (grain, page) = if a.large {
                ("2 MiB", 2 << 20)
            } else {
                ("4 KiB", 4096)
            };
            let data = (a.data_pages * 4096).next_multiple_of(page);
            writeln!(text, "sockets = \"io\"\ngrain = \"{grain}\"\ndata = {data}").unwrap();
        }
    }
    for (n, c) in channels.iter().enumerate() {
        let (from, to) = (c.from % applications.len(), c.to % applications.len());
        if from != to {
            writeln!(text, "[channel.c{n}]\nfrom = \"a{from}\"\nto = \"a{to}\"").unwrap();
            writeln!(
                text,
                "memory = {}\nnotify = \"{}\"",
                c.pages * 4096,
                c.notify
            )
            .unwrap();
            writeln!(text, "write = \"{}\"\ncall = {}", c.write, c.call).unwrap();
        }
    }
    text
}

fn links(component: &Component<String, Vec<u8>>) -> Vec<&LinkRecord<String>> {
    let link = |record: &'_ Record<String, Vec<u8>>| matches!(record, Record::Link(_));
    let records = component.records.iter().filter(|r| link(r));
    records
        .filter_map(|r| match r {
            Record::Link(link) => Some(link),
            _ => None,
        })
        .collect()
}

/// Component `index` with all that is in its protection domain: devices and
/// records of its guests too. `None` for a guest.
fn domain(description: &Description, index: usize) -> Option<Component<String, Vec<u8>>> {
    let mut all = description.components[index].clone();
    if all.host.is_some() {
        return None;
    }
    for guest in description.guests(index) {
        let guest = &description.components[guest];
        all.devices.extend(guest.devices.iter().cloned());
        all.records.extend(guest.records.iter().cloned());
    }
    Some(all)
}

/// Slots are unique, and inside the CSpace.
fn check_slots(description: &Description, component: &Component<String, Vec<u8>>) {
    let mut slots = Vec::new();
    for cap in &component.caps {
        let count = match cap.grant {
            Grant::Frames { region } => description.regions[region as usize].bytes / map::PAGE,
            _ => 1,
        };
        slots.extend(cap.slot..cap.slot + count as u32);
    }
    for device in &component.devices {
        slots.extend(device.irq.iter().map(|i| i.slot));
        slots.extend(Some(device.ports).filter(|p| *p != 0));
    }
    let unique: BTreeSet<u32> = slots.iter().copied().collect();
    assert_eq!(unique.len(), slots.len(), "{}", component.name);
    if let Some(keeps) = component.keeps {
        // Behind all others the root task goes on.
        assert!(unique.iter().all(|slot| *slot < keeps.slot));
    }
    for slot in unique {
        assert!(slot >= map::slot::FIRST_ASSIGNED && slot < 1 << component.cnode_bits);
    }
}

/// Whether links of this kind may share a badge bit at this end.
fn may_share(link: &LinkRecord<String>) -> bool {
    link.role == system_description::Role::Server
        && matches!(link.protocol, Protocol::Sockets | Protocol::Monitor)
}

/// Badges are single bits below the call badge; what must not be shared is
/// not, also not with what may be.
fn check_badges(component: &Component<String, Vec<u8>>) {
    let irqs = component
        .devices
        .iter()
        .filter_map(|d| d.irq)
        .map(|i| i.badge);
    let own = links(component)
        .into_iter()
        .filter(|l| l.badge != 0 && !may_share(l))
        .map(|l| l.badge);
    let own: Vec<u64> = irqs.chain(own).collect();
    let unique: BTreeSet<u64> = own.iter().copied().collect();
    assert_eq!(unique.len(), own.len(), "{}", component.name);
    let all = links(component)
        .into_iter()
        .map(|l| l.badge)
        .filter(|b| *b != 0);
    for badge in all.chain(unique.iter().copied()) {
        assert!(badge.is_power_of_two() && badge < 1 << map::NOTIFICATION_BITS);
    }
    let mut shared = links(component).into_iter().filter(|l| may_share(l));
    assert!(shared.all(|l| l.badge != 0 && !unique.contains(&l.badge)));
}

/// What a client's I/O manager is to hold belongs to that manager and is mapped
/// by nobody else; the manager has room for it; what is described of it
/// already is mapped where it says.
fn check_holdings(description: &Description, component: &Component<String, Vec<u8>>) {
    let mut need = 0;
    for client in &description.components {
        let keeper = client
            .keeper
            .map(|k| &description.components[k.manager as usize]);
        if keeper.is_none_or(|k| k.name != component.name) {
            continue;
        }
        need += client
            .threads
            .iter()
            .map(|t| t.stack_bytes / map::PAGE)
            .sum::<u64>();
        for mapping in client.mappings.iter().filter(|m| m.held) {
            let region = &description.regions[mapping.region as usize];
            let owner = &description.components[region.owner.unwrap() as usize];
            assert_eq!(owner.name, component.name);
            let maps = |c: &&Component<_, _>| c.mappings.iter().any(|m| m.region == mapping.region);
            assert_eq!(description.components.iter().filter(maps).count(), 1);
            need += region.bytes / map::LARGE_PAGE;
        }
    }
    let room = component
        .keeps
        .map_or(0, |k| (1 << component.cnode_bits) - u64::from(k.slot));
    assert!(need <= room, "{}", component.name);
    for record in &component.records {
        let Record::Holding(holding) = record else {
            continue;
        };
        let maps = |m: &&system_description::Mapping| m.vaddr == holding.own_vaddr;
        let mapping = component.mappings.iter().find(maps).unwrap();
        assert_eq!(
            description.regions[mapping.region as usize].bytes,
            holding.bytes
        );
        assert!(component.caps.iter().any(|cap| cap.slot == holding.slot));
    }
}

/// Everything that is mapped is aligned, in its range, and apart.
fn check_space(description: &Description, component: &Component<String, Vec<u8>>) {
    let mut spans = vec![(map::STARTUP, map::STARTUP + map::STARTUP_MAX)];
    for (n, thread) in component.threads.iter().enumerate() {
        let base = map::THREADS + n as u64 * map::THREAD_STRIDE;
        // The page below each, and the last of the area, stay unmapped.
        spans.push((thread.ipc_buffer - map::PAGE, thread.ipc_buffer + map::PAGE));
        spans.push((thread.stack - map::PAGE, thread.stack + thread.stack_bytes));
        assert!(thread.ipc_buffer > base);
        assert!(thread.stack + thread.stack_bytes < base + map::THREAD_STRIDE);
    }
    for mapping in &component.mappings {
        let region = &description.regions[mapping.region as usize];
        let page = match region.page {
            PageSize::Small => map::PAGE,
            PageSize::Large => map::LARGE_PAGE,
        };
        assert!(mapping.vaddr.is_multiple_of(page) && region.bytes.is_multiple_of(page));
        assert!(mapping.vaddr >= map::HEAP && region.bytes > 0);
        spans.push((mapping.vaddr, mapping.vaddr + region.bytes));
    }
    if let Some(keeps) = component.keeps {
        assert!(keeps.vaddr.is_multiple_of(map::PAGE));
        spans.push((keeps.vaddr, keeps.vaddr));
    }
    for device in component.devices.iter().filter(|d| d.vaddr_bytes > 0) {
        assert!(device.vaddr.is_multiple_of(map::PAGE));
        spans.push((device.vaddr, device.vaddr + device.vaddr_bytes));
    }
    spans.sort_unstable();
    assert!(spans.windows(2).all(|w| w[0].1 <= w[1].0), "{spans:x?}");
    assert!(spans.last().unwrap().1 <= map::REGIONS_END);
}

/// A link's spans are mappings; its capabilities are in its slots and reach
/// the peer with the badge that the peer's end expects.
fn check_links(description: &Description, component: &Component<String, Vec<u8>>) {
    let names: BTreeSet<&str> = links(component).iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names.len(), links(component).len(), "names are unique");
    let home = |c: &Component<String, Vec<u8>>| {
        let index = description.components.iter().position(|o| o.name == c.name);
        description.domain(index.unwrap())
    };
    let own = &description.components[home(component)];
    for link in links(component) {
        for span in [link.control, link.data].iter().filter(|s| s.vaddr != 0) {
            let mapping = own.mappings.iter().find(|m| m.region == span.region);
            assert_eq!(mapping.unwrap().vaddr, span.vaddr);
            let region = &description.regions[span.region as usize];
            assert_eq!(region.bytes, span.bytes);
        }
        let grant = |slot| own.caps.iter().find(|c| c.slot == slot).unwrap().grant;
        let peer = description.components.get(usize::from(link.peer_index));
        let near =
            peer.is_some_and(|peer| peer.name != component.name && home(peer) == home(component));
        assert_eq!(link.near, near, "{}", link.name);
        assert!(
            !near || (link.signal, link.badge) == (0, 0),
            "{}",
            link.name
        );
        if link.signal != 0 {
            let Grant::Signal {
                component: to,
                badge,
            } = grant(link.signal)
            else {
                panic!("{} cannot signal", link.name);
            };
            let peer = peer.unwrap();
            assert_eq!(peer.name, link.peer);
            assert_eq!(home(peer), to as usize);
            let expects = links(peer).into_iter().any(|l| {
                l.badge == badge && l.protocol == link.protocol && l.peer == component.name
            });
            assert!(expects, "{} does not expect {}", peer.name, component.name);
        }
        if link.call != 0 {
            let Grant::Call {
                component: to,
                badge,
            } = grant(link.call)
            else {
                panic!("{} cannot call", link.name);
            };
            assert_eq!(badge, map::CALL_BADGE | u64::from(link.index));
            assert!(description.components[to as usize].endpoint);
        }
    }
}

/// Callers of one endpoint have different numbers.
fn check_callers(description: &Description) {
    let mut callers: BTreeMap<u16, BTreeSet<u64>> = BTreeMap::new();
    let caps = description.components.iter().flat_map(|c| &c.caps);
    for cap in caps {
        if let Grant::Call { component, badge } = cap.grant {
            assert!(callers.entry(component).or_default().insert(badge));
        }
    }
    for (index, component) in description.components.iter().enumerate() {
        assert_eq!(component.endpoint, callers.contains_key(&(index as u16)));
    }
}

/// Rings lie in their regions, apart from each other.
fn check_rings(description: &Description) {
    for region in &description.regions {
        let mut end = 0;
        for ring in &region.rings {
            assert!(ring.offset >= end && ring.offset.is_multiple_of(64));
            let layout = shared_ring::RingLayout::new(ring.entry_bytes, ring.capacity);
            end = ring.offset + layout.bytes() as u64;
        }
        assert!(end <= region.bytes, "{}", region.name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_overlaps_and_ends_agree(
        mtu in 576..=9000u32,
        placements in placements(),
        applications in prop::collection::vec(application(), 1..45),
        channels in prop::collection::vec(channel(), 0..20),
    ) {
        let text = text(mtu, placements, &applications, &channels);
        let system = parse("random.toml", Path::new("."), &text);
        let system = system.unwrap_or_else(|report| panic!("{report}"));
        let description = system.describe(|program| program as u16);
        for (index, component) in description.components.iter().enumerate() {
            check_links(&description, component);
            let Some(domain) = domain(&description, index) else {
                continue;
            };
            check_slots(&description, &domain);
            check_badges(&domain);
            check_space(&description, &domain);
            check_holdings(&description, &domain);
            let mut page = vec![0; map::STARTUP_MAX as usize];
            startup::write(domain.records.iter().cloned(), &mut page).unwrap();
            let records = startup::Records::new(&page).unwrap();
            prop_assert_eq!(records.count(), domain.records.len());
            let (own, _) = records.split();
            prop_assert_eq!(own.count(), component.records.len());
        }
        check_callers(&description);
        check_rings(&description);
        let bytes = description.encode().unwrap();
        prop_assert!(SystemDescription::decode(&bytes, system.programs.len()).is_ok());
    }
}

/// A guest has nothing but records and devices; what it needs is its host's.
#[test]
fn a_guest_lives_in_its_host() {
    let application = Application {
        sockets: true,
        large: false,
        data_pages: 64,
        heap_pages: 0,
        stack_pages: 4,
        threads: 1,
    };
    let describe = |placements| {
        let text = text(1500, placements, std::slice::from_ref(&application), &[]);
        let system = parse("guests.toml", Path::new("."), &text);
        let system = system.unwrap_or_else(|report| panic!("{report}"));
        (system.describe(|program| program as u16), system)
    };
    let (apart, _) = describe(["user", "user"]);
    let (inside, system) = describe(["kernel", "kernel"]);
    let find =
        |d: &Description, name: &str| d.components.iter().position(|c| c.name == name).unwrap();
    let io = find(&inside, "io");
    let host = &inside.components[io];
    for name in ["net", "nic"] {
        let guest = &inside.components[find(&inside, name)];
        assert_eq!(guest.host, Some(io as u16));
        assert_eq!(guest.image, host.image);
        assert!(guest.threads.is_empty() && guest.caps.is_empty() && guest.mappings.is_empty());
    }
    assert_eq!(inside.guests(io).count(), 2);
    assert_eq!(inside.components[find(&inside, "nic")].devices.len(), 1);
    // One allocator has the memory of both, one stack that of the deeper.
    let heap = |d: &Description, component: &str| {
        let name = format!("{component}.heap");
        d.regions
            .iter()
            .find(|r| r.name == name)
            .map_or(0, |r| r.bytes)
    };
    assert_eq!(
        heap(&inside, "io"),
        heap(&apart, "io") + heap(&apart, "net")
    );
    assert_eq!(heap(&inside, "net"), 0);
    assert_eq!(host.threads[0].stack_bytes, 128 << 10);
    check_view(&system.view());
    // A program for all three, and fewer capabilities than apart.
    assert_eq!(
        system
            .programs
            .iter()
            .filter(|p| !p.guests.is_empty())
            .count(),
        1
    );
    let caps = |d: &Description| d.components.iter().map(|c| c.caps.len()).sum::<usize>();
    assert!(caps(&inside) < caps(&apart));
}

/// What `inspect` shows of a system with guests.
fn check_view(view: &system_toml::view::View) {
    let net = view.components.iter().find(|c| c.name == "net").unwrap();
    assert_eq!(net.host.as_deref(), Some("io"));
    assert!(net.map.is_empty(), "its memory is its host's");
    assert_eq!(net.capabilities, ["do all that io may"]);
    let io = view.components.iter().find(|c| c.name == "io").unwrap();
    assert!(
        io.map
            .iter()
            .any(|l| l.name == "windows of device virtio-net")
    );
    for (guest, others) in [("net", "io and nic"), ("nic", "io and net")] {
        let note = format!("{guest} is not isolated from {others}: ");
        assert!(view.trust.iter().any(|t| t.starts_with(&note)), "{note}");
    }
    let sees = "not what the clients send and receive";
    assert!(!view.trust.iter().any(|t| t.contains(sees)));
}

/// The crossings follow from where the components run.
#[test]
fn crossings_are_those_of_the_placement() {
    let application = Application {
        sockets: true,
        large: false,
        data_pages: 64,
        heap_pages: 0,
        stack_pages: 4,
        threads: 1,
    };
    let ways = |placements| {
        let text = text(1500, placements, std::slice::from_ref(&application), &[]);
        let system = parse("ways.toml", Path::new("."), &text).unwrap();
        let crossings = system.view().crossings;
        assert_eq!(crossings.len(), 1);
        let way = &crossings[0];
        (way.receive.to_string(), way.send.to_string())
    };
    assert_eq!(
        ways(["user", "user"]),
        (
            "5: interrupt > nic > io > net > io > a0".to_owned(),
            "4: a0 > io > net > io > nic".to_owned()
        )
    );
    assert_eq!(
        ways(["kernel", "user"]),
        (
            "3: interrupt > nic > io with net > a0".to_owned(),
            "2: a0 > io with net > nic".to_owned()
        )
    );
    assert_eq!(
        ways(["user", "kernel"]),
        (
            "4: interrupt > io with nic > net > io > a0".to_owned(),
            "3: a0 > io > net > io with nic".to_owned()
        )
    );
    assert_eq!(
        ways(["kernel", "kernel"]),
        (
            "2: interrupt > io with nic and net > a0".to_owned(),
            "1: a0 > io with net and nic".to_owned()
        )
    );
}
