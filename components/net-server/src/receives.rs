//! Receives of datagrams that wait with the manager.
//!
//! Problem: of a receive that waits the server need only know that it does.
//! Invariant: of each socket it is known how many wait; one is answered by the
//! token that stands for the oldest, and then is one less. Receives that came
//! as requests of their own came before, and go first. The manager tells of them
//! quietly: who has something for one asks to be woken ([`Wakeup::hungry`]).
//!
//! [`Wakeup::hungry`]: crate::Wakeup::hungry

use socket_api::{Op, Receives, Request, SERVER_REQUESTS, Status};

use crate::environment::{Environment, ManagerFault};
use crate::server::Server;
use crate::sockets::{Kind, Socket, Udp};

/// The receives of a socket that wait with the manager.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Waiting {
    count: u32,
    /// What stands for the oldest.
    token: u64,
}

impl Waiting {
    /// None.
    pub const NONE: Self = Self { count: 0, token: 0 };
}

impl Socket {
    /// Takes the oldest of the receives that wait with the manager.
    #[inline(always)]
    fn take_waiting(&mut self, s: u32) -> Option<Request> {
        self.waiting.count = self.waiting.count.checked_sub(1)?;
        let mut request = Request::new(Op::Recv, s, self.waiting.token);
        request.client = self.client;
        // How much there is, and what is cut, is the manager's to know.
        request.extent.len = u32::MAX;
        Some(request)
    }
}

impl Server {
    /// The receive that a datagram for socket `s` goes to, if one waits.
    #[inline(always)]
    pub(crate) fn take_receive(&mut self, s: u32) -> Option<Request> {
        let socket = self.sockets.get_mut(s as usize)?;
        if socket.recvs.len != 0 {
            return self.pending.pop_request(&mut socket.recvs).copied();
        }
        let request = socket.take_waiting(s)?;
        self.receives -= 1;
        Some(request)
    }

    /// Whether some receive would be answered at once.
    #[inline]
    pub(crate) fn is_hungry(&self) -> bool {
        self.datagrams_queued != 0 || self.errors != 0
    }

    /// Has socket `s` report an error once.
    pub(crate) fn note_error(&mut self, s: u32, error: Status) {
        let before = self.sockets[s as usize].error.replace(error);
        self.errors += u32::from(before.is_none());
    }

    /// The error that socket `s` has to report.
    #[inline]
    pub(crate) fn take_error(&mut self, s: u32) -> Option<Status> {
        let error = self.sockets[s as usize].error.take()?;
        self.errors -= 1;
        Some(error)
    }

    /// Forgets a socket's receives: the manager ends them.
    pub(crate) fn forget_receives(&mut self, s: u32) {
        let socket = &mut self.sockets[s as usize];
        self.receives -= core::mem::take(&mut socket.waiting).count;
    }

    /// Gives back the receive that a `Cancel` asks for; false if it is not about
    /// those that wait with the manager, or none does.
    pub(crate) fn give_back(&mut self, s: u32, token: u64) -> bool {
        let socket = &mut self.sockets[s as usize];
        let one = socket.waiting.token == token && socket.take_waiting(s).is_some();
        self.receives -= u32::from(one);
        one
    }

    /// More receives wait with the manager.
    #[inline]
    pub(crate) fn receives_in(
        &mut self,
        more: &Receives,
        env: &mut impl Environment,
    ) -> Result<(), ManagerFault> {
        let most = SERVER_REQUESTS - self.receives;
        let socket = self.sockets.get_mut(more.socket as usize);
        let Some((socket, udp)) = socket.and_then(udp_of) else {
            return Err(ManagerFault::Receives(more.socket));
        };
        if socket.client != more.client || !(1..=most).contains(&more.count) {
            return Err(ManagerFault::Receives(more.socket));
        }
        socket.waiting.token = more.token;
        socket.waiting.count += more.count;
        self.receives += more.count;
        if socket.error.is_some() || udp.port == 0 {
            self.refuse_receives(more.socket, udp, env);
        }
        self.deliver_udp(more.socket, udp, env);
        Ok(())
    }

    /// Answers a receive with what went wrong before, or all if the socket is
    /// not bound.
    #[cold]
    fn refuse_receives(&mut self, s: u32, udp: Udp, env: &mut impl Environment) {
        if let Some(error) = self.take_error(s)
            && let Some(request) = self.take_receive(s)
        {
            self.answer(&request, error, env);
        }
        while udp.port == 0
            && let Some(request) = self.take_receive(s)
        {
            self.answer(&request, Status::NotConnected, env);
        }
    }
}

/// A socket that is one for datagrams.
#[inline]
fn udp_of(socket: &mut Socket) -> Option<(&mut Socket, Udp)> {
    match socket.kind {
        Kind::Udp(udp) => Some((socket, udp)),
        _ => None,
    }
}
