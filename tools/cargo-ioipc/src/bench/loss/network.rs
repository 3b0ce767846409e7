//! A network of its own with one TAP device: a Linux host at the end of a wire.
//!
//! Problem: Linux talks to itself over a wire only if its two ends are in two
//! networks. Invariant: the host's own network is never changed; the namespace
//! goes with its thread, which ends with this program at the latest.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::net::sockopt::set_tcp_congestion;
use tap_device::Tap;

use crate::Address;
use crate::bench::BenchError;
use crate::tap::{self, DEVICE, TapError};

/// How long a connection may take to open.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where the settings of the network of the thread that looks are.
const SETTINGS: &str = "/proc/sys/net/ipv4";

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network of its own, which does what it is asked.
pub(super) struct Network {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    /// Makes it, with a TAP device at this address; also the device's other
    /// side.
    ///
    /// # Errors
    /// A [`TapError`] if there can be no such thing.
    pub fn new(own: Address) -> Result<(Self, Tap), TapError> {
        let (jobs, work) = channel::<Job>();
        let (ready, made) = channel();
        let thread = std::thread::spawn(move || {
            let tap = set_up(own);
            let is_set_up = tap.is_ok();
            // Whoever waits for it cannot be gone.
            let _ = ready.send(tap);
            if is_set_up {
                work.into_iter().for_each(|job| job());
            }
        });
        let network = Self {
            jobs: Some(jobs),
            thread: Some(thread),
        };
        let gone = |_| Err(TapError::Failed("the network's thread is gone".to_owned()));
        let tap = made.recv().unwrap_or_else(gone)?;
        Ok((network, tap))
    }

    /// Does `work` in the network. Sockets that it opens stay there.
    ///
    /// # Errors
    /// What `work` says; `BrokenPipe` if the thread is gone.
    fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<R> + Send + 'static,
    ) -> io::Result<R> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let (done, result) = channel();
        let job = Box::new(move || drop(done.send(work())));
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job).map_err(|_| gone())?;
        result.recv().map_err(|_| gone())?
    }

    /// Connects, and has the socket use this congestion control.
    pub fn connect(&self, to: SocketAddrV4, congestion: &str) -> io::Result<TcpStream> {
        let congestion = congestion.to_owned();
        self.run(move || {
            let stream = TcpStream::connect_timeout(&to.into(), PATIENCE)?;
            set_tcp_congestion(&stream, &congestion)?;
            Ok(stream)
        })
    }

    /// Listens at a port.
    pub fn listen(&self, port: u16) -> io::Result<TcpListener> {
        self.run(move || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))
    }

    /// Whether windows of new connections may be larger than 64 KiB.
    pub fn scale_windows(&self, on: bool) -> io::Result<()> {
        self.run(move || set("tcp_window_scaling", u8::from(on)))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// A setting of the network of the calling thread; nothing if there is none.
pub(super) fn setting(name: &str) -> String {
    let value = fs::read_to_string(format!("{SETTINGS}/{name}"));
    value.unwrap_or_default().trim().to_owned()
}

/// Refuses a congestion control that this kernel does not have.
pub(super) fn check_congestion(name: &str) -> Result<(), BenchError> {
    let all = setting("tcp_available_congestion_control");
    match all.split_whitespace().any(|one| one == name) {
        true => Ok(()),
        false => Err(BenchError::Loss(format!(
            "there is no congestion control {name} here, only: {all}"
        ))),
    }
}

fn set(name: &str, value: u8) -> io::Result<()> {
    fs::write(format!("{SETTINGS}/{name}"), value.to_string())
}

fn set_up(own: Address) -> Result<Tap, TapError> {
    tap::leave_network()?;
    let failed = |what: &str, why: io::Error| TapError::Failed(format!("cannot {what}: {why}"));
    let tap = Tap::open(DEVICE).map_err(|why| failed("make a TAP device", why))?;
    tap::bring_up(own)?;
    // A connection must not begin with what an earlier one has learnt.
    set("tcp_no_metrics_save", 1).map_err(|why| failed("set tcp_no_metrics_save", why))?;
    Ok(tap)
}
