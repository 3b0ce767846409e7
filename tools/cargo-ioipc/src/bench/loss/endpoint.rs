//! One end of a measured stream, on Linux.
//!
//! What the component `stream-load` does in the system, the same here: the
//! order, the bytes, what counts as silence.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use frame_peer::pattern;
use rustix::net::sockopt::set_tcp_congestion;

use super::Way;

/// Bytes of one call.
const PIECE: usize = 64 << 10;
/// How long a connection, and its order, may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// What has come within the time of an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// New bytes in order.
    pub bytes: u64,
    /// The first that was not what was sent.
    pub wrong: Option<u64>,
    /// The longest time without new ones.
    pub silence: Duration,
}

/// Tells the other end what to do for `time`. The receiver's time is the one
/// that counts: who sends goes on until the receiver has had enough.
pub(super) fn order(stream: &mut TcpStream, way: Way, time: Duration) -> io::Result<()> {
    let (sign, time) = match way {
        Way::Out => (b'>', time * 2),
        Way::In => (b'<', time),
    };
    let mut order = [sign, 0, 0, 0, 0, 0, 0, 0];
    order[4..].copy_from_slice(&(time.as_millis() as u32).to_le_bytes());
    stream.write_all(&order)
}

/// Takes one connection and does what it orders; what has come, if that was the
/// order.
pub(super) fn serve(listener: &TcpListener, congestion: &str) -> io::Result<Option<Received>> {
    let (mut stream, _) = listener.accept()?;
    set_tcp_congestion(&stream, congestion)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut order = [0; 8];
    stream.read_exact(&mut order)?;
    let [sign, _, _, _, ms @ ..] = order;
    let time = Duration::from_millis(u32::from_le_bytes(ms).into());
    match sign {
        b'>' => {
            send(&mut stream, time);
            Ok(None)
        }
        _ => receive(&mut stream, time).map(Some),
    }
}

/// Sends until the time is over or the other end has had enough.
pub(super) fn send(stream: &mut TcpStream, time: Duration) {
    let until = Instant::now() + time;
    let (mut piece, mut at) = (vec![0; PIECE], 0);
    while let Some(left) = left(until) {
        pattern::fill(&mut piece, at);
        let patient = stream.set_write_timeout(Some(left));
        if patient.and_then(|()| stream.write_all(&piece)).is_err() {
            return;
        }
        at += piece.len() as u64;
    }
}

/// Receives until the time is over.
///
/// # Errors
/// If the other end ends the stream before.
pub(super) fn receive(stream: &mut TcpStream, time: Duration) -> io::Result<Received> {
    let mut last = Instant::now();
    let (until, mut piece) = (last + time, vec![0; PIECE]);
    let mut received = Received::default();
    while let Some(left) = left(until) {
        stream.set_read_timeout(Some(left))?;
        let len = match stream.read(&mut piece) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => len,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
            Err(e) => return Err(e),
        };
        let now = Instant::now();
        received.silence = received.silence.max(now - last);
        if len > 0 {
            let wrong = pattern::first_wrong(&piece[..len], received.bytes);
            received.wrong = received.wrong.or(wrong);
            received.bytes += len as u64;
            last = now;
        }
    }
    Ok(received)
}

/// How long it is until then, at least a moment; none if it is past.
fn left(until: Instant) -> Option<Duration> {
    let left = until.checked_duration_since(Instant::now())?;
    (!left.is_zero()).then(|| left.max(Duration::from_micros(100)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over_loopback(way: Way) -> Received {
        let time = Duration::from_millis(200);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let other = std::thread::spawn(move || serve(&listener, "reno"));
        let mut stream = TcpStream::connect(to).unwrap();
        order(&mut stream, way, time).unwrap();
        let received = match way {
            Way::Out => Some(receive(&mut stream, time).unwrap()),
            Way::In => {
                send(&mut stream, time * 2);
                None
            }
        };
        drop(stream);
        received.or(other.join().unwrap().unwrap()).unwrap()
    }

    #[test]
    fn both_ways_move_the_right_bytes() {
        for way in [Way::In, Way::Out] {
            let received = over_loopback(way);
            assert!(
                received.bytes > 0 && received.wrong.is_none(),
                "{received:?}"
            );
        }
    }

    #[test]
    fn a_wrong_byte_and_a_silence_show() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        let mut bytes = [0; 100];
        pattern::fill(&mut bytes, 0);
        bytes[17] ^= 1;
        stream.write_all(&bytes).unwrap();
        let time = Duration::from_millis(50);
        let received = receive(&mut other, time).unwrap();
        assert_eq!((received.bytes, received.wrong), (100, Some(17)));
        // Silent from then to the end.
        assert!(received.silence > Duration::ZERO && received.silence <= time * 100);
    }
}
