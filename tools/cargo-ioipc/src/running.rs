//! A running system, seen from the host.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use frame_peer::relay::Tally;
use serde_json::Value;

use crate::emulator::Emulator;
use crate::machine::{Forward, Machine, Net, Transport};
use crate::passt::{self, Passt};
use crate::ready::{self, ECHO_PORT, Outcome, Reached};
use crate::serial::{Event, Follower, Input, Serial};
use crate::wire::Wire;
use crate::{Error, backlog, ports, tap};

/// The emulator's exit status when the system wrote 0x10 to the exit port.
const SHUTDOWN_STATUS: i32 = 33;
/// The emulator's exit status when the root task, giving up, wrote 0x11.
const ROOT_PANIC_STATUS: i32 = 35;
/// Attempts to start while other processes take the ports that were free.
const STARTS: u32 = 3;
/// How long the emulator may take to end once its serial port has.
const LAST_MOMENT: Duration = Duration::from_secs(5);
/// How long the emulator may take to listen on the ports that it forwards.
const LISTENING: Duration = Duration::from_secs(2);
/// Serial lines that an error shows.
const TAIL_LINES: usize = 20;
/// How long the last lines of an emulator that has ended may take to be read.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// How the emulator ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The system shut itself down in order.
    Shutdown,
    /// The root task gave up; its `ROOT PANIC` line says why.
    RootPanic,
    /// The system ended the emulator with another code.
    Code(i32),
    /// It was ended from outside, by a signal.
    Signal(i32),
    /// It still ran and was ended by [`Running::stop`].
    Stopped,
}

impl Exit {
    fn new(status: Option<ExitStatus>) -> Self {
        use std::os::unix::process::ExitStatusExt;
        match status.map(|status| (status.code(), status.signal())) {
            Some((Some(SHUTDOWN_STATUS), _)) => Self::Shutdown,
            Some((Some(ROOT_PANIC_STATUS), _)) => Self::RootPanic,
            Some((Some(code), _)) => Self::Code(code),
            Some((None, Some(signal))) => Self::Signal(signal),
            _ => Self::Signal(0),
        }
    }
}

/// A booted system. Dropping it ends the emulator.
///
/// Drop it on the thread that booted it: the emulator also ends when that
/// thread does.
#[derive(Debug)]
pub struct Running {
    emulator: Emulator,
    /// Ends with the emulator, which therefore stands before it.
    passt: Option<Passt>,
    input: Input,
    serial: Serial,
    errors: Serial,
    follower: Follower,
    host: Ipv4Addr,
    forwards: Vec<Forward>,
    wire: Option<Wire>,
    notes: Vec<String>,
    /// Whether the wire takes the end of a stream only when the system accepted
    /// it.
    end_tells: bool,
    started: Instant,
}

impl Running {
    /// Starts `machine` with any multiboot kernel and boot module, choosing
    /// host ports for forwards that have none. `echo` copies the serial port
    /// to standard output.
    ///
    /// # Errors
    /// [`Error::Io`] when the emulator does not start, [`Error::Tap`] when there
    /// is no such TAP device, [`Error::Passt`] when that does not run here.
    pub fn start(
        machine: &Machine,
        kernel: &std::path::Path,
        image: &std::path::Path,
        echo: bool,
    ) -> Result<Self, Error> {
        let chosen = machine.forwards.iter().any(|forward| forward.host == 0);
        for _ in 1..STARTS {
            let mut running = match Self::start_once(machine, kernel, image, echo) {
                Err(Error::Passt(error)) if chosen && error.is_about_a_port() => continue,
                started => started?,
            };
            if !(chosen && running.lost_a_port()) {
                running.make_room(&machine.net);
                return Ok(running);
            }
        }
        let mut running = Self::start_once(machine, kernel, image, echo)?;
        running.make_room(&machine.net);
        Ok(running)
    }

    fn start_once(
        machine: &Machine,
        kernel: &std::path::Path,
        image: &std::path::Path,
        echo: bool,
    ) -> Result<Self, Error> {
        if let Net::Tap(name) = &machine.net {
            tap::check(name)?;
        }
        let (host, forwards) = ports::reach(machine)?;
        let meeting = match machine.net {
            Net::Passt => Some(passt::socket().map_err(Error::io("make", "a directory"))?),
            _ => None,
        };
        let machine = Machine {
            forwards: forwards.clone(),
            socket: meeting.as_ref().map(|(_, socket)| socket.clone()),
            ..machine.clone()
        };
        let (mut wire, machine) = match &machine.wire {
            Some(conditions) => {
                let (wire, machine) = Wire::join(&machine, conditions)?;
                (Some(wire), machine)
            }
            None => (None, machine),
        };
        let (mut emulator, pipes) = Emulator::start(&machine.arguments(kernel, image))?;
        if let Some(wire) = &mut wire {
            wire.settle(|| emulator.try_wait().is_none());
        }
        let passt = match &machine.socket {
            Some(socket) => Some(Passt::start(&machine, socket, &mut emulator)?),
            None => None,
        };
        let serial = match pipes.serial_out {
            Some(port) => Serial::follow(port, echo),
            None => Serial::follow(std::io::empty(), false),
        };
        let errors = match pipes.errors {
            Some(pipe) => Serial::follow(pipe, false),
            None => Serial::follow(std::io::empty(), false),
        };
        Ok(Self {
            emulator,
            passt,
            input: Input::new(pipes.serial_in),
            follower: serial.from_start(),
            serial,
            errors,
            host,
            forwards,
            wire,
            notes: passt::note(&machine).into_iter().collect(),
            end_tells: machine.net == Net::User,
            started: Instant::now(),
        })
    }

    /// Whether the emulator ended because a port was taken meanwhile. Waits
    /// a moment, or for the first serial line, which comes after the ports.
    fn lost_a_port(&mut self) -> bool {
        let mut first = self.serial.from_start();
        first.next(Duration::from_millis(300)) == Event::End
            && self
                .errors
                .tail(TAIL_LINES)
                .contains("host forwarding rule")
    }

    /// Gives the emulator's forwarded TCP ports room for connections that wait.
    fn make_room(&mut self, net: &Net) {
        let tcp = |forward: &&Forward| forward.transport == Transport::Tcp;
        let ports: Vec<u16> = self.forwards.iter().filter(tcp).map(|f| f.host).collect();
        if *net != Net::User || ports.is_empty() {
            return;
        }
        let deadline = Instant::now() + LISTENING;
        let why = loop {
            if self.emulator.try_wait().is_some() {
                return;
            }
            match backlog::widen(self.pid(), &ports) {
                Ok(count) if count == ports.len() => return,
                Ok(_) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Ok(count) => break format!("it listens on {count} of {}", ports.len()),
                Err(error) => break error.to_string(),
            }
        };
        self.notes.push(format!(
            "forwarded TCP ports have room for one connection that waits: \
             the emulator's sockets cannot be changed ({why})"
        ));
    }

    /// What is worth knowing about how the system is reached, a line each.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Why nothing is at the other end of the wire any more, if that is so.
    pub(crate) fn wire_failure(&mut self) -> Option<Error> {
        // With the emulator it is to end.
        if self.emulator.try_wait().is_some() {
            return None;
        }
        self.passt.as_mut()?.failure().map(Error::Passt)
    }

    /// The emulator's process number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.emulator.pid()
    }

    /// When the emulator was started.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// The system's ports that its description names, with the host ports in
    /// use; empty where the host reaches none.
    #[must_use]
    pub fn forwards(&self) -> &[Forward] {
        &self.forwards
    }

    /// Where the host reaches `guest` port of the system.
    #[must_use]
    pub fn address(&self, transport: Transport, guest: u16) -> Option<SocketAddr> {
        self.forwards
            .iter()
            .find(|forward| forward.transport == transport && forward.guest == guest)
            .map(|forward| SocketAddr::from((self.host, forward.host)))
    }

    /// What became of the frames on a bad wire: `there` is to the system. None
    /// if the wire is as good as the emulator's own.
    #[must_use]
    pub fn tally(&self) -> Option<Tally> {
        self.wire.as_ref().map(Wire::tally)
    }

    /// The serial port, for reading it beside this value's own position.
    #[must_use]
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// Waits until the system answered at every forwarded port: the echo service,
    /// at port 7, correctly; another TCP service by accepting. Of other UDP
    /// services nothing is known. A system without forwards is ready when the
    /// root task has started its components.
    ///
    /// # Errors
    /// [`Error::Timeout`], or [`Error::Emulator`] if the emulator ended.
    pub fn wait_ready(&mut self, timeout: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + timeout;
        match self.wait_ready_while(Some(deadline), &mut || true) {
            Outcome::Ready(_) => Ok(()),
            Outcome::Timeout(what) => Err(self.timed_out(&what, timeout)),
            Outcome::Given => {
                if let Some(error) = self.wire_failure() {
                    return Err(error);
                }
                // The serial port ends a moment before the process does.
                let exit = self.wait_exit(LAST_MOMENT);
                Err(self.ended(exit.unwrap_or(Exit::Signal(0))))
            }
        }
    }

    /// As [`Running::wait_ready`]; gives up when the emulator ended or
    /// `go_on` says so.
    pub(crate) fn wait_ready_while(
        &mut self,
        deadline: Option<Instant>,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Outcome {
        let far = self.started + Duration::from_secs(100 * 365 * 24 * 3600);
        let deadline = deadline.unwrap_or(far);
        let reached = |forward: &Forward| Reached {
            transport: forward.transport,
            guest: forward.guest,
            at: SocketAddr::from((self.host, forward.host)),
        };
        let forwards: Vec<Reached> = self.forwards.iter().map(reached).collect();
        let (emulator, passt) = (&mut self.emulator, &mut self.passt);
        let mut go_on = || {
            let cut = passt
                .as_mut()
                .is_some_and(|passt| passt.failure().is_some());
            emulator.try_wait().is_none() && !cut && go_on()
        };
        if !forwards.iter().any(|forward| forward.guest == ECHO_PORT) {
            let outcome = ready::started(self.serial.from_start(), deadline, &mut go_on);
            if !matches!(outcome, Outcome::Ready(_)) {
                return outcome;
            }
        }
        ready::wait(&forwards, self.end_tells, deadline, &mut go_on)
    }

    /// The next serial line.
    ///
    /// # Errors
    /// [`Error::Timeout`], or [`Error::Emulator`] if the emulator ended.
    pub fn next_line(&mut self, timeout: Duration) -> Result<String, Error> {
        self.wait_line("serial line", timeout, |_| true)
    }

    /// The next serial line that `wanted` accepts; lines before it are
    /// skipped. `what` names it in the error.
    ///
    /// # Errors
    /// [`Error::Timeout`], or [`Error::Emulator`] if the emulator ended.
    pub fn wait_line(
        &mut self,
        what: &str,
        timeout: Duration,
        wanted: impl FnMut(&str) -> bool,
    ) -> Result<String, Error> {
        match self.follower.find(Instant::now() + timeout, wanted) {
            Event::Line(line) => Ok(line),
            Event::Timeout => Err(self.timed_out(what, timeout)),
            Event::End => {
                let exit = self.wait_exit(LAST_MOMENT);
                Err(self.ended(exit.unwrap_or(Exit::Signal(0))))
            }
        }
    }

    /// Types `text` and a line end at the serial port.
    ///
    /// # Errors
    /// [`Error::Io`] if the emulator has ended.
    pub fn send_line(&mut self, text: &str) -> Result<(), Error> {
        self.input.send(format!("{text}\n").as_bytes())
    }

    /// Asks the serial monitor and returns its one-line JSON answer.
    ///
    /// # Errors
    /// As [`Running::wait_line`]; [`Error::Reply`] if the line is not JSON.
    pub fn ask(&mut self, command: &str, timeout: Duration) -> Result<Value, Error> {
        self.follower.skip_to_now();
        self.send_line(command)?;
        let what = format!("answer to `{command}`");
        let line = self.wait_line(&what, timeout, |line| line.starts_with('{'))?;
        serde_json::from_str(&line).map_err(|error| {
            Error::Reply(format!("`{command}` was answered with {line:?}: {error}"))
        })
    }

    /// The serial port's input, for feeding it from elsewhere.
    #[must_use]
    pub fn input(&self) -> Input {
        self.input.clone()
    }

    /// How the emulator ended, if it has.
    pub fn try_exit(&mut self) -> Option<Exit> {
        self.emulator
            .try_wait()
            .map(|status| Exit::new(Some(status)))
    }

    /// Waits for the emulator to end by itself.
    pub fn wait_exit(&mut self, timeout: Duration) -> Option<Exit> {
        self.emulator
            .wait_until(Instant::now() + timeout)
            .map(|status| Exit::new(Some(status)))
    }

    /// Ends the emulator, if it has not ended, and tells how it ended.
    pub fn stop(mut self) -> Exit {
        if let Some(exit) = self.try_exit() {
            return exit;
        }
        self.emulator.stop();
        Exit::Stopped
    }

    /// What the emulator said on its standard error, and then the system.
    pub(crate) fn tail(&self) -> String {
        let errors = self.errors.tail(TAIL_LINES);
        let lines = self.serial.tail(TAIL_LINES);
        let parts = [errors, lines];
        let parts: Vec<&str> = parts
            .iter()
            .map(String::as_str)
            .filter(|part| !part.is_empty())
            .collect();
        parts.join("\n")
    }

    pub(crate) fn timed_out(&self, what: &str, after: Duration) -> Error {
        Error::Timeout {
            what: what.to_owned(),
            after,
            tail: self.tail(),
        }
    }

    pub(crate) fn ended(&self, exit: Exit) -> Error {
        // Its last words may not have been read yet.
        self.serial.drain(LAST_WORDS);
        self.errors.drain(LAST_WORDS);
        let outcome = match exit {
            Exit::Shutdown => "the system shut down".to_owned(),
            Exit::RootPanic => "the root task gave up".to_owned(),
            Exit::Code(code) => format!("exit status {code}"),
            Exit::Signal(signal) => format!("signal {signal}"),
            Exit::Stopped => "it was stopped".to_owned(),
        };
        Error::Emulator {
            outcome,
            tail: self.tail(),
        }
    }
}
