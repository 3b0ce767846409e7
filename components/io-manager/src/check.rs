//! The fields of a request that can be judged without knowing sockets.
//!
//! Invariant: a request that passes names an operation that clients may ask
//! for, has only the flags that the operation knows, zero in every field that
//! the operation does not use, and an extent inside the client's data region.

use core::mem::offset_of;

use socket_api::{Extent, Op, Request, SocketKind, Status, WireAddress, flags};

/// Most connections that may wait for an `Accept`.
const MOST_BACKLOG: u64 = 1024;
/// Longest host name (RFC 1035, 2.3.4).
const MOST_NAME: u32 = 253;
/// Room that `Resolve` needs for its answer, in bytes.
const LEAST_ROOM: u64 = 16;

/// Why a request goes no further: the completion's status and `arg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub status: Status,
    pub arg: u64,
}

impl Refusal {
    pub const BAD_SOCKET: Self = Self::new(Status::BadSocket, 0);
    pub const SERVER_GONE: Self = Self::new(Status::ServerGone, 0);
    pub const NOT_FOUND: Self = Self::new(Status::NotFound, 0);

    pub const fn new(status: Status, arg: u64) -> Self {
        Self { status, arg }
    }

    /// The quota number `which` is used up.
    pub const fn quota(which: usize) -> Self {
        Self::new(Status::QuotaExceeded, which as u64)
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

/// Checks `request` of a client whose data region has `data_bytes`, in a
/// system with `servers` servers.
#[inline]
pub(crate) fn check(request: &Request, data_bytes: u32, servers: usize) -> Result<Op, Refusal> {
    let op = Op::from_number(request.op).filter(|op| *op != Op::DropClient);
    let Some(op) = op else {
        return Err(Refusal::field(offset_of!(Request, op)));
    };
    if cfg!(feature = "mutation-no-validation") {
        return Ok(op);
    }
    refuse_unless!(request.flags & !legal_flags(op) == 0, flags);
    refuse_unless!(request.client == 0, client);
    refuse_unless!(request.reserved == 0, reserved);
    refuse_unless!(uses_socket(op) || request.socket == 0, socket);
    refuse_unless!(legal_extent(op, &request.extent, data_bytes), extent);
    refuse_unless!(legal_address(op, &request.address, servers), address);
    refuse_unless!(legal_arg(op, request, data_bytes), arg);
    Ok(op)
}

/// Whether the operation is one on an open socket.
#[inline]
pub(crate) fn uses_socket(op: Op) -> bool {
    !matches!(op, Op::Open | Op::Resolve | Op::AwaitAddress)
}

#[inline]
fn legal_flags(op: Op) -> u16 {
    match op {
        Op::Send => flags::NO_WAIT | flags::NO_DELAY | flags::QUIET,
        Op::Recv | Op::Accept | Op::AwaitAddress => flags::NO_WAIT,
        Op::Bind => flags::REUSE_ADDRESS,
        _ => 0,
    }
}

#[inline]
fn legal_extent(op: Op, extent: &Extent, data_bytes: u32) -> bool {
    match op {
        Op::Send | Op::Recv => extent.fits(data_bytes as usize),
        Op::Resolve => {
            extent.len != 0 && extent.len <= MOST_NAME && extent.fits(data_bytes as usize)
        }
        _ => *extent == Extent::default(),
    }
}

#[inline]
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

#[inline]
fn is_none(address: &WireAddress) -> bool {
    *address == WireAddress::NONE
}

#[inline]
fn is_address(address: &WireAddress) -> bool {
    match address.family {
        4 => address.octets[4..] == [0; 12],
        6 => true,
        _ => false,
    }
}

#[inline]
fn legal_arg(op: Op, request: &Request, data_bytes: u32) -> bool {
    let arg = request.arg;
    match op {
        Op::Open => arg <= u64::from(u16::MAX) && SocketKind::from_number(arg as u16).is_some(),
        Op::Listen => (1..=MOST_BACKLOG).contains(&arg),
        Op::Shutdown => (1..=3).contains(&arg),
        Op::Resolve => {
            let end = u64::from(request.extent.offset).checked_add(arg);
            arg >= LEAST_ROOM.max(u64::from(request.extent.len))
                && end.is_some_and(|end| end <= u64::from(data_bytes))
        }
        Op::Close | Op::Cancel => true,
        _ => arg == 0,
    }
}
