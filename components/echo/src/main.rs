//! UDP and TCP echo on one port (RFC 862), many connections at once.
//!
//! One thread serves everybody: it waits until any socket is ready, then
//! works on the ready ones until each would have to wait. Invariant: nobody
//! waits for a peer that is slow to take its echo. What cannot be sent at once
//! waits in the buffer that it was received in, and while it does nothing more
//! is read from that socket. No byte is looked at or copied here.
#![no_std]
#![no_main]

mod connection;
mod datagrams;

use component_runtime::Component;
use ioipc::net::{SocketAddr, TcpListener};
use ioipc::{Datagram, Event, Interest, Poll, Settings};
use spin::Mutex;

use connection::{Connection, State};
use datagrams::{BATCH, Datagrams};

component_runtime::entry!(main);

/// Connections served at once; further ones wait in the backlog.
const CONNECTIONS: usize = 96;
/// Connections that may wait: as many as a protocol server has room for unless
/// told otherwise. A crowd that comes at once is refused none.
const BACKLOG: u16 = 256;
/// Datagrams are received into 2 KiB times two to the power of this; longer ones
/// are cut. The data region holds 64 of them.
const DATAGRAM_ORDER: u16 = 3;
/// Port unless `port` in the configuration says otherwise.
const PORT: u16 = 7;

/// Tokens of the two sockets that are always there; connections follow.
const UDP: u64 = 0;
const LISTENER: u64 = 1;
const FIRST_CONNECTION: u64 = 2;

type Connections = [Option<Connection>; CONNECTIONS];

static ROOM: Mutex<(Connections, [Option<Datagram>; BATCH])> =
    Mutex::new(([const { None }; CONNECTIONS], [const { None }; BATCH]));

fn main(component: &'static Component) -> ! {
    let settings = Settings {
        datagram_order: DATAGRAM_ORDER,
        ..Settings::DEFAULT
    };
    if let Err(why) = ioipc::init_with(component, settings) {
        log::error!("no sockets: {why}");
    } else if let Err(why) = serve(component) {
        log::error!("echo ended: {why}");
    }
    loop {
        component.wait();
    }
}

fn serve(component: &Component) -> ioipc::Result<()> {
    let port = component.config("port").and_then(|p| p.parse().ok());
    let address = SocketAddr::from(([0, 0, 0, 0], port.unwrap_or(PORT)));
    let listener = TcpListener::bind_on(ioipc::stack()?, address, BACKLOG)?;
    listener.set_nonblocking(true);
    let poll = Poll::new()?;
    let mut room = ROOM.lock();
    let (connections, waiting) = &mut *room;
    let mut datagrams = Datagrams::new(address, waiting, &poll, UDP)?;
    poll.register(&listener, LISTENER, Interest::READABLE)?;
    log::info!("echo on UDP and TCP port {}", address.port());
    let mut events = [Event::default(); 32];
    loop {
        let ready = poll.wait(&mut events, None)?;
        for event in &events[..ready] {
            match event.token {
                UDP => datagrams.serve(&poll, UDP),
                LISTENER => accept(&poll, &listener, connections),
                token => serve_one(&poll, &listener, connections, token),
            }
        }
    }
}

/// Takes connections as long as there is room for them.
fn accept(poll: &Poll, listener: &TcpListener, connections: &mut Connections) {
    for (place, slot) in connections.iter_mut().enumerate() {
        if slot.is_some() {
            continue;
        }
        let Ok((stream, peer)) = listener.accept() else {
            return;
        };
        let token = FIRST_CONNECTION + place as u64;
        match Connection::new(stream, poll, token) {
            Ok(connection) => *slot = Some(connection),
            Err(why) => log::warn!("connection of {peer}: {why}"),
        }
    }
    // No room: the backlog keeps the rest until a connection ends.
    poll.deregister(listener);
}

fn serve_one(poll: &Poll, listener: &TcpListener, connections: &mut Connections, token: u64) {
    let place = (token - FIRST_CONNECTION) as usize;
    let Some(slot) = connections.get_mut(place) else {
        return;
    };
    let ended = slot
        .as_mut()
        .is_some_and(|c| c.serve(poll, token) == State::Ended);
    if ended {
        *slot = None;
        if let Err(why) = poll.register(listener, LISTENER, Interest::READABLE) {
            log::error!("listener: {why}");
        }
    }
}
