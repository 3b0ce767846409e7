//! The emulator's threads, taking turns.
//!
//! Problem: the emulator moves frames in a thread beside the one that executes
//! the guest, so how far the guest has got when a frame has been sent or come,
//! and with it how often it is interrupted, depends on what else the host does.
//! Here the threads share one processor, and none is taken off it for another of
//! them: the guest runs until it waits, then frames move.

use std::process::{Command, Stdio};

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Confines all threads of a process to the last processor that this one may
/// use, as batch work. Where the host forbids it, figures scatter more; that is
/// all.
pub(super) fn to_one_processor(pid: u32) {
    // Batch work that wakes up does not take the processor from other work. Its
    // failure changes nothing.
    let _ = Command::new("chrt")
        .args(["--all-tasks", "--batch", "--pid", "0", &pid.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let Ok(allowed) = sched_getaffinity(None) else {
        return;
    };
    let last = (0..CpuSet::MAX_CPU).rev().find(|cpu| allowed.is_set(*cpu));
    let mut one = CpuSet::new();
    last.into_iter().for_each(|cpu| one.set(cpu));
    for thread in threads(pid) {
        // Threads end at any time.
        let _ = sched_setaffinity(Some(thread), &one);
    }
}

fn threads(pid: u32) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    let number = |entry: std::fs::DirEntry| {
        let name = entry.file_name();
        Pid::from_raw(name.to_str()?.parse().ok()?)
    };
    entries.flatten().filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_is_confined_and_this_one_is_not() {
        let before = sched_getaffinity(None).unwrap();
        let mut sleeper = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        to_one_processor(sleeper.id());
        let pid = Pid::from_raw(sleeper.id() as i32);
        let confined = sched_getaffinity(pid).unwrap().count();
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", sleeper.id())).unwrap();
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
        assert_eq!(confined, 1);
        // Behind the name, from field 3 on; field 41 is the policy, 3 is batch.
        let fields = stat.rsplit_once(") ").unwrap().1;
        assert_eq!(fields.split(' ').nth(41 - 3), Some("3"));
        assert_eq!(sched_getaffinity(None).unwrap(), before);
        assert!(threads(u32::MAX / 4).is_empty());
    }
}
