//! `cargo ioipc run`: boots a system and stays with it.
//!
//! Invariant: whatever ends this command (the system, Ctrl-C, a signal, an
//! error) the emulator has ended before it returns.

use std::io::Read;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::control::Door;
use crate::launch::write_atomically;
use crate::machine::{Net, Transport};
use crate::ready::{ECHO_PORT, Outcome};
use crate::{Error, Exit, Home, Options, Prepared, Running, prepare, tap, wire};

/// Exit status when the system was not ready in time, as of `timeout(1)`.
pub const TIMED_OUT: u8 = 124;
/// How often signals and the emulator's end are looked for.
const TICK: Duration = Duration::from_millis(50);

/// What `run` is asked to do beyond booting.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// Do not read standard input.
    pub headless: bool,
    /// File to write when the system is ready.
    pub ready_file: Option<PathBuf>,
    /// How long the system may take to become ready.
    pub timeout: Option<Duration>,
}

/// Boots the system and stays until it ends. Returns the exit status: 0 after
/// an orderly shutdown, [`TIMED_OUT`], or 128 plus the signal received.
///
/// # Errors
/// Those of [`prepare`], and [`Error::Emulator`] when the system ends in any
/// other way.
pub fn run(options: &Options, session: &Session) -> Result<u8, Error> {
    if let Some(file) = &session.ready_file {
        remove_old(file)?;
    }
    if let Net::Tap(name) = &options.net {
        // Before anything is built: this is quick to find out.
        tap::check(name)?;
    }
    if options.wire.is_some() {
        wire::check(&options.net)?;
    }
    let prepared = prepare(options)?;
    let interrupt = Interrupt::watch()?;
    let mut running = prepared.boot()?;
    let _door = Door::open(&running, &prepared.plan.name, &Home::find()?)?;
    announce(&prepared, &running, options);
    if !session.headless {
        pass_input(&running);
    }
    let status = stay(&mut running, session, &interrupt);
    if let Some(file) = &session.ready_file {
        // It names a process that is about to be gone.
        let _ = std::fs::remove_file(file);
    }
    let tally = running.tally();
    running.stop();
    if let Some(tally) = tally {
        eprintln!("wire, to the system:   {}", tally.there);
        eprintln!("wire, from the system: {}", tally.back);
    }
    status
}

fn stay(running: &mut Running, session: &Session, interrupt: &Interrupt) -> Result<u8, Error> {
    let deadline = session.timeout.map(|timeout| running.started() + timeout);
    let outcome = running.wait_ready_while(deadline, &mut || interrupt.signal().is_none());
    match outcome {
        Outcome::Ready(not_tried) => {
            let took = running.started().elapsed().as_secs_f32();
            eprintln!("ready after {took:.1} s");
            not_tried.iter().for_each(|line| eprintln!("  {line}"));
            if let Some(file) = &session.ready_file {
                write_ready_file(file, running)?;
            }
        }
        Outcome::Timeout(what) => {
            let timeout = session.timeout.unwrap_or_default();
            eprintln!("error: {}", running.timed_out(&what, timeout));
            return Ok(TIMED_OUT);
        }
        Outcome::Given => {}
    }
    loop {
        if let Some(signal) = interrupt.signal() {
            return Ok(128 + signal);
        }
        match running.wait_exit(TICK) {
            None => {
                if let Some(error) = running.wire_failure() {
                    return Err(error);
                }
            }
            Some(Exit::Shutdown) => return Ok(0),
            Some(exit) => return Err(running.ended(exit)),
        }
    }
}

/// Says what was booted and how to reach it.
fn announce(prepared: &Prepared, running: &Running, options: &Options) {
    eprintln!(
        "{}: booting seL4 {} ({}), QEMU is process {}",
        prepared.plan.name,
        prepared.kernel.version(),
        options.variant(),
        running.pid()
    );
    for forward in running.forwards() {
        let (transport, guest) = (forward.transport, forward.guest);
        let flag = match transport {
            Transport::Udp => "-u ",
            Transport::Tcp => "",
        };
        if let Some(at) = running.address(transport, guest) {
            let (host, port) = (at.ip(), at.port());
            eprintln!("  port {guest:5}/{transport}: nc {flag}{host} {port}");
        }
    }
    if running.forwards().is_empty() {
        let plan = &prepared.plan;
        let who = unreachable(plan.mac.is_some(), plan.address, &options.net);
        eprintln!("  {who}");
    }
    running
        .notes()
        .iter()
        .for_each(|note| eprintln!("  {note}"));
}

/// Who can reach a system to which no port leads; `own` is its static address.
fn unreachable(has_nic: bool, own: Option<Ipv4Addr>, net: &Net) -> &'static str {
    match net {
        _ if !has_nic => "no network device: nobody can reach the system",
        Net::None => "--net none: nobody can reach the system",
        Net::Socket(_) | Net::Unix(_) => {
            "only who is at the other end of the wire can reach the system"
        }
        Net::Tap(_) if own.is_none() => {
            "the system asks for its address by DHCP: who is on the wire can reach it there"
        }
        Net::Tap(_) => "no [[forward]]: whether the system answers is not tried",
        Net::User | Net::Passt => {
            "no [[forward]]: nobody can reach the system, it can only call out"
        }
    }
}

/// Copies standard input to the serial port, in a thread that ends with it.
fn pass_input(running: &Running) {
    let port = running.input();
    std::thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        let mut bytes = [0; 1024];
        while let Ok(count @ 1..) = input.read(&mut bytes) {
            if port.send(&bytes[..count]).is_err() {
                return;
            }
        }
    });
}

/// `{"udp": PORT, "tcp": PORT, "pid": PID}`; a port is null if the system
/// forwards none to the echo service. On a TAP device the ports are not those
/// of 127.0.0.1, and `"host"` is the address.
fn write_ready_file(file: &Path, running: &Running) -> Result<(), Error> {
    let [udp, tcp] =
        [Transport::Udp, Transport::Tcp].map(|transport| running.address(transport, ECHO_PORT));
    let mut content = json!({
        "udp": udp.map(|at| at.port()),
        "tcp": tcp.map(|at| at.port()),
        "pid": running.pid(),
    });
    if let Some(at) = udp.or(tcp).filter(|at| !at.ip().is_loopback()) {
        content["host"] = json!(at.ip());
    }
    write_atomically(file, format!("{content}\n").as_bytes())
}

fn remove_old(file: &Path) -> Result<(), Error> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove the old", file)(error))
        }
        _ => Ok(()),
    }
}

/// Signals that ask this program to end. A second one ends it at once; the
/// emulator then ends with it.
struct Interrupt {
    last: Arc<AtomicUsize>,
}

impl Interrupt {
    fn watch() -> Result<Self, Error> {
        let again = Arc::new(AtomicBool::new(false));
        let last = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&again))
                .and_then(|_| flag::register(signal, Arc::clone(&again)))
                .and_then(|_| flag::register_usize(signal, Arc::clone(&last), signal as usize))
                .map_err(Error::io("watch for", format!("signal {signal}")))?;
        }
        Ok(Self { last })
    }

    fn signal(&self) -> Option<u8> {
        match self.last.load(Ordering::Relaxed) {
            0 => None,
            signal => u8::try_from(signal).ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_reaches_a_system_without_forwards_is_said() {
        let nobody = [Net::User, Net::Passt, Net::None];
        for net in &nobody {
            assert!(unreachable(true, None, net).contains("nobody"), "{net:?}");
        }
        let tap = Net::Tap("tap0".to_owned());
        assert!(unreachable(true, None, &tap).contains("DHCP"));
        assert!(!unreachable(true, Some(Ipv4Addr::LOCALHOST), &tap).contains("DHCP"));
        assert!(unreachable(false, None, &tap).contains("nobody"));
        let peer = Net::Unix("/a".into());
        assert!(unreachable(true, None, &peer).contains("other end"));
    }
}
