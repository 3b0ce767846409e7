//! Over a TCP connection that the other side has opened, or will.

use ioipc::net::{Shutdown, TcpStream};
use ioipc::{Buffer, Passing};

use crate::failure::{Failure, Result};
use crate::meter::Meter;
use crate::order::Order;
use crate::pattern::{self, SCRIBBLE};
use crate::text::Text;
use crate::{PATIENCE, Tools};

/// The next connection, on which nothing takes for ever.
pub fn accept(tools: &Tools) -> Result<TcpStream> {
    let (stream, _) = tools.listener.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends all bytes of an order, and the end of the stream.
pub fn send(tools: &Tools, order: &Order, room: &mut [u8], answer: &mut Text) -> Result<()> {
    let stream = accept(tools)?;
    let from = room.get_mut(order.offset..).unwrap_or_default();
    let bytes = from.get_mut(..order.total()).ok_or(Failure::Order)?;
    pattern::fill(bytes, 0);
    let meter = Meter::start()?;
    let pieces = bytes.chunks_mut(order.size);
    for (piece, at) in pieces.zip((0..).step_by(order.size)) {
        match order.of_system() {
            Some(passing) => send_buffer(&stream, at, order.size, passing)?,
            None => write(&stream, piece, order.passing)?,
        }
        piece.fill(SCRIBBLE);
    }
    stream.flush()?;
    meter.stop(answer)?;
    Ok(stream.shutdown(Shutdown::Write)?)
}

fn write(stream: &TcpStream, piece: &[u8], passing: Option<Passing>) -> Result<()> {
    let mut done = 0;
    while let Some(rest) = piece.get(done..).filter(|rest| !rest.is_empty()) {
        done += match passing {
            Some(passing) => stream.write_with(rest, passing)?,
            None => stream.write(rest)?,
        };
    }
    Ok(())
}

fn send_buffer(stream: &TcpStream, at: usize, size: usize, passing: Passing) -> Result<()> {
    let mut buffer = Buffer::alloc(size)?;
    pattern::fill(&mut buffer, at);
    let sent = stream.send_buffer_with(buffer, passing);
    Ok(sent.map_err(|unsent| unsent.error)?)
}

/// Receives all bytes of an order, as many calls as that takes.
pub fn receive(tools: &Tools, order: &Order, room: &mut [u8], answer: &mut Text) -> Result<()> {
    let stream = accept(tools)?;
    let from = room.get_mut(order.offset..).unwrap_or_default();
    let bytes = from.get_mut(..order.size).ok_or(Failure::Order)?;
    let meter = Meter::start()?;
    let (mut at, mut wrong, mut calls) = (0, 0, 0);
    while at < order.total() {
        let (len, bad) = match order.of_system() {
            Some(passing) => receive_buffer(&stream, at, passing)?,
            None => read(&stream, at, bytes, order.passing)?,
        };
        if len == 0 {
            break;
        }
        (at, wrong, calls) = (at + len, wrong + bad, calls + 1);
    }
    answer.say(format_args!("bytes={at} calls={calls} wrong={wrong}"));
    meter.stop(answer)
}

/// How many bytes came, and how many were wrong.
fn read(
    stream: &TcpStream,
    at: usize,
    bytes: &mut [u8],
    passing: Option<Passing>,
) -> Result<(usize, usize)> {
    bytes.fill(SCRIBBLE);
    let len = match passing {
        Some(passing) => stream.read_with(bytes, passing)?,
        None => stream.read(bytes)?,
    };
    let (came, rest) = bytes.split_at(len.min(bytes.len()));
    Ok((len, pattern::wrong(came, at) + pattern::touched(rest)))
}

fn receive_buffer(stream: &TcpStream, at: usize, passing: Passing) -> Result<(usize, usize)> {
    let buffer = stream.recv_buffer_with(passing)?;
    Ok(buffer.map_or((0, 0), |buffer| (buffer.len(), pattern::wrong(&buffer, at))))
}
