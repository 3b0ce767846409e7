//! Builds a program outside the workspace, boots it as a root task, and holds
//! the emulator to its contract. Needs the kernel's build tools and QEMU.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use cargo_ioipc::components::{self, Source};
use cargo_ioipc::{
    Accel, Error, Exit, Forward, Home, Machine, Net, Running, Subnet, Transport, image,
};
use rustix::process::{Pid, Signal, kill_process};
use sel4_kernel::{Kernel, Progress, Variant};

const LONG: Duration = Duration::from_secs(30);

/// Says three lines through the debug kernel's putchar system call, then idles.
const PROGRAM: &str = r#"
#![no_std]
#![no_main]
core::arch::global_asm!(
    ".globl _start",
    "_start: lea rbx, [rip + text]",
    "2: movzx edi, byte ptr [rbx]",
    "test edi, edi",
    "jz 3f",
    "mov rdx, -9",
    "mov rbp, rsp",
    "syscall",
    "mov rsp, rbp",
    "inc rbx",
    "jmp 2b",
    "3: jmp 3b",
    ".section .rodata",
    "text: .asciz \"root: outside: 0 components, 0 found\\nfirst line\\n{{\\\"answer\\\": 42}}\\n\"",
);
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }
"#;

/// A kernel and an image whose root task is [`PROGRAM`].
fn bootable() -> &'static (Kernel, PathBuf, tempfile::TempDir) {
    static MADE: OnceLock<(Kernel, PathBuf, tempfile::TempDir)> = OnceLock::new();
    MADE.get_or_init(|| make().unwrap_or_else(|error| panic!("{error}")))
}

fn make() -> Result<(Kernel, PathBuf, tempfile::TempDir), Error> {
    let home = Home::find()?;
    let kernel = sel4_kernel::ensure(Variant::Debug, &home.workspace, &Progress::hidden())?;
    let scratch = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let package = scratch.path().join("outside");
    write(&package.join("src/main.rs"), PROGRAM);
    let manifest = "[package]\nname = \"outside\"\nedition = \"2024\"\n[workspace]\n";
    write(&package.join("Cargo.toml"), manifest);
    let source = Source::Path {
        directory: package,
        package: None,
    };
    let built = components::build(&[source], &[], &kernel, &home, false)?;
    let image = image::build(&built[0].bytes, b"description", &[])?;
    let file = scratch.path().join("image.elf");
    fs::write(&file, &image.bytes).unwrap_or_else(|error| panic!("{error}"));
    Ok((kernel, file, scratch))
}

fn write(file: &Path, text: &str) {
    fs::create_dir_all(file.parent().unwrap_or(file)).unwrap_or_else(|error| panic!("{error}"));
    fs::write(file, text).unwrap_or_else(|error| panic!("{error}"));
}

fn boot(machine: &Machine) -> Running {
    let (kernel, image, _) = bootable();
    Running::start(machine, kernel.boot_elf(), image, false)
        .unwrap_or_else(|error| panic!("{error}"))
}

fn machine() -> Machine {
    let forward = |transport| Forward {
        transport,
        host: 0,
        guest: 7,
    };
    Machine {
        memory_mib: 64,
        accel: Accel::Tcg,
        net: Net::User,
        mac: [2, 0, 0, 0, 0, 1],
        address: None,
        subnet: Subnet::default(),
        socket: None,
        forwards: vec![forward(Transport::Udp), forward(Transport::Tcp)],
        pcap: None,
        wire: None,
        extra: Vec::new(),
    }
}

/// Whether a process runs: a dead one that nobody waited for does not.
fn runs(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.contains(") Z ") && !stat.contains(") X "))
}

fn ends(pid: u32) -> bool {
    let deadline = Instant::now() + LONG;
    while runs(pid) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    !runs(pid)
}

#[test]
fn lines_arrive_and_a_system_that_does_not_echo_is_not_ready() {
    let mut running = boot(&machine());
    let pid = running.pid();
    let line = running.wait_line("first line", LONG, |line| line.starts_with("first"));
    assert_eq!(line.ok().as_deref(), Some("first line"));
    let answer = running.next_line(LONG);
    assert_eq!(answer.ok().as_deref(), Some("{\"answer\": 42}"));
    let message = match running.wait_ready(Duration::from_millis(500)) {
        Err(error @ Error::Timeout { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(message.starts_with("no UDP echo reply within 0.5 s"));
    assert!(message.ends_with("{\"answer\": 42}"));
    assert!(runs(pid));
    assert_eq!(running.stop(), Exit::Stopped);
    assert!(!runs(pid));
}

fn signal(running: &Running, signal: Signal) {
    let pid = i32::try_from(running.pid()).ok().and_then(Pid::from_raw);
    let sent = pid.map(|pid| kill_process(pid, signal));
    assert_eq!(sent, Some(Ok(())));
}

#[test]
fn a_forwarded_port_takes_a_crowd_at_once_and_is_not_ready_for_it() {
    const CROWD: usize = 200;
    let mut running = boot(&Machine {
        forwards: vec![Forward {
            transport: Transport::Tcp,
            host: 0,
            guest: 80,
        }],
        ..machine()
    });
    assert!(running.notes().is_empty(), "{:?}", running.notes());
    let at = running.address(Transport::Tcp, 80);
    let at = at.unwrap_or_else(|| panic!("port 80 is not forwarded"));
    // An emulator that stands still accepts nobody: they all wait.
    signal(&running, Signal::STOP);
    let connect = |_| TcpStream::connect_timeout(&at, Duration::from_secs(2)).ok();
    let open: Vec<TcpStream> = (0..CROWD).map_while(connect).collect();
    signal(&running, Signal::CONT);
    assert_eq!(open.len(), CROWD);
    let message = match running.wait_ready(Duration::from_secs(3)) {
        Err(error @ Error::Timeout { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    let expected = "no answer at port 80/tcp within 3 s";
    assert!(message.starts_with(expected), "{message}");
}

#[test]
fn an_emulator_that_refuses_its_arguments_is_reported_with_its_words() {
    let mut running = boot(&Machine {
        extra: vec!["-no-such-argument".into()],
        ..machine()
    });
    let error = running.next_line(LONG).map_err(|error| error.to_string());
    let message = error.err().unwrap_or_default();
    assert!(message.starts_with("the emulator ended unexpectedly (exit status 1)"));
    assert!(message.contains("no-such-argument: invalid option"));
}

#[test]
fn the_emulator_ends_with_the_thread_that_booted_it() {
    let machine = machine();
    bootable();
    let pid = std::thread::spawn(move || {
        let running = boot(&machine);
        let pid = running.pid();
        assert!(runs(pid));
        std::mem::forget(running);
        pid
    });
    let pid = pid.join().unwrap_or_else(|_| panic!("booting failed"));
    assert!(ends(pid));
}
