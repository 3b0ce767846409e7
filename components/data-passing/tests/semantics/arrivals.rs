//! Received bytes on their way, by copy and by a device.

use data_passing::{FrameId, Machine, PassingError, Place};
use socket_api::{Extent, Semantics, Technique};

use crate::inputs::In;
use crate::platform::{NIC_BUFFER, NIC_BUFFERS};
use crate::shadow::Page;
use crate::world::{Check, World};

fn part(len: u32, fraction: u32) -> u32 {
    (u64::from(len) * u64::from(fraction) / 0xffff).min(len.into()) as u32
}

impl World {
    /// Mostly one that waits for just that: a device's bytes, or copied ones.
    fn nth_waiting(&self, which: u32, for_device: bool) -> Option<usize> {
        let waits = |i: &In| i.filled == 0 && i.extent.len != 0 && i.device_has_it == for_device;
        let waiting = (0..self.ins.len()).filter(|n| waits(&self.ins[*n]));
        let waiting: Vec<usize> = waiting.filter(|_| which & 0x300 != 0).collect();
        match waiting.get(which as usize % waiting.len().max(1)) {
            Some(found) => Some(*found),
            None => self.nth_input(which),
        }
    }

    /// What a waiting client waits for arrives, mostly.
    pub fn answer(&mut self, n: usize) -> Check {
        let (which, fraction) = (
            n as u32,
            [0x1_0000, 0xc000, 0x8001, 0][self.next_id as usize % 4],
        );
        match self.ins[n].device_has_it {
            true => self.deliver_posted(which, fraction),
            false => self.deliver(which, fraction, 1),
        }
    }

    pub fn deliver(&mut self, which: u32, fraction: u32, pieces: u32) -> Check {
        let Some(n) = self.nth_waiting(which, false) else {
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
                let by_device = [Technique::InPlace, Technique::Swap];
                rec.carried_out |= len != 0 && !by_device.contains(&rec.cell.technique);
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
        let Some(n) = self.nth_waiting(which, true) else {
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
                rec.carried_out |= len != 0;
                self.delivered(n, &bytes)
            }
            Ok(()) => Err("delivered, whence?".into()),
            Err(_) if filled != rec.filled => Err("refused, and filled".into()),
            Err(PassingError::Extent) if !possible => Ok(()),
            Err(PassingError::NotMapped) if away => Ok(()),
            Err(error) => Err(format!("{len} posted bytes were not delivered: {error}")),
        }
    }
}
