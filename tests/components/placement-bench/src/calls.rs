//! Loads served with plain socket calls, on memory of the component's own: what
//! a program that knows nothing of semantics does, and so emulated copy.
//!
//! Invariant: one buffer, used again as soon as the call returns.

use core::net::SocketAddr;

use ioipc::net::{TcpStream, UdpSocket};
use ioipc::{Passing, Semantics};
use spin::Mutex;

use crate::failure::{Failure, Result};
use crate::order::{MOST, Order, Way};
use crate::pattern;

/// Bytes of the slots that datagrams are received into ahead of time; longer
/// ones are received into the buffer itself.
const SLOT: usize = 2048;

/// The buffer, from the start of a page on.
#[repr(align(4096))]
struct Room([u8; MOST]);

static ROOM: Mutex<Room> = Mutex::new(Room([0; MOST]));

/// Serves datagrams until the peer ends it: the bytes received.
pub fn datagrams(socket: &UdpSocket, order: &Order) -> Result<u64> {
    if order.bytes > SLOT && order.way != Way::Out {
        socket.set_receive_semantics(Passing::new(Semantics::EmulatedCopy));
    }
    let mut room = ROOM.lock();
    let room = room.0.get_mut(..order.bytes).unwrap_or_default();
    let mut done = 0;
    loop {
        let Some(from) = burst_in(socket, order, room, &mut done)? else {
            return Ok(done);
        };
        match order.way {
            Way::Echo => {}
            Way::In => drop(socket.send_to(&done.to_le_bytes(), from)?),
            Way::Out => {
                for _ in 0..order.count {
                    pattern::fill(room, done);
                    socket.send_to(room, from)?;
                    done += room.len() as u64;
                }
            }
        }
    }
}

/// Receives, and for an echo sends back, a burst, or the word that asks for one
/// the other way. Who sent it; none at the end.
fn burst_in(
    socket: &UdpSocket,
    order: &Order,
    room: &mut [u8],
    done: &mut u64,
) -> Result<Option<SocketAddr>> {
    let mut left = match order.way {
        Way::Out => 1,
        Way::In | Way::Echo => order.count,
    };
    loop {
        let (len, from) = socket.recv_from(room)?;
        let bytes = room.get(..len).unwrap_or_default();
        if bytes == u64::MAX.to_le_bytes() {
            return Ok(None);
        }
        if order.way != Way::Out {
            if len != order.bytes || !pattern::is_right(bytes, *done) {
                return Err(Failure::Wrong(*done));
            }
            *done += len as u64;
            if order.way == Way::Echo {
                socket.send_to(bytes, from)?;
            }
        }
        left -= 1;
        if left == 0 {
            return Ok(Some(from));
        }
    }
}

/// Serves a stream until the peer ends it: the bytes received.
pub fn stream(stream: &TcpStream, order: &Order) -> Result<u64> {
    let mut room = ROOM.lock();
    let room = room.0.get_mut(..order.bytes).unwrap_or_default();
    if order.way == Way::Out {
        return stream_out(stream, order, room);
    }
    let burst = (order.bytes * order.count) as u64;
    let mut done = 0;
    loop {
        let len = stream.read(room)?;
        let bytes = room.get(..len).unwrap_or_default();
        if len == 0 {
            return Ok(done);
        }
        if !pattern::is_right(bytes, done) {
            return Err(Failure::Wrong(done));
        }
        done += len as u64;
        match order.way {
            Way::Echo => stream.write_all(bytes)?,
            _ if done.is_multiple_of(burst) => stream.write_all(&done.to_le_bytes())?,
            _ => {}
        }
    }
}

fn stream_out(stream: &TcpStream, order: &Order, room: &mut [u8]) -> Result<u64> {
    let (mut word, mut had, mut done) = ([0; 8], 0, 0);
    loop {
        let rest = word.get_mut(had..).unwrap_or_default();
        had += match stream.read(rest)? {
            0 => return Ok(done),
            len => len,
        };
        if had < word.len() {
            continue;
        }
        had = 0;
        for _ in 0..order.count {
            pattern::fill(room, done);
            stream.write_all(room)?;
            done += room.len() as u64;
        }
    }
}
