//! Outputs: what they must read, and when they must be refused.

use data_passing::choose::{OutputCase, output_is_legal};
use data_passing::{Machine, Output, PassingError};
use socket_api::{Extent, Semantics, Technique};

use crate::coverage::Cell;
use crate::inputs::{In, overlap};
use crate::platform::PAGE;
use crate::program::{Begin, size_class};
use crate::shadow::Page;
use crate::world::{Check, World, same};

/// At most so many at a time.
const MOST: usize = 12;

/// An output that goes on.
pub struct Out {
    pub id: u32,
    pub client: u16,
    pub extent: Extent,
    pub cell: Cell,
    pub output: Output,
    /// The bytes when it began.
    snapshot: Vec<u8>,
    /// With weak integrity: what was written since.
    log: Vec<(usize, Vec<u8>)>,
    /// The first byte that is still there.
    base: u32,
    /// Whether its frames are still the client's.
    pub own_frames: bool,
}

impl Out {
    /// The client's memory has changed.
    pub fn note_write(&mut self, client: u16, address: u32, bytes: &[u8]) {
        if client != self.client || self.cell.semantics.is_strong() {
            return;
        }
        let (start, end) = (self.extent.address, self.extent.end() as u32);
        let from = address.clamp(start, end);
        let to = (address + bytes.len() as u32).clamp(start, end);
        if from < to {
            let bytes = &bytes[(from - address) as usize..(to - address) as usize];
            self.log.push(((from - start) as usize, bytes.to_vec()));
        }
    }

    fn may_read(&self, at: usize, byte: u8) -> bool {
        let logged = |(start, bytes): &(usize, Vec<u8>)| {
            at.checked_sub(*start).and_then(|n| bytes.get(n)) == Some(&byte)
        };
        self.snapshot[at] == byte || self.log.iter().any(logged)
    }

    fn check(&self, from: u32, bytes: &[u8]) -> Check {
        let range = from as usize..from as usize + bytes.len();
        let found = same(
            bytes,
            &self.snapshot[range],
            "the device reads",
            self.extent.address + from,
        );
        if found.is_ok() || self.cell.semantics.is_strong() {
            return found;
        }
        let allowed = |(n, byte): (usize, &u8)| self.may_read(from as usize + n, *byte);
        match bytes.iter().enumerate().all(allowed) {
            true => Ok(()),
            false => found.map_err(|what| format!("{what} nor what was written since")),
        }
    }
}

fn part(len: u32, fraction: u32) -> u32 {
    (u64::from(len) * u64::from(fraction) / 0xffff) as u32
}

impl World {
    pub fn begin_output(&mut self, begin: &Begin) -> Check {
        let client = begin.at.client;
        self.wake(client)?;
        if self.outs.len() >= MOST {
            self.end_output_at(0)?;
        }
        let extent = self.resolve(begin.at);
        let reserve = self.platform.memory.reserve();
        let passing = begin.passing();
        let memory = &mut self.platform.memory;
        match memory.begin_output(client, extent, passing, begin.blocked) {
            Ok(output) => self.output_begun(begin, extent, output),
            Err(error) => {
                self.coverage.refused += 1;
                self.output_refused(begin, extent, error, reserve)
            }
        }
    }

    fn output_case(&self, begin: &Begin, extent: Extent) -> Option<OutputCase> {
        let client = begin.at.client;
        let region = self.shadows[usize::from(client)].find(extent)?;
        let pages = region.pages_of(extent);
        let written = |input: &In| {
            let same_region =
                input.client == client && region.region.address == input.region.address;
            let theirs = same_region.then(|| region.pages_of(input.extent));
            let page = theirs.is_some_and(|t| t.start < pages.end && pages.start < t.end);
            let bytes = same_region && region.region.large && overlap(input.extent, extent);
            (input.pinned && page) || bytes
        };
        Some(OutputCase {
            semantics: begin.cell.semantics,
            len: extent.len,
            pages: pages.len() as u32,
            small_pages: !region.region.large,
            writable: region.region.writable,
            blocked: begin.blocked && client == 0,
            aligned: extent.address.is_multiple_of(region.region.page()),
            fault_rate: 0,
            protected: 0,
            written: extent.len != 0 && self.ins.iter().any(written),
        })
    }

    fn output_refused(
        &mut self,
        begin: &Begin,
        extent: Extent,
        error: PassingError,
        reserve: u32,
    ) -> Check {
        let case = self.output_case(begin, extent);
        let shadow = &self.shadows[usize::from(begin.at.client)];
        let away = shadow.find(extent).is_some_and(|r| r.is_away(extent));
        let right = match (error, case) {
            (PassingError::Extent, case) => case.is_none(),
            (PassingError::NotMapped, _) => away,
            (PassingError::Technique, Some(case)) => match begin.forced {
                Some(forced) => !output_is_legal(&case, forced),
                None => !Technique::ALL.iter().any(|t| output_is_legal(&case, *t)),
            },
            (PassingError::NoFrames, Some(case)) => reserve < case.len.div_ceil(PAGE),
            _ => false,
        };
        match right {
            true => Ok(()),
            false => Err(format!("{extent:x?} was refused: {error}")),
        }
    }

    fn output_begun(&mut self, begin: &Begin, extent: Extent, output: Output) -> Check {
        let client = begin.at.client;
        let case = self.output_case(begin, extent);
        let case = case.ok_or("what lies in no region was taken")?;
        let technique = output.technique();
        if !output_is_legal(&case, technique) || begin.forced.is_some_and(|f| f != technique) {
            return Err(format!("{technique} was chosen for {case:?}"));
        }
        let region = self.shadows[usize::from(client)].find_mut(extent);
        let region = region.ok_or("no region")?;
        if region.is_away(extent) {
            return Err("what was moved away was sent".into());
        }
        let snapshot = region.at(extent).to_vec();
        let pages = region.pages_of(extent);
        let moved = match begin.cell.semantics {
            Semantics::Move => Some(Page::Gone),
            Semantics::EmulatedMove => Some(Page::Kept),
            _ => None,
        };
        if let Some(page) = moved {
            region.pages[pages].fill(page);
        }
        let cell = Cell {
            technique,
            large: !case.small_pages,
            ..begin.cell
        };
        let id = self.new_id();
        if case.blocked {
            self.waits[usize::from(client)] = Some(id);
        }
        self.outs.push(Out {
            id,
            client,
            extent,
            cell,
            output,
            snapshot,
            log: Vec::new(),
            base: 0,
            own_frames: technique != Technique::CopyOut,
        });
        Ok(())
    }

    fn read_output(&self, n: usize, from: u32, len: u32) -> Result<Option<Vec<u8>>, String> {
        let out = &self.outs[n];
        let machine = self.platform.memory.machine_ref();
        let mut bytes = vec![0; len as usize];
        let mut done = 0;
        let all = out.output.pieces(from, len, |place, len| {
            let end = done + len as usize;
            machine.read(place, &mut bytes[done..end]);
            done = end;
        });
        let there = from >= out.base && from + len <= out.extent.len;
        match (all, there) {
            (true, true) if done == bytes.len() => Ok(Some(bytes)),
            (false, false) => Ok(None),
            _ => Err(format!("{done} of {len} bytes from {from} on are there")),
        }
    }

    fn nth_output(&self, which: u32) -> Option<usize> {
        (!self.outs.is_empty()).then(|| which as usize % self.outs.len())
    }

    pub fn device_reads(&mut self, which: u32, from: u32, len: u32) -> Check {
        let Some(n) = self.nth_output(which) else {
            return Ok(());
        };
        let out = &self.outs[n];
        let from = part(out.extent.len, from);
        // Sometimes one byte too many.
        let len = part(out.extent.len - from, len) + u32::from(len % 16 == 1);
        match self.read_output(n, from, len)? {
            Some(bytes) => self.outs[n].check(from, &bytes),
            None => Ok(()),
        }
    }

    pub fn sum(&mut self, which: u32, from: u32, len: u32) -> Check {
        let Some(n) = self.nth_output(which) else {
            return Ok(());
        };
        let out = &self.outs[n];
        let from = part(out.extent.len, from).max(out.base);
        let len = part(out.extent.len - from, len);
        let Some(bytes) = self.read_output(n, from, len)? else {
            return Ok(());
        };
        self.outs[n].check(from, &bytes)?;
        let out = &self.outs[n];
        let found = self.platform.memory.sum_output(&out.output, from, len);
        let expected = plain_sum(&bytes);
        match found.to_ne_bytes() == expected.to_be_bytes() {
            true => Ok(()),
            false => Err(format!("sum {found:#x} of {len} bytes from {from} on")),
        }
    }

    pub fn hold_back(&mut self, which: u32, from: u32) -> Check {
        let Some(n) = self.nth_output(which) else {
            return Ok(());
        };
        let from = part(self.outs[n].extent.len, from);
        let memory = &mut self.platform.memory;
        let (reserve, out) = (memory.reserve(), &mut self.outs[n]);
        let exposed = out.output.is_exposed();
        let (client, id) = (out.client, out.id);
        let base = from.max(out.base);
        match memory.hold_back(&mut out.output, from) {
            Ok(()) if out.output.is_exposed() => Err("it is exposed still".into()),
            Ok(()) => {
                out.base = base;
                out.own_frames = false;
                // The client is answered.
                if self.waits[usize::from(client)] == Some(id) {
                    self.waits[usize::from(client)] = None;
                }
                Ok(())
            }
            Err(PassingError::NoFrames)
                if reserve < (out.extent.len - base).div_ceil(PAGE)
                    && exposed == out.output.is_exposed() =>
            {
                Ok(())
            }
            Err(error) => Err(format!("it was not held back: {error}")),
        }
    }

    pub fn end_output(&mut self, which: u32) -> Check {
        match self.nth_output(which) {
            Some(n) => self.end_output_at(n),
            None => Ok(()),
        }
    }

    pub fn end_output_at(&mut self, n: usize) -> Check {
        let out = &self.outs[n];
        let (base, len) = (out.base, out.extent.len);
        let bytes = self.read_output(n, base, len - base)?;
        let bytes = bytes.ok_or("its bytes are not there")?;
        self.outs[n].check(base, &bytes)?;
        let out = self.outs.swap_remove(n);
        self.coverage.hit(out.cell, size_class(out.extent.len))?;
        if self.waits[usize::from(out.client)] == Some(out.id) {
            self.waits[usize::from(out.client)] = None;
        }
        self.platform.memory.end_output(out.output);
        self.look()
    }
}

/// RFC 1071, in the plainest way.
fn plain_sum(bytes: &[u8]) -> u16 {
    let pair = |pair: &[u8]| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    let fold = |sum: u32, pair| {
        let sum = sum + pair;
        (sum & 0xffff) + (sum >> 16)
    };
    bytes.chunks(2).map(pair).fold(0, fold) as u16
}
