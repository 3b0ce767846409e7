//! The protocol server as a component.
//!
//! Sleeps until the manager or the timer signals, then works in rounds until
//! nothing is left. The ring is published once a round; the timer is called
//! only when the next deadline is sooner than the one it keeps.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::fmt;

use component_runtime::{Component, Link, Protocol, Role, Timer, clock, entropy, heap};
use monitor_api::Counter as Number;
use net_server::channel::{Channel, ChannelError};
use net_server::config::ConfigError;
use net_server::{Config, Counter, Server, Wakeup};
use nic_api::{NicInfo, nic_features};
use shared_ring::SharedMemory;

component_runtime::entry!(main);

/// Rounds after which counters are published even when there is no rest.
const PUBLISH_ROUNDS: u32 = 256;

/// Why the server cannot run.
#[derive(Debug)]
enum Failure {
    /// system.toml did not give it this.
    Lacks(&'static str),
    /// The timer driver published no clock.
    NoClock,
    /// A configuration value is not legal.
    Config(&'static str, ConfigError),
    /// The channel to the manager is not usable.
    Channel(ChannelError),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lacks(what) => write!(f, "system.toml gives the server no {what}"),
            Self::NoClock => f.write_str("the clock does not run: the timer driver failed"),
            Self::Config(key, e) => write!(f, "configuration of `{key}`: {e}"),
            Self::Channel(e) => write!(f, "{e}"),
        }
    }
}

/// All that the running server needs.
struct Program {
    server: Server,
    channel: Channel,
    manager: Link,
    timer: Timer,
    /// What the timer keeps, in nanoseconds.
    armed: Option<u64>,
    numbers: Vec<Number>,
}

fn config(component: &Component) -> Result<Config, Failure> {
    let mut config = Config::default();
    // The logger's key is the runtime's to read.
    for (key, value) in component.configs().filter(|(key, _)| *key != "log.level") {
        match config.set(key, value) {
            Ok(()) => {}
            Err(ConfigError::UnknownKey) => log::warn!("unknown configuration key `{key}`"),
            Err(error) => return Err(Failure::Config(key, error)),
        }
    }
    Ok(config)
}

/// A seed from the entropy service, or from timing as the last resort.
fn seed(component: &Component) -> [u8; 32] {
    entropy::seed(component).unwrap_or_else(|| {
        log::warn!("no entropy service: sequence numbers come from timing jitter");
        let mut seed = [0u8; 32];
        for (i, byte) in (0..4096).zip((0..32).cycle()) {
            let mixed = clock::tsc().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            seed[byte] = seed[byte].rotate_left(3) ^ (mixed as u8) ^ (i as u8);
        }
        seed
    })
}

/// Waits until the manager has said what the NIC is.
fn nic_info(component: &Component, control: &SharedMemory) -> Result<NicInfo, Failure> {
    loop {
        match NicInfo::read(control) {
            Ok(Some(info)) => return Ok(info),
            Ok(None) => {
                component.wait();
            }
            Err(_) => return Err(Failure::Channel(ChannelError::Region)),
        }
    }
}

fn numbers(component: &Component) -> Vec<Number> {
    let Some(page) = component_runtime::counters(component) else {
        return Vec::new();
    };
    let first_gauge = Counter::SocketsInUse as usize;
    let register = |(i, name): (usize, &&str)| {
        if i < first_gauge {
            page.counter(name)
        } else {
            page.gauge(name)
        }
    };
    Counter::NAMES.iter().enumerate().map(register).collect()
}

fn start(component: &Component) -> Result<Program, Failure> {
    heap::init(component).map_err(|_| Failure::Lacks("heap"))?;
    let manager = component.link(Protocol::Server, Role::Server);
    let manager = manager.ok_or(Failure::Lacks("I/O manager"))?;
    let headers = component.link(Protocol::Headers, Role::Server);
    let headers = headers.and_then(|link| link.data);
    let headers = headers.ok_or(Failure::Lacks("headers of packets"))?;
    let timer = component.timer().ok_or(Failure::Lacks("timer"))?;
    if !clock::init(component) {
        return Err(Failure::NoClock);
    }
    let control = manager.control.ok_or(Failure::Lacks("rings"))?;
    let slots = manager.data.ok_or(Failure::Lacks("send slots"))?;
    let info = nic_info(component, &control)?;
    let channel = Channel::attach(&control, headers, slots, &info).map_err(Failure::Channel)?;
    let makes = nic_features::SEGMENTATION | nic_features::CHECKSUM;
    let segments = info.features & makes == makes;
    let server = Server::new(
        config(component)?,
        info.mac,
        info.mtu,
        segments,
        seed(component),
    );
    Ok(Program {
        server: server.map_err(|e| Failure::Config("network", e))?,
        channel,
        manager,
        timer,
        armed: None,
        numbers: numbers(component),
    })
}

impl Program {
    fn publish_numbers(&mut self) {
        let numbers = &self.numbers;
        self.server.copy_counters(|place, value| {
            if let Some(number) = numbers.get(place) {
                number.set(value);
            }
        });
    }

    /// One round, and what it has to show to the others.
    fn round(&mut self) -> Wakeup {
        let wakeup = self.server.poll(clock::now_ns(), &mut self.channel);
        if self.channel.publish() {
            self.manager.signal();
        }
        wakeup
    }

    /// Has the timer keep the next deadline, unless it keeps a sooner one.
    fn arm_timer(&mut self, deadline: Option<u64>) {
        let Some(deadline) = deadline else {
            return;
        };
        if self.armed.is_none_or(|armed| deadline < armed) {
            match self.timer.arm(deadline.max(1)) {
                Ok(()) => self.armed = Some(deadline),
                Err(error) => log::error!("{error}"),
            }
        }
    }

    /// Sleeps if nobody has anything for us.
    fn rest(&mut self, component: &Component, wakeup: Wakeup) {
        self.arm_timer(wakeup.deadline_ns);
        // A manager that broke its ring has nothing to say any more.
        if self
            .channel
            .arm(wakeup.blocked, wakeup.hungry)
            .unwrap_or(true)
        {
            self.publish_numbers();
            let bits = component.wait();
            if bits & self.timer.badge() != 0 {
                self.armed = None;
            }
        }
        self.channel.disarm();
    }
}

fn main(component: &'static Component) -> ! {
    match start(component) {
        Ok(mut program) => {
            let mut rounds = 0u32;
            loop {
                let wakeup = program.round();
                if !wakeup.more {
                    program.rest(component, wakeup);
                }
                rounds = rounds.wrapping_add(1);
                if rounds & (PUBLISH_ROUNDS - 1) == 0 {
                    program.publish_numbers();
                }
            }
        }
        Err(failure) => log::error!("{failure}"),
    }
    loop {
        component.wait();
    }
}
