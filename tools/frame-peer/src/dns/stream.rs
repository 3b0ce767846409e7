//! The DNS server over TCP: a length before each message (RFC 1035, 4.2.2).

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::engine::Shared;
use crate::tcp::{TcpAcceptor, TcpHandle};

/// Where it listens.
pub(crate) const PORT: u16 = super::PORT;
/// How often the threads look whether the link is still there.
const ROUND: Duration = Duration::from_millis(200);

/// Answers every connection in a thread of its own, until the peer is dropped.
pub(crate) fn serve(shared: Arc<Shared>, mut tcp: TcpAcceptor) -> io::Result<()> {
    let accept = move || {
        loop {
            match tcp.accept(ROUND) {
                Ok(stream) => {
                    let shared = Arc::clone(&shared);
                    drop(thread::spawn(move || converse(&shared, stream)));
                }
                Err(_) if tcp.is_stopped() => break,
                Err(_) => {}
            }
        }
    };
    thread::Builder::new()
        .name("tcp-dns".into())
        .spawn(accept)?;
    Ok(())
}

/// Answers the queries of one connection, until it ends.
fn converse(shared: &Shared, mut stream: TcpHandle) {
    while let Ok(query) = message(&mut stream) {
        let answer = shared.with(|host| host.dns.as_mut()?.respond(&query, true));
        let Some(answer) = answer else {
            continue;
        };
        let framed = [&(answer.len() as u16).to_be_bytes()[..], &answer].concat();
        if stream.write_all(&framed).is_err() {
            return;
        }
    }
}

/// The next message.
fn message(stream: &mut TcpHandle) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    fill(stream, &mut length)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    fill(stream, &mut message)?;
    Ok(message)
}

/// Reads so many bytes, however long they take.
fn fill(stream: &mut TcpHandle, mut into: &mut [u8]) -> io::Result<()> {
    while !into.is_empty() {
        match stream.read(into) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => into = &mut into[count..],
            Err(error) if error.kind() == ErrorKind::TimedOut && !stream.is_stopped() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
