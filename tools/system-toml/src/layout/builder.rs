//! Regions, mappings, capabilities and links while they are being made.

use system_description::map::{self, CALL_BADGE};
use system_description::{
    DeviceGrant, Grant, GrantedCap, IrqRecord, Keeper, Keeps, LinkRecord, Mapping, PageSize,
    Protocol, Record, Region, RingFormat, Role, Span,
};

use super::space::{Slots, Space};
use crate::model::Model;

/// How many badge bits a component's notification needs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bits {
    /// For links and interrupts that need one of their own.
    pub(crate) own: u32,
    /// For links that can share.
    pub(crate) shared: u32,
}

/// One component in the making. Of a guest only `memory`, `links` and
/// `devices` are its own: everything else is its host's.
pub(crate) struct Draft {
    pub(crate) slots: Slots,
    pub(super) space: Space,
    bits: Bits,
    /// Callers on its endpoint.
    pub(crate) callers: u16,
    pub(crate) mappings: Vec<Mapping>,
    pub(crate) caps: Vec<GrantedCap>,
    pub(crate) devices: Vec<DeviceGrant<String>>,
    pub(crate) keeper: Option<Keeper>,
    pub(crate) keeps: Option<Keeps>,
    pub(crate) memory: Vec<Record<String, Vec<u8>>>,
    pub(crate) links: Vec<LinkRecord<String>>,
}

/// Name and number of a component at the other end.
pub(crate) type Peer<'a> = (&'a str, u16);

/// How a component learns of its peer's signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hears {
    /// It does not.
    Never,
    /// By a badge bit of its own.
    Own,
    /// By a badge bit that may be shared with links of the same kind.
    Shared,
}

/// What a component sees of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sees {
    /// There is no region.
    Nothing,
    /// Its size.
    Size(u16),
    /// Its content.
    Reads(u16),
    /// Its content, and may change it.
    Writes(u16),
    /// The same; it is private memory, which its I/O manager holds.
    Has(u16),
}

/// One end of a link to be made.
pub(crate) struct End {
    /// Whose.
    pub(crate) component: usize,
    /// Name of the link there.
    pub(crate) name: String,
    /// The control region.
    pub(crate) control: Sees,
    /// The data region.
    pub(crate) data: Sees,
    /// Whether it is signalled.
    pub(crate) hears: Hears,
}

/// What both ends of a link share.
#[derive(Clone, Copy)]
pub(crate) struct Wire {
    pub(crate) protocol: Protocol,
    /// The client's number at the server, unless it calls.
    pub(crate) index: u16,
    /// Whether the client may call the server.
    pub(crate) calls: bool,
    pub(crate) params: [u32; 6],
}

impl Wire {
    pub(crate) const fn new(protocol: Protocol, index: u16) -> Self {
        Self {
            protocol,
            index,
            calls: false,
            params: [0; 6],
        }
    }
}

/// The system in the making.
pub(crate) struct Builder<'m> {
    pub(crate) model: &'m Model,
    pub(super) drafts: Vec<Draft>,
    pub(super) regions: Vec<Region<String>>,
    /// Bits needed in all, once they have been counted.
    counted: Option<Vec<Bits>>,
}

/// Bytes of a driver's own DMA memory: two virtqueues of 256 descriptors, and
/// a header and a table of indirect descriptors for each buffer and each frame
/// to be sent, rounded up to a power of two.
const DMA_BYTES: u64 = 64 << 10;

/// Bytes of the pages of this kind.
pub(super) fn page_bytes(page: PageSize) -> u64 {
    match page {
        PageSize::Small => map::PAGE,
        PageSize::Large => map::LARGE_PAGE,
    }
}

impl<'m> Builder<'m> {
    pub(crate) fn new(model: &'m Model, counted: Option<Vec<Bits>>) -> Self {
        let draft = |_: &_| Draft {
            slots: Slots::new(),
            space: Space::new(),
            bits: Bits::default(),
            callers: 0,
            mappings: Vec::new(),
            caps: Vec::new(),
            devices: Vec::new(),
            keeper: None,
            keeps: None,
            memory: Vec::new(),
            links: Vec::new(),
        };
        Self {
            model,
            drafts: model.components.iter().map(draft).collect(),
            regions: Vec::new(),
            counted,
        }
    }

    /// Bits needed by each component so far.
    pub(crate) fn bits(&self) -> Vec<Bits> {
        self.drafts.iter().map(|d| d.bits).collect()
    }

    /// Components whose address space does not suffice.
    pub(crate) fn too_large(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.drafts.len()).filter(|i| !self.drafts[*i].space.fits())
    }

    /// Components whose CSpace does not suffice, and how many slots they need.
    pub(crate) fn too_many(&self) -> impl Iterator<Item = (usize, u32)> + '_ {
        let needs = self.drafts.iter().map(|d| d.slots.count());
        needs.enumerate().filter(|(_, n)| *n > map::MOST_SLOTS)
    }

    pub(crate) fn into_parts(self) -> (Vec<Draft>, Vec<Region<String>>) {
        (self.drafts, self.regions)
    }

    /// The component in whose protection domain this one runs.
    pub(super) fn domain(&self, component: usize) -> usize {
        self.model.domain(component)
    }

    /// The name of a component.
    pub(crate) fn name(&self, component: usize) -> String {
        self.model.components[component].name.clone()
    }

    /// A region of small pages that stays when a component dies.
    pub(crate) fn shared(&mut self, name: String, bytes: u64, rings: Vec<RingFormat>) -> u16 {
        self.region(Region {
            name,
            bytes: bytes.next_multiple_of(map::PAGE),
            page: PageSize::Small,
            contiguous: false,
            owner: None,
            rings,
        })
    }

    /// Adds a region; its number.
    pub(crate) fn region(&mut self, region: Region<String>) -> u16 {
        self.regions.push(region);
        (self.regions.len() - 1) as u16
    }

    /// Gives a component memory of its own, at `at` or where there is room.
    pub(crate) fn private(&mut self, component: usize, name: &str, bytes: u64, at: Option<u64>) {
        self.own(component, name, bytes, at, false);
    }

    /// Gives a component contiguous memory of its own for its device's queues,
    /// which must not lie where another component can write.
    pub(crate) fn dma(&mut self, component: usize) {
        self.own(component, "dma", DMA_BYTES, None, true);
    }

    fn own(&mut self, component: usize, name: &str, bytes: u64, at: Option<u64>, contiguous: bool) {
        // What a device uses by itself is nobody else's.
        let manager = self.model.manager_of(component).filter(|_| !contiguous);
        let region = self.region(Region {
            name: format!("{}.{name}", self.name(component)),
            bytes,
            page: match (at, bytes.is_multiple_of(map::LARGE_PAGE)) {
                (Some(_), true) => PageSize::Large,
                _ => PageSize::Small,
            },
            contiguous,
            owner: Some(manager.unwrap_or(self.domain(component)) as u16),
            rings: Vec::new(),
        });
        let domain = self.domain(component);
        let draft = &mut self.drafts[domain];
        let vaddr = at.unwrap_or_else(|| draft.space.take(bytes, map::PAGE));
        draft.mappings.push(Mapping {
            region,
            vaddr,
            writable: true,
            held: manager.is_some(),
        });
        self.drafts[component].memory.push(Record::Memory {
            name: name.to_owned(),
            span: Span {
                region,
                vaddr,
                bytes,
                paddr: 0,
            },
        });
    }

    /// A badge bit on the component's notification; 0 if it hears nothing.
    pub(crate) fn badge(&mut self, component: usize, hears: Hears) -> u64 {
        let domain = self.domain(component);
        let needed = self.counted.as_ref().map(|c| c[domain]);
        let bits = &mut self.drafts[domain].bits;
        let last = map::NOTIFICATION_BITS - 1;
        let bit = match hears {
            Hears::Never => return 0,
            Hears::Own => {
                bits.own += 1;
                bits.own - 1
            }
            Hears::Shared => {
                bits.shared += 1;
                // Behind the bits that are not shared, round robin over what
                // is left.
                let own = needed.map_or(0, |n| n.own).min(last);
                own + (bits.shared - 1) % (map::NOTIFICATION_BITS - own)
            }
        };
        1 << bit.min(last)
    }

    fn grant(&mut self, component: usize, grant: Grant) -> u32 {
        let domain = self.domain(component);
        let draft = &mut self.drafts[domain];
        let slot = draft.slots.take();
        draft.caps.push(GrantedCap { slot, grant });
        slot
    }

    /// Maps what the component may see; a region is mapped once in a protection
    /// domain.
    pub(super) fn see(&mut self, component: usize, sees: Sees) -> Span {
        let (region, writable) = match sees {
            Sees::Nothing => return Span::default(),
            Sees::Size(region) => (region, None),
            Sees::Reads(region) => (region, Some((false, false))),
            Sees::Writes(region) => (region, Some((true, false))),
            Sees::Has(region) => (region, Some((true, true))),
        };
        let bytes = self.regions[region as usize].bytes;
        let vaddr = writable.map_or(0, |how| self.map(component, region, how));
        Span {
            region,
            vaddr,
            bytes,
            paddr: 0,
        }
    }

    fn map(&mut self, component: usize, region: u16, (writable, held): (bool, bool)) -> u64 {
        let Region { bytes, page, .. } = self.regions[region as usize];
        let domain = self.domain(component);
        let draft = &mut self.drafts[domain];
        if let Some(known) = draft.mappings.iter_mut().find(|m| m.region == region) {
            known.writable |= writable;
            return known.vaddr;
        }
        let vaddr = draft.space.take(bytes, page_bytes(page));
        draft.mappings.push(Mapping {
            region,
            vaddr,
            writable,
            held,
        });
        vaddr
    }

    /// Makes a link between two components. Guest and host do not signal each
    /// other: they have one thread, and it looks.
    pub(crate) fn connect(&mut self, mut client: End, mut server: End, wire: Wire) {
        let (c, s) = (client.component, server.component);
        let near = c != s && self.domain(c) == self.domain(s);
        if near {
            (client.hears, server.hears) = (Hears::Never, Hears::Never);
        }
        let (c_badge, s_badge) = (self.badge(c, client.hears), self.badge(s, server.hears));
        let c_signal = self.signal(c, s, s_badge);
        let s_signal = self.signal(s, c, c_badge);
        let (call, index) = if wire.calls {
            let called = self.domain(s);
            let caller = self.drafts[called].callers;
            self.drafts[called].callers += 1;
            let badge = CALL_BADGE | u64::from(caller);
            let component = called as u16;
            (self.grant(c, Grant::Call { component, badge }), caller)
        } else {
            (0, wire.index)
        };
        let peers = (self.name(s), self.name(c));
        for (end, peer, peer_index, role, signal, call, badge) in [
            (client, peers.0, s, Role::Client, c_signal, call, c_badge),
            (server, peers.1, c, Role::Server, s_signal, 0, s_badge),
        ] {
            let link = LinkRecord {
                peer,
                peer_index: peer_index as u16,
                near,
                protocol: wire.protocol,
                role,
                index,
                control: self.see(end.component, end.control),
                data: self.see(end.component, end.data),
                signal,
                call,
                badge,
                params: wire.params,
                name: end.name,
            };
            self.drafts[end.component].links.push(link);
        }
    }

    /// A capability for `from` to signal `to`; 0 if `to` does not hear it.
    fn signal(&mut self, from: usize, to: usize, badge: u64) -> u32 {
        if badge == 0 {
            return 0;
        }
        let component = self.domain(to) as u16;
        self.grant(from, Grant::Signal { component, badge })
    }

    /// One end of a link whose other end is the root task, or does not
    /// matter.
    pub(crate) fn attach(&mut self, end: End, peer: Peer<'_>, role: Role, wire: Wire) -> u64 {
        let badge = self.badge(end.component, end.hears);
        let link = LinkRecord {
            peer: peer.0.to_owned(),
            peer_index: peer.1,
            near: false,
            protocol: wire.protocol,
            role,
            index: wire.index,
            control: self.see(end.component, end.control),
            data: self.see(end.component, end.data),
            signal: 0,
            call: 0,
            badge,
            params: wire.params,
            name: end.name,
        };
        self.drafts[end.component].links.push(link);
        badge
    }

    /// Grants a component one of the model's devices.
    pub(crate) fn device(&mut self, component: usize, device: usize) {
        let device = &self.model.devices[device];
        let badge = match device.irq {
            true => self.badge(component, Hears::Own),
            false => 0,
        };
        let domain = self.domain(component);
        let draft = &mut self.drafts[domain];
        let irq = device.irq.then(|| IrqRecord {
            slot: draft.slots.take(),
            badge,
        });
        let has_ports = matches!(device.kind, system_description::DeviceKind::Ports { .. });
        let ports = if has_ports { draft.slots.take() } else { 0 };
        let vaddr = match device.window_bytes {
            0 => 0,
            bytes => draft.space.take(bytes, map::PAGE),
        };
        self.drafts[component].devices.push(DeviceGrant {
            name: device.name.clone(),
            kind: device.kind.clone(),
            vaddr,
            vaddr_bytes: device.window_bytes,
            irq,
            ports,
        });
    }
}
