//! A server or driver as a library: the same code in either placement.
//!
//! Problem: whether a server is a component of its own or runs inside the I/O
//! manager should be a word in `system.toml`, not a decision of the server. So
//! it never sleeps, waits or loops for ever; it is a [`Server`] that somebody
//! gives turns: [`run`], which is all of a component's program, or a host that
//! gives turns to others in the same thread. Invariant: a turn is bounded,
//! whatever anybody wrote, and nothing is left to do where [`Server::arm`]
//! says so, unless a signal or a peer's turn brings it.

use core::fmt;

#[cfg(feature = "alloc")]
use alloc::boxed::Box;

use crate::{Component, entry};
#[cfg(feature = "alloc")]
use crate::{heap, logging};

/// A server or driver. See the module's documentation.
pub trait Server: Sized + 'static {
    /// Why it cannot run, or cannot go on.
    type Failure: fmt::Display;

    /// Takes what the system description gives. It must not wait for peers on
    /// the data path, which may run in the same thread later; timer and entropy
    /// services may be called.
    ///
    /// # Errors
    /// Its own; it is given no turn then.
    fn new(component: &'static Component) -> Result<Self, Self::Failure>;

    /// Does a bounded amount of work, and shows its peers what came of it.
    /// `signals` are the badge bits that arrived since the last turn; a guest
    /// gets those of its host, too. True if there is more to do at once.
    ///
    /// # Errors
    /// Its own; it is given no more turns then.
    fn turn(&mut self, signals: u64) -> Result<bool, Self::Failure>;

    /// After a turn that left nothing: asks its peers for signals, those in the
    /// same thread ([`Link::near`](crate::Link::near)) excepted, then looks once
    /// more. True if there is nothing to do until somebody else does something.
    fn arm(&mut self) -> bool;

    /// The thread sleeps next: what need not be done in every turn, such as
    /// showing counters, setting an alarm or letting interrupts through.
    fn settle(&mut self);
}

/// Runs a server as a component: its whole program. With the feature `alloc`
/// and a heap, the allocator has it before the server is made. A server that
/// fails ends its component, so that nobody waits for it.
pub fn run<S: Server>(component: &'static Component) -> ! {
    // Who needs a heap and has none says so itself.
    #[cfg(feature = "alloc")]
    let _ = heap::init(component);
    // A server may be as large as a good part of the stack: it stays where it is.
    match &mut make::<S>(component) {
        Ok(server) => log::error!("{}", serve(component, server)),
        Err(failure) => log::error!("{failure}"),
    }
    entry::end()
}

/// [`Server::new`], whose stack is free again afterwards.
#[inline(never)]
fn make<S: Server>(component: &'static Component) -> Result<S, S::Failure> {
    S::new(component)
}

/// Gives turns until the server fails.
fn serve<S: Server>(component: &'static Component, server: &mut S) -> S::Failure {
    let mut signals = 0;
    loop {
        signals = match server.turn(signals) {
            Err(failure) => return failure,
            Ok(false) if server.arm() => {
                server.settle();
                component.wait()
            }
            Ok(_) => 0,
        };
    }
}

/// Makes `$server`, a [`Server`], the component's program.
#[macro_export]
macro_rules! serve {
    ($server:ty) => {
        $crate::entry!($crate::server::run::<$server>);
    };
}

/// A server in another component's thread. One that failed has nothing to do
/// any more, and its host is to tell others.
#[cfg(feature = "alloc")]
pub struct Guest {
    component: &'static Component,
    server: Option<Box<dyn Turns>>,
}

/// Makes a [`Guest`]: [`start`] of some server.
#[cfg(feature = "alloc")]
pub type Start = fn(&'static Component) -> Guest;

/// A server whose failures were logged.
#[cfg(feature = "alloc")]
trait Turns {
    /// `None`: it failed.
    fn turn(&mut self, signals: u64) -> Option<bool>;
    fn arm(&mut self) -> bool;
    fn settle(&mut self);
}

#[cfg(feature = "alloc")]
impl<S: Server> Turns for S {
    fn turn(&mut self, signals: u64) -> Option<bool> {
        let result = Server::turn(self, signals);
        result.map_err(|failure| log::error!("{failure}")).ok()
    }

    fn arm(&mut self) -> bool {
        Server::arm(self)
    }

    fn settle(&mut self) {
        Server::settle(self);
    }
}

/// Makes a server the guest called `component`. What it logs, then and in its
/// turns, is its own word, not its host's.
#[cfg(feature = "alloc")]
pub fn start<S: Server>(component: &'static Component) -> Guest {
    logging::speak_as(component);
    let server = make::<S>(component);
    let server = server.map_err(|failure| log::error!("{failure}")).ok();
    logging::speak_as_host();
    Guest {
        component,
        server: server.map(|server| Box::new(server) as Box<dyn Turns>),
    }
}

#[cfg(feature = "alloc")]
impl Guest {
    /// Does something with the server, in its name.
    #[inline]
    fn with<R>(&mut self, idle: R, act: impl FnOnce(&mut dyn Turns) -> Option<R>) -> R {
        let Some(server) = &mut self.server else {
            return idle;
        };
        logging::speak_as(self.component);
        let result = act(&mut **server);
        logging::speak_as_host();
        result.unwrap_or_else(|| {
            self.server = None;
            idle
        })
    }

    /// Whether it failed.
    #[inline]
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.server.is_none()
    }

    /// [`Server::turn`]; false once it failed.
    #[inline]
    pub fn turn(&mut self, signals: u64) -> bool {
        self.with(false, |server| server.turn(signals))
    }

    /// [`Server::arm`]; true once it failed.
    #[inline]
    pub fn arm(&mut self) -> bool {
        self.with(true, |server| Some(server.arm()))
    }

    /// [`Server::settle`].
    #[inline]
    pub fn settle(&mut self) {
        self.with((), |server| {
            server.settle();
            Some(())
        });
    }
}

#[cfg(feature = "alloc")]
impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let alive = self.server.is_some();
        write!(f, "Guest({}, alive: {alive})", self.component.name())
    }
}
