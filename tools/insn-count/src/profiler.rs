//! Asks a running guest's plugin for its profile.
//!
//! Problem: the profile is a file that the plugin writes, and a benchmark wants
//! what one load executed, not what all did since the guest booted.
//! Invariant: a profile that is returned was written after it was asked for.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::counts::{ANSWERED, ASKED};
use crate::{BlockCount, ProfileError, parse_profile};

/// How long to wait before looking again for an answer.
const LOOK: Duration = Duration::from_millis(1);

/// Why there is no profile.
#[derive(Debug)]
pub enum SnapshotError {
    /// A file cannot be opened, read or written.
    Io(PathBuf, io::Error),
    /// The plugin did not answer in this time: QEMU has ended, or was started
    /// without `profile=`.
    Unanswered(Duration),
    /// What it wrote is not a profile.
    Malformed(PathBuf, ProfileError),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Unanswered(after) => write!(
                f,
                "no profile within {} s: has QEMU ended, or is the plugin without `profile=`?",
                after.as_secs_f32()
            ),
            Self::Malformed(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for SnapshotError {}

/// Takes profiles of a running guest. One reader at a time.
#[derive(Debug)]
pub struct Profiler {
    counts: File,
    counts_path: PathBuf,
    profile: PathBuf,
}

impl Profiler {
    /// For the plugin that was given `counts=` and `profile=` these files.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] if the counter file cannot be opened for writing.
    pub fn open(
        counts: impl AsRef<Path>,
        profile: impl AsRef<Path>,
    ) -> Result<Self, SnapshotError> {
        let counts_path = counts.as_ref().to_path_buf();
        let open = OpenOptions::new().read(true).write(true).open(&counts_path);
        Ok(Self {
            counts: open.map_err(|e| SnapshotError::Io(counts_path.clone(), e))?,
            counts_path,
            profile: profile.as_ref().to_path_buf(),
        })
    }

    /// What each block has executed up to now, waiting at most `limit` for it.
    ///
    /// # Errors
    /// [`SnapshotError`].
    pub fn snapshot(&mut self, limit: Duration) -> Result<Vec<BlockCount>, SnapshotError> {
        let deadline = Instant::now() + limit;
        let asked = self.word(ASKED)?.wrapping_add(1);
        self.counts
            .write_all_at(&asked.to_le_bytes(), at(ASKED))
            .map_err(|e| SnapshotError::Io(self.counts_path.clone(), e))?;
        while self.word(ANSWERED)? != asked {
            if Instant::now() > deadline {
                return Err(SnapshotError::Unanswered(limit));
            }
            std::thread::sleep(LOOK);
        }
        let text = std::fs::read_to_string(&self.profile)
            .map_err(|e| SnapshotError::Io(self.profile.clone(), e))?;
        parse_profile(&text).map_err(|e| SnapshotError::Malformed(self.profile.clone(), e))
    }

    fn word(&self, word: usize) -> Result<u64, SnapshotError> {
        let mut bytes = [0; 8];
        self.counts
            .read_exact_at(&mut bytes, at(word))
            .map_err(|e| SnapshotError::Io(self.counts_path.clone(), e))?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// Where a word is in the file.
fn at(word: usize) -> u64 {
    (word * 8) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_that_keeps_silent_is_no_profile() {
        let dir = tempfile::tempdir().unwrap();
        let (counts, profile) = (dir.path().join("counts"), dir.path().join("profile"));
        assert!(matches!(
            Profiler::open(&counts, &profile),
            Err(SnapshotError::Io(..))
        ));
        std::fs::write(&counts, [0; 4096]).unwrap();
        // An old profile is not an answer.
        std::fs::write(&profile, "400000 1 1 90 -\n").unwrap();
        let mut profiler = Profiler::open(&counts, &profile).unwrap();
        let limit = Duration::from_millis(20);
        assert!(matches!(
            profiler.snapshot(limit),
            Err(SnapshotError::Unanswered(_))
        ));
        // Answered ahead of the second question.
        let answer = |file: &File| file.write_all_at(&2u64.to_le_bytes(), at(ANSWERED));
        answer(&profiler.counts).unwrap();
        let blocks = profiler.snapshot(limit).unwrap();
        assert_eq!((blocks.len(), blocks[0].page), (1, None));
        std::fs::write(&profile, "nonsense\n").unwrap();
        let three = 3u64.to_le_bytes();
        profiler.counts.write_all_at(&three, at(ANSWERED)).unwrap();
        assert!(matches!(
            profiler.snapshot(limit),
            Err(SnapshotError::Malformed(..))
        ));
    }
}
