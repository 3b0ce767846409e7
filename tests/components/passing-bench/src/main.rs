//! Measures each way of passing data, one way out and one way in.
//!
//! The other end is a null socket, so that nothing but data passing is
//! measured: the client produces each byte, the I/O manager passes and reads
//! it; or the manager has it, passes it, and the client reads it. Each series,
//! one way of passing at all sizes, is one line of JSON in the log. With
//! `verify` it only looks whether the bytes are the right ones. Several of them
//! work one after the other: who has a link `turn` it may signal passes the
//! turn on, who has no `start` waits for it.
#![no_std]
#![no_main]

mod cases;
mod rounds;
mod series;
mod wire;

use component_runtime::{Component, Protocol, Role, clock};
use rounds::Bench;
use shared_ring::Lender;

component_runtime::entry!(main);

fn main(component: &'static Component) -> ! {
    let turn = component.link_named("turn");
    if component.config("start").is_none() {
        component.wait();
    }
    let timed = clock::init(component);
    let start = (clock::tsc(), clock::now_ns());
    match run(component) {
        Ok(count) => {
            let counts = clock::tsc() - start.0;
            let ns = if timed { clock::now_ns() - start.1 } else { 0 };
            let name = component.name();
            log::info!("passing-bench {name} is done: {count} series, {counts} counts, {ns} ns");
        }
        Err(why) => log::error!("passing-bench {} failed: {why}", component.name()),
    }
    if let Some(turn) = turn.filter(|t| t.role == Role::Client) {
        turn.signal();
    }
    loop {
        component.wait();
    }
}

/// Measures or verifies all series; how many.
fn run(component: &'static Component) -> Result<u32, &'static str> {
    let link = component
        .link(Protocol::Sockets, Role::Client)
        .ok_or("no sockets")?;
    let wire = wire::Wire::new(component, link).ok_or("rings do not attach")?;
    let region = component.take_region().ok_or("no data region")?;
    let marks = component.memory("heap").ok_or("no heap")?;
    let (marks, _) = marks.split_at_mut(8);
    let marks = words(marks).ok_or("no heap")?;
    let bench = Bench::new(wire, Lender::new(region, rounds::MOST.ilog2(), marks), link)?;
    let quick = component.config("quick") == Some("true");
    match component.config("verify") {
        Some("true") => series::verify_all(bench),
        _ => series::measure_all(bench, quick),
    }
}

/// Bytes as words.
fn words(bytes: &'static mut [u8]) -> Option<&'static mut [u64]> {
    // SAFETY: any bytes are words.
    let (_, words, _) = unsafe { bytes.align_to_mut::<u64>() };
    (!words.is_empty()).then_some(words)
}
