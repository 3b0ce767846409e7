//! Calls of a socket of either kind.

use ioipc::{Buffer, Passing, UserBuffer};
use model_tests::pairs::address;

use crate::client::Socket;
use crate::program::{End, Mode};
use crate::state::PORT;

/// Calls the socket.
pub fn send_now(
    socket: &Socket,
    end: End,
    memory: UserBuffer,
    passing: Option<Passing>,
    mode: Mode,
) -> ioipc::Result<usize> {
    let to = address(1 - end.host, PORT + end.client as u16);
    match socket {
        Socket::Udp(s) => {
            s.set_nonblocking(mode == Mode::Now);
            let sent = s.send_memory_to(memory, to, passing);
            s.set_nonblocking(false);
            sent
        }
        Socket::Tcp(s) => {
            s.set_nonblocking(mode == Mode::Now);
            let sent = s.write_memory(memory, passing);
            s.set_nonblocking(false);
            sent
        }
    }
}

/// Calls the socket.
pub fn receive_now(
    socket: &Socket,
    memory: UserBuffer,
    passing: Option<Passing>,
    mode: Mode,
) -> ioipc::Result<usize> {
    match socket {
        Socket::Udp(s) => {
            s.set_nonblocking(mode == Mode::Now);
            let got = s.recv_memory_from(memory, passing);
            s.set_nonblocking(false);
            got.map(|(len, _)| len)
        }
        Socket::Tcp(s) => {
            s.set_nonblocking(mode == Mode::Now);
            let got = s.read_memory(memory, passing);
            s.set_nonblocking(false);
            got
        }
    }
}

/// Calls the socket.
pub fn receive_buffer_now(
    socket: &Socket,
    passing: Option<Passing>,
) -> ioipc::Result<Option<Buffer>> {
    match (socket, passing) {
        (Socket::Udp(s), None) => s.recv_buffer().map(|d| Some(d.into_buffer())),
        (Socket::Udp(s), Some(p)) => s.recv_buffer_with(p).map(|d| Some(d.into_buffer())),
        (Socket::Tcp(s), None) => s.recv_buffer(),
        (Socket::Tcp(s), Some(p)) => s.recv_buffer_with(p),
    }
}
