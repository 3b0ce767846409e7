//! A booted system and, on the other end of its wire, our own host.
//!
//! Problem: the emulator's user network lets nothing unusual through. Here the
//! test is the network: what its peer puts on the wire arrives as it is.
//! Invariant: as for the crate; and a system is told from a sound one by
//! [`Wired::assert_sound`], whatever was done to it.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use cargo_ioipc::Event;
use frame_peer::{Options, Peer, Rng, TcpHandle, UdpHandle};
use tempfile::TempDir;

use crate::{BOOT, Booted, LINE};

/// The address that the tests give the system.
pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
/// Port of its echo service.
pub const ECHO: u16 = 7;
/// Port of the component `caller`.
pub const CALLER: u16 = 10;
/// Longer than anything is kept for somebody who never answers: 30 s for
/// fragments, 15 s for half-open connections (see the systems).
pub const FORGOTTEN: Duration = Duration::from_secs(60);
/// How long one datagram may take there and back before it counts as lost.
const TRY: Duration = Duration::from_secs(1);

/// A system and the peer on its wire. The system ends first.
pub struct Wired {
    /// The system.
    pub system: Booted,
    /// The host on its wire.
    pub peer: Peer,
    udp: UdpHandle,
    next: u64,
    _directory: TempDir,
}

impl Wired {
    /// Boots the system `name` of this folder with a host like `peer` and waits until it echoes at `address`.
    ///
    /// # Panics
    /// If it does not, in time.
    #[must_use]
    pub fn start(name: &str, peer: &Options) -> Self {
        Self::boot(crate::options(crate::system(name)), peer)
    }

    /// The same with `options` of the system's.
    ///
    /// # Panics
    /// As [`Wired::start`].
    #[must_use]
    pub fn boot(options: cargo_ioipc::Options, peer: &Options) -> Self {
        let directory = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let socket = directory.path().join("wire");
        let peer = Peer::listen(&socket, peer).unwrap_or_else(|e| panic!("{e}"));
        let udp = peer.udp_socket(4000).unwrap_or_else(|e| panic!("{e}"));
        let system = Booted::on_wire(options, &socket);
        let mut wired = Self {
            system,
            peer,
            udp,
            next: 0,
            _directory: directory,
        };
        wired.assert_echo(64, BOOT);
        wired
    }

    /// The same, with an address by DHCP.
    ///
    /// # Panics
    /// As [`Wired::start`].
    #[must_use]
    pub fn with_dhcp(name: &str) -> Self {
        Self::start(name, &Options::default().with_dhcp(GUEST))
    }

    /// Whether a datagram of `len` bytes that no other was like comes back
    /// from `address` within [`TRY`].
    pub fn try_echo(&mut self, address: Ipv4Addr, len: usize) -> bool {
        self.next += 1;
        let payload = Rng::new(self.next).bytes(len);
        let deadline = Instant::now() + TRY;
        let sent = self.udp.send_to(&payload, SocketAddrV4::new(address, ECHO));
        while sent.is_ok() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.udp.recv_from(left) {
                // Another is the echo of an earlier one, which came late.
                Ok((back, _)) if back == payload => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        false
    }

    /// Wants the echo of a datagram of `len` bytes within `patience`; it may
    /// be sent again, since a wire and a busy receiver may lose it.
    ///
    /// # Panics
    /// If none comes back.
    pub fn assert_echo(&mut self, len: usize, patience: Duration) {
        let deadline = Instant::now() + patience;
        while !self.try_echo(GUEST, len) {
            let tail = self.system.running.serial().tail(20);
            assert!(
                Instant::now() < deadline,
                "no UDP echo of {len} bytes:\n{tail}"
            );
        }
    }

    /// A connection to the echo service, tried for `patience`.
    ///
    /// # Panics
    /// If none opens.
    #[must_use]
    pub fn connect(&self, patience: Duration) -> TcpHandle {
        let to = SocketAddrV4::new(GUEST, ECHO);
        let deadline = Instant::now() + patience;
        loop {
            match self.peer.tcp_connect(to, patience) {
                Ok(stream) => return stream,
                // A reset while the backlog is full, for example.
                Err(error) if error.kind() != ErrorKind::ConnectionRefused => panic!("{error}"),
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Wants `count` bytes echoed over one TCP connection, each of them right,
    /// and then the end of the stream.
    ///
    /// # Panics
    /// If anything else comes.
    pub fn assert_stream(&self, count: usize, patience: Duration) {
        let mut stream = self.connect(patience);
        stream.set_patience(patience);
        exchange(&mut stream, count, patience);
        stream.close();
        let rest = stream.read(&mut [0; 16]);
        assert!(matches!(rest, Ok(0)), "after the last byte: {rest:?}");
    }

    /// Has `caller` do `command`, and gives its answer.
    ///
    /// # Panics
    /// If none comes within `patience`.
    #[must_use]
    pub fn call(&self, command: &str, patience: Duration) -> String {
        let to = SocketAddrV4::new(GUEST, CALLER);
        let socket = self.peer.udp_socket(4001).unwrap_or_else(|e| panic!("{e}"));
        let sent = socket.send_to(command.as_bytes(), to);
        let answer = sent.and_then(|()| socket.recv_from(patience));
        let (answer, _) = answer.unwrap_or_else(|e| panic!("`{command}`: {e}"));
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Whether `caller` echoes a datagram of `len` bytes, of which the first
    /// four are its command, within `patience`.
    #[must_use]
    pub fn try_large(&self, len: usize, patience: Duration) -> bool {
        let to = SocketAddrV4::new(GUEST, CALLER);
        let payload = [b"echo", &Rng::new(len as u64).bytes(len - 4)[..]].concat();
        let socket = self.peer.udp_socket(4002).unwrap_or_else(|e| panic!("{e}"));
        let sent = socket.send_to(&payload, to);
        let back = sent.and_then(|()| socket.recv_from(patience));
        back.is_ok_and(|(back, _)| back == payload)
    }

    /// Wants every component alive and no fault or panic on the serial line.
    ///
    /// # Panics
    /// If it is otherwise.
    pub fn assert_sound(&mut self) {
        self.assert_sound_without(&[]);
    }

    /// The same of all components but `dead`, which have faulted.
    ///
    /// # Panics
    /// If it is otherwise.
    pub fn assert_sound_without(&mut self, dead: &[&str]) {
        let mut lines = self.system.running.serial().from_start();
        while let Event::Line(line) = lines.next(Duration::ZERO) {
            let bad = ["FAULT", "panicked", "cut off"]
                .iter()
                .any(|word| line.contains(word));
            let known = dead
                .iter()
                .any(|name| line.contains(&format!("FAULT component={name} ")));
            assert!(!bad || known, "{line}");
        }
        let answer = self.system.running.ask("components", LINE);
        let answer = answer.unwrap_or_else(|e| panic!("{e}"));
        let states = answer["components"].as_object();
        let states = states.unwrap_or_else(|| panic!("`components`: {answer}"));
        for (name, state) in states {
            let wanted = match dead.contains(&name.as_str()) {
                true => "dead",
                false => "running",
            };
            assert!(state == wanted, "{answer}");
        }
    }

    /// The gauges that tell what is held, once they are `wanted`, or once they
    /// stay the same.
    ///
    /// # Panics
    /// If they do not, within [`FORGOTTEN`]; shows those that differ.
    pub fn settled(&mut self, wanted: Option<&BTreeMap<String, u64>>) -> BTreeMap<String, u64> {
        let deadline = Instant::now() + FORGOTTEN;
        let mut last = BTreeMap::new();
        loop {
            let mut now = self.system.numbers("resources");
            now.retain(|name, _| is_held(name));
            let differs = differences(wanted.unwrap_or(&last), &now);
            if differs.is_empty() {
                return now;
            }
            assert!(Instant::now() < deadline, "not as before: {differs:?}");
            std::thread::sleep(Duration::from_millis(500));
            last = now;
        }
    }
}

/// Gauges of `now` that are not as in `wanted`, with both values.
fn differences(
    wanted: &BTreeMap<String, u64>,
    now: &BTreeMap<String, u64>,
) -> Vec<(String, u64, u64)> {
    let both = now
        .iter()
        .map(|(name, n)| (name, *n, wanted.get(name).copied().unwrap_or(0)));
    let differs = both.filter(|(name, now, wanted)| now.abs_diff(*wanted) > slack(name));
    differs
        .map(|(name, now, wanted)| (name.clone(), now, wanted))
        .collect()
}

/// By how much a gauge may differ when nothing is held for anyone: what is done
/// but not worth waking somebody for counts until there is something else to
/// say. Requests outstanding: sends that nobody has had to be told of. Packets
/// at the protocol server, as the I/O manager knows it: those given back since
/// it was last woken.
#[must_use]
pub fn slack(name: &str) -> u64 {
    match name {
        "io.packets.held" => 64,
        _ if name.starts_with("io.outstanding.") => 8,
        _ => 0,
    }
}

/// Gauges other than those of buffers and alarms that are in motion without
/// anything being held for anyone.
fn is_held(name: &str) -> bool {
    // The server is told of some receives with the next frame only; the manager
    // has all of them in its `outstanding`.
    !["nic.rx.", "nic.tx.", "timer.", "net.requests_pending"]
        .iter()
        .any(|part| name.contains(part))
}

/// Sends `count` bytes and wants them back, keeping at most 32 KiB under way.
///
/// # Panics
/// If other bytes come, or fewer.
pub fn exchange(stream: &mut TcpHandle, count: usize, patience: Duration) {
    const UNDER_WAY: usize = 32 << 10;
    let bytes = Rng::new(count as u64).bytes(count);
    let deadline = Instant::now() + patience;
    let (mut sent, mut got, mut back) = (0, 0, vec![0; 64 << 10]);
    while got < count {
        assert!(
            Instant::now() < deadline,
            "{got} of {count} bytes came back in time"
        );
        let until = count.min(got + UNDER_WAY);
        if sent < until {
            let wrote = stream.write(&bytes[sent..until]);
            sent += wrote.unwrap_or_else(|e| panic!("after {sent} bytes: {e}"));
            continue;
        }
        let read = stream.read(&mut back);
        let read = read.unwrap_or_else(|e| panic!("after {got} bytes: {e}"));
        assert!(read > 0, "the stream ended after {got} of {count} bytes");
        assert!(
            back[..read] == bytes[got..got + read],
            "wrong bytes behind {got}"
        );
        got += read;
    }
}
