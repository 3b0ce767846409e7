//! Random programs over both hosts and all clients.
//!
//! Invariant: a program is data, so it can be printed, repeated and made
//! smaller; every operation is possible in every state, or is passed over.

use ioipc::{Passing, Semantics, Technique};
use model_tests::{LARGE, LARGE_BYTES};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// A client: number `client` of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub host: usize,
    pub client: usize,
}

/// How an operation is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By a blocking call.
    Blocking,
    /// By a call that never waits, through slots.
    Now,
    /// Submitted, done later.
    Queue,
}

/// A change of memory by another thread while a call blocks: after so many
/// steps, at an address, of so many bytes.
#[derive(Clone, Copy, Debug)]
pub struct Later {
    pub steps: usize,
    pub at: u32,
    pub len: usize,
}

/// What a client, or the world, does.
#[derive(Clone, Debug)]
pub enum Op {
    Send {
        end: End,
        at: u32,
        len: usize,
        passing: Option<Passing>,
        mode: Mode,
        later: Option<Later>,
    },
    Receive {
        end: End,
        at: u32,
        room: usize,
        passing: Option<Passing>,
        mode: Mode,
    },
    SendBuffer {
        end: End,
        len: usize,
        passing: Option<Passing>,
        queue: bool,
    },
    ReceiveBuffer {
        end: End,
        passing: Option<Passing>,
        onward: bool,
    },
    Store {
        end: End,
        at: u32,
        len: usize,
    },
    Step {
        steps: usize,
        frames: usize,
    },
    Poll,
    Die {
        end: End,
    },
}

/// A program and the world it runs in.
#[derive(Clone, Debug)]
pub struct Program {
    pub stream: bool,
    pub ahead: bool,
    /// The NICs demultiplex early, and take frames of two pages.
    pub steering: bool,
    /// The NICs fill in checksums.
    pub checksum: bool,
    /// Payload is passed by value.
    pub conventional: bool,
    /// How much dearer page operations are than measured, in percent.
    pub mapping: u32,
    /// One frame in so many is lost, or overtakes another (streams only).
    pub wire: (u32, u32),
    pub ops: Vec<Op>,
}

fn end() -> impl Strategy<Value = End> {
    (0usize..2, 0usize..2).prop_map(|(host, client)| End { host, client })
}

/// The first byte that programs use: 512 KiB of 4 KiB pages, then 2 MiB ones.
pub const FIRST: u32 = LARGE - (512 << 10);
/// The end of what they use.
pub const LAST: u32 = LARGE + LARGE_BYTES / 2 + (256 << 10);

fn place() -> impl Strategy<Value = u32> {
    let near = || select(vec![0u32, 0, 0, 1, 2, 3, 4, 8, 100, 2048, 4095, 4097]);
    let middle = LARGE + LARGE_BYTES / 2;
    prop_oneof![
        8 => (0u32..24, near()).prop_map(|(page, off)| FIRST + page * 4096 + off),
        4 => (0u32..24 * 4096).prop_map(|at| FIRST + at),
        1 => near().prop_map(|back| LARGE - 1 - back),
        3 => (0u32..16, near()).prop_map(|(page, off)| LARGE + page * 4096 + off),
        1 => near().prop_map(move |back| middle - 1 - back),
        1 => Just(middle),
    ]
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => select(vec![0usize, 1, 2, 3, 7, 42, 100, 1471, 1472, 1473]),
        4 => select(vec![2047, 2048, 2049, 4095, 4096, 4097, 8191, 8192, 8193]),
        2 => 0usize..10_000,
        1 => select(vec![12_288, 16_385, 20_000, 40_961, 65_507]),
    ]
}

fn room() -> impl Strategy<Value = usize> {
    prop_oneof![
        2 => length(),
        3 => Just(65_507usize),
        3 => select(vec![8192usize, 9000, 4096]),
    ]
}

/// The same where payload is passed by value.
pub fn conventional(stream: bool) -> impl Strategy<Value = Program> {
    program(stream).prop_map(|program| Program {
        conventional: true,
        ..program
    })
}

fn passing(semantics: &[Semantics], techniques: &[Technique]) -> BoxedStrategy<Option<Passing>> {
    let forced = techniques.iter().map(|t| Some(*t));
    let forced: Vec<_> = forced.chain(vec![None; techniques.len()]).collect();
    let chosen = (select(semantics.to_vec()), select(forced));
    prop_oneof![
        1 => Just(None),
        4 => chosen.prop_map(|(semantics, forced)| Some(Passing { semantics, forced })),
    ]
    .boxed()
}

fn application(output: bool) -> BoxedStrategy<Option<Passing>> {
    use Semantics as S;
    use Technique as T;
    let all = &[
        S::Copy,
        S::EmulatedCopy,
        S::EmulatedCopy,
        S::Share,
        S::EmulatedShare,
    ];
    match output {
        true => passing(all, &[T::Reference, T::Tcow, T::Tcow, T::Tcow, T::CopyOut]),
        false => passing(all, &[T::InPlace, T::Swap, T::Swap, T::CopyIn]),
    }
}

fn system(output: bool) -> BoxedStrategy<Option<Passing>> {
    use Semantics as S;
    use Technique as T;
    let all = &[S::Move, S::EmulatedMove, S::WeakMove, S::EmulatedWeakMove];
    match output {
        true => passing(all, &[T::Reference, T::Hide, T::Remove]),
        false => passing(all, &[T::InPlace, T::Reinstate, T::Create]),
    }
}

fn mode() -> impl Strategy<Value = Mode> {
    select(vec![
        Mode::Blocking,
        Mode::Blocking,
        Mode::Queue,
        Mode::Queue,
        Mode::Queue,
        Mode::Now,
    ])
}

fn later() -> impl Strategy<Value = Option<Later>> {
    let later = (1usize..12, place(), 1usize..9000);
    proptest::option::of(later.prop_map(|(steps, at, len)| Later { steps, at, len }))
}

fn op(deaths: bool) -> impl Strategy<Value = Op> {
    let send = (end(), place(), length(), application(true), mode(), later()).prop_map(
        |(end, at, len, passing, mode, later)| Op::Send {
            end,
            at,
            len,
            passing,
            mode,
            later,
        },
    );
    let receive = (end(), place(), room(), application(false), mode()).prop_map(
        |(end, at, room, passing, mode)| Op::Receive {
            end,
            at,
            room,
            passing,
            mode,
        },
    );
    let send_buffer = (end(), length(), system(true), any::<bool>());
    let send_buffer = send_buffer.prop_map(|(end, len, passing, queue)| Op::SendBuffer {
        end,
        len: len.min(16_384),
        passing,
        queue,
    });
    let receive_buffer = (end(), system(false), any::<bool>());
    let receive_buffer = receive_buffer.prop_map(|(end, passing, onward)| Op::ReceiveBuffer {
        end,
        passing,
        onward,
    });
    let store = (end(), place(), length());
    let step = (0usize..6, select(vec![0usize, 1, 1, 2, 64]));
    prop_oneof![
        8 => send,
        8 => receive,
        4 => send_buffer,
        6 => receive_buffer,
        4 => store.prop_map(|(end, at, len)| Op::Store { end, at, len }),
        3 => step.prop_map(|(steps, frames)| Op::Step { steps, frames }),
        2 => Just(Op::Poll),
        1 => end().prop_map(move |end| match deaths {
            true => Op::Die { end },
            false => Op::Poll,
        }),
    ]
}

/// Programs for datagrams or streams.
pub fn program(stream: bool) -> impl Strategy<Value = Program> {
    let world = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        select(vec![100, 5, 1000]),
    );
    let wire = prop_oneof![Just((0, 0)), select(vec![(7, 0), (0, 4), (20, 5)]),];
    // Deaths are rare: a dead client does nothing more.
    let ops = prop_oneof![3 => vec(op(false), 1..60), 1 => vec(op(true), 1..60)];
    (world, wire, ops).prop_map(
        move |((ahead, steering, checksum, mapping), wire, ops)| Program {
            stream,
            ahead,
            steering,
            checksum,
            conventional: false,
            mapping,
            wire: if stream { wire } else { (0, 0) },
            ops,
        },
    )
}
