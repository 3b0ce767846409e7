//! The counter file: a page of little-endian 64-bit words, and its reader.
//!
//! | word | meaning |
//! | --- | --- |
//! | 0 | user instructions |
//! | 1 | kernel instructions |
//! | 2 | `syscall` and `sysenter` instructions executed in user mode |
//! | 3 | `hlt` instructions executed in the kernel |
//! | 8 | [`MAGIC`], if words 2 and 3 are counted |
//! | 9 | how often a profile was asked for; the only word that a reader writes |
//! | 10 | how many of those requests the plugin has answered |
//!
//! The first two words are what simpler counters write too, so their files can
//! be read; words 2 and 3 are then absent rather than zero.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Sub;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Addresses from here on are the kernel's. User addresses lie below 4 GiB, so
/// any bound between the two tells them apart; boot firmware counts as user.
pub const KERNEL_FLOOR: u64 = 0x80_0000_0000;

/// Size of the file, in bytes.
pub(crate) const FILE_SIZE: usize = 4096;
/// Indices of the words.
pub(crate) const USER: usize = 0;
pub(crate) const KERNEL: usize = 1;
pub(crate) const SYSCALLS: usize = 2;
pub(crate) const HALTS: usize = 3;
pub(crate) const MAGIC_AT: usize = 8;
pub(crate) const ASKED: usize = 9;
pub(crate) const ANSWERED: usize = 10;
/// Says that words 2 and 3 are counted.
pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"insnct01");

/// What was counted since the guest started, or between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Instructions at user addresses.
    pub user: u64,
    /// Instructions at kernel addresses.
    pub kernel: u64,
    /// System calls begun in user mode; none if the file does not say.
    pub syscalls: Option<u64>,
    /// Times the kernel's idle loop halted; none if the file does not say.
    /// Each time costs that loop the `hlt` and the jump back.
    pub halts: Option<u64>,
}

impl Counts {
    /// User and kernel instructions together.
    pub fn total(&self) -> u64 {
        self.user + self.kernel
    }
}

impl Sub for Counts {
    type Output = Counts;

    /// The difference of two readings, the later one first.
    fn sub(self, earlier: Counts) -> Counts {
        let both = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_sub(b?));
        Counts {
            user: self.user.saturating_sub(earlier.user),
            kernel: self.kernel.saturating_sub(earlier.kernel),
            syscalls: both(self.syscalls, earlier.syscalls),
            halts: both(self.halts, earlier.halts),
        }
    }
}

/// Why a counter file cannot be used.
#[derive(Debug)]
pub enum FileError {
    /// It cannot be opened or read.
    Io(PathBuf, io::Error),
    /// It is too short to be a counter file; QEMU may not have started yet.
    TooShort(PathBuf),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "counter file {}: {error}", path.display()),
            Self::TooShort(path) => write!(f, "{} is not a counter file (yet)", path.display()),
        }
    }
}

impl std::error::Error for FileError {}

/// Reads the counters of a running or finished guest.
#[derive(Debug)]
pub struct Counter {
    file: File,
    path: PathBuf,
}

impl Counter {
    /// Opens the file that the plugin was told to write.
    ///
    /// # Errors
    /// [`FileError::Io`] if it is not there, [`FileError::TooShort`] if the
    /// plugin has not sized it yet.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let path = path.as_ref().to_path_buf();
        let file = File::open(&path).map_err(|e| FileError::Io(path.clone(), e))?;
        let counter = Self { file, path };
        counter.words()?;
        Ok(counter)
    }

    /// The counts up to now.
    ///
    /// # Errors
    /// [`FileError`] if the file was cut or replaced meanwhile.
    pub fn read(&mut self) -> Result<Counts, FileError> {
        let words = self.words()?;
        let full = words[MAGIC_AT] == MAGIC;
        Ok(Counts {
            user: words[USER],
            kernel: words[KERNEL],
            syscalls: full.then_some(words[SYSCALLS]),
            halts: full.then_some(words[HALTS]),
        })
    }

    fn words(&self) -> Result<[u64; MAGIC_AT + 1], FileError> {
        let mut bytes = [0; (MAGIC_AT + 1) * 8];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.file.read_at(&mut bytes[filled..], filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(FileError::Io(self.path.clone(), e)),
            }
        }
        if filled < 16 {
            return Err(FileError::TooShort(self.path.clone()));
        }
        let mut words = [0; MAGIC_AT + 1];
        for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*chunk);
        }
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(words: &[u64]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        words
            .iter()
            .for_each(|w| file.write_all(&w.to_le_bytes()).unwrap());
        file
    }

    #[test]
    fn a_plain_file_has_no_syscalls() {
        let file = file(&[5, 7]);
        let counts = Counter::open(file.path()).unwrap().read().unwrap();
        assert_eq!((counts.user, counts.kernel, counts.total()), (5, 7, 12));
        assert_eq!((counts.syscalls, counts.halts), (None, None));
    }

    #[test]
    fn a_full_file_is_followed_while_it_changes() {
        let mut file = file(&[5, 7, 1, 2, 0, 0, 0, 0, MAGIC]);
        let mut counter = Counter::open(file.path()).unwrap();
        let before = counter.read().unwrap();
        file.as_file()
            .write_all_at(&105u64.to_le_bytes(), 0)
            .unwrap();
        file.as_file()
            .write_all_at(&4u64.to_le_bytes(), 16)
            .unwrap();
        file.flush().unwrap();
        let spent = counter.read().unwrap() - before;
        assert_eq!((spent.user, spent.kernel), (100, 0));
        assert_eq!((spent.syscalls, spent.halts), (Some(3), Some(0)));
    }

    #[test]
    fn what_is_no_counter_file_is_refused() {
        let short = file(&[1]);
        assert!(matches!(
            Counter::open(short.path()),
            Err(FileError::TooShort(_))
        ));
        assert!(matches!(
            Counter::open("/nonexistent/x"),
            Err(FileError::Io(..))
        ));
    }
}
