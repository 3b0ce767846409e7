//! Sockets of a stack whose network is itself, as most tests want them.

use std::net::Ipv4Addr;
use std::time::Duration;

use ioipc::net::{TcpListener, TcpStream, UdpSocket};
use ioipc::{Buffer, Stack};

use super::looped;

/// Longer than anything takes that is on its way.
pub const LONG: Option<Duration> = Some(Duration::from_secs(10));

/// A port of the network's one host.
pub fn host(port: u16) -> (Ipv4Addr, u16) {
    (looped::HOST.into(), port)
}

/// A bound socket that does not wait for ever.
pub fn udp(stack: &'static Stack, port: u16) -> UdpSocket {
    let socket = UdpSocket::bind_on(stack, (Ipv4Addr::UNSPECIFIED, port)).unwrap();
    socket.set_read_timeout(LONG).unwrap();
    socket
}

/// Both ends of a stream.
pub fn pair(stack: &'static Stack) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind_on(stack, (Ipv4Addr::UNSPECIFIED, 80), 8).unwrap();
    let a = TcpStream::connect_on(stack, host(80), None).unwrap();
    let (b, _) = listener.accept().unwrap();
    b.set_read_timeout(LONG).unwrap();
    (a, b)
}

/// A buffer with these bytes.
pub fn buffer(stack: &'static Stack, bytes: &[u8]) -> Buffer {
    let mut buffer = Buffer::alloc_on(stack, bytes.len()).unwrap();
    buffer.copy_from_slice(bytes);
    buffer
}
