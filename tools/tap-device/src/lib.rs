//! Opens TAP devices of the host, for whole frames and nothing else.
//!
//! Problem: a file of `/dev/net/tun` becomes a network device by two `ioctl`s
//! that no library wraps, so this crate exists for two `unsafe` blocks.
//! Invariant: what is read from an open [`Tap`] is one frame each time, as it
//! would be on a cable: no headers of virtio before it, no checksum left to be
//! completed, no segment left to be cut. (Linux,
//! Documentation/networking/tuntap.rst; the numbers are those of
//! `include/uapi/linux/if_tun.h`.)

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use rustix::ioctl::{IntegerSetter, Opcode, Updater, ioctl, opcode};

/// Where TAP devices are made and opened.
pub const TUN: &str = "/dev/net/tun";
/// Longest name of a network device; one more byte ends it.
pub const NAME_BYTES: usize = 15;

/// `TUNSETIFF`: makes or opens the device that a request names.
const SET_DEVICE: Opcode = opcode::write::<i32>(b'T', 202);
/// `TUNSETOFFLOAD`: what may be left to whoever reads.
const SET_OFFLOADS: Opcode = opcode::write::<u32>(b'T', 208);
/// `IFF_TAP`, frames and not packets, with `IFF_NO_PI`, nothing before them.
const FLAGS: u16 = 0x0002 | 0x1000;

/// `struct ifreq`: a name, and here flags. The rest is for other requests.
#[repr(C)]
struct Request {
    name: [u8; NAME_BYTES + 1],
    flags: u16,
    rest: [u8; 22],
}

const _: () = assert!(size_of::<Request>() == 40);

/// An open TAP device. Dropped, it goes, unless it was there before.
#[derive(Debug)]
pub struct Tap {
    file: File,
}

impl Tap {
    /// Opens the device `name` in the calling thread's network, and makes it if
    /// there is none. Reads and writes do not wait.
    ///
    /// # Errors
    /// `InvalidInput` for a name that no device has; what the kernel says:
    /// `NotFound` without [`TUN`], `PermissionDenied`, `ResourceBusy` if it is
    /// open already.
    pub fn open(name: &str) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open(TUN)?;
        let mut request = Request {
            name: padded(name)?,
            flags: FLAGS,
            rest: [0; 22],
        };
        // SAFETY: TUNSETIFF reads a `struct ifreq` from the pointer and writes
        // one back (tun.c, `__tun_chr_ioctl`); `Request` has its layout and
        // size and lives until the call returns.
        unsafe { ioctl(&file, Updater::<SET_DEVICE, Request>::new(&mut request)) }?;
        // SAFETY: TUNSETOFFLOAD takes its argument by value and touches no
        // memory of ours.
        unsafe { ioctl(&file, IntegerSetter::<SET_OFFLOADS>::new_usize(0)) }?;
        Ok(Self { file })
    }

    /// Reads one frame; a longer one than `buffer` is cut.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; what the kernel says if the device is
    /// gone.
    pub fn read_frame(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buffer)
    }

    /// Writes one frame.
    ///
    /// # Errors
    /// What the kernel says: the device is down, for example.
    pub fn write_frame(&self, frame: &[u8]) -> io::Result<()> {
        (&self.file).write(frame).map(drop)
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The name with zeros behind it.
fn padded(name: &str) -> io::Result<[u8; NAME_BYTES + 1]> {
    let mut bytes = [0; NAME_BYTES + 1];
    let fits = !name.is_empty() && name.len() <= NAME_BYTES && !name.contains('\0');
    match bytes.get_mut(..name.len()).filter(|_| fits) {
        Some(room) => room.copy_from_slice(name.as_bytes()),
        None => return Err(ErrorKind::InvalidInput.into()),
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_those_of_the_kernel() {
        assert_eq!(
            (SET_DEVICE, SET_OFFLOADS),
            (0x4004_54ca, 0x4004_54d0),
            "x86-64"
        );
    }

    #[test]
    fn names_are_checked_before_the_kernel_sees_them() {
        assert_eq!(padded("tap0").unwrap()[..5], *b"tap0\0");
        assert_eq!(padded("fifteen-letters").unwrap()[15], 0);
        for bad in ["", "sixteen--letters", "a\0b"] {
            let kind = padded(bad).unwrap_err().kind();
            assert_eq!(kind, ErrorKind::InvalidInput, "{bad:?}");
        }
    }
}
