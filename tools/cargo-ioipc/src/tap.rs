//! TAP devices: whether one can be used, and one in a network of its own.
//!
//! Problem: the emulator's user network knows no offloads, and a TAP device,
//! which does, would be a change to the host's network. Here a thread leaves
//! the host's network for a new namespace, in which there are only a loopback
//! interface and a TAP device; whatever it starts and opens is in there too.
//!
//! Invariant: the host's own network is never changed. The namespace has no
//! name and no file: it goes, with its devices, when the thread and the
//! processes that it started are gone, even if they are killed.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use nix::sched::{CloneFlags, unshare};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use tap_device::{NAME_BYTES, TUN};

use crate::Address;

/// The device in the namespace.
pub const DEVICE: &str = "ioipc0";
/// The namespace's own address on it.
pub const HOST: Address = Address {
    own: Ipv4Addr::new(10, 0, 9, 1),
    prefix: 24,
};
/// The address of the system there.
pub const GUEST: Address = Address {
    own: Ipv4Addr::new(10, 0, 9, 15),
    prefix: 24,
};
/// Its device numbers (Linux, Documentation/admin-guide/devices.txt).
const TUN_NUMBERS: (u32, u32) = (10, 200);
/// `CAP_NET_ADMIN` and `CAP_SYS_ADMIN`, as bits.
const CAPABILITIES: u64 = 1 << 12 | 1 << 21;

/// Why there is no TAP device to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TapError {
    /// This machine or this user has no such thing; nothing is wrong.
    Unavailable(String),
    /// It should be there, but something failed.
    Failed(String),
}

impl fmt::Display for TapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Unavailable(why) | Self::Failed(why)) = self;
        f.write_str(why)
    }
}

impl core::error::Error for TapError {}

/// Whether `name` can be that of a network device.
pub(crate) fn is_name(name: &str) -> bool {
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '/' || c == ':';
    !name.is_empty()
        && name.len() <= NAME_BYTES
        && name != "."
        && name != ".."
        && !name.contains(odd)
}

/// Checks that the network device `name` is there, in the calling thread's
/// network, and that TAP devices can be opened. The emulator would make one
/// that is not there, without an address, and wait.
///
/// # Errors
/// [`TapError::Unavailable`], with what to do about it.
pub fn check(name: &str) -> Result<(), TapError> {
    if !Traffic::of(name).is_ok_and(|traffic| traffic.is_some()) {
        return Err(TapError::Unavailable(format!(
            "there is no network device {name}; root makes one with\n\n    \
             ip tuntap add dev {name} mode tap user USER\n    \
             ip address add {HOST} dev {name}\n    \
             ip link set dev {name} up\n"
        )));
    }
    open_tun().map_err(|error| TapError::Unavailable(format!("cannot open {TUN}: {error}")))
}

/// Runs `work` in a new network namespace where [`DEVICE`] is up with address
/// [`HOST`]. Emulators that it starts have to end before it does.
///
/// # Errors
/// A [`TapError`] if there can be no such namespace; `work` has not run then.
pub fn in_own_network<R: Send>(work: impl FnOnce() -> R + Send) -> Result<R, TapError> {
    available()?;
    let inside = || set_up().map(|()| work());
    thread::scope(|scope| {
        let thread = scope.spawn(inside);
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Whether [`in_own_network`] has what it needs. As root, makes the device
/// file if it is missing.
///
/// # Errors
/// [`TapError::Unavailable`].
pub fn available() -> Result<(), TapError> {
    let unavailable = |why: &str| Err(TapError::Unavailable(why.to_owned()));
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    if !may_make_networks(&status) {
        return unavailable("a network namespace needs root, or CAP_NET_ADMIN and CAP_SYS_ADMIN");
    }
    if !Path::new(TUN).exists()
        && let Err(error) = make_tun()
    {
        return unavailable(&format!(
            "there is no {TUN}, and it cannot be made: {error}"
        ));
    }
    Ok(())
}

/// Whether a thread of this `/proc/PID/status` has [`CAPABILITIES`].
fn may_make_networks(status: &str) -> bool {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    effective.is_some_and(|mask| mask & CAPABILITIES == CAPABILITIES)
}

fn make_tun() -> io::Result<()> {
    if let Some(directory) = Path::new(TUN).parent() {
        fs::create_dir_all(directory)?;
    }
    let (major, minor) = TUN_NUMBERS;
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(
        CWD,
        TUN,
        FileType::CharacterDevice,
        mode,
        makedev(major, minor),
    )?;
    Ok(())
}

fn open_tun() -> io::Result<()> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(TUN)
        .map(drop)
}

/// Takes the calling thread to a new network and makes the device.
fn set_up() -> Result<(), TapError> {
    leave_network()?;
    ip(&["tuntap", "add", "dev", DEVICE, "mode", "tap", "vnet_hdr"])?;
    bring_up(HOST)
}

/// Takes the calling thread to a new network.
pub(crate) fn leave_network() -> Result<(), TapError> {
    unshare(CloneFlags::CLONE_NEWNET)
        .map_err(|error| TapError::Failed(format!("no new network namespace: {error}")))?;
    open_tun().map_err(|error| TapError::Failed(format!("cannot open {TUN}: {error}")))?;
    ip(&["link", "set", "dev", "lo", "up"])
}

/// Gives [`DEVICE`], which is there, an address and turns it on.
pub(crate) fn bring_up(own: Address) -> Result<(), TapError> {
    // IPv6 would talk on the wire by itself.
    ip(&["link", "set", "dev", DEVICE, "addrgenmode", "none"])?;
    ip(&["address", "add", &own.to_string(), "dev", DEVICE])?;
    ip(&["link", "set", "dev", DEVICE, "up"])
}

/// Runs `ip` in the calling thread's network.
fn ip(arguments: &[&str]) -> Result<(), TapError> {
    let failed = |why: String| TapError::Failed(format!("`ip {}`: {why}", arguments.join(" ")));
    let output = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        )),
    }
}

/// What the host's kernel has counted on a network device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames to the system.
    pub frames_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Frames from the system.
    pub frames_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
}

impl Traffic {
    /// The counts of `device` in the calling thread's network, if it is there.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn of(device: &str) -> io::Result<Option<Self>> {
        Ok(Self::parse(
            &fs::read_to_string("/proc/thread-self/net/dev")?,
            device,
        ))
    }

    /// Bytes, packets and six others received, then the same sent: what the
    /// host receives comes from the system.
    fn parse(table: &str, device: &str) -> Option<Self> {
        let (_, numbers) = table
            .lines()
            .filter_map(|line| line.trim().split_once(':'))
            .find(|(name, _)| *name == device)?;
        let numbers: Vec<u64> = numbers
            .split_whitespace()
            .map_while(|word| word.parse().ok())
            .collect();
        Some(Self {
            frames_in: *numbers.get(9)?,
            bytes_in: *numbers.get(8)?,
            frames_out: *numbers.get(1)?,
            bytes_out: *numbers.first()?,
        })
    }

    /// What came since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            frames_in: self.frames_in.saturating_sub(before.frames_in),
            bytes_in: self.bytes_in.saturating_sub(before.bytes_in),
            frames_out: self.frames_out.saturating_sub(before.frames_out),
            bytes_out: self.bytes_out.saturating_sub(before.bytes_out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "Inter-|   Receive                    |  Transmit\n \
        face |bytes    packets errs drop fifo frame compressed multicast|bytes packets\n    \
        lo:       1       2    0    0    0     0          0         0        3       4    0\n\
        ioipc0: 5000      50    0    1    0     0          0         0     6000      60    0\n";

    #[test]
    fn traffic_is_counted_from_the_systems_side() {
        let traffic = Traffic::parse(TABLE, "ioipc0").unwrap();
        assert_eq!((traffic.frames_in, traffic.bytes_in), (60, 6000));
        assert_eq!((traffic.frames_out, traffic.bytes_out), (50, 5000));
        assert_eq!(Traffic::parse(TABLE, "ioipc"), None);
        assert_eq!(traffic.since(traffic), Traffic::default());
    }

    #[test]
    fn both_capabilities_are_needed() {
        assert!(may_make_networks("Name:\tx\nCapEff:\t000001fffeffffff\n"));
        assert!(!may_make_networks("CapEff:\t0000000000001000\n"));
        assert!(!may_make_networks("CapEff:\t0000000000000000\n"));
        assert!(!may_make_networks(""));
    }

    #[test]
    fn a_device_that_is_not_there_is_reported_with_what_makes_it() {
        let error = check("no-such-tap").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("there is no network device no-such-tap;"));
        assert!(
            text.contains("ip address add 10.0.9.1/24 dev no-such-tap"),
            "{text}"
        );
    }

    #[test]
    fn names_are_those_of_the_kernel() {
        assert!(is_name("tap0") && is_name("a,b") && is_name("fifteen-letters"));
        for bad in ["", ".", "..", "a b", "a/b", "a:b", "sixteen--letters"] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn the_namespace_holds_the_device_and_the_host_does_not() {
        match in_own_network(|| (check(DEVICE), Traffic::of("lo"))) {
            Ok((inside, lo)) => {
                assert_eq!(inside, Ok(()));
                assert!(lo.unwrap().is_some());
            }
            Err(TapError::Unavailable(why)) => eprintln!("not run: {why}"),
            Err(TapError::Failed(why)) => panic!("{why}"),
        }
        assert!(check(DEVICE).is_err());
    }
}
