//! A DNS server on sockets of the host's kernel, for systems on a TAP device.
//!
//! Problem: what the kernel sends over a device with offloads has checksums for
//! others to complete, and segments for others to cut; no peer of our own does
//! that. Invariant: the server runs in the network of the thread that starts it,
//! and ends with its owner.
//!
//! It knows `short.test`, with one address, and `long.test`, with three hundred:
//! too many for a datagram, which says so, and for one segment.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const PORT: u16 = 53;
/// How often the threads look whether they are to end.
const ROUND: Duration = Duration::from_millis(50);
/// Addresses in a datagram at most: 512 bytes (RFC 1035, 4.2.1).
const FEW: u16 = 28;

/// The server.
pub struct NameServer {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl NameServer {
    /// Starts to answer at port 53 of `address`.
    ///
    /// # Errors
    /// If the ports cannot be had.
    pub fn start(address: Ipv4Addr) -> io::Result<Self> {
        let udp = UdpSocket::bind((address, PORT))?;
        udp.set_read_timeout(Some(ROUND))?;
        let tcp = TcpListener::bind((address, PORT))?;
        tcp.set_nonblocking(true)?;
        let stop = Arc::new(AtomicBool::new(false));
        let ends = [Arc::clone(&stop), Arc::clone(&stop)];
        let [datagrams, streams] = ends;
        let threads = vec![
            thread::spawn(move || {
                while !datagrams.load(Ordering::Relaxed) {
                    answer_datagram(&udp);
                }
            }),
            thread::spawn(move || {
                while !streams.load(Ordering::Relaxed) {
                    answer_stream(&tcp);
                }
            }),
        ];
        Ok(Self { stop, threads })
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that panicked has been reported.
            let _ = thread.join();
        }
    }
}

/// Answers one datagram, if one comes.
fn answer_datagram(socket: &UdpSocket) {
    let mut query = [0; 512];
    let Ok((len, from)) = socket.recv_from(&mut query) else {
        return;
    };
    if let Some(answer) = answer(&query[..len], FEW) {
        // What is lost is asked for again.
        let _ = socket.send_to(&answer, from);
    }
}

/// Answers one connection, if one comes.
fn answer_stream(listener: &TcpListener) {
    match listener.accept() {
        Ok((stream, _)) => drop(converse(stream)),
        Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(ROUND),
        Err(_) => {}
    }
}

/// Answers the question of a connection.
fn converse(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut query = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut query)?;
    let answer = answer(&query, u16::MAX).ok_or(ErrorKind::InvalidData)?;
    let length = (answer.len() as u16).to_be_bytes();
    stream.write_all(&[&length[..], &answer].concat())
}

/// The answer to a query, with `most` addresses at most.
fn answer(query: &[u8], most: u16) -> Option<Vec<u8>> {
    let name = query.get(12..)?;
    let (count, code) = if name.starts_with(b"\x05short\x04test\0") {
        (1, 0)
    } else if name.starts_with(b"\x04long\x04test\0") {
        (300, 0)
    } else {
        (0, 3)
    };
    let told = count.min(most);
    let more = if told < count { 0x0200 } else { 0 };
    let mut answer = query.to_vec();
    // A response, recursion desired and available.
    for (at, field) in [(2, 0x8180 | more | code), (6, told)] {
        answer[at..at + 2].copy_from_slice(&u16::to_be_bytes(field));
    }
    for n in 0..told {
        let [high, low] = n.to_be_bytes();
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 18, high, low]);
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_a_datagram_is_truncated() {
        let query =
            |name: &[u8]| [&[1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0], name, &[0, 1, 0, 1]].concat();
        let long = query(b"\x04long\x04test\0");
        let datagram = answer(&long, FEW).unwrap();
        assert!(datagram.len() <= 512 && datagram[2] & 2 != 0);
        let stream = answer(&long, u16::MAX).unwrap();
        assert_eq!((stream[2] & 2, stream.len()), (0, long.len() + 300 * 16));
        let none = answer(&query(b"\x04none\0"), FEW).unwrap();
        assert_eq!((none[3] & 15, none[7]), (3, 0));
    }
}
