//! Sends of a client that are on their way, and what a server says of them.

use socket_api::{Extent, Op, Part, Request, SocketKind, flags};

use super::Parties;

pub fn part(request: &Request, offset: u32, len: u32) -> Part {
    Part {
        token: request.user_data,
        offset,
        len,
    }
}

/// A `Send` of client `client` on its way.
pub fn sending(parties: &mut Parties, client: usize, what: SocketKind, send: Request) -> Request {
    let (handle, _) = parties.open(client, what);
    let request = Request {
        op: Op::Send as u16,
        socket: handle,
        user_data: 5,
        ..send
    };
    parties.submit(client, request);
    parties.forwarded(0)
}

pub fn of(address: u32, len: u32) -> Request {
    Request {
        extent: Extent { address, len },
        ..Request::default()
    }
}

pub fn blocked(address: u32, len: u32) -> Request {
    Request {
        flags: flags::BLOCKED,
        ..of(address, len)
    }
}

/// The server sends a frame with `parts`.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 + n / 251) as u8).collect()
}
