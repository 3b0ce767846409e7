//! Crowds of connections that end in every way.
//!
//! Invariant: whoever ends a connection, in whatever order and however many wait,
//! its slot is free again once all that may be waited for is over.
#![allow(clippy::unwrap_used, reason = "a test is to stop where it fails")]

mod support;

use std::collections::HashMap;

use net_server::Counter;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use support::*;

/// Connections that the service serves at once.
const SERVED: u32 = 20;
const FIRST: u32 = 10;

/// A service that echoes and closes when its peer does, or sooner.
#[derive(Default)]
struct Service {
    accepting: Option<(u64, u32)>,
    /// By socket: the receive that waits.
    served: HashMap<u32, u64>,
    closing: Vec<(u32, u64)>,
}

impl Service {
    fn work(&mut self, w: &mut World) {
        self.closing
            .retain(|(_, token)| w.completion(*token).is_none());
        if self.accepting.is_none() && self.served.len() < SERVED as usize {
            let busy =
                |s: u32| self.served.contains_key(&s) || self.closing.iter().any(|(c, _)| *c == s);
            if let Some(free) = (FIRST..FIRST + 2 * SERVED).find(|s| !busy(*s)) {
                self.accepting = Some((w.submit(World::accept(0, free)), free));
            }
        }
        if let Some((token, socket)) = self.accepting
            && let Some(accepted) = w.completion(token)
        {
            ok(&accepted);
            self.accepting = None;
            let receive = w.submit(World::recv(socket, 0, 1000));
            self.served.insert(socket, receive);
        }
        let served: Vec<_> = self.served.iter().map(|(s, t)| (*s, *t)).collect();
        for (socket, token) in served {
            let Some(received) = w.completion(token) else {
                continue;
            };
            if received.status == 0 && received.len != 0 && w.chance.below(4) != 0 {
                w.submit(World::send(socket, 0, received.len));
                let receive = w.submit(World::recv(socket, 0, 1000));
                self.served.insert(socket, receive);
                continue;
            }
            let linger = [0, u64::MAX][w.chance.below(2) as usize];
            let close = w.submit(World::close(socket, linger));
            self.served.remove(&socket);
            self.closing.push((socket, close));
        }
        w.env
            .completions
            .retain(|c| c.op != socket_api::Op::Send as u16);
    }
}

/// One of the crowd.
fn act(w: &mut World, peer: SocketHandle) {
    let (choice, loss) = (w.chance.below(12), w.loss);
    let socket = w.tcp(peer);
    let mut bytes = [0; 2000];
    while socket.can_recv() && socket.recv_slice(&mut bytes).is_ok_and(|n| n != 0) {}
    match (socket.state(), choice) {
        (State::Established | State::CloseWait, 0..2) => socket.close(),
        // A reset that is lost is not sent again.
        (State::Established, 2) if loss == 0 => socket.abort(),
        (State::Established, 3..6) => {
            socket.send_slice(b"hello").ok();
        }
        (State::CloseWait, _) => socket.close(),
        _ => {}
    }
}

fn crowd(loss: u64, seed: u64) {
    let mut w = World::new(small());
    w.listen(0, 7, 60);
    (w.loss, w.chance) = (loss, Lcg(seed));
    let mut service = Service::default();
    let peers: Vec<_> = (0..60).map(|_| w.peer_tcp()).collect();
    let mut local = 10_000;
    for _ in 0..4000 {
        for peer in &peers {
            if !w.tcp(*peer).is_open() && w.chance.below(30) == 0 {
                local = if local == 60_000 { 10_000 } else { local + 1 };
                let context = w.peer.context();
                let socket: &mut smoltcp::socket::tcp::Socket = w.sockets.get_mut(*peer);
                socket.connect(context, (SERVER_IP, 7), local).ok();
            } else if w.chance.below(8) == 0 {
                act(&mut w, *peer);
            }
        }
        w.step(500);
        service.work(&mut w);
    }
    w.loss = 0;
    for _ in 0..40_000 {
        for peer in &peers {
            act(&mut w, *peer);
        }
        w.step(5000);
        service.work(&mut w);
    }
    assert_eq!(w.count(Counter::HalfOpen), 0);
    assert_eq!(w.count(Counter::SocketsInUse), 1);
    assert_eq!(w.count(Counter::ConnectionsFree), 80);
}

#[test]
fn a_crowd_leaves_nothing_behind() {
    for seed in 1..=3 {
        crowd(0, seed);
        crowd(50, seed);
    }
}
