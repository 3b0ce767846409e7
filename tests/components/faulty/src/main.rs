//! Faults in the way that a datagram asks for.
//!
//! Echoes datagrams and stream bytes on its port like any application, so that
//! it holds sockets, requests in flight and connections; a datagram with the
//! name of a fault makes it commit that fault on the spot.
#![no_std]
#![no_main]

use component_runtime::Component;
use ioipc::net::{TcpListener, UdpSocket};

component_runtime::entry!(main);

fn main(component: &'static Component) -> ! {
    if let Err(why) = serve(component) {
        log::error!("faulty ended: {why}");
    }
    loop {
        component.wait();
    }
}

fn serve(component: &'static Component) -> ioipc::Result<()> {
    if let Err(why) = ioipc::init(component) {
        log::error!("no sockets: {why}");
    }
    let port = component
        .config("port")
        .and_then(|p| p.parse().ok())
        .unwrap_or(9);
    let address = core::net::SocketAddr::from(([0, 0, 0, 0], port));
    let socket = UdpSocket::bind(address)?;
    // Held open, with a backlog, so that there is more to reclaim.
    let _listener = TcpListener::bind(address)?;
    log::info!("faulty waits on port {port}");
    let mut buffer = [0; 2048];
    loop {
        let (len, from) = socket.recv_from(&mut buffer)?;
        commit(&buffer[..len]);
        socket.send_to(&buffer[..len], from)?;
    }
}

/// Commits the fault that is called `name`; returns if there is none.
fn commit(name: &[u8]) {
    match name {
        b"panic" => panic!("asked to panic"),
        // SAFETY: none is possible; this is the fault that was asked for, and
        // the kernel stops it.
        b"null" => unsafe { core::hint::black_box(core::ptr::null_mut::<u8>()).write_volatile(1) },
        // SAFETY: as above: text is mapped read-only.
        b"text" => unsafe { (commit as fn(&[u8]) as *mut u8).write_volatile(0xcc) },
        // SAFETY: as above: `ud2` raises an invalid-opcode exception.
        b"illegal" => unsafe { core::arch::asm!("ud2") },
        // SAFETY: as above: nothing is mapped there.
        b"jump" => unsafe { core::arch::asm!("jmp {}", in(reg) 0x3000_0000_0000_u64) },
        b"stack" => recurse(core::hint::black_box(1)),
        _ => {}
    }
}

/// Runs the stack into its guard page.
#[inline(never)]
#[expect(unconditional_recursion, reason = "the fault that was asked for")]
fn recurse(depth: u64) {
    let frame = core::hint::black_box([depth; 64]);
    recurse(frame[7] + 1);
    core::hint::black_box(frame);
}
