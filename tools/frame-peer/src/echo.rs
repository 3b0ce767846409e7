//! An echo service on the peer, for guests that act as clients.

use std::io::{self, ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;

use crate::tcp::{TcpAcceptor, TcpHandle};
use crate::udp::UdpHandle;

/// How often the threads look whether the link is still there.
const ROUND: Duration = Duration::from_millis(200);

pub(crate) fn serve(udp: UdpHandle, mut tcp: TcpAcceptor) -> io::Result<()> {
    thread::Builder::new()
        .name("udp-echo".into())
        .spawn(move || while let Some(()) = echo_datagram(&udp) {})?;
    thread::Builder::new()
        .name("tcp-echo".into())
        .spawn(move || {
            loop {
                match tcp.accept(ROUND) {
                    Ok(stream) => drop(thread::spawn(|| echo_stream(stream))),
                    Err(_) if tcp.is_stopped() => break,
                    Err(_) => {}
                }
            }
        })?;
    Ok(())
}

/// One datagram or one round without; none when the peer is gone.
fn echo_datagram(udp: &UdpHandle) -> Option<()> {
    match udp.recv_from(ROUND) {
        // A reply that cannot be sent is lost, as UDP may.
        Ok((payload, from)) => drop(udp.send_to(&payload, from)),
        Err(_) if udp.is_stopped() => return None,
        Err(_) => {}
    }
    Some(())
}

fn echo_stream(mut stream: TcpHandle) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) if stream.write_all(&buffer[..n]).is_ok() => {}
            Err(e) if e.kind() == ErrorKind::TimedOut && !stream.is_stopped() => {}
            _ => break,
        }
    }
}
