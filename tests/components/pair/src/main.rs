//! Two threads that use sockets and SSE registers at once.
//!
//! First both spin at equal priority with a pattern of their own in an SSE
//! register, long enough for the kernel to switch between them many times, and
//! log whether it ever changed: the kernel switches these registers lazily.
//! Then each serves UDP echo on a port of its own with a blocking socket, so
//! that one of them leads in waiting for the I/O manager and the other follows.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU32, Ordering};

use component_runtime::{Component, threads};
use ioipc::net::UdpSocket;
use ioipc::time::Instant;

component_runtime::entry!(main);

/// Ports of the first and the second thread.
const PORTS: [u16; 2] = [10, 11];
/// How long the registers are watched, in milliseconds.
const WATCH: u128 = 300;

/// Threads whose pattern was right to the end, and threads done.
static INTACT: AtomicU32 = AtomicU32::new(0);
static DONE: AtomicU32 = AtomicU32::new(0);

fn main(component: &'static Component) -> ! {
    if let Err(why) = ioipc::init(component) {
        log::error!("no sockets: {why}");
    }
    if let Err(why) = threads::spawn(1, second) {
        log::error!("no second thread: {why}");
    }
    watch(0x1111_2222_3333_4444);
    while DONE.load(Ordering::Acquire) != 2 {
        threads::yield_now();
    }
    log::info!(
        "pair: {} of 2 patterns intact",
        INTACT.load(Ordering::Acquire)
    );
    serve(PORTS[0]);
    loop {
        component.wait();
    }
}

fn second() {
    watch(0x5555_6666_7777_8888);
    serve(PORTS[1]);
}

/// Keeps `pattern` in an SSE register for a while.
fn watch(pattern: u64) {
    let mut intact = true;
    if let Ok(start) = Instant::now() {
        while Instant::now().is_ok_and(|now| now.duration_since(start).as_millis() < WATCH) {
            intact &= survives(pattern);
        }
    }
    INTACT.fetch_add(u32::from(intact), Ordering::AcqRel);
    DONE.fetch_add(1, Ordering::AcqRel);
}

/// Whether an SSE register still holds `pattern` after a hundred thousand
/// rounds.
fn survives(pattern: u64) -> bool {
    let after: u64;
    // SAFETY: touches the named registers only.
    unsafe {
        core::arch::asm!(
            "movq xmm7, {before}",
            "mov rcx, 100000",
            "2: dec rcx",
            "jnz 2b",
            "movq {after}, xmm7",
            before = in(reg) pattern,
            after = out(reg) after,
            out("rcx") _,
            out("xmm7") _,
            options(nomem, nostack),
        );
    }
    after == pattern
}

fn serve(port: u16) {
    if let Err(why) = echo(port) {
        log::error!("echo on port {port} ended: {why}");
    }
}

fn echo(port: u16) -> ioipc::Result<()> {
    let socket = UdpSocket::bind(([0, 0, 0, 0], port))?;
    log::info!("pair: port {port} echoes");
    let mut buffer = [0; 2048];
    loop {
        let (len, from) = socket.recv_from(&mut buffer)?;
        socket.send_to(&buffer[..len], from)?;
    }
}
