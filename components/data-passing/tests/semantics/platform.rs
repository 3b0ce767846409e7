//! The machine, the clients and their memory as every program finds them.
//!
//! Invariant: each byte tells whose it is. A client's bytes, and bytes that
//! arrive for it, carry its number in the upper bits; what nobody may ever see
//! is [`STALE`].

use std::cell::RefCell;
use std::rc::Rc;

use data_passing::{
    Costs, FrameId, HoldingConfig, Machine, MachineError, Memory, Mutations, Place, Rights,
};
use model_platform::{Allocator, ModelMachine, Physical};

/// Bytes of a small page.
pub const PAGE: u32 = 4096;
/// Bytes of a large page.
pub const LARGE_PAGE: u32 = 2 << 20;
/// Bytes of each of the NIC's buffers.
pub const NIC_BUFFER: u32 = 16384;
/// How many buffers the NIC has.
pub const NIC_BUFFERS: u32 = 4;
/// Clients; the first has one thread.
pub const CLIENTS: u16 = 3;
/// What frames of the reserve hold at first.
pub const STALE: u8 = 0x2e;
/// Frames that the reserve can have.
pub const MAX_RESERVE: u32 = 96;

/// The upper bits of a client's bytes.
pub const fn tag(client: u16) -> u8 {
    ((client + 1) << 6) as u8
}

/// Which of a client's regions.
pub const SMALL: usize = 0;
/// See [`SMALL`].
pub const LARGE: usize = 1;
/// See [`SMALL`].
pub const READ_ONLY: usize = 2;

/// A region of a client's memory.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    pub address: u32,
    pub bytes: u32,
    pub large: bool,
    pub writable: bool,
}

impl Region {
    pub const fn page(&self) -> u32 {
        if self.large { LARGE_PAGE } else { PAGE }
    }
}

/// The regions of a client: small pages, large pages, read-only.
pub fn regions(client: u16) -> [Region; 3] {
    let region = |address, bytes, large, writable| Region {
        address,
        bytes,
        large,
        writable,
    };
    let (small, large) = match client {
        0 => (32, 2),
        1 => (32, 1),
        _ => (16, 0),
    };
    [
        region(0x10_0000, small * PAGE, false, true),
        region(0x80_0000, large * LARGE_PAGE, true, true),
        region(0x20_0000, 3 * PAGE, false, false),
    ]
}

/// Bytes of which a pattern is a part.
const NOISE: usize = (1 << 18) + 7001;

/// Reproducible bytes with a tag: `len` of them, from place `at` of the pattern.
pub fn pattern(tag: u8, at: usize, len: usize) -> Vec<u8> {
    thread_local! {
        static NOISES: Vec<Vec<u8>> = (0..8).map(|n| noise(n << 5)).collect();
    }
    NOISES.with(|noises| {
        let noise = &noises[usize::from(tag >> 5)];
        let at = at % (NOISE - len + 1);
        noise[at..at + len].to_vec()
    })
}

fn noise(tag: u8) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 11) as u8 & 0x1f | tag
    };
    (0..NOISE).map(next).collect()
}

/// Physical memory, used for one program after the other.
struct Arena {
    physical: Physical,
    /// Where the regions of each client begin.
    regions: Vec<[u64; 3]>,
    reserve: u64,
    nic: u64,
    /// What the regions hold at first.
    images: Vec<[Vec<u8>; 3]>,
}

impl Arena {
    fn new() -> Self {
        let mut allocator = Allocator::new(Physical::new(12 << 20));
        let mut take = |bytes: u32, align: u32| allocator.take(bytes as usize, align as usize);
        let (mut places, mut images) = (Vec::new(), Vec::new());
        for client in 0..CLIENTS {
            let regions = regions(client);
            places.push(regions.map(|r| take(r.bytes, r.page()).paddr));
            let noise = pattern(tag(client), 0, NOISE);
            let image = |r: Region| {
                noise
                    .iter()
                    .copied()
                    .cycle()
                    .take(r.bytes as usize)
                    .collect()
            };
            images.push(regions.map(image));
        }
        let reserve = take(MAX_RESERVE * PAGE, PAGE).paddr;
        let nic = take(NIC_BUFFERS * NIC_BUFFER, PAGE).paddr;
        Self {
            physical: allocator.physical,
            regions: places,
            reserve,
            nic,
            images,
        }
    }

    fn fill(&self) {
        for (places, images) in self.regions.iter().zip(&self.images) {
            for (paddr, image) in places.iter().zip(images) {
                self.physical.write(*paddr, image);
            }
        }
        let others = self.physical.at(self.reserve, 0);
        assert!(others.is_empty());
        let stale = [STALE; PAGE as usize];
        for n in 0..MAX_RESERVE {
            self.physical
                .write(self.reserve + u64::from(n * PAGE), &stale);
        }
    }
}

/// A machine that looks at every small frame that a client gets to see: its
/// bytes must be that client's.
#[derive(Clone, Debug)]
pub struct Watched {
    /// What is watched.
    pub model: ModelMachine,
    large: std::ops::Range<u32>,
    seen: Rc<RefCell<Option<String>>>,
}

impl Watched {
    /// What was seen that should not have been.
    pub fn violation(&self) -> Option<String> {
        self.seen.borrow().clone()
    }

    fn look(&self, client: u16, address: u32, frame: FrameId) {
        if self.large.contains(&frame.0) {
            return;
        }
        let mut bytes = [0; PAGE as usize];
        self.model.read(Place { frame, offset: 0 }, &mut bytes);
        let mine = u64::from_ne_bytes([tag(client); 8]);
        let foreign = |b: &u8| *b != 0 && b & 0xc0 != tag(client);
        for (n, word) in bytes.chunks_exact(8).enumerate() {
            let value = u64::from_ne_bytes(word.try_into().expect("eight bytes"));
            if value & 0xc0c0_c0c0_c0c0_c0c0 != mine && word.iter().any(foreign) {
                let at = address + n as u32 * 8;
                let text = format!("client {client} is given others' bytes at {at:#x}: {word:x?}");
                self.seen.borrow_mut().get_or_insert(text);
                return;
            }
        }
    }
}

impl Machine for Watched {
    fn copy(&mut self, from: Place, to: Place, len: u32) {
        assert!(len != 0, "a copy of nothing");
        self.model.copy(from, to, len);
    }
    fn write(&mut self, to: Place, bytes: &[u8]) {
        self.model.write(to, bytes);
    }
    fn read(&self, from: Place, into: &mut [u8]) {
        self.model.read(from, into);
    }
    fn clear(&mut self, at: Place, len: u32) {
        self.model.clear(at, len);
    }
    fn sum(&self, at: Place, len: u32) -> u16 {
        self.model.sum(at, len)
    }
    fn paddr(&self, at: Place) -> u64 {
        self.model.paddr(at)
    }
    fn map(&mut self, c: u16, at: u32, frame: FrameId, rights: Rights) -> Result<(), MachineError> {
        self.look(c, at, frame);
        self.model.map(c, at, frame, rights)
    }
    fn unmap(&mut self, client: u16, at: u32, frame: FrameId) -> Result<(), MachineError> {
        self.model.unmap(client, at, frame)
    }
    fn protect(
        &mut self,
        client: u16,
        at: u32,
        frame: FrameId,
        rights: Rights,
    ) -> Result<(), MachineError> {
        self.model.protect(client, at, frame, rights)
    }
}

/// What a program starts from.
pub struct Platform {
    pub memory: Memory<Watched>,
    pub model: ModelMachine,
    /// The first of the NIC's buffers.
    pub nic: FrameId,
    /// What the clients' regions hold.
    pub images: Vec<[Vec<u8>; 3]>,
    /// Accounts cannot be told from each other's if this is not what it was.
    pub reserve: u32,
}

impl Platform {
    /// Everything as it is in the beginning.
    pub fn new(reserve: u32, costs: Costs, mutations: Mutations) -> Self {
        thread_local! {
            static ARENA: Arena = Arena::new();
        }
        ARENA.with(|arena| {
            arena.fill();
            Self::on(arena, reserve, costs, mutations)
        })
    }

    fn on(arena: &Arena, reserve: u32, costs: Costs, mutations: Mutations) -> Self {
        let model = ModelMachine::new(arena.physical);
        let mut first = Vec::new();
        let mut large = Vec::new();
        // All small frames, then all large ones, so that they can be told apart.
        for wanted in [false, true] {
            for client in 0..CLIENTS {
                for (index, region) in regions(client).into_iter().enumerate() {
                    if region.large == wanted && region.bytes != 0 {
                        let paddr = arena.regions[usize::from(client)][index];
                        let count = region.bytes / region.page();
                        let frame = model.add_frames(paddr, count, region.page());
                        first.push((client, region, frame));
                        large.extend(wanted.then_some(frame.0..frame.0 + count));
                    }
                }
            }
        }
        let spare = model.add_frames(arena.reserve, MAX_RESERVE, PAGE);
        let nic = model.add_frames(arena.nic, NIC_BUFFERS, NIC_BUFFER);
        let watched = Watched {
            model: model.clone(),
            large: large[0].start..large[large.len() - 1].end,
            seen: Rc::default(),
        };
        let mut memory = Memory::new(watched, costs);
        memory.mutate(mutations);
        for client in 0..CLIENTS {
            memory.add_client(u32::from(client) + 1);
        }
        for (client, region, frame) in first {
            hold(&mut memory, &model, client, region, frame);
        }
        memory.add_reserve(spare, reserve);
        Self {
            memory,
            model,
            nic,
            images: arena.images.clone(),
            reserve,
        }
    }
}

fn hold(
    memory: &mut Memory<Watched>,
    model: &ModelMachine,
    client: u16,
    region: Region,
    first: FrameId,
) {
    let rights = match region.writable {
        true => Rights::Write,
        false => Rights::Read,
    };
    for n in 0..region.bytes / region.page() {
        let address = region.address + n * region.page();
        model.preset(client, address, FrameId(first.0 + n), rights);
    }
    memory.add_holding(
        client,
        HoldingConfig {
            address: region.address,
            bytes: region.bytes,
            large: region.large,
            writable: region.writable,
            first,
        },
    );
}
