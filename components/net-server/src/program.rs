//! The protocol server as the runtime knows it, wherever it runs.
//!
//! Starts once the manager has said what the NIC is, and works in rounds. What
//! it has to say is published once a round; the timer is called before a sleep,
//! and only when the next deadline is sooner than the one that it keeps.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::mem;

use component_runtime::server::Server as Program;
use component_runtime::{Component, Link, Protocol, Role, Timer, clock, entropy, heap, message};
use monitor_api::Counter as Number;
use nic_api::{NicInfo, nic_features};
use shared_ring::SharedMemory;
use socket_api::MessageSizes;

use crate::channel::{Channel, ChannelError};
use crate::config::ConfigError;
use crate::{Config, Connection, Conventional, Copied, Counter, Server, Wakeup};

/// Rounds after which counters are published even when there is no rest.
const PUBLISH_ROUNDS: u32 = 256;

/// Why the server cannot run.
#[derive(Debug)]
pub enum Failure {
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

impl core::error::Error for Failure {}

/// The protocol server: waiting for its NIC, or running.
pub struct NetServer {
    parts: Parts,
    running: Option<Box<Running>>,
}

/// What system.toml gives the server.
struct Parts {
    component: &'static Component,
    manager: Link,
    control: SharedMemory,
    headers: SharedMemory,
    slots: SharedMemory,
    timer: Timer,
}

/// All that the running server needs.
struct Running {
    server: Server,
    channel: Connection,
    manager: Link,
    timer: Timer,
    /// The last round's.
    wakeup: Wakeup,
    /// What the timer keeps, in nanoseconds.
    alarm: Option<u64>,
    /// The manager was asked for a signal.
    armed: bool,
    rounds: u32,
    numbers: Vec<Number>,
    /// What is copied, with conventional IPC.
    copied: Vec<Number>,
}

impl Program for NetServer {
    type Failure = Failure;

    fn new(component: &'static Component) -> Result<Self, Failure> {
        Ok(Self {
            parts: Parts::of(component)?,
            running: None,
        })
    }

    #[inline]
    fn turn(&mut self, signals: u64) -> Result<bool, Failure> {
        match &mut self.running {
            Some(running) => Ok(running.turn(signals)),
            None => {
                self.running = self.parts.start()?;
                Ok(self.running.is_some())
            }
        }
    }

    #[inline]
    fn arm(&mut self) -> bool {
        match &mut self.running {
            Some(running) => running.arm(),
            // What is wrong with it is said in the next turn.
            None => NicInfo::read(&self.parts.control) == Ok(None),
        }
    }

    #[inline]
    fn settle(&mut self) {
        if let Some(running) = &mut self.running {
            running.settle();
        }
    }
}

impl Parts {
    fn of(component: &'static Component) -> Result<Self, Failure> {
        if heap::usage() == (0, 0) {
            return Err(Failure::Lacks("heap"));
        }
        let manager = component.link(Protocol::Server, Role::Server);
        let manager = manager.ok_or(Failure::Lacks("I/O manager"))?;
        let headers = component.link(Protocol::Headers, Role::Server);
        let headers = headers.and_then(|link| link.data);
        let timer = component.timer().ok_or(Failure::Lacks("timer"))?;
        if !clock::init(component) {
            return Err(Failure::NoClock);
        }
        Ok(Self {
            component,
            control: manager.control.ok_or(Failure::Lacks("rings"))?,
            headers: headers.ok_or(Failure::Lacks("headers of packets"))?,
            slots: manager.data.ok_or(Failure::Lacks("send slots"))?,
            manager,
            timer,
        })
    }

    /// Starts the server; `None` while the manager has not said what the NIC
    /// is.
    #[inline(never)]
    fn start(&self) -> Result<Option<Box<Running>>, Failure> {
        let unreadable = |_| Failure::Channel(ChannelError::Region);
        let Some(info) = NicInfo::read(&self.control).map_err(unreadable)? else {
            return Ok(None);
        };
        let near = self.manager.near;
        let channel = Channel::attach(&self.control, self.headers, self.slots, &info, near);
        let channel = channel.map_err(Failure::Channel)?;
        let channel = connection(self.component, channel, info.mtu)?;
        let makes = nic_features::SEGMENTATION | nic_features::CHECKSUM;
        let server = Server::new(
            config(self.component)?,
            info.mac,
            info.mtu,
            info.features & makes == makes,
            seed(self.component),
        );
        let running = Running {
            server: server.map_err(|e| Failure::Config("network", e))?,
            copied: copied_numbers(self.component, &channel),
            channel,
            manager: self.manager,
            timer: self.timer,
            wakeup: Wakeup {
                more: true,
                blocked: false,
                hungry: false,
                deadline_ns: None,
            },
            alarm: None,
            armed: false,
            rounds: 0,
            numbers: numbers(self.component),
        };
        Ok(Some(Box::new(running)))
    }
}

impl Running {
    /// One round, and what it has to show to the others.
    #[inline]
    fn turn(&mut self, signals: u64) -> bool {
        if mem::take(&mut self.armed) {
            self.channel.disarm();
        }
        if signals & self.timer.badge() != 0 {
            self.alarm = None;
        }
        self.wakeup = self.server.poll(clock::now_ns(), &mut self.channel);
        if self.channel.publish() {
            self.manager.signal();
        }
        self.rounds = self.rounds.wrapping_add(1);
        if self.rounds.is_multiple_of(PUBLISH_ROUNDS) {
            self.publish_numbers();
        }
        self.wakeup.more
    }

    /// True if nobody has anything for us.
    #[inline]
    fn arm(&mut self) -> bool {
        self.armed = !self.manager.near;
        // A manager that broke its ring has nothing to say any more.
        let Wakeup {
            blocked, hungry, ..
        } = self.wakeup;
        let idle = self.channel.arm(blocked, hungry).unwrap_or(true);
        if idle && blocked {
            // It may sleep, and the driver not know that anybody waits for slots.
            self.manager.signal();
        }
        idle
    }

    fn settle(&mut self) {
        self.arm_timer(self.wakeup.deadline_ns);
        self.publish_numbers();
    }

    fn publish_numbers(&mut self) {
        let numbers = &self.numbers;
        self.server.copy_counters(|place, value| {
            if let Some(number) = numbers.get(place) {
                number.set(value);
            }
        });
        let copied = self.channel.copied().map(Copied::values);
        for (number, value) in self.copied.iter().zip(copied.iter().flatten()) {
            number.set(*value);
        }
    }

    /// Has the timer keep the next deadline, unless it keeps a sooner one.
    fn arm_timer(&mut self, deadline: Option<u64>) {
        let Some(deadline) = deadline else {
            return;
        };
        if self.alarm.is_none_or(|alarm| deadline < alarm) {
            match self.timer.arm(deadline.max(1)) {
                Ok(()) => self.alarm = Some(deadline),
                Err(error) => log::error!("{error}"),
            }
        }
    }
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

/// The numbers of what is copied, which there are with conventional IPC only.
fn copied_numbers(component: &Component, channel: &Connection) -> Vec<Number> {
    let page = component_runtime::counters(component);
    let Some(page) = page.filter(|_| channel.copied().is_some()) else {
        return Vec::new();
    };
    Copied::NAMES.map(|name| page.counter(name)).to_vec()
}

/// The channel with payload by reference, or by value if there is a link for
/// messages.
fn connection(component: &Component, channel: Channel, mtu: u32) -> Result<Connection, Failure> {
    let Some(link) = component.link(Protocol::Messages, Role::Server) else {
        return Ok(Connection::Reference(channel));
    };
    let region = link.data.ok_or(Failure::Lacks("messages"))?;
    let payload = link.control.ok_or(Failure::Lacks("payload of packets"))?;
    let sizes = MessageSizes {
        to_server: link.params[message::TO_SERVER],
        from_server: link.params[message::FROM_SERVER],
        requests: link.params[message::REQUESTS],
    };
    log::info!("conventional IPC: payload is copied into messages and out of them");
    let conventional = Conventional::new(channel, (region, sizes), payload, mtu as usize);
    let conventional = conventional.map_err(|_| Failure::Channel(ChannelError::Region))?;
    Ok(Connection::Value(conventional))
}
