//! What the emulator tests share: booting a system, asking its monitor.
//!
//! Invariant: every wait here has a limit, and running into it is a failure
//! that shows the end of the serial console. Dropping a [`Booted`] ends the
//! emulator.
#![forbid(unsafe_code)]

pub mod browser;
pub mod capture;
pub mod names;
pub mod passer;
pub mod placed;
pub mod tap;
pub mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cargo_ioipc::{Event, Net, Options, Running, Transport};
use serde_json::Value;

pub use cargo_ioipc::Placement;

/// How long a system may take until it answers; generous, since instructions
/// are emulated and other suites may run beside.
pub const BOOT: Duration = Duration::from_secs(60);
/// How long a serial line may take to come.
pub const LINE: Duration = Duration::from_secs(30);

/// A system that answers on its echo port.
pub struct Booted {
    /// The emulator.
    pub running: Running,
}

/// The path of `tests/systems/NAME.toml`.
#[must_use]
pub fn system(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("systems/{name}.toml"))
}

/// Options to boot the system at `path` on the release kernel, in the placement
/// that the test runs in.
#[must_use]
pub fn options(path: PathBuf) -> Options {
    Options {
        system: path,
        release: true,
        placement: placed::placement(),
        ..Options::default()
    }
}

impl Booted {
    /// Boots `options` and waits until every forwarded echo port answers.
    ///
    /// # Panics
    /// If it does not boot in time.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        let mut running = cargo_ioipc::launch(options).unwrap_or_else(|e| panic!("{e}"));
        running.wait_ready(BOOT).unwrap_or_else(|e| panic!("{e}"));
        Self { running }
    }

    /// Boots a system of this folder.
    ///
    /// # Panics
    /// If it does not boot in time.
    #[must_use]
    pub fn system(name: &str) -> Self {
        Self::new(&options(system(name)))
    }

    /// Boots `options` with the NIC on the Unix socket `socket`, where a
    /// raw-frame peer listens; does not wait.
    ///
    /// # Panics
    /// If the emulator does not start.
    #[must_use]
    pub fn on_wire(options: Options, socket: &Path) -> Self {
        let options = Options {
            net: Net::Unix(socket.to_path_buf()),
            ..options
        };
        let running = cargo_ioipc::launch(&options).unwrap_or_else(|e| panic!("{e}"));
        Self { running }
    }

    /// Where the host reaches UDP port `guest`.
    ///
    /// # Panics
    /// If the system does not forward it.
    #[must_use]
    pub fn udp(&self, guest: u16) -> SocketAddr {
        self.address(Transport::Udp, guest)
    }

    /// Where the host reaches TCP port `guest`.
    ///
    /// # Panics
    /// If the system does not forward it.
    #[must_use]
    pub fn tcp(&self, guest: u16) -> SocketAddr {
        self.address(Transport::Tcp, guest)
    }

    fn address(&self, transport: Transport, guest: u16) -> SocketAddr {
        let address = self.running.address(transport, guest);
        address.unwrap_or_else(|| panic!("port {guest} is not forwarded"))
    }

    /// The first serial line since boot that contains `text`, waiting for it.
    /// Different components' lines come in no particular order.
    ///
    /// # Panics
    /// If it does not come in time.
    #[must_use]
    pub fn line(&self, text: &str) -> String {
        let deadline = Instant::now() + LINE;
        match self
            .running
            .serial()
            .from_start()
            .find(deadline, |line| line.contains(text))
        {
            Event::Line(line) => line,
            end => panic!("{end:?} instead of a line with {text:?}"),
        }
    }

    /// The next serial line, behind those asked for before, that contains
    /// `text`.
    ///
    /// # Panics
    /// If it does not come in time.
    pub fn next_line(&mut self, text: &str) -> String {
        let line = self
            .running
            .wait_line(text, LINE, |line| line.contains(text));
        line.unwrap_or_else(|e| panic!("{e}"))
    }

    /// Asks the monitor `command` (`resources` or `counters`) and flattens the
    /// answer to `component.name` → value.
    ///
    /// # Panics
    /// If the answer does not come, or is not of that shape.
    pub fn numbers(&mut self, command: &str) -> BTreeMap<String, u64> {
        let answer = self
            .running
            .ask(command, LINE)
            .unwrap_or_else(|e| panic!("{e}"));
        let mut numbers = BTreeMap::new();
        flatten("", &answer[command], &mut numbers);
        assert!(
            !numbers.is_empty(),
            "`{command}` was answered with {answer}"
        );
        numbers
    }

    /// Waits until `wanted` accepts the numbers of `command`.
    ///
    /// # Panics
    /// If it never does within `limit`; shows the last numbers.
    pub fn wait_numbers(
        &mut self,
        command: &str,
        limit: Duration,
        mut wanted: impl FnMut(&BTreeMap<String, u64>) -> bool,
    ) -> BTreeMap<String, u64> {
        let deadline = Instant::now() + limit;
        loop {
            let numbers = self.numbers(command);
            if wanted(&numbers) {
                return numbers;
            }
            assert!(
                Instant::now() < deadline,
                "`{command}` stays at {numbers:#?}"
            );
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

fn flatten(prefix: &str, value: &Value, into: &mut BTreeMap<String, u64>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if prefix.is_empty() {
                    name.clone()
                } else {
                    format!("{prefix}.{name}")
                };
                flatten(&path, value, into);
            }
        }
        Value::Number(number) => {
            into.extend(number.as_u64().map(|n| (prefix.to_owned(), n)));
        }
        _ => {}
    }
}
