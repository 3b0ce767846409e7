//! The plugin against a guest whose instructions can be counted on paper: a
//! firmware image of a dozen instructions, run by QEMU from the reset vector.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use insn_count::{Counter, PLUGIN_FILE, Profiler, parse_profile};

/// Rounds of the loop; each is two instructions.
const ROUNDS: u32 = 1_000_000;

/// Cargo puts the shared library beside or above the test program.
fn plugin() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let dirs = program.ancestors().skip(1).take(2);
    let found = dirs
        .map(|dir| dir.join(PLUGIN_FILE))
        .find(|file| file.exists());
    found.expect("the plugin is built with the tests")
}

/// A 64 KiB image for real mode: loop, one `syscall` (an invalid opcode there),
/// and in its handler the write that ends QEMU.
fn rom() -> Vec<u8> {
    let mut rom = vec![0xf4; 0x1_0000];
    let mut code = vec![0x66, 0xb9];
    code.extend(ROUNDS.to_le_bytes()); // mov ecx, ROUNDS
    code.extend([0x66, 0x49, 0x75, 0xfc]); // dec ecx; jnz back
    code.extend([0xc7, 0x06, 0x18, 0x00, 0x00, 0x01]); // mov word [6 * 4], 0x100
    code.extend([0xc7, 0x06, 0x1a, 0x00, 0x00, 0xf0]); // mov word [6 * 4 + 2], 0xf000
    code.extend([0x0f, 0x05]); // syscall
    rom[..code.len()].copy_from_slice(&code);
    rom[0x100..0x104].copy_from_slice(&[0xba, 0x01, 0x05, 0xee]); // mov dx, 0x501; out dx, al
    rom[0xfff0..0xfff3].copy_from_slice(&[0xe9, 0x0d, 0x00]); // jmp 0
    rom
}

/// QEMU with the plugin, on a firmware image of its own; killed when dropped.
struct Guest {
    qemu: Child,
    dir: tempfile::TempDir,
}

impl Guest {
    fn start(rom: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("rom.bin"), rom).unwrap();
        let arguments = format!(
            "{},counts={},profile={}",
            plugin().display(),
            at("insn.bin").display(),
            at("blocks.txt").display()
        );
        let fixed = "-accel tcg -nodefaults -display none -m 16 \
                     -device isa-debug-exit,iobase=0x501";
        let qemu = Command::new("qemu-system-x86_64")
            .args(fixed.split_ascii_whitespace())
            .args(["-plugin", &arguments, "-bios"])
            .arg(at("rom.bin"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { qemu, dir }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Waits until `done`.
    fn wait(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !done(self) {
            assert!(Instant::now() < deadline, "the guest did not {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended.
        let _gone = self.qemu.kill();
        let _status = self.qemu.wait();
    }
}

#[test]
fn every_instruction_counts_once() {
    let mut guest = Guest::start(&rom());
    guest.wait("end", |guest| guest.qemu.try_wait().unwrap().is_some());
    let at = |name: &str| guest.file(name);
    let counts = Counter::open(at("insn.bin")).unwrap().read().unwrap();
    // jmp, mov, the loop, two movs, syscall, mov, out
    assert_eq!(counts.user, 2 * u64::from(ROUNDS) + 7);
    assert_eq!(
        (counts.kernel, counts.syscalls, counts.halts),
        (0, Some(1), Some(0))
    );

    let profile = parse_profile(&std::fs::read_to_string(at("blocks.txt")).unwrap()).unwrap();
    let executed: u64 = profile.iter().map(|b| b.instructions * b.executions).sum();
    assert_eq!(
        executed,
        counts.user + 1,
        "the last block has a `hlt` that is not reached"
    );
    let hottest = profile.iter().max_by_key(|b| b.executions).unwrap();
    assert_eq!((hottest.start, hottest.instructions), (0xffff_0006, 2));
    assert!(hottest.code.starts_with(&[0x66, 0x49, 0x75, 0xfc]));
}

#[test]
fn a_profile_can_be_asked_for_while_the_guest_runs() {
    let mut endless = vec![0xf4; 0x1_0000];
    endless[0xfff0..0xfff2].copy_from_slice(&[0xeb, 0xfe]); // jmp to itself
    let mut guest = Guest::start(&endless);
    let running = |guest: &mut Guest| Counter::open(guest.file("insn.bin")).is_ok();
    guest.wait("start", running);
    let mut profiler = Profiler::open(guest.file("insn.bin"), guest.file("blocks.txt")).unwrap();
    let mut counter = Counter::open(guest.file("insn.bin")).unwrap();
    let mut last = 0;
    for _ in 0..3 {
        let before = counter.read().unwrap().user;
        guest.wait("go on", |_| counter.read().unwrap().user > before + 1000);
        let blocks = profiler.snapshot(Duration::from_secs(10)).unwrap();
        let executed: u64 = blocks.iter().map(|b| b.instructions * b.executions).sum();
        // A block is counted in two places, one after the other; on a busy host the
        // guest may stand still in between.
        let shown = counter.read().unwrap().user;
        guest.wait("go on", |_| counter.read().unwrap().user > shown + 1000);
        let now = counter.read().unwrap().user;
        assert!(blocks.iter().all(|block| block.start == 0xffff_fff0));
        assert!(executed > last && (before..=now).contains(&executed));
        last = executed;
    }
}
