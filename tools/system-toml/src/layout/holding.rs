//! What I/O managers hold: their clients' memory, reserves, payload buffers.
//!
//! Problem: how many pages a client's program has is known only when it is
//! built, so the root task gives out slots and addresses for the clients'
//! memory. Invariant: what is set aside here is enough for all that the file
//! names and for programs of ordinary size, and behind it nothing else is
//! given out at the manager, so the root task may go on upward.

use system_description::map;
use system_description::{
    Grant, GrantedCap, Holding, Keeper, Keeps, NO_CLIENT, PageSize, Record, Region,
};

use super::builder::{Builder, Sees, page_bytes};

/// Bytes that a client's program is taken to have at most when room is set
/// aside for it; the root task sees to it if it has more.
const IMAGE_BYTES: u64 = 512 << 10;

/// What holding memory takes.
#[derive(Clone, Copy, Debug, Default)]
struct Room {
    bytes: u64,
    slots: u64,
}

impl Room {
    /// A part of its own, with an unmapped page behind it.
    fn add(&mut self, bytes: u64, page: u64) {
        self.bytes = self.bytes.next_multiple_of(page) + bytes + map::PAGE;
        self.slots += bytes / page;
    }
}

impl Builder<'_> {
    /// Gives an I/O manager a reserve of frames for copies.
    pub(crate) fn reserve(&mut self, component: usize, bytes: u64) {
        let region = self.region(Region {
            name: format!("{}.frames", self.name(component)),
            bytes,
            page: PageSize::Small,
            contiguous: false,
            owner: Some(component as u16),
            rings: Vec::new(),
        });
        self.hold(component, region, NO_CLIENT);
    }

    /// Gives an I/O manager a region together with the capabilities of its
    /// frames.
    pub(crate) fn hold(&mut self, component: usize, region: u16, client: u16) {
        let span = self.see(component, Sees::Writes(region));
        let count = span.bytes / map::PAGE;
        let draft = &mut self.drafts[component];
        let slot = draft.slots.take_many(count);
        let grant = Grant::Frames { region };
        draft.caps.push(GrantedCap { slot, grant });
        draft.memory.push(Record::Holding(Holding {
            client,
            vaddr: 0,
            bytes: span.bytes,
            large: false,
            writable: true,
            own_vaddr: span.vaddr,
            slot,
        }));
    }

    /// Has an I/O manager hold the memory of a client that has all its regions.
    pub(crate) fn keep(&mut self, keeper: Keeper, client: usize) {
        self.drafts[client].keeper = Some(keeper);
    }

    /// Sets the rest of an I/O manager's slots and addresses aside for the
    /// memory of its clients.
    pub(crate) fn set_aside(&mut self, manager: usize) {
        let clients = (0..self.drafts.len()).filter(|c| self.model.manager_of(*c) == Some(manager));
        let mut room = Room::default();
        for client in clients {
            let threads = &self.model.components[client].threads;
            threads
                .iter()
                .for_each(|t| room.add(t.stack_bytes, map::PAGE));
            let held = self.drafts[client].mappings.iter().filter(|m| m.held);
            for mapping in held {
                let region = &self.regions[mapping.region as usize];
                room.add(region.bytes, page_bytes(region.page));
            }
            room.add(IMAGE_BYTES, map::PAGE);
            // Its address space.
            room.slots += 1;
        }
        let draft = &mut self.drafts[manager];
        draft.keeps = Some(Keeps {
            vaddr: draft.space.take(room.bytes, map::LARGE_PAGE),
            slot: draft.slots.take_many(room.slots),
        });
    }
}
