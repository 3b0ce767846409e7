//! The timer driver as a component.
//!
//! Measures, publishes the clock, then waits for calls and interrupts.
#![no_std]
#![no_main]

use component_runtime::clock::tsc;
use component_runtime::{Component, Event, Irq, Link, Protocol, Role, counters};
use hpet_driver::{Hpet, HpetError, MAX_CLIENTS, Timekeeper, Window, calibrate};
use monitor_api::Counter;
use service_api::{Clock, ClockError, timer};

component_runtime::entry!(main);

/// Why the driver cannot run.
#[derive(Debug)]
enum Failure {
    /// system.toml did not give it this.
    Lacks(&'static str),
    /// The device cannot be used.
    Hpet(HpetError),
    /// The clock cannot be published.
    Clock(ClockError),
}

impl core::fmt::Display for Failure {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Lacks(what) => write!(f, "system.toml gives the driver no {what}"),
            Self::Hpet(e) => write!(f, "{e}"),
            Self::Clock(e) => write!(f, "{e}"),
        }
    }
}

struct Driver {
    keeper: Timekeeper<Window>,
    clock: Clock,
    irq: Irq,
    clients: [Option<Link>; MAX_CLIENTS],
    irqs: Counter,
    arms: Counter,
    expiries: Counter,
    waiting: Counter,
}

fn start(component: &Component) -> Result<Driver, Failure> {
    let device = component.devices().next().ok_or(Failure::Lacks("device"))?;
    let irq = device.irq.ok_or(Failure::Lacks("interrupt"))?;
    let window = device.bar(0).and_then(|w| w.memory());
    let window = window.ok_or(Failure::Lacks("window"))?;
    let window = Window::new(window).map_err(|_| Failure::Lacks("whole window"))?;
    let hpet = Hpet::new(window).map_err(Failure::Hpet)?;
    let clock = calibrate(&hpet, tsc).map_err(Failure::Clock)?;
    let mut clients = [None; MAX_CLIENTS];
    for link in component.links_of(Protocol::Timer, Role::Server) {
        if let Some(page) = link.control {
            clock.publish(&page).map_err(Failure::Clock)?;
        }
        if let Some(client) = clients.get_mut(link.index as usize) {
            *client = Some(link);
        }
    }
    let page = counters(component);
    let counter = |name| page.map_or_else(Counter::detached, |p| p.counter(name));
    Ok(Driver {
        keeper: Timekeeper::new(hpet, MAX_CLIENTS),
        clock,
        irq,
        clients,
        irqs: counter("irqs"),
        arms: counter("arms"),
        expiries: counter("expiries"),
        waiting: page.map_or_else(Counter::detached, |p| p.gauge("waiting")),
    })
}

impl Driver {
    fn now(&self) -> u64 {
        self.clock.ns(tsc())
    }

    /// Signals the clients whose bits are set in `due`.
    fn signal(&self, mut due: u64) {
        self.expiries.add(due.count_ones().into());
        while due != 0 {
            if let Some(Some(link)) = self.clients.get(due.trailing_zeros() as usize) {
                link.signal();
            }
            due &= due - 1;
        }
    }

    fn call(&mut self, component: &Component, caller: u16, label: u64, deadline: u64) {
        let known = matches!(self.clients.get(caller as usize), Some(Some(_)));
        let due = match label {
            timer::LABEL_ARM if known => self.keeper.set(caller, deadline, self.now()).ok(),
            _ => None,
        };
        let Some(due) = due else {
            component.reply_with_label(timer::REPLY_REFUSED, [0; 4]);
            return;
        };
        self.arms.add(1);
        component.reply([0; 4]);
        self.signal(due);
    }

    fn serve(&mut self, component: &Component) -> ! {
        self.irq.ack();
        loop {
            match component.recv() {
                Event::Signals(bits) => {
                    if bits & self.irq.badge != 0 {
                        self.irqs.add(1);
                        self.irq.ack();
                        let due = self.keeper.interrupt(self.now());
                        self.signal(due);
                    }
                }
                Event::Call { caller, info, mrs } => {
                    let [deadline, ..] = mrs;
                    self.call(component, caller, info.label(), deadline);
                }
                // Holds nobody's memory.
                Event::Fault(_) => {}
            }
            self.waiting.set(self.keeper.waiting() as u64);
        }
    }
}

fn main(component: &'static Component) -> ! {
    match start(component) {
        Ok(mut driver) => {
            log::info!("clock runs, resolution {} ns", driver.clock.resolution_ns());
            driver.serve(component)
        }
        Err(failure) => log::error!("{failure}"),
    }
    // Without a timer, refuse rather than let callers hang.
    loop {
        if let Event::Call { .. } = component.recv() {
            component.reply_with_label(timer::REPLY_REFUSED, [0; 4]);
        }
    }
}
