//! A booted system on a TAP device, and what the host's kernel sees there.
//!
//! Problem: on a TAP device both ends may leave checksums to the device. That
//! everything arrives does not prove that anybody did; the frames have to be
//! looked at on their way.
//! Invariant: as for the crate; a test that cannot run here says so and why,
//! and one that could have run and did not fails.

use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::Path;

use cargo_ioipc::offloads::{self, Offloads};
use cargo_ioipc::tap::{self, TapError};
use cargo_ioipc::{Net, Options};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, eth, recv, socket_with};
use rustix::process::geteuid;
use tempfile::TempDir;

use crate::{Booted, options, placed, system};

/// The address of the system `tap`.
pub const GUEST: Ipv4Addr = tap::GUEST.own;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Runs `test` in a network of its own with a TAP device, or says why it is
/// not run.
///
/// # Panics
/// If it could have run: as root, where there are TAP devices.
pub fn on_tap(test: impl FnOnce() + Send) {
    // The network is a thread's, and so is the placement.
    let placement = placed::placement();
    let test = || match placement {
        Some(placement) => placed::placed(placement, test),
        None => test(),
    };
    let why = match tap::in_own_network(test) {
        Ok(()) => return,
        Err(TapError::Failed(why)) => panic!("{why}"),
        Err(TapError::Unavailable(why)) => why,
    };
    let able = geteuid().is_root() && Path::new("/dev/net/tun").exists();
    assert!(!able, "root, and TAP devices, and yet: {why}");
    eprintln!("not run: {why}");
}

/// A system on the TAP device.
pub struct Tapped {
    /// The system. It echoes.
    pub system: Booted,
    door: TempDir,
}

impl Tapped {
    /// Boots the system `name` of this folder on the namespace's device, with
    /// further arguments for the emulator; for use in [`on_tap`].
    ///
    /// # Panics
    /// If it does not boot in time.
    #[must_use]
    pub fn start(name: &str, arguments: &[&str]) -> Self {
        let door = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
        let mut qemu_args: Vec<_> = offloads::arguments(&door.path().join("qmp")).into();
        qemu_args.extend(arguments.iter().map(Into::into));
        let options = Options {
            net: Net::Tap(tap::DEVICE.to_owned()),
            qemu_args,
            ..options(system(name))
        };
        let system = Booted::new(&options);
        Self { system, door }
    }

    /// What the emulator says was negotiated.
    ///
    /// # Panics
    /// If it does not say.
    #[must_use]
    pub fn offloads(&self) -> Offloads {
        Offloads::ask(&self.door.path().join("qmp")).unwrap_or_else(|e| panic!("{e}"))
    }
}

/// Frames of one protocol in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// With a checksum of all their bytes.
    pub complete: u32,
    /// With that of the pseudo-header alone, for the receiver to complete.
    pub partial: u32,
    /// With any other.
    pub wrong: u32,
}

impl Tally {
    /// Whether they were left to be completed. Linux computes a few by itself,
    /// such as those of acknowledgements in TIME-WAIT.
    #[must_use]
    pub fn left_to_complete(&self) -> bool {
        self.partial > 0 && self.complete <= self.partial / 10 && self.wrong == 0
    }

    /// Whether all of them, and some, were complete.
    #[must_use]
    pub fn all_complete(&self) -> bool {
        self.complete > 0 && self.partial == 0 && self.wrong == 0
    }
}

/// What was seen on the device, fragments left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// UDP to the system.
    pub udp_in: Tally,
    /// UDP from it.
    pub udp_out: Tally,
    /// TCP to the system.
    pub tcp_in: Tally,
    /// TCP from it.
    pub tcp_out: Tally,
}

/// Sees the frames on the device as they are there, from now on.
pub struct Watch(OwnedFd);

impl Watch {
    /// Starts to watch; for use in [`on_tap`].
    ///
    /// # Panics
    /// If the host does not let it.
    #[must_use]
    pub fn start() -> Self {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let every = Some(eth::ALL);
        let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, flags, every);
        Self(socket.unwrap_or_else(|e| panic!("no packet socket: {e}")))
    }

    /// What went by since the start or the last call. Of a flood only the
    /// beginning is kept.
    ///
    /// # Panics
    /// If the host's sockets fail.
    pub fn seen(&self) -> Seen {
        let (mut seen, mut frame) = (Seen::default(), vec![0; 80 << 10]);
        loop {
            match recv(&self.0, &mut frame[..], RecvFlags::empty()) {
                Ok((len, _)) => seen.add(&frame[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return seen,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

impl Seen {
    fn add(&mut self, frame: &[u8]) {
        let Some(segment) = Segment::of(frame) else {
            return;
        };
        let tally = match (segment.protocol, segment.to == GUEST, segment.from == GUEST) {
            (UDP, true, _) => &mut self.udp_in,
            (UDP, _, true) => &mut self.udp_out,
            (TCP, true, _) => &mut self.tcp_in,
            (TCP, _, true) => &mut self.tcp_out,
            _ => return,
        };
        match segment.checksum() {
            Checksum::Complete => tally.complete += 1,
            Checksum::Partial => tally.partial += 1,
            Checksum::Wrong => tally.wrong += 1,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checksum {
    Complete,
    Partial,
    Wrong,
}

/// A UDP or TCP packet over IPv4, whole.
struct Segment<'a> {
    from: Ipv4Addr,
    to: Ipv4Addr,
    protocol: u8,
    bytes: &'a [u8],
}

impl<'a> Segment<'a> {
    fn of(frame: &'a [u8]) -> Option<Self> {
        let ip = frame.get(14..).filter(|_| frame[12..14] == [8, 0])?;
        let header = usize::from(ip.first()? & 15) * 4;
        let word = |at: usize| Some(u16::from_be_bytes([*ip.get(at)?, *ip.get(at + 1)?]));
        let address = |at: usize| Some(Ipv4Addr::from(*ip.get(at..)?.first_chunk::<4>()?));
        let is_whole = word(6)? & 0x3fff == 0;
        let segment = Self {
            from: address(12)?,
            to: address(16)?,
            protocol: *ip.get(9)?,
            bytes: ip.get(header..usize::from(word(2)?))?,
        };
        is_whole.then_some(segment)
    }

    fn checksum(&self) -> Checksum {
        let at = if self.protocol == UDP { 6 } else { 16 };
        let length = self.bytes.len() as u16;
        let pseudo = [
            &self.from.octets()[..],
            &self.to.octets(),
            &[0, self.protocol],
            &length.to_be_bytes(),
        ]
        .concat();
        let given = self.bytes.get(at..at + 2).unwrap_or(&[0, 0]);
        if fold(sum(&pseudo) + sum(self.bytes)) == 0xffff {
            Checksum::Complete
        } else if fold(sum(&pseudo)).to_be_bytes() == given {
            Checksum::Partial
        } else {
            Checksum::Wrong
        }
    }
}

/// The sum of big-endian words, an odd last byte being the high one.
fn sum(bytes: &[u8]) -> u64 {
    bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u64::from(*low)))
        .sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Packets that the host dropped in this network since their checksum was
/// wrong, by its own count.
///
/// # Panics
/// If the host does not say.
#[must_use]
pub fn host_checksum_errors() -> u64 {
    let table = fs::read_to_string("/proc/thread-self/net/snmp");
    let table = table.unwrap_or_else(|e| panic!("{e}"));
    let lines: Vec<&str> = table.lines().collect();
    // Pairs of lines: the names, and below them the numbers.
    let mut errors = lines.chunks(2).filter_map(|pair| {
        let mut columns = pair[0].split(' ').zip(pair.get(1)?.split(' '));
        let (_, number) = columns.find(|(name, _)| *name == "InCsumErrors")?;
        number.parse::<u64>().ok()
    });
    let first = errors.next().unwrap_or_else(|| panic!("not in {table}"));
    first + errors.sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A datagram of 2 bytes from 10.0.9.1 to the system, with that checksum.
    fn datagram(checksum: [u8; 2]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0, 0, 30, 0, 0, 0x40, 0, 64, UDP, 0, 0]);
        frame.extend([10, 0, 9, 1, 10, 0, 9, 15]);
        frame.extend([0, 99, 0, 7, 0, 10, checksum[0], checksum[1], 1, 2]);
        // Ethernet fills up.
        frame.extend([0xee; 18]);
        frame
    }

    #[test]
    fn checksums_are_told_apart() {
        // 0a00 + 0901 + 0a00 + 090f + 11 + a, and the rest: 63 + 7 + a + 102.
        for (checksum, expected) in [
            ([0x26, 0x2b], (0, 1, 0)),
            ([0xd8, 0x5e], (1, 0, 0)),
            ([0x26, 0x2c], (0, 0, 1)),
        ] {
            let mut seen = Seen::default();
            seen.add(&datagram(checksum));
            let tally = seen.udp_in;
            let counts = (tally.complete, tally.partial, tally.wrong);
            assert_eq!(counts, expected, "{checksum:x?}");
        }
    }

    #[test]
    fn what_is_not_ours_to_judge_is_left_out() {
        let mut seen = Seen::default();
        seen.add(&[]);
        seen.add(&datagram([0, 0])[..40]);
        let mut fragment = datagram([0, 0]);
        fragment[20] = 0x20;
        seen.add(&fragment);
        assert_eq!(seen, Seen::default());
    }
}
