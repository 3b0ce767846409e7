//! The fields of a request that can be judged without knowing sockets.
//!
//! Invariant: a request that passes names an operation that clients may ask
//! for, has only the flags that the operation knows, zero in every field that
//! the operation does not use, and an extent that ends below 4 GiB. Whether
//! the extent lies in memory of the client's is judged when its bytes are
//! passed ([`Refusal::passing`]).

use core::mem::offset_of;

use data_passing::PassingError;
use socket_api::{
    Account, Extent, Op, Passing, Request, Semantics, SocketKind, Status, WireAddress, flags, null,
};

/// Most connections that may wait for an `Accept`.
const MOST_BACKLOG: u64 = 1024;
/// Longest host name (RFC 1035, 2.3.4).
const MOST_NAME: u32 = 253;
/// Room that `Resolve` needs for its answer, in bytes.
const LEAST_ROOM: u64 = 16;
/// What client libraries ask for with slots, and with whole buffers.
pub(crate) const SHARED: u32 = Passing::new(Semantics::EmulatedShare).word();
pub(crate) const MOVED: u32 = Passing::new(Semantics::EmulatedWeakMove).word();
/// Flags that contradict each other.
const REPOSTED_BLOCKED: u16 = flags::REPOST | flags::BLOCKED;
/// Client addresses end here.
const ADDRESS_END: u64 = 1 << 32;

/// Why a request goes no further: the completion's status and `arg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub status: Status,
    pub arg: u64,
}

impl Refusal {
    pub const BAD_SOCKET: Self = Self::new(Status::BadSocket, 0);
    pub const NOT_FOUND: Self = Self::new(Status::NotFound, 0);

    pub const fn new(status: Status, arg: u64) -> Self {
        Self { status, arg }
    }

    /// The quota number `which` is used up.
    pub const fn quota(which: usize) -> Self {
        Self::new(Status::QuotaExceeded, which as u64)
    }

    /// There are no frames or slots for it.
    pub const NO_RESOURCES: Self = Self::new(Status::NoResources, 0);

    /// A flag is not one for the socket.
    pub const FLAGS: Self = Self::field(offset_of!(Request, flags));

    /// Bytes cannot be passed.
    pub const fn passing(error: PassingError) -> Self {
        match error {
            PassingError::Extent | PassingError::NotMapped => {
                Self::field(offset_of!(Request, extent))
            }
            PassingError::Technique => Self::field(offset_of!(Request, passing)),
            PassingError::NoFrames | PassingError::Machine => Self::NO_RESOURCES,
        }
    }

    /// The field at byte `offset` of the request is not legal.
    const fn field(offset: usize) -> Self {
        Self::new(Status::BadRequest, offset as u64)
    }
}

/// Names a field by its offset.
macro_rules! refuse_unless {
    ($ok:expr, $field:ident) => {
        if !$ok {
            return Err(Refusal::field(offset_of!(Request, $field)));
        }
    };
}

/// The operation that a request names.
#[inline]
pub(crate) fn operation(request: &Request) -> Result<Op, Refusal> {
    let op = Op::from_number(request.op).filter(|op| *op != Op::DropClient);
    op.ok_or(Refusal::field(offset_of!(Request, op)))
}

/// Checks the other fields of a request for `op`, in a system with `servers`
/// servers. Inlined where the operation is known, which leaves a few tests.
#[inline(always)]
pub(crate) fn check(op: Op, request: &Request, servers: usize) -> Result<(), Refusal> {
    if cfg!(feature = "mutation-no-validation") {
        return Ok(());
    }
    refuse_unless!(request.flags & !legal_flags(op) == 0, flags);
    // Who waits for nothing else would wait for a datagram.
    refuse_unless!(request.flags & REPOSTED_BLOCKED != REPOSTED_BLOCKED, flags);
    refuse_unless!(request.client == 0, client);
    refuse_unless!(legal_passing(op, request.passing), passing);
    refuse_unless!(uses_socket(op) || request.socket == 0, socket);
    refuse_unless!(legal_extent(op, &request.extent), extent);
    refuse_unless!(legal_address(op, &request.address, servers), address);
    refuse_unless!(legal_arg(op, request), arg);
    Ok(())
}

/// Whether the operation is one on an open socket.
#[inline(always)]
pub(crate) fn uses_socket(op: Op) -> bool {
    !matches!(
        op,
        Op::Open | Op::Resolve | Op::AwaitAddress | Op::Account | Op::Exchange
    )
}

#[inline(always)]
fn legal_flags(op: Op) -> u16 {
    match op {
        Op::Send => {
            flags::NO_WAIT | flags::NO_DELAY | flags::QUIET | flags::BLOCKED | flags::REPOST
        }
        Op::Recv => flags::NO_WAIT | flags::BLOCKED,
        Op::Accept | Op::AwaitAddress => flags::NO_WAIT,
        Op::Bind => flags::REUSE_ADDRESS,
        _ => 0,
    }
}

#[inline(always)]
fn legal_passing(op: Op, word: u32) -> bool {
    match op {
        _ if word == 0 => true,
        Op::Send | Op::Recv => matches!(word, SHARED | MOVED) || Passing::from_word(word).is_some(),
        _ => false,
    }
}

#[inline(always)]
fn legal_extent(op: Op, extent: &Extent) -> bool {
    match op {
        Op::Send | Op::Recv | Op::Exchange => extent.end() <= ADDRESS_END,
        Op::Resolve => (1..=MOST_NAME).contains(&extent.len) && extent.end() <= ADDRESS_END,
        Op::Account => extent.len as usize >= size_of::<Account>() && extent.end() <= ADDRESS_END,
        _ => *extent == Extent::default(),
    }
}

#[inline(always)]
fn legal_address(op: Op, address: &WireAddress, servers: usize) -> bool {
    match op {
        Op::Send if address.family == 0 => is_none(address),
        Op::Send | Op::Bind | Op::Connect => {
            (address.nic as usize) < servers && is_address(address)
        }
        Op::Open | Op::Resolve | Op::AwaitAddress => {
            (address.nic as usize) < servers && is_none(&WireAddress { nic: 0, ..*address })
        }
        _ => is_none(address),
    }
}

#[inline(always)]
fn is_none(address: &WireAddress) -> bool {
    *address == WireAddress::NONE
}

#[inline(always)]
fn is_address(address: &WireAddress) -> bool {
    match address.family {
        4 => address.octets[4..] == [0; 12],
        6 => true,
        _ => false,
    }
}

#[inline(always)]
fn legal_arg(op: Op, request: &Request) -> bool {
    let arg = request.arg;
    match op {
        Op::Open => match SocketKind::from_number(arg as u16) {
            Some(SocketKind::Null) => arg & !(u64::from(u16::MAX) | null::ALL) == 0,
            Some(_) => arg <= u64::from(u16::MAX),
            None => false,
        },
        Op::Listen => (1..=MOST_BACKLOG).contains(&arg),
        Op::Shutdown => (1..=3).contains(&arg),
        Op::Resolve => {
            let end = u64::from(request.extent.address).checked_add(arg);
            arg >= LEAST_ROOM.max(u64::from(request.extent.len))
                && end.is_some_and(|end| end <= ADDRESS_END)
        }
        Op::Send if request.flags & flags::REPOST != 0 => {
            let end = u64::from(request.extent.address).saturating_add(arg);
            arg != 0 && end <= ADDRESS_END
        }
        Op::Close | Op::Cancel => true,
        Op::Exchange => arg < ADDRESS_END,
        _ => arg == 0,
    }
}
