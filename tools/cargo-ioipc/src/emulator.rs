//! The emulator process, owned.
//!
//! Problem: an emulator must not stay behind when this program returns,
//! panics, is interrupted or is killed. Returning and panicking are handled
//! by `Drop`; for the rest, `setpriv` asks the kernel to kill the emulator
//! when the thread that started it is gone, and then becomes the emulator, so
//! the process number is the emulator's own.
//!
//! Invariant: only processes started here are signalled, by number, and only
//! while they have not been waited for.

use std::ffi::OsString;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sel4_kernel::host_packages::find_program;

use crate::Error;

/// The emulator's program.
const PROGRAM: &str = "qemu-system-x86_64";
/// How long a polite request to end may take.
const GRACE: Duration = Duration::from_secs(3);

/// A started emulator.
#[derive(Debug)]
pub(crate) struct Emulator {
    child: Child,
}

/// The emulator's ends of our pipes.
pub(crate) struct Pipes {
    pub serial_in: Option<ChildStdin>,
    pub serial_out: Option<ChildStdout>,
    pub errors: Option<ChildStderr>,
}

impl Emulator {
    /// Starts the emulator in a process group of its own, so that Ctrl-C at
    /// the terminal reaches this program alone.
    pub(crate) fn start(arguments: &[OsString]) -> Result<(Self, Pipes), Error> {
        use std::os::unix::process::CommandExt;
        let mut command = match find_program("setpriv") {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--", PROGRAM]);
                command
            }
            None => Command::new(PROGRAM),
        };
        command
            .args(arguments)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(Error::io("start", PROGRAM))?;
        let pipes = Pipes {
            serial_in: child.stdin.take(),
            serial_out: child.stdout.take(),
            errors: child.stderr.take(),
        };
        Ok((Self { child }, pipes))
    }

    /// The emulator's process number.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn try_wait(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end until `deadline`.
    pub(crate) fn wait_until(&mut self, deadline: Instant) -> Option<ExitStatus> {
        loop {
            match self.try_wait() {
                Some(status) => return Some(status),
                None if Instant::now() >= deadline => return None,
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Ends it: politely, so that it closes its files, then by force.
    pub(crate) fn stop(&mut self) -> Option<ExitStatus> {
        if let Some(status) = self.try_wait() {
            return Some(status);
        }
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            // It cannot have been replaced: it is ours and not waited for.
            let _ = kill_process(pid, Signal::TERM);
        }
        if let Some(status) = self.wait_until(Instant::now() + GRACE) {
            return Some(status);
        }
        let _ = self.child.kill();
        self.child.wait().ok()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stop();
    }
}
