//! A platform to try single techniques on, with what each step has cost.

use data_passing::{Costs, Input, Machine, Memory, Mutations, Output, PassingError, Place};
use socket_api::{Account, Extent, Passing, Semantics, Technique};

use crate::platform::{PAGE, Platform, Region, Watched, pattern, regions, tag};

/// See the module.
pub struct Bench {
    pub platform: Platform,
    before: Account,
    client: u16,
    pub region: Region,
}

/// Page operations and bytes since the last time they were asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Spent {
    pub mapped: u64,
    pub unmapped: u64,
    pub protected: u64,
    pub copied: u64,
    pub cleared: u64,
}

impl Bench {
    /// One client, of those of [`regions`], and one of its regions.
    pub fn new(client: u16, region: usize) -> Self {
        let platform = Platform::new(32, Costs::PINNED, Mutations::default());
        Self {
            platform,
            before: Account::default(),
            client,
            region: regions(client)[region],
        }
    }

    pub fn memory(&mut self) -> &mut Memory<Watched> {
        &mut self.platform.memory
    }

    /// Bytes of the region.
    pub fn extent(&self, offset: u32, len: u32) -> Extent {
        let address = self.region.address + offset;
        Extent { address, len }
    }

    pub fn account(&mut self) -> Account {
        let client = self.client;
        *self.memory().account(client).expect("the client")
    }

    pub fn spent(&mut self) -> Spent {
        let (now, then) = (self.account(), self.before);
        self.before = now;
        Spent {
            mapped: now.mapped - then.mapped,
            unmapped: now.unmapped - then.unmapped,
            protected: now.protected - then.protected,
            copied: now.copied() - then.copied(),
            cleared: now.cleared - then.cleared,
        }
    }

    pub fn output(
        &mut self,
        extent: Extent,
        semantics: Semantics,
        forced: impl Into<Option<Technique>>,
        blocked: bool,
    ) -> Result<Output, PassingError> {
        let (client, forced) = (self.client, forced.into());
        let passing = Passing { semantics, forced };
        self.memory().begin_output(client, extent, passing, blocked)
    }

    pub fn input(
        &mut self,
        extent: Extent,
        semantics: Semantics,
        forced: impl Into<Option<Technique>>,
        how: (bool, bool),
    ) -> Result<Input, PassingError> {
        let (client, forced) = (self.client, forced.into());
        let passing = Passing { semantics, forced };
        self.memory().begin_input(client, extent, passing, how)
    }

    /// What the device reads.
    pub fn sent(&mut self, output: &Output) -> Vec<u8> {
        let (mut bytes, mut done) = (vec![0; output.len() as usize], 0);
        let machine = self.memory().machine();
        let all = output.pieces(0, output.len(), |place, len| {
            let end = done + len as usize;
            machine.read(place, &mut bytes[done..end]);
            done = end;
        });
        assert!(all);
        bytes
    }

    /// The client reads.
    pub fn load(&self, extent: Extent) -> Vec<u8> {
        let mut bytes = vec![0; extent.len as usize];
        let loaded = self
            .platform
            .model
            .load(self.client, extent.address, &mut bytes);
        loaded.expect("memory that the client may read");
        bytes
    }

    /// Whether the client can read the byte.
    pub fn can_load(&self, extent: Extent) -> bool {
        let model = &self.platform.model;
        model.translate(self.client, extent.address, false).is_ok()
    }

    /// The client writes, with one fault at most for each page.
    pub fn store(&mut self, extent: Extent, bytes: &[u8]) -> Vec<data_passing::Fault> {
        let (mut done, mut faults) = (0, Vec::new());
        let client = self.client;
        while done < bytes.len() {
            let at = extent.address + done as u32;
            let stored = self.platform.model.store(client, at, &bytes[done..]);
            let Err((count, fault)) = stored else { break };
            done += count;
            let outcome = self.memory().fault(client, fault.address, true);
            faults.push(outcome);
            if outcome != data_passing::Fault::Resolved {
                break;
            }
        }
        faults
    }

    /// Bytes that arrive for the client.
    pub fn arriving(&self, len: u32) -> Vec<u8> {
        pattern(tag(self.client) | 0x20, 99, len as usize)
    }

    /// They arrive by copy.
    pub fn deliver(&mut self, input: &mut Input, bytes: &[u8]) -> Result<(), PassingError> {
        let (frame, offset) = (self.platform.nic, 11);
        let from = Place { frame, offset };
        self.memory().machine().write(from, bytes);
        self.memory().deliver(input, from, bytes.len() as u32)
    }

    /// The device writes them to what it was given.
    pub fn deliver_posted(&mut self, input: &mut Input, bytes: &[u8]) -> Result<(), PassingError> {
        let (mut places, mut done) = (Vec::new(), 0);
        input.posted(|place, len| places.push((place, len as usize)));
        for (place, len) in places {
            let end = bytes.len().min(done + len);
            self.memory().machine().write(place, &bytes[done..end]);
            done = end;
        }
        self.memory().deliver_posted(input, bytes.len() as u32)
    }
}

/// How many pages of 4 KiB, as a number of bytes.
pub const fn pages(count: u32) -> u32 {
    count * PAGE
}
