//! A program while it runs: the memory under test beside its shadow.
//!
//! Invariant: what a client could observe is compared as soon as something
//! could have changed it, and all of it at the end.

use data_passing::{Fault, Mutations};
use socket_api::{Extent, Technique};

use crate::coverage::Coverage;
use crate::inputs::In;
use crate::outputs::Out;
use crate::platform::{CLIENTS, LARGE, LARGE_PAGE, PAGE, Platform, pattern, regions, tag};
use crate::program::{Op, Program, Spot};
use crate::shadow::{Page, Shadow, ShadowRegion};

/// What was found wrong.
pub type Check = Result<(), String>;

pub struct World {
    pub platform: Platform,
    pub shadows: Vec<Shadow>,
    pub outs: Vec<Out>,
    pub ins: Vec<In>,
    /// Per client, the operation that its only thread waits for.
    pub waits: Vec<Option<u32>>,
    pub next_id: u32,
    pub coverage: Coverage,
    noise: usize,
}

/// Runs a program to its end.
pub fn run(program: &Program, mutations: Mutations) -> Result<Coverage, String> {
    let mut world = World::new(program, mutations);
    for (n, op) in program.ops.iter().enumerate() {
        let done = world.step(op).and_then(|()| world.look());
        done.map_err(|what| format!("operation {n}, {op:?}: {what}"))?;
    }
    world
        .finish()
        .map_err(|what| format!("at the end: {what}"))?;
    Ok(world.coverage)
}

impl World {
    pub fn new(program: &Program, mutations: Mutations) -> Self {
        let mut platform = Platform::new(program.reserve, program.costs, mutations);
        let images = std::mem::take(&mut platform.images).into_iter().enumerate();
        let shadows = images.map(|(n, images)| Shadow::new(n as u16, images));
        Self {
            shadows: shadows.collect(),
            platform,
            outs: Vec::new(),
            ins: Vec::new(),
            waits: vec![None; usize::from(CLIENTS)],
            next_id: 0,
            coverage: Coverage::new(),
            noise: 0,
        }
    }

    pub fn step(&mut self, op: &Op) -> Check {
        self.coverage.operations += 1;
        match *op {
            Op::Load(at) => self.load(at.client, self.resolve(at)),
            Op::Store(at) => self.store(at.client, self.resolve(at)),
            Op::StoreOver { which, fine } => self.store_over(which, fine),
            Op::Output(begin) => self.begin_output(&begin),
            Op::Input(begin) => self.begin_input(&begin),
            Op::DeviceReads { which, from, len } => self.device_reads(which, from, len),
            Op::Deliver { which, len, pieces } => self.deliver(which, len, pieces),
            Op::DeviceWrites { which, from, len } => self.device_writes(which, from, len),
            Op::DeliverPosted { which, len } => self.deliver_posted(which, len),
            Op::HoldBack { which, from } => self.hold_back(which, from),
            Op::Sum { which, from, len } => self.sum(which, from, len),
            Op::EndOutput { which } => self.end_output(which),
            Op::EndInput { which } => self.end_input(which),
            Op::ReadClient(at) => self.read_client(at.client, self.resolve(at)),
            Op::WriteClient(at) => self.write_client(at.client, self.resolve(at)),
            Op::Restore { client } => self.restore(client),
            Op::Vanish { client, order } => self.vanish(client, order),
        }
    }

    /// Whether the machine saw anything that it should not have.
    pub fn look(&self) -> Check {
        match self.platform.memory.machine_ref().violation() {
            Some(seen) => Err(seen),
            None => Ok(()),
        }
    }

    pub fn new_id(&mut self) -> u32 {
        self.next_id += 1;
        self.next_id
    }

    /// Bytes that nobody has seen yet: a client's own, or ones that arrive.
    pub fn bytes(&mut self, client: u16, arriving: bool, len: u32) -> Vec<u8> {
        self.noise += 7919;
        let tag = tag(client) | if arriving { 0x20 } else { 0 };
        pattern(tag, self.noise, len as usize)
    }

    /// The extent that a spot means now.
    pub fn resolve(&self, at: Spot) -> Extent {
        let shadow = &self.shadows[usize::from(at.client)];
        let region = shadow.region(at.region);
        let len = at.len.min(region.bytes);
        let room = region.bytes - len;
        let page = region.page();
        let offset = match at.kind {
            0..=3 => at.fine % (room / page + 1) * page,
            4..=6 if region.large && at.fine & 2 != 0 && room > LARGE_PAGE => {
                LARGE_PAGE - (at.fine >> 2) % (len + 1)
            }
            4..=6 => at.fine % (room + 1),
            7 => room,
            8 => return self.where_something_is(at, region.address + room),
            9 => region.bytes - at.fine % (len + 1) + u32::from(len == 0),
            _ => {
                let address = 0x0100_0000 + at.fine % 0x1000;
                return Extent { address, len };
            }
        };
        let address = region.address + offset;
        Extent { address, len }
    }

    fn where_something_is(&self, at: Spot, otherwise: u32) -> Extent {
        let outs = self.outs.iter().map(|o| (o.client, o.extent));
        let all = outs.chain(self.ins.iter().map(|i| (i.client, i.extent)));
        let mine: Vec<Extent> = all
            .filter(|(c, _)| *c == at.client)
            .map(|(_, e)| e)
            .collect();
        match mine.get(at.fine as usize % mine.len().max(1)) {
            Some(found) => *found,
            None => Extent {
                address: otherwise,
                len: at.len.min(PAGE),
            },
        }
    }

    /// The client's memory changes to this.
    pub fn shadow_write(&mut self, client: u16, address: u32, bytes: &[u8]) {
        let extent = Extent {
            address,
            len: bytes.len() as u32,
        };
        let region = self.shadows[usize::from(client)].find_mut(extent);
        let region = region.expect("a write to a region");
        let range = region.range(extent);
        region.bytes[range].copy_from_slice(bytes);
        for out in &mut self.outs {
            out.note_write(client, address, bytes);
        }
    }

    pub fn is_waiting(&self, client: u16) -> bool {
        self.waits[usize::from(client)].is_some()
    }

    /// Lets a waiting client go on.
    pub fn wake(&mut self, client: u16) -> Check {
        let Some(id) = self.waits[usize::from(client)] else {
            return Ok(());
        };
        if let Some(n) = self.outs.iter().position(|o| o.id == id) {
            return self.end_output_at(n);
        }
        let n = self.ins.iter().position(|i| i.id == id);
        let n = n.expect("what a client waits for goes on");
        self.answer(n)?;
        self.end_input_at(n)
    }

    /// Ends any operation; whether there was one.
    pub fn end_something(&mut self) -> Result<bool, String> {
        if !self.outs.is_empty() {
            self.end_output_at(0)?;
        } else if !self.ins.is_empty() {
            self.end_input_at(0)?;
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// A client's store, with its faults.
    pub fn store(&mut self, client: u16, extent: Extent) -> Check {
        if self.is_waiting(client) {
            return Ok(());
        }
        let bytes = self.bytes(client, false, extent.len);
        let mut done = 0;
        while done < bytes.len() {
            let at = extent.address + done as u32;
            let stored = self.platform.model.store(client, at, &bytes[done..]);
            let (count, fault) = match stored {
                Ok(()) => (bytes.len() - done, None),
                Err((count, fault)) => (count, Some(fault)),
            };
            self.stored(client, at, &bytes[done..done + count])?;
            done += count;
            let Some(fault) = fault else { continue };
            if !self.fault(client, fault.address, true)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Bytes that a client has stored; it must have been allowed to.
    fn stored(&mut self, client: u16, address: u32, bytes: &[u8]) -> Check {
        let shadow = &self.shadows[usize::from(client)];
        let ends = [address, address + (bytes.len() as u32).max(1) - 1];
        if !bytes.is_empty() && !ends.iter().all(|at| shadow.can_access(*at, true)) {
            return Err(format!("client {client} could write at {address:#x}"));
        }
        if !bytes.is_empty() {
            self.shadow_write(client, address, bytes);
        }
        Ok(())
    }

    /// A client's fault; whether it may go on.
    fn fault(&mut self, client: u16, address: u32, write: bool) -> Result<bool, String> {
        for _ in 0..100 {
            let reserve = self.platform.memory.reserve();
            let outcome = self.platform.memory.fault(client, address, write);
            let allowed = self.shadows[usize::from(client)].can_access(address, write);
            match outcome {
                Fault::Resolved if allowed => return Ok(true),
                Fault::NotOurs if !allowed => return Ok(false),
                Fault::Busy if allowed => {
                    let large = address >= regions(client)[LARGE].address;
                    if reserve != 0 && !large {
                        return Err("busy, with frames in the reserve".into());
                    }
                    self.coverage.faults[2] += 1;
                    if !self.end_something()? {
                        return Err("busy, with nothing going on".into());
                    }
                }
                _ => return Err(format!("{outcome:?} for the fault at {address:#x}")),
            }
        }
        Err(format!("the fault at {address:#x} is never resolved"))
    }

    fn store_over(&mut self, which: u32, fine: u32) -> Check {
        // Mostly what is protected, since that is where it hurts.
        let tcow = which & 0x400 != 0;
        let outs = self.outs.iter();
        let outs = outs.filter(|o| !tcow || o.cell.technique == Technique::Tcow);
        let outs = outs.map(|o| (o.client, o.extent));
        let ins = self.ins.iter().map(|i| (i.client, i.extent));
        let ins = ins.filter(|_| which & 0x700 == 0);
        let all: Vec<_> = outs
            .chain(ins)
            .filter(|(_, extent)| extent.len != 0)
            .collect();
        if all.is_empty() {
            return Ok(());
        }
        let (client, extent) = all[which as usize % all.len()];
        let at = (fine >> 16) % extent.len;
        let len = (fine & 0x3fff).min(extent.len - at);
        let address = extent.address + at;
        self.store(client, Extent { address, len })
    }

    /// A client's load.
    pub fn load(&mut self, client: u16, extent: Extent) -> Check {
        let mut bytes = vec![0; extent.len as usize];
        match self.platform.model.load(client, extent.address, &mut bytes) {
            Ok(()) if extent.len == 0 => Ok(()),
            Ok(()) => {
                let region = self.shadows[usize::from(client)].find(extent);
                let region = region.ok_or("bytes outside all regions were read")?;
                if region.is_away(extent) {
                    return Err(format!("{extent:x?} was moved away and can be read"));
                }
                same(&bytes, region.at(extent), "client reads", extent.address)
            }
            Err(fault) => match self.fault(client, fault.address, false)? {
                true => Err(format!("{:#x} cannot be read", fault.address)),
                false => Ok(()),
            },
        }
    }

    fn finish(&mut self) -> Check {
        for client in 0..CLIENTS {
            self.vanish(client, u32::from(client))?;
            self.reinstate_kept(client)?;
            self.look()?;
            self.compare(client)?;
        }
        self.balance()
    }

    /// Compares everything that a client can see.
    pub fn compare(&mut self, client: u16) -> Check {
        let regions = &self.shadows[usize::from(client)].regions;
        let pages = |r: &ShadowRegion| (r.region, r.pages.clone());
        let regions: Vec<_> = regions.iter().map(pages).collect();
        for (region, pages) in regions {
            let len = region.page();
            for (n, page) in pages.into_iter().enumerate() {
                let address = region.address + n as u32 * len;
                self.load(client, Extent { address, len })?;
                if !region.large && page == Page::Here && region.writable {
                    // Nothing stays protected for good.
                    self.store(client, Extent { address, len: 1 })?;
                }
            }
        }
        Ok(())
    }

    /// The books agree with the machine, and no frame is lost.
    pub fn balance(&mut self) -> Check {
        let memory = &mut self.platform.memory;
        let accounts: Vec<_> = (0..CLIENTS)
            .filter_map(|c| memory.account(c).copied())
            .collect();
        let sum = |of: fn(&socket_api::Account) -> u64| accounts.iter().map(of).sum::<u64>();
        let operations = self.platform.model.operations();
        let ours = [sum(|a| a.mapped), sum(|a| a.unmapped), sum(|a| a.protected)];
        let its = [operations.mapped, operations.unmapped, operations.protected];
        if ours != its {
            return Err(format!("page operations: booked {ours:?}, made {its:?}"));
        }
        let (ours, its) = (
            sum(socket_api::Account::copied),
            self.platform.model.copied(),
        );
        if ours != its {
            return Err(format!("bytes copied: booked {ours}, made {its}"));
        }
        self.coverage.faults[0] += sum(|a| a.faults_copied);
        self.coverage.faults[1] += sum(|a| a.faults_restored);
        let regions = self.shadows.iter().flat_map(|s| &s.regions);
        let gone = regions.flat_map(|r| &r.pages).filter(|p| **p == Page::Gone);
        let expected = self.platform.reserve + gone.count() as u32;
        match memory.reserve() == expected {
            true => Ok(()),
            false => Err(format!("{} frames, not {expected}", memory.reserve())),
        }
    }
}

/// Compares bytes and says where they differ first.
pub fn same(found: &[u8], expected: &[u8], who: &str, address: u32) -> Check {
    if found == expected {
        return Ok(());
    }
    let at = found.iter().zip(expected).position(|(f, e)| f != e);
    let at = at.unwrap_or(found.len().min(expected.len()));
    let some = |bytes: &[u8]| format!("{:02x?}", &bytes[at..(at + 8).min(bytes.len())]);
    Err(format!(
        "{who} {} at byte {at} of {:#x}, not {}",
        some(found),
        address,
        some(expected)
    ))
}
