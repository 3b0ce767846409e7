//! The smallest component: says hello in the log and, if it may use sockets,
//! to everybody who connects.
//!
//! A template. In system.toml it needs no more than `program = "hello"`; with
//! `sockets` and `config.port` it also answers on that TCP port.
#![no_std]
#![no_main]

use component_runtime::Component;
use ioipc::net::{TcpListener, interface};

component_runtime::entry!(main);

fn main(component: &'static Component) -> ! {
    log::info!("hello from {}", component.name());
    if let Some(port) = component.config("port").and_then(|p| p.parse().ok())
        && let Err(why) = answer(component, port)
    {
        log::error!("no answers on port {port}: {why}");
    }
    loop {
        component.wait();
    }
}

/// Sends one line to everybody who connects to `port`.
fn answer(component: &'static Component, port: u16) -> ioipc::Result<()> {
    if let Err(why) = ioipc::init(component) {
        log::error!("no sockets: {why}");
    }
    let listener = TcpListener::bind(([0, 0, 0, 0], port))?;
    log::info!("hello on {}, TCP port {port}", interface()?.address);
    for stream in listener.incoming() {
        // A connection that failed is its peer's problem, not ours.
        if let Err(why) = stream.and_then(|s| s.write_all(b"hello from seL4\n")) {
            log::warn!("a connection failed: {why}");
        }
    }
    Ok(())
}
