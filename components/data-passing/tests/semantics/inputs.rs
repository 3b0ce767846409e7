//! Inputs: what must be in the room, and when they must be refused.

use data_passing::choose::{InputCase, input_is_legal};
use data_passing::{Input, PassingError};
use socket_api::{Extent, Semantics, Technique};

use crate::coverage::Cell;
use crate::platform::{PAGE, Region};
use crate::program::{Begin, size_class};
use crate::shadow::Page;
use crate::world::{Check, World};

/// At most so many at a time.
const MOST: usize = 12;

/// An input that goes on.
pub struct In {
    pub id: u32,
    pub client: u16,
    pub extent: Extent,
    pub region: Region,
    pub cell: Cell,
    pub input: Input,
    /// Whether a device writes to frames of the client's.
    pub pinned: bool,
    /// Whether the device has been given something and not let go of it.
    pub device_has_it: bool,
    pub filled: u32,
    /// Whether bytes came the way that the technique is for.
    pub carried_out: bool,
}

impl In {
    pub fn hides(&self) -> bool {
        matches!(
            self.cell.semantics,
            Semantics::Move | Semantics::EmulatedMove
        )
    }

    pub fn rest(&self, len: u32) -> Extent {
        Extent {
            address: self.extent.address + self.filled,
            len,
        }
    }
}

/// Whether two extents have bytes in common.
pub fn overlap(a: Extent, b: Extent) -> bool {
    a.len != 0 && b.len != 0 && a.end() > u64::from(b.address) && b.end() > u64::from(a.address)
}

impl World {
    pub fn begin_input(&mut self, begin: &Begin) -> Check {
        let client = begin.at.client;
        self.wake(client)?;
        if self.ins.len() >= MOST {
            self.end_input_at(0)?;
        }
        let extent = self.resolve(begin.at);
        let reserve = self.platform.memory.reserve();
        let how = (begin.blocked, begin.early);
        let memory = &mut self.platform.memory;
        match memory.begin_input(client, extent, begin.passing(), how) {
            Ok(input) => self.input_begun(begin, extent, input),
            Err(error) => {
                self.coverage.refused += 1;
                self.input_refused(begin, extent, error, reserve)
            }
        }
    }

    fn input_case(&self, begin: &Begin, extent: Extent) -> Option<InputCase> {
        let client = begin.at.client;
        let region = self.shadows[usize::from(client)].find(extent)?;
        region.region.writable.then(|| InputCase {
            semantics: begin.cell.semantics,
            len: extent.len,
            pages: region.pages_of(extent).len() as u32,
            small_pages: !region.region.large,
            blocked: begin.blocked && client == 0,
            aligned: extent.address.is_multiple_of(region.region.page()),
            early: begin.early,
        })
    }

    /// Whether other inputs go on in the same pages, and whether some of those
    /// write to the client's frames.
    fn others_in_pages(&self, client: u16, extent: Extent) -> (bool, bool) {
        let Some(region) = self.shadows[usize::from(client)].find(extent) else {
            return (false, false);
        };
        let pages = region.pages_of(extent);
        let same = |i: &&In| i.client == client && i.region.address == region.region.address;
        let others = self.ins.iter().filter(same).filter(|i| {
            let theirs = region.pages_of(i.extent);
            theirs.start < pages.end && pages.start < theirs.end
        });
        others.fold((false, false), |(_, pinned), i| (true, pinned || i.pinned))
    }

    /// Whether bytes of large pages there are being sent and must not change.
    pub fn is_relied_on(&self, client: u16, extent: Extent) -> bool {
        self.outs.iter().any(|o| {
            o.client == client
                && o.own_frames
                && o.cell.large
                && o.cell.semantics.is_strong()
                && overlap(o.extent, extent)
        })
    }

    fn input_refused(
        &self,
        begin: &Begin,
        extent: Extent,
        error: PassingError,
        reserve: u32,
    ) -> Check {
        let client = begin.at.client;
        let case = self.input_case(begin, extent);
        let shadow = &self.shadows[usize::from(client)];
        let away = shadow.find(extent).is_some_and(|r| r.is_away(extent));
        let (others, pinned) = self.others_in_pages(client, extent);
        let hides = begin.cell.semantics.is_system_allocated() && begin.cell.semantics.is_strong();
        let right = match (error, case) {
            (PassingError::Extent, None) => true,
            (PassingError::Extent, Some(_)) => self.is_relied_on(client, extent),
            (PassingError::NotMapped, _) => match hides {
                true => others,
                false => away,
            },
            (PassingError::Technique, Some(case)) => match begin.forced {
                Some(forced) => !input_is_legal(&case, forced) || (hides && pinned),
                None => {
                    !Technique::ALL.iter().any(|t| input_is_legal(&case, *t)) || (hides && pinned)
                }
            },
            (PassingError::NoFrames, Some(case)) => reserve < case.pages,
            _ => false,
        };
        match right {
            true => Ok(()),
            false => Err(format!("{extent:x?} was refused: {error}")),
        }
    }

    pub fn input_begun(&mut self, begin: &Begin, extent: Extent, input: Input) -> Check {
        let client = begin.at.client;
        let case = self.input_case(begin, extent);
        let case = case.ok_or("room in no region was taken")?;
        let technique = input.technique();
        if !input_is_legal(&case, technique) || begin.forced.is_some_and(|f| f != technique) {
            return Err(format!("{technique} was chosen for {case:?}"));
        }
        let relied_on = self.is_relied_on(client, extent);
        let region = self.shadows[usize::from(client)].find_mut(extent);
        let region = region.ok_or("no region")?;
        let id = self.next_id + 1;
        let pinned = match technique {
            Technique::InPlace => true,
            Technique::Reinstate => input.is_posted(),
            _ => false,
        };
        let new = In {
            id,
            client,
            extent,
            region: region.region,
            cell: Cell {
                technique,
                large: !case.small_pages,
                ..begin.cell
            },
            pinned: pinned && extent.len != 0,
            device_has_it: input.is_posted(),
            input,
            filled: 0,
            carried_out: extent.len == 0,
        };
        if new.hides() {
            let pages = region.pages_of(extent);
            for page in &mut region.pages[pages] {
                if *page == Page::Here {
                    *page = Page::Kept;
                }
            }
        } else if region.is_away(extent) {
            return Err("what was moved away is received into".into());
        }
        if relied_on && region.region.large {
            return Err("bytes that are being sent are received into".into());
        }
        self.next_id = id;
        if case.blocked {
            self.waits[usize::from(client)] = Some(id);
        }
        self.ins.push(new);
        Ok(())
    }

    pub fn nth_input(&self, which: u32) -> Option<usize> {
        (!self.ins.is_empty()).then(|| which as usize % self.ins.len())
    }

    pub fn end_input(&mut self, which: u32) -> Check {
        match self.nth_input(which) {
            Some(n) => self.end_input_at(n),
            None => Ok(()),
        }
    }

    pub fn end_input_at(&mut self, n: usize) -> Check {
        let rec = self.ins.swap_remove(n);
        let hides = rec.hides();
        let In {
            client,
            extent,
            filled,
            ..
        } = rec;
        if rec.carried_out {
            self.coverage.hit(rec.cell, size_class(extent.len))?;
        }
        if self.waits[usize::from(client)] == Some(rec.id) {
            self.waits[usize::from(client)] = None;
        }
        self.platform.memory.end_input(rec.input);
        let region = self.shadows[usize::from(client)].find_mut(extent);
        let region = region.ok_or("no region")?;
        let pages = region.pages_of(extent);
        for page in &mut region.pages[pages.clone()] {
            if hides && *page == Page::Kept {
                *page = Page::Here;
            }
        }
        self.look()?;
        let Some(region) = self.shadows[usize::from(client)].find(extent) else {
            return Err("no region".into());
        };
        let (base, bytes) = (region.region.address, region.region.page());
        if region.is_away(extent) {
            return Ok(());
        }
        // Whole small pages: what is around must not have changed.
        let around = Extent {
            address: base + pages.start as u32 * bytes,
            len: pages.len() as u32 * bytes,
        };
        let filled = Extent {
            len: filled,
            ..extent
        };
        let whole = bytes == PAGE && extent.len != 0;
        self.load(client, if whole { around } else { filled })
    }
}
