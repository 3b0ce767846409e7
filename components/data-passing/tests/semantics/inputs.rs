//! Inputs: what must be in the room, and when they must be refused.

use data_passing::choose::{InputCase, input_is_legal};
use data_passing::{FrameId, Input, Machine, PassingError, Place};
use socket_api::{Extent, Semantics, Technique};

use crate::coverage::Cell;
use crate::platform::{NIC_BUFFER, NIC_BUFFERS, PAGE, Region};
use crate::program::{Begin, size_class};
use crate::shadow::Page;
use crate::world::{Check, World, same};

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
    device_has_it: bool,
    filled: u32,
}

impl In {
    fn hides(&self) -> bool {
        matches!(
            self.cell.semantics,
            Semantics::Move | Semantics::EmulatedMove
        )
    }

    fn rest(&self, len: u32) -> Extent {
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

fn part(len: u32, fraction: u32) -> u32 {
    (u64::from(len) * u64::from(fraction) / 0xffff).min(len.into()) as u32
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
    fn is_relied_on(&self, client: u16, extent: Extent) -> bool {
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

    fn nth_input(&self, which: u32) -> Option<usize> {
        (!self.ins.is_empty()).then(|| which as usize % self.ins.len())
    }

    pub fn deliver(&mut self, which: u32, fraction: u32, pieces: u32) -> Check {
        let Some(n) = self.nth_input(which) else {
            return Ok(());
        };
        let rest = self.ins[n].extent.len - self.ins[n].filled;
        let mut left = part(rest, fraction);
        let each = left.div_ceil(pieces + 1).clamp(1, NIC_BUFFER);
        if pieces == 5 {
            self.deliver_too_much(n, rest)?;
        }
        loop {
            let len = left.min(each);
            if !self.deliver_piece(n, len)? || left == len {
                return Ok(());
            }
            left -= len;
        }
    }

    fn deliver_too_much(&mut self, n: usize, rest: u32) -> Check {
        let at = Place {
            frame: self.platform.nic,
            offset: 0,
        };
        let input = &mut self.ins[n].input;
        let len = rest + 1;
        match self.platform.memory.deliver(input, at, len) {
            Err(PassingError::Extent) => Ok(()),
            other => Err(format!("{len} bytes for {rest}: {other:?}")),
        }
    }

    /// One piece; false if it was rightly refused.
    fn deliver_piece(&mut self, n: usize, len: u32) -> Result<bool, String> {
        let client = self.ins[n].client;
        let bytes = self.bytes(client, true, len);
        let at = Place {
            frame: FrameId(self.platform.nic.0 + self.next_id % NIC_BUFFERS),
            offset: self.next_id * 37 % (NIC_BUFFER - len + 1),
        };
        self.platform.memory.machine().write(at, &bytes);
        let reserve = self.platform.memory.reserve();
        let rec = &mut self.ins[n];
        let extent = rec.rest(len);
        let delivered = self.platform.memory.deliver(&mut rec.input, at, len);
        let filled = rec.input.filled();
        let shadow = &self.shadows[usize::from(client)];
        let region = shadow.find(extent).ok_or("no region")?;
        let away = !rec.hides() && region.is_away(extent);
        let pages = region.pages_of(extent).len() as u32;
        match delivered {
            Ok(()) if away => Err("delivered to where the client cannot see it".into()),
            Ok(()) => {
                self.delivered(n, &bytes)?;
                Ok(true)
            }
            Err(_) if filled != rec.filled => Err("refused, and filled".into()),
            Err(PassingError::NotMapped) if away => Ok(false),
            Err(PassingError::NoFrames) if reserve < pages => Ok(false),
            Err(error) => Err(format!("{len} bytes were not delivered: {error}")),
        }
    }

    /// The client's memory changes as it must.
    fn delivered(&mut self, n: usize, bytes: &[u8]) -> Check {
        let rec = &mut self.ins[n];
        let (client, extent) = (rec.client, rec.rest(bytes.len() as u32));
        rec.filled += extent.len;
        if rec.filled != rec.input.filled() {
            return Err(format!("{} bytes are there", rec.input.filled()));
        }
        if rec.hides() {
            let new_region = rec.cell.semantics == Semantics::Move;
            self.supply(client, extent, new_region);
        }
        self.shadow_write(client, extent.address, bytes);
        Ok(())
    }

    /// Pages that come back are zero; so are all pages of a new region.
    fn supply(&mut self, client: u16, extent: Extent, new_region: bool) {
        let region = self.shadows[usize::from(client)].find_mut(extent);
        let region = region.expect("a region");
        let (base, bytes) = (region.region.address, region.region.page());
        let mut zero = Vec::new();
        for page in region.pages_of(extent) {
            let address = base + page as u32 * bytes;
            let starts = new_region && address >= extent.address;
            if region.pages[page] == Page::Gone || starts {
                region.pages[page] = Page::Kept;
                zero.push(address);
            }
        }
        for address in zero {
            self.shadow_write(client, address, &vec![0; bytes as usize]);
        }
    }

    /// What the device does to what it was given, at any time.
    pub fn device_writes(&mut self, which: u32, from: u32, len: u32) -> Check {
        let Some(n) = self.nth_input(which) else {
            return Ok(());
        };
        let rec = &self.ins[n];
        // Into frames of the client's under strong integrity it writes only
        // what it has verified.
        let shows = rec.pinned;
        if !rec.device_has_it || (shows && rec.cell.semantics.is_strong()) {
            return Ok(());
        }
        let (client, extent) = (rec.client, rec.extent);
        let from = part(extent.len, from);
        let len = part(extent.len - from, len);
        let bytes = self.bytes(client, true, len);
        self.write_posted(n, from, &bytes)?;
        if shows {
            self.shadow_write(client, extent.address + from, &bytes);
        }
        Ok(())
    }

    fn write_posted(&mut self, n: usize, from: u32, bytes: &[u8]) -> Check {
        let mut places = Vec::new();
        self.ins[n]
            .input
            .posted(|place, len| places.push((place, len)));
        let room: u32 = places.iter().map(|(_, len)| len).sum();
        if room != self.ins[n].extent.len {
            return Err(format!("{room} bytes were posted"));
        }
        let (mut at, end) = (0, from + bytes.len() as u32);
        for (place, len) in places {
            let (start, stop) = (from.max(at), end.min(at + len));
            if start < stop {
                let place = Place {
                    offset: place.offset + (start - at),
                    ..place
                };
                let bytes = &bytes[(start - from) as usize..(stop - from) as usize];
                self.platform.memory.machine().write(place, bytes);
            }
            at += len;
        }
        Ok(())
    }

    pub fn deliver_posted(&mut self, which: u32, fraction: u32) -> Check {
        let Some(n) = self.nth_input(which) else {
            return Ok(());
        };
        let rec = &self.ins[n];
        let (client, len) = (rec.client, part(rec.extent.len, fraction));
        let bytes = self.bytes(client, true, len);
        let rec = &self.ins[n];
        let possible = rec.filled == 0 && (rec.device_has_it || len == 0);
        if possible && len != 0 {
            self.write_posted(n, 0, &bytes)?;
        }
        let rec = &mut self.ins[n];
        let extent = rec.rest(if possible { len } else { 0 });
        let delivered = self.platform.memory.deliver_posted(&mut rec.input, len);
        let filled = rec.input.filled();
        let region = self.shadows[usize::from(client)].find(extent);
        let away = !rec.hides() && region.is_some_and(|r| r.is_away(extent));
        match delivered {
            Ok(()) if possible && !away => {
                rec.device_has_it &= len == 0;
                self.delivered(n, &bytes)
            }
            Ok(()) => Err("delivered, whence?".into()),
            Err(_) if filled != rec.filled => Err("refused, and filled".into()),
            Err(PassingError::Extent) if !possible => Ok(()),
            Err(PassingError::NotMapped) if away => Ok(()),
            Err(error) => Err(format!("{len} posted bytes were not delivered: {error}")),
        }
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
        self.coverage.hit(rec.cell, size_class(extent.len))?;
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

    /// The manager itself reads.
    pub fn read_client(&mut self, client: u16, extent: Extent) -> Check {
        let mut bytes = vec![0; extent.len as usize];
        let memory = &mut self.platform.memory;
        let read = memory.read_client(client, extent.address, &mut bytes);
        let region = self.shadows[usize::from(client)].find(extent);
        let away = region.is_some_and(|r| r.is_away(extent));
        match (read, region) {
            (Ok(()), Some(region)) if !away => same(
                &bytes,
                region.at(extent),
                "the manager reads",
                extent.address,
            ),
            (Err(PassingError::Extent), None) => Ok(()),
            (Err(PassingError::NotMapped), Some(_)) if away => Ok(()),
            (read, _) => Err(format!("reading {extent:x?}: {read:?}")),
        }
    }

    /// The manager itself writes.
    pub fn write_client(&mut self, client: u16, extent: Extent) -> Check {
        let bytes = self.bytes(client, true, extent.len);
        let memory = &mut self.platform.memory;
        let reserve = memory.reserve();
        let written = memory.write_client(client, extent.address, &bytes);
        let region = self.shadows[usize::from(client)].find(extent);
        let region = region.filter(|r| r.region.writable);
        let away = region.is_some_and(|r| r.is_away(extent));
        let relied_on = self.is_relied_on(client, extent);
        match (written, region) {
            (Ok(()), Some(_)) if !away && !relied_on => {
                self.shadow_write(client, extent.address, &bytes);
                Ok(())
            }
            (Err(PassingError::Extent), None) => Ok(()),
            (Err(PassingError::Extent), Some(_)) if relied_on => Ok(()),
            (Err(PassingError::NotMapped), Some(_)) if away => Ok(()),
            (Err(PassingError::NoFrames), Some(r))
                if (reserve as usize) < r.pages_of(extent).len() =>
            {
                Ok(())
            }
            (written, _) => Err(format!("writing {extent:x?}: {written:?}")),
        }
    }
}
