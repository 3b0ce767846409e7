//! Whether the system answers at its forwarded ports.
//!
//! Problem: the emulator's user network and passt accept TCP connections long
//! before the system does, so an open port proves nothing. Of the echo service
//! the bytes that were sent must come back the same. Any other TCP service has
//! answered if it says something, or if the end of our stream is taken from the
//! host's socket: the user network does that only for a connection that the
//! system accepted. What a UDP service answers to is not known; it is not tried.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::machine::Transport;
use crate::serial::{Event, Follower};
use crate::tcp_table;

/// Port of the echo service in the system.
pub(crate) const ECHO_PORT: u16 = 7;
/// How long one attempt waits for its answer.
const UDP_PATIENCE: Duration = Duration::from_millis(100);
/// TCP attempts leave a connection behind, so there are fewer of them.
const TCP_PATIENCE: Duration = Duration::from_secs(1);
/// Pause after an attempt that was refused at once.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a service may take to greet, and the system to refuse.
const GREETING: Duration = Duration::from_millis(100);
/// Attempts at a service that keeps still, where nobody can tell whether it is
/// the system that does.
const STILL: u32 = 3;

/// A port of the system, and where the host reaches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    pub transport: Transport,
    pub guest: u16,
    pub at: SocketAddr,
}

/// How waiting ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything answered that can be asked; for the others, why they were not.
    Ready(Vec<String>),
    /// Time ran out while waiting for this.
    Timeout(String),
    /// `go_on` said no.
    Given,
}

/// What one attempt has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// The system answered.
    Answer,
    /// Somebody did: it is the system if it happens again at once.
    Hint,
    /// Nothing was said or done.
    Stillness,
    /// No connection, or no right answer.
    Refusal,
}

type Attempt = fn(SocketAddr) -> std::io::Result<Seen>;

/// Waits until every one of `forwards` has answered that can be asked. `go_on`
/// is asked between attempts, several times a second. `taken` says whether the
/// wire takes the end of a stream only when the system accepted it.
///
/// The echo service comes first, and UDP before TCP: until the system is up, its
/// attempts leave nothing behind.
pub(crate) fn wait(
    forwards: &[Reached],
    taken: bool,
    deadline: Instant,
    go_on: &mut dyn FnMut() -> bool,
) -> Outcome {
    let mut order = forwards.to_vec();
    order.sort_by_key(|f| (f.guest != ECHO_PORT, f.transport == Transport::Tcp));
    let mut not_asked = Vec::new();
    for forward in order {
        let (transport, guest) = (forward.transport, forward.guest);
        let port = format!("port {guest}/{transport}");
        let (what, attempt): (String, Attempt) = match (transport, guest) {
            (Transport::Udp, ECHO_PORT) => ("UDP echo reply".to_owned(), udp_echo),
            (Transport::Tcp, ECHO_PORT) => ("TCP echo reply".to_owned(), tcp_echo),
            (Transport::Tcp, _) => (format!("answer at {port}"), tcp_answer),
            (Transport::Udp, _) => {
                let why = "was not tried: what it answers to is not known";
                not_asked.push(format!("{port} {why}"));
                continue;
            }
        };
        match wait_for(forward.at, attempt, taken, deadline, go_on) {
            Some(Seen::Answer) => {}
            Some(Seen::Stillness) => {
                let why = "takes connections, but on this wire that need not be the system";
                not_asked.push(format!("{port} {why}"));
            }
            Some(_) => return Outcome::Timeout(what),
            None => return Outcome::Given,
        }
    }
    Outcome::Ready(not_asked)
}

/// Tries until there is an answer, or will be none. `None`: given up.
fn wait_for(
    at: SocketAddr,
    attempt: Attempt,
    taken: bool,
    deadline: Instant,
    go_on: &mut dyn FnMut() -> bool,
) -> Option<Seen> {
    let (mut hinted, mut still) = (false, 0);
    loop {
        let seen = attempt(at).unwrap_or(Seen::Refusal);
        still += u32::from(seen == Seen::Stillness);
        match seen {
            Seen::Answer => return Some(Seen::Answer),
            Seen::Hint if hinted => return Some(Seen::Answer),
            Seen::Stillness if !taken && still == STILL => return Some(Seen::Stillness),
            _ => hinted = seen == Seen::Hint,
        }
        if !go_on() {
            return None;
        }
        if Instant::now() >= deadline {
            return Some(Seen::Refusal);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Waits for the line with which the root task reports the components that it
/// started, from wherever `serial` stands.
pub(crate) fn started(
    mut serial: Follower,
    deadline: Instant,
    go_on: &mut dyn FnMut() -> bool,
) -> Outcome {
    let reports = |line: &str| line.starts_with("root: ") && line.contains(" components, ");
    loop {
        let slice = deadline.min(Instant::now() + UDP_PATIENCE);
        match serial.find(slice, reports) {
            Event::Line(_) => return Outcome::Ready(Vec::new()),
            Event::End => return Outcome::Given,
            Event::Timeout if !go_on() => return Outcome::Given,
            Event::Timeout if Instant::now() >= deadline => {
                return Outcome::Timeout("report of the root task".to_owned());
            }
            Event::Timeout => {}
        }
    }
}

/// Bytes that no earlier attempt sent.
fn nonce() -> Vec<u8> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| time.as_nanos());
    format!("ioipc ready? {now:x}").into_bytes()
}

fn echoed(right: bool) -> Seen {
    match right {
        true => Seen::Answer,
        false => Seen::Refusal,
    }
}

fn udp_echo(address: SocketAddr) -> std::io::Result<Seen> {
    let sent = nonce();
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(UDP_PATIENCE))?;
    socket.send(&sent)?;
    let mut received = [0; 128];
    let count = socket.recv(&mut received)?;
    Ok(echoed(received.get(..count) == Some(&sent)))
}

fn tcp_echo(address: SocketAddr) -> std::io::Result<Seen> {
    let sent = nonce();
    let mut stream = TcpStream::connect_timeout(&address, TCP_PATIENCE)?;
    stream.set_read_timeout(Some(TCP_PATIENCE))?;
    stream.write_all(&sent)?;
    let mut received = vec![0; sent.len()];
    stream.read_exact(&mut received)?;
    Ok(echoed(received == sent))
}

/// Whether the system has a service at a port whose protocol is unknown: sends
/// nothing but the end of the stream.
fn tcp_answer(address: SocketAddr) -> std::io::Result<Seen> {
    let mut stream = TcpStream::connect_timeout(&address, TCP_PATIENCE)?;
    if !address.ip().is_loopback() {
        // Nobody stands between.
        return Ok(Seen::Answer);
    }
    stream.set_read_timeout(Some(GREETING))?;
    match read(&mut stream)? {
        Some(0) => return Ok(Seen::Refusal),
        Some(_) => return Ok(Seen::Answer),
        None => stream.shutdown(Shutdown::Write)?,
    }
    let patience = Instant::now() + TCP_PATIENCE;
    stream.set_read_timeout(Some(PAUSE))?;
    while Instant::now() < patience {
        match read(&mut stream)? {
            // Either the service has closed, or the system refused late.
            Some(0) => return Ok(Seen::Hint),
            Some(_) => return Ok(Seen::Answer),
            None if was_taken(&stream)? => return Ok(Seen::Answer),
            None => {}
        }
    }
    Ok(Seen::Stillness)
}

/// What was read, if anything was in time.
fn read(stream: &mut TcpStream) -> std::io::Result<Option<usize>> {
    match stream.read(&mut [0; 64]) {
        Ok(count) => Ok(Some(count)),
        Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the socket at the other end, on this machine, holds nothing of ours
/// any more.
fn was_taken(stream: &TcpStream) -> std::io::Result<bool> {
    let (own, peer) = (stream.local_addr()?, stream.peer_addr()?);
    let sockets = tcp_table::of("thread-self")?;
    let theirs = |s: &&tcp_table::Socket| peer == s.local.into() && own == s.remote.into();
    Ok(sockets.iter().find(theirs).is_some_and(|s| s.unread == 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(300)
    }

    fn ready() -> Outcome {
        Outcome::Ready(Vec::new())
    }

    fn late(what: &str) -> Outcome {
        Outcome::Timeout(what.to_owned())
    }

    fn reached(transport: Transport, guest: u16, at: SocketAddr) -> Reached {
        Reached {
            transport,
            guest,
            at,
        }
    }

    /// A TCP service that does `serve` with each connection.
    fn service(serve: fn(TcpStream)) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        std::thread::spawn(move || listener.incoming().flatten().for_each(serve));
        at
    }

    #[test]
    fn a_port_that_only_accepts_is_not_ready() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        for (guest, what) in [(7, "TCP echo reply"), (80, "answer at port 80/tcp")] {
            let forward = reached(Transport::Tcp, guest, at);
            assert_eq!(wait(&[forward], true, soon(), &mut || true), late(what));
        }
    }

    #[test]
    fn a_true_echo_is_ready_and_a_false_one_is_not() {
        for (change, expected) in [(0, ready()), (1, late("UDP echo reply"))] {
            let service = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let at = service.local_addr().unwrap();
            std::thread::spawn(move || {
                let mut bytes = [0; 128];
                while let Ok((count, from)) = service.recv_from(&mut bytes) {
                    bytes[0] ^= change;
                    let _ = service.send_to(&bytes[..count], from);
                }
            });
            let echo = reached(Transport::Udp, 7, at);
            assert_eq!(wait(&[echo], true, soon(), &mut || true), expected);
        }
    }

    #[test]
    fn a_service_of_any_kind_answers_by_what_it_does() {
        let greets = service(|mut stream| drop(stream.write_all(b"hello")));
        let closes = service(|mut stream| drop(stream.read(&mut [0])));
        // As the user network does for one that the system accepted, whose
        // service waits for more.
        let takes = service(|mut stream| {
            let _ = stream.read(&mut [0]);
            std::thread::sleep(Duration::from_secs(2));
        });
        for at in [greets, closes, takes] {
            let forward = reached(Transport::Tcp, 80, at);
            let late = Instant::now() + Duration::from_secs(20);
            assert_eq!(wait(&[forward], true, late, &mut || true), ready());
        }
    }

    #[test]
    fn a_service_that_refuses_is_not_ready() {
        let refuses = service(drop);
        let forward = reached(Transport::Tcp, 80, refuses);
        let outcome = wait(&[forward], true, soon(), &mut || true);
        assert_eq!(outcome, late("answer at port 80/tcp"));
    }

    #[test]
    fn what_cannot_be_asked_is_said() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        let forwards = [Transport::Udp, Transport::Tcp].map(|t| reached(t, 9, at));
        let late = Instant::now() + Duration::from_secs(60);
        let Outcome::Ready(said) = wait(&forwards, false, late, &mut || true) else {
            panic!("not ready");
        };
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].starts_with("port 9/udp was not tried"), "{said:?}");
        assert!(
            said[1].starts_with("port 9/tcp takes connections"),
            "{said:?}"
        );
    }

    #[test]
    fn without_an_echo_service_the_root_task_reports() {
        let booted = "Booting\nroot: x: 1 components, 5 PCI functions\n";
        for (said, expected) in [(booted, ready()), ("Booting\n", Outcome::Given)] {
            let serial = crate::Serial::follow(said.as_bytes(), false);
            let outcome = started(serial.from_start(), soon(), &mut || true);
            assert_eq!(outcome, expected);
        }
    }

    #[test]
    fn waiting_can_be_given_up() {
        let echo = reached(Transport::Udp, 7, (Ipv4Addr::LOCALHOST, 9).into());
        let late = Instant::now() + Duration::from_secs(3600);
        assert_eq!(wait(&[echo], true, late, &mut || false), Outcome::Given);
    }
}
