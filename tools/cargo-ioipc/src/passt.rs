//! passt, as the other end of the wire: what it is told, and its process.
//!
//! Problem: passt gives a system a real window and room for connections that
//! wait, without privilege, but it is a process of its own, which must neither
//! stay behind nor be missed. As root it becomes another user, so it cannot be
//! told to end with the thread that started it.
//!
//! Invariant: passt has one connection, to the emulator, as its standard input,
//! and ends when that does (`--fd` implies `--one-off`). Whatever ends the
//! emulator, our being killed included, ends passt.

use std::ffi::OsString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::emulator::Emulator;
use crate::machine::{Forward, Machine, Net, Transport};
use crate::ports;
use crate::serial::Serial;

/// The program.
const PROGRAM: &str = "passt";
/// How long the emulator may take to listen.
const LISTENING: Duration = Duration::from_secs(5);
/// How long passt may take to find out that it cannot work here.
const REFUSAL: Duration = Duration::from_millis(300);
/// How long it may take to end once the emulator has.
const GRACE: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(10);
/// Lines of its words that an error shows.
const TAIL_LINES: usize = 10;
/// What it says where the host's network leads nowhere.
const NO_ROUTE: &str = "routable";

/// Why there is no passt on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasstError {
    /// What happened.
    what: String,
    /// What it said.
    words: String,
    /// Another process has one of the ports.
    port: bool,
}

impl PasstError {
    fn new(what: impl fmt::Display) -> Self {
        Self {
            what: what.to_string(),
            words: String::new(),
            port: false,
        }
    }

    /// Whether another process has one of the ports.
    pub(crate) fn is_about_a_port(&self) -> bool {
        self.port
    }
}

impl fmt::Display for PasstError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "passt: {}", self.what)?;
        for line in self.words.lines() {
            write!(f, "\n    {line}")?;
        }
        if self.words.contains(NO_ROUTE) {
            write!(
                f,
                "\nit needs a default route on this host; \
                 --net user works without, and so does --net tap:NAME"
            )?;
        }
        Ok(())
    }
}

impl core::error::Error for PasstError {}

/// A started passt.
#[derive(Debug)]
pub(crate) struct Passt {
    child: Child,
    words: Serial,
}

/// What passt is told to be the wire of `machine`, its connection being its
/// standard input.
fn arguments(machine: &Machine) -> Vec<OsString> {
    let subnet = &machine.subnet;
    let words = [
        // In the foreground, with its words on the standard error.
        "--foreground".to_owned(),
        "--stderr".to_owned(),
        "--quiet".to_owned(),
        "--ipv4-only".to_owned(),
        "--fd".to_owned(),
        "0".to_owned(),
        "--address".to_owned(),
        subnet.own.to_string(),
        "--netmask".to_owned(),
        subnet.prefix.to_string(),
        "--gateway".to_owned(),
        subnet.router.to_string(),
        // As on the user network.
        "--dns-forward".to_owned(),
        subnet.names.to_string(),
        "--tcp-ports".to_owned(),
        pairs(&machine.forwards, Transport::Tcp),
        // Without a word it forwards UDP where it does TCP.
        "--udp-ports".to_owned(),
        pairs(&machine.forwards, Transport::Udp),
    ];
    words.map(OsString::from).to_vec()
}

/// Forwards from the loopback interface only, as on QEMU's user network.
fn pairs(forwards: &[Forward], transport: Transport) -> String {
    let these = forwards.iter().filter(|f| f.transport == transport);
    let pairs: Vec<String> = these.map(|f| format!("{}:{}", f.host, f.guest)).collect();
    match pairs.is_empty() {
        true => "none".to_owned(),
        false => format!("127.0.0.1/{}", pairs.join(",")),
    }
}

/// What is worth knowing about `machine` on this wire.
pub(crate) fn note(machine: &Machine) -> Option<String> {
    let silent = machine.net == Net::Passt && machine.address.is_some();
    silent.then(|| {
        "passt learns where the system is from the first frame that it sends, \
         which one with a static address need not send by itself"
            .to_owned()
    })
}

impl Passt {
    /// Starts passt on the socket at which the emulator listens.
    ///
    /// # Errors
    /// A [`PasstError`]; nothing of it is left then.
    pub(crate) fn start(
        machine: &Machine,
        socket: &Path,
        emulator: &mut Emulator,
    ) -> Result<Self, PasstError> {
        machine.forwards.iter().try_for_each(free)?;
        let connection = connect(socket, emulator)?;
        let mut child = Command::new(PROGRAM)
            .args(arguments(machine))
            // Ctrl-C at the terminal is for this program alone.
            .process_group(0)
            .stdin(Stdio::from(OwnedFd::from(connection)))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| PasstError::new(format_args!("cannot be started: {error}")))?;
        let words = match child.stderr.take() {
            Some(pipe) => Serial::follow(pipe, false),
            None => Serial::follow(std::io::empty(), false),
        };
        let mut passt = Self { child, words };
        let deadline = Instant::now() + REFUSAL;
        while Instant::now() < deadline {
            if let Some(error) = passt.failure() {
                return Err(error);
            }
            std::thread::sleep(TICK);
        }
        Ok(passt)
    }

    /// Why it has ended, if it has.
    pub(crate) fn failure(&mut self) -> Option<PasstError> {
        let status = self.child.try_wait().ok().flatten()?;
        self.words.drain(REFUSAL);
        let words = self.words.tail(TAIL_LINES);
        // It has no system log where there is none.
        let lines = words.lines().filter(|line| !line.contains("to syslog"));
        Some(PasstError {
            what: format!("ended ({status})"),
            words: lines.collect::<Vec<_>>().join("\n"),
            port: false,
        })
    }
}

/// Checks that nobody has the port: passt goes on without those that it cannot
/// have.
fn free(forward: &Forward) -> Result<(), PasstError> {
    let (transport, port) = (forward.transport, forward.host);
    let bound = ports::bind(transport, port);
    bound.map(drop).map_err(|error| PasstError {
        port: true,
        ..PasstError::new(format_args!(
            "cannot have port {port}/{transport} of 127.0.0.1: {error}"
        ))
    })
}

/// Connects to the emulator, once it listens.
fn connect(socket: &Path, emulator: &mut Emulator) -> Result<UnixStream, PasstError> {
    let deadline = Instant::now() + LISTENING;
    loop {
        match UnixStream::connect(socket) {
            Ok(connection) => return Ok(connection),
            Err(_) if emulator.try_wait().is_some() => {
                return Err(PasstError::new("the emulator ended before it listened"));
            }
            Err(error) if Instant::now() >= deadline => {
                return Err(PasstError::new(format_args!(
                    "the emulator cannot be reached: {error}"
                )));
            }
            Err(_) => std::thread::sleep(TICK),
        }
    }
}

impl Drop for Passt {
    fn drop(&mut self) {
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(TICK);
        }
        // It is ours and not waited for: nobody else has its number.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the emulator listens for passt: in a directory that only we enter.
///
/// # Errors
/// The file system's.
pub(crate) fn socket() -> std::io::Result<(tempfile::TempDir, PathBuf)> {
    let directory = tempfile::Builder::new().prefix("ioipc-").tempdir()?;
    let socket = directory.path().join("wire");
    Ok((directory, socket))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Accel, Subnet};
    use std::net::Ipv4Addr;

    fn machine(forwards: Vec<Forward>) -> Machine {
        Machine {
            memory_mib: 64,
            accel: Accel::Tcg,
            net: Net::Passt,
            mac: [2, 0, 0, 0, 0, 1],
            address: None,
            subnet: Subnet::default(),
            socket: None,
            forwards,
            pcap: None,
            wire: None,
            extra: Vec::new(),
        }
    }

    fn text(machine: &Machine) -> String {
        let words = arguments(machine);
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    #[test]
    fn it_is_told_the_systems_address_and_ports() {
        let forward = |transport, host, guest| Forward {
            transport,
            host,
            guest,
        };
        let mut machine = machine(vec![
            forward(Transport::Udp, 4000, 7),
            forward(Transport::Tcp, 4000, 7),
            forward(Transport::Tcp, 4001, 80),
        ]);
        let said = text(&machine);
        assert!(
            said.contains("--tcp-ports 127.0.0.1/4000:7,4001:80 "),
            "{said}"
        );
        assert!(said.ends_with("--udp-ports 127.0.0.1/4000:7"), "{said}");
        assert!(said.contains(
            "--address 10.0.2.15 --netmask 24 --gateway 10.0.2.2 --dns-forward 10.0.2.3 "
        ));
        let (own, gateway) = ([192, 168, 7, 20].into(), Ipv4Addr::from([192, 168, 7, 1]));
        machine.subnet = Subnet::around(Some((own, 28)), Some(gateway), &[]);
        let said = text(&machine);
        assert!(said.contains("--address 192.168.7.20 --netmask 28 --gateway 192.168.7.1 "));
    }

    #[test]
    fn nothing_is_forwarded_that_was_not_asked_for() {
        let said = text(&machine(Vec::new()));
        assert!(
            said.ends_with("--tcp-ports none --udp-ports none"),
            "{said}"
        );
    }

    #[test]
    fn a_host_without_a_way_out_is_told_what_else_there_is() {
        let error = PasstError {
            words: "No external routable interface for any IP protocol".to_owned(),
            ..PasstError::new("ended (exit status: 1)")
        };
        let text = error.to_string();
        assert!(
            text.starts_with("passt: ended (exit status: 1)\n    No external"),
            "{text}"
        );
        assert!(
            text.contains("default route") && text.contains("--net user"),
            "{text}"
        );
        assert!(!error.is_about_a_port());
    }

    #[test]
    fn a_port_that_somebody_has_is_an_error() {
        let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let host = taken.local_addr().unwrap().port();
        let forward = |transport| Forward {
            transport,
            host,
            guest: 7,
        };
        let error = free(&forward(Transport::Tcp)).unwrap_err();
        assert!(error.is_about_a_port());
        assert!(
            error.to_string().contains(&format!("{host}/tcp")),
            "{error}"
        );
    }
}
