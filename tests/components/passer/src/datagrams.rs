//! Over the socket of the commands, with whoever has sent the command.

use core::net::SocketAddr;

use ioipc::net::UdpSocket;
use ioipc::{Buffer, Passing};

use crate::failure::{Failure, Result};
use crate::meter::Meter;
use crate::order::Order;
use crate::pattern::{self, SCRIBBLE};
use crate::text::Text;
use crate::{PATIENCE, Tools};

/// Sends the datagrams of an order.
pub fn send(
    tools: &Tools,
    order: &Order,
    to: SocketAddr,
    room: &mut [u8],
    answer: &mut Text,
) -> Result<()> {
    let from = room.get_mut(order.offset..).unwrap_or_default();
    let bytes = from.get_mut(..order.total()).ok_or(Failure::Order)?;
    pattern::fill(bytes, 0);
    let meter = Meter::start()?;
    let pieces = bytes.chunks_mut(order.size);
    for (piece, at) in pieces.zip((0..).step_by(order.size)) {
        match (order.of_system(), order.passing) {
            (Some(passing), _) => send_buffer(&tools.commands, at, order.size, to, passing)?,
            (None, Some(passing)) => drop(tools.commands.send_to_with(piece, to, passing)?),
            (None, None) => drop(tools.commands.send_to(piece, to)?),
        }
        piece.fill(SCRIBBLE);
    }
    meter.stop(answer)
}

fn send_buffer(
    socket: &UdpSocket,
    at: usize,
    size: usize,
    to: SocketAddr,
    passing: Passing,
) -> Result<()> {
    let mut buffer = Buffer::alloc(size)?;
    pattern::fill(&mut buffer, at);
    let sent = socket.send_buffer_to_with(buffer, to, passing);
    Ok(sent.map_err(|unsent| unsent.error)?)
}

/// Receives the datagrams of an order, after having said that they may come.
pub fn receive(
    tools: &Tools,
    order: &Order,
    from: SocketAddr,
    room: &mut [u8],
    answer: &mut Text,
) -> Result<()> {
    let socket = &tools.commands;
    let bytes = room.get_mut(order.offset..).unwrap_or_default();
    // More than comes: the rest must not be touched.
    let most = bytes.len().min(order.size + 4096);
    let bytes = bytes.get_mut(..most).unwrap_or_default();
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(b"ready", from)?;
    let meter = Meter::start()?;
    let (mut at, mut wrong) = (0, 0);
    for _ in 0..order.count {
        let received = match order.of_system() {
            Some(passing) => receive_buffer(socket, at, passing),
            None => receive_from(socket, at, bytes, order.passing),
        };
        let Ok((len, bad)) = received else {
            break;
        };
        (at, wrong) = (at + len, wrong + bad);
    }
    socket.set_read_timeout(None)?;
    answer.say(format_args!("bytes={at} wrong={wrong}"));
    meter.stop(answer)
}

/// How many bytes came, and how many were wrong.
fn receive_from(
    socket: &UdpSocket,
    at: usize,
    bytes: &mut [u8],
    passing: Option<Passing>,
) -> Result<(usize, usize)> {
    bytes.fill(SCRIBBLE);
    let (len, _) = match passing {
        Some(passing) => socket.recv_from_with(bytes, passing)?,
        None => socket.recv_from(bytes)?,
    };
    let (came, rest) = bytes.split_at(len.min(bytes.len()));
    Ok((len, pattern::wrong(came, at) + pattern::touched(rest)))
}

fn receive_buffer(socket: &UdpSocket, at: usize, passing: Passing) -> Result<(usize, usize)> {
    let datagram = socket.recv_buffer_with(passing)?;
    Ok((datagram.len(), pattern::wrong(&datagram, at)))
}
