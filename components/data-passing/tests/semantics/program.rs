//! Random programs: what they are made of, how they are drawn and printed.
//!
//! Invariant: every drawn number means something in every state, so that a
//! program still runs when some of its operations have been taken out.

use std::fmt;

use data_passing::Costs;
use proptest::prelude::*;
use socket_api::{Passing, Semantics, Technique};

use crate::coverage::{CELLS, Cell};
use crate::platform::{LARGE, MAX_RESERVE};

/// Where in a client's memory, before it is known how things are there.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    pub client: u16,
    pub region: usize,
    pub len: u32,
    /// 0 to 3 at a page, 4 to 6 anywhere, 7 at the end, 8 where an operation
    /// is, 9 past the end, 10 outside.
    pub kind: u8,
    pub fine: u32,
}

/// How an operation is begun.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    pub cell: Cell,
    pub at: Spot,
    pub forced: Option<Technique>,
    pub blocked: bool,
    pub early: bool,
}

impl Begin {
    pub fn passing(&self) -> Passing {
        Passing {
            semantics: self.cell.semantics,
            forced: self.forced,
        }
    }
}

/// One operation. Numbers `which` choose among those that are going on;
/// fractions are in 65536ths.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    Load(Spot),
    Store(Spot),
    /// Part of what is being sent or received into.
    StoreOver {
        which: u32,
        fine: u32,
    },
    Output(Begin),
    Input(Begin),
    DeviceReads {
        which: u32,
        from: u32,
        len: u32,
    },
    Deliver {
        which: u32,
        len: u32,
        pieces: u32,
    },
    DeviceWrites {
        which: u32,
        from: u32,
        len: u32,
    },
    DeliverPosted {
        which: u32,
        len: u32,
    },
    HoldBack {
        which: u32,
        from: u32,
    },
    Sum {
        which: u32,
        from: u32,
        len: u32,
    },
    EndOutput {
        which: u32,
    },
    EndInput {
        which: u32,
    },
    ReadClient(Spot),
    WriteClient(Spot),
    Restore {
        client: u16,
    },
    Vanish {
        client: u16,
        order: u32,
    },
}

/// A program and the surroundings that it runs in.
#[derive(Clone)]
pub struct Program {
    pub reserve: u32,
    pub costs: Costs,
    pub ops: Vec<Op>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "reserve of {} frames; {}", self.reserve, self.costs)?;
        for (n, op) in self.ops.iter().enumerate() {
            writeln!(f, "  {n:3}: {op:?}")?;
        }
        Ok(())
    }
}

/// The size classes, by number, for the coverage table.
pub const SIZES: [&str; 7] = [
    "0", "1..=64", "..=4095", "4096", "4097..", "8192..", "65536..",
];

/// Which class a size is in.
pub const fn size_class(len: u32) -> usize {
    match len {
        0 => 0,
        1..=64 => 1,
        65..=4095 => 2,
        4096 => 3,
        4097..=8191 => 4,
        8192..=65535 => 5,
        _ => 6,
    }
}

fn size(class: u32, fine: u32) -> u32 {
    let edge = fine.is_multiple_of(4);
    let fine = fine >> 2;
    match class {
        0 => 0,
        1 => 1 + fine % 64,
        2 if edge => 4095,
        2 => 65 + fine % 4031,
        3 => 4096,
        4 if edge => 4097,
        4 => 4097 + fine % 4095,
        5 if edge => 4096 * (2 + fine % 14),
        5 => 8192 + fine % 57344,
        _ if edge => 65536,
        _ => 65536 + fine % 20000,
    }
}

/// Numbers from which one operation is made.
#[derive(Clone, Copy, Debug)]
struct Raw {
    kind: u32,
    a: u32,
    b: u32,
    class: u32,
    flags: u32,
}

impl Raw {
    fn spot(self) -> Spot {
        let choice = self.flags >> 4;
        Spot {
            client: (choice % 3) as u16,
            region: [0, 0, 1, 2][(choice / 3 % 4) as usize],
            len: size(self.class.min(6), self.b),
            kind: (choice / 12 % 11) as u8,
            fine: self.a,
        }
    }

    /// A beginning that mostly does what its cell says.
    fn begin(self, input: bool) -> Begin {
        let mut fits: Vec<&Cell> = CELLS.iter().filter(|c| c.input == input).collect();
        // Twice as often what is often refused.
        fits.extend(fits.clone().into_iter().filter(|c| c.is_often_refused()));
        let cell = *fits[(self.a >> 8) as usize % fits.len()];
        let odd = self.flags % 16;
        let needs_blocked = cell.semantics == Semantics::EmulatedCopy
            && matches!(cell.technique, Technique::Reference | Technique::InPlace);
        let mut at = self.spot();
        at.region = usize::from(cell.large);
        if needs_blocked && odd != 1 {
            at.client = 0;
        }
        if cell.large {
            at.client %= 2;
        }
        if !input && cell.technique == Technique::Reference && odd == 2 {
            at.region = 2;
        }
        if cell.semantics.is_system_allocated() && odd != 3 {
            at.kind %= 4;
        }
        Begin {
            cell,
            at,
            forced: match odd {
                4..=6 => None,
                7 => Technique::from_number((self.b % 10 + 1) as u16),
                _ => Some(cell.technique),
            },
            blocked: needs_blocked || odd == 8,
            early: input
                && match cell.technique {
                    Technique::InPlace | Technique::Swap => odd != 9,
                    _ => self.a >> 31 != 0,
                },
        }
    }

    fn op(self) -> Op {
        let (which, from, len) = (self.flags >> 4, self.a & 0xffff, self.b & 0xffff);
        let client = (self.flags % 3) as u16;
        match self.kind {
            0..3 => Op::Load(self.spot()),
            3..7 => Op::Store(self.spot()),
            7..14 => Op::StoreOver {
                which,
                fine: self.a,
            },
            14..29 => Op::Output(self.begin(false)),
            29..52 => Op::Input(self.begin(true)),
            52..56 => Op::DeviceReads { which, from, len },
            56..68 => Op::Deliver {
                which,
                len: self.a & 0x1ffff,
                pieces: self.b % 6,
            },
            68..71 => Op::DeviceWrites { which, from, len },
            71..86 => Op::DeliverPosted {
                which,
                len: self.a & 0x1ffff,
            },
            86..88 => Op::HoldBack { which, from },
            88..90 => Op::Sum { which, from, len },
            90..93 => Op::EndOutput { which },
            93..95 => Op::EndInput { which },
            95 => Op::ReadClient(self.spot()),
            96 => Op::WriteClient(self.spot()),
            97..99 => Op::Restore { client },
            _ => Op::Vanish {
                client,
                order: self.a,
            },
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    let numbers = (
        0..100_u32,
        any::<u32>(),
        any::<u32>(),
        0..8_u32,
        any::<u32>(),
    );
    numbers.prop_map(|(kind, a, b, class, flags)| {
        let raw = Raw {
            kind,
            a,
            b,
            class,
            flags,
        };
        raw.op()
    })
}

/// Programs of up to `ops` operations.
pub fn program(ops: usize) -> impl Strategy<Value = Program> {
    let costs = (0..3_usize).prop_map(|n| [Costs::PINNED, mapping(10, 1), mapping(1, 10)][n]);
    let reserve = prop_oneof![0..=16_u32, 17..=MAX_RESERVE, 17..=MAX_RESERVE];
    let parts = (reserve, costs, proptest::collection::vec(op(), 1..=ops));
    parts.prop_map(|(reserve, costs, ops)| Program {
        reserve,
        costs,
        ops,
    })
}

/// The pinned costs, page operations dearer by `mul` and cheaper by `div`.
pub fn mapping(mul: u32, div: u32) -> Costs {
    let pinned = Costs::PINNED;
    let scaled = |cost: u32| cost * mul / div;
    Costs {
        map: scaled(pinned.map),
        unmap: scaled(pinned.unmap),
        protect: scaled(pinned.protect),
        fault: scaled(pinned.fault),
        ..pinned
    }
}

impl Spot {
    /// `len` bytes from the start of a page of a region on.
    pub const fn page(client: u16, region: usize, page: u32, len: u32) -> Self {
        Self {
            client,
            region,
            len,
            kind: 0,
            fine: page,
        }
    }
}

impl Begin {
    /// With a technique forced; the client does not wait.
    pub fn forced(input: bool, semantics: Semantics, technique: Technique, at: Spot) -> Self {
        let cell = Cell {
            input,
            semantics,
            technique,
            large: at.region == LARGE,
        };
        Self {
            cell,
            at,
            forced: Some(technique),
            blocked: false,
            early: false,
        }
    }
}
