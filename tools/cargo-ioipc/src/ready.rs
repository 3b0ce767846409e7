//! Whether the echo service answers.
//!
//! Problem: the emulator's user network accepts TCP connections long before
//! the system does, so an open port proves nothing. Ready means that bytes
//! sent from the host came back the same, over every transport asked for.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::serial::{Event, Follower};

/// How long one attempt waits for its answer.
const UDP_PATIENCE: Duration = Duration::from_millis(100);
/// TCP attempts leave a connection behind, so there are fewer of them.
const TCP_PATIENCE: Duration = Duration::from_secs(1);
/// Pause after an attempt that was refused at once.
const PAUSE: Duration = Duration::from_millis(50);

/// Where the host reaches the echo service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EchoService {
    pub udp: Option<SocketAddr>,
    pub tcp: Option<SocketAddr>,
}

/// How waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every transport answered correctly.
    Ready,
    /// Time ran out while waiting for this answer.
    Timeout(&'static str),
    /// `go_on` said no.
    Given,
}

impl EchoService {
    /// Waits until the service answered on every transport. `go_on` is asked
    /// between attempts, several times a second. UDP comes first: until the
    /// system is up, its attempts leave nothing behind.
    pub(crate) fn wait(self, deadline: Instant, go_on: &mut dyn FnMut() -> bool) -> Outcome {
        let attempts: [(&'static str, Option<SocketAddr>, Attempt); 2] = [
            ("UDP echo reply", self.udp, udp_answers),
            ("TCP echo reply", self.tcp, tcp_answers),
        ];
        for (what, address, attempt) in attempts {
            let Some(address) = address else { continue };
            while !attempt(address, &nonce()).unwrap_or(false) {
                if !go_on() {
                    return Outcome::Given;
                }
                if Instant::now() >= deadline {
                    return Outcome::Timeout(what);
                }
                std::thread::sleep(PAUSE);
            }
        }
        Outcome::Ready
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
            Event::Line(_) => return Outcome::Ready,
            Event::End => return Outcome::Given,
            Event::Timeout if !go_on() => return Outcome::Given,
            Event::Timeout if Instant::now() >= deadline => {
                return Outcome::Timeout("report of the root task");
            }
            Event::Timeout => {}
        }
    }
}

type Attempt = fn(SocketAddr, &[u8]) -> std::io::Result<bool>;

/// Bytes that no earlier attempt sent.
fn nonce() -> Vec<u8> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| time.as_nanos());
    format!("ioipc ready? {now:x}").into_bytes()
}

fn udp_answers(address: SocketAddr, sent: &[u8]) -> std::io::Result<bool> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(UDP_PATIENCE))?;
    socket.send(sent)?;
    let mut received = [0; 128];
    let count = socket.recv(&mut received)?;
    Ok(received.get(..count) == Some(sent))
}

fn tcp_answers(address: SocketAddr, sent: &[u8]) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&address, TCP_PATIENCE)?;
    stream.set_read_timeout(Some(TCP_PATIENCE))?;
    stream.write_all(sent)?;
    let mut received = vec![0; sent.len()];
    stream.read_exact(&mut received)?;
    Ok(received == sent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(300)
    }

    #[test]
    fn a_port_that_only_accepts_is_not_ready() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let tcp = Some(listener.local_addr().unwrap());
        let echo = EchoService { udp: None, tcp };
        assert_eq!(
            echo.wait(soon(), &mut || true),
            Outcome::Timeout("TCP echo reply")
        );
    }

    #[test]
    fn a_true_echo_is_ready_and_a_false_one_is_not() {
        for (change, expected) in [(0, Outcome::Ready), (1, Outcome::Timeout("UDP echo reply"))] {
            let service = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let udp = Some(service.local_addr().unwrap());
            std::thread::spawn(move || {
                let mut bytes = [0; 128];
                while let Ok((count, from)) = service.recv_from(&mut bytes) {
                    bytes[0] ^= change;
                    let _ = service.send_to(&bytes[..count], from);
                }
            });
            let echo = EchoService { udp, tcp: None };
            assert_eq!(echo.wait(soon(), &mut || true), expected);
        }
    }

    #[test]
    fn without_an_echo_service_the_root_task_reports() {
        let booted = "Booting\nroot: x: 1 components, 5 PCI functions\n";
        for (said, expected) in [(booted, Outcome::Ready), ("Booting\n", Outcome::Given)] {
            let serial = crate::Serial::follow(said.as_bytes(), false);
            let outcome = started(serial.from_start(), soon(), &mut || true);
            assert_eq!(outcome, expected);
        }
    }

    #[test]
    fn waiting_can_be_given_up() {
        let echo = EchoService {
            udp: Some((Ipv4Addr::LOCALHOST, 9).into()),
            tcp: None,
        };
        let late = Instant::now() + Duration::from_secs(3600);
        assert_eq!(echo.wait(late, &mut || false), Outcome::Given);
    }
}
