//! The console as a component.
//!
//! Sleeps until a component logs, somebody types, the serial line has room
//! again, or a component's state changes.
#![no_std]
#![no_main]

use component_runtime::clock::tsc;
use component_runtime::{Component, IoPorts, Irq, Link, Protocol, Role, counters};
use console::{Console, Ports, Source, Step, Uart};
use monitor_api::{Counter, CounterPage};
use service_api::Clock;

component_runtime::entry!(main);

/// First port of COM1.
const COM1: u16 = 0x3f8;
/// The root task's name as a peer; no component can have it.
const ROOT: &str = "root";
/// QEMU's exit device: writing `v` ends it with status `2 v + 1`.
const EXIT_PORT: u16 = 0xf4;
const EXIT_ORDERLY: u8 = 0x10;

struct Com1(IoPorts);

impl Ports for Com1 {
    fn read(&self, offset: u16) -> u8 {
        self.0.in8(COM1 + offset).unwrap_or(0)
    }

    fn write(&self, offset: u16, value: u8) {
        self.0.out8(COM1 + offset, value);
    }
}

struct Parts {
    console: Console<Com1>,
    irq: Option<Irq>,
    timer: Option<Link>,
    /// Lines, suppressed lines, dropped bytes.
    totals: [Counter; 3],
}

/// `None` without a serial port: there is nothing a console could do.
fn start(component: &Component) -> Option<Parts> {
    let device = component.devices().find(|d| d.name == "serial")?;
    let uart = Uart::new(Com1(device.ports?));
    let states = component.link(Protocol::Lifecycle, Role::Client);
    let mut console = Console::new(uart, states.and_then(|l| l.control));
    for link in component.links_of(Protocol::Monitor, Role::Server) {
        let Some(region) = link.control else {
            continue;
        };
        let index = (link.peer != ROOT).then_some(link.index);
        if !console.add(Source::new(link.peer, index, region)) {
            log::warn!("{} cannot be shown: too many components", link.peer);
        }
    }
    let page = counters(component);
    let counter =
        |name: &str| page.map_or_else(Counter::detached, |p: CounterPage| p.counter(name));
    Some(Parts {
        console,
        irq: device.irq,
        timer: component.link(Protocol::Timer, Role::Client),
        totals: ["lines", "lines.suppressed", "tx.dropped"].map(counter),
    })
}

/// Ends the system, if it may.
fn shut_down(component: &Component) {
    let exit = component.devices().find(|d| d.name == "exit");
    if let Some(ports) = exit.and_then(|d| d.ports) {
        ports.out8(EXIT_PORT, EXIT_ORDERLY);
    }
}

impl Parts {
    fn find_clock(&mut self) {
        if self.console.has_clock() {
            return;
        }
        let page = self.timer.and_then(|link| link.control);
        if let Some(Ok(Some(clock))) = page.map(|page| Clock::read(&page)) {
            self.console.set_clock(clock);
        }
    }

    /// Works until there is nothing left to do.
    fn work(&mut self, component: &Component) {
        loop {
            self.find_clock();
            let step = self.console.step(tsc());
            for (counter, total) in self.totals.iter().zip(self.console.totals()) {
                counter.set(total);
            }
            match step {
                Step::Again => {}
                Step::Sleep => return,
                Step::Shutdown => shut_down(component),
            }
        }
    }
}

fn main(component: &'static Component) -> ! {
    let mut parts = start(component);
    loop {
        if let Some(parts) = &mut parts {
            if let Some(irq) = parts.irq {
                // Before the work: what arrives during it interrupts again.
                irq.ack();
            }
            parts.work(component);
        }
        component.wait();
    }
}
