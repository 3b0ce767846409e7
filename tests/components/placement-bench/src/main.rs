//! Serves the loads of `cargo ioipc bench placement`, one after the other.
//!
//! An order ([`order`]) comes as a datagram; it is answered with `ready`, then
//! the load is served until the peer ends it, and answered again: how many bytes
//! were right, or what went wrong. The load itself is told in
//! `tools/frame-peer/src/lockstep/flow.rs`. Invariant: each byte that is received
//! is compared with the pattern and each byte that is sent is written, eight at
//! a time and in the same way whatever the semantics; nothing is measured here.
#![no_std]
#![no_main]

mod calls;
mod failure;
mod order;
mod pattern;
mod queued;
mod reply;

use core::net::SocketAddr;

use component_runtime::Component;
use ioipc::Settings;
use ioipc::net::{TcpListener, UdpSocket};

use failure::Result;
use order::{Carrier, Interface, Order};
use reply::Reply;

component_runtime::entry!(main);

/// Port of the orders.
const ORDERS: u16 = 20;
/// Port of the loads.
const LOADS: u16 = 21;

fn main(component: &'static Component) -> ! {
    if let Err(why) = ioipc::init_with(component, Settings::DEFAULT) {
        log::error!("no sockets: {why}");
    } else if let Err(why) = serve() {
        log::error!("placement-bench ended: {why}");
    }
    loop {
        component.wait();
    }
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], port))
}

fn serve() -> Result<()> {
    let orders = UdpSocket::bind(any(ORDERS))?;
    let listener = TcpListener::bind(any(LOADS))?;
    log::info!("placement-bench takes orders");
    let mut line = [0; 128];
    loop {
        let (len, from) = orders.recv_from(&mut line)?;
        let words = core::str::from_utf8(line.get(..len).unwrap_or(&[]));
        let mut reply = Reply::default();
        match words.ok().and_then(Order::parse) {
            None => reply.say(format_args!("failed: not an order")),
            Some(order) => match obey(&orders, &listener, &order, from) {
                Ok(right) => reply.say(format_args!("done {right}")),
                Err(why) => reply.say(format_args!("failed: {why}")),
            },
        }
        orders.send_to(reply.bytes(), from)?;
    }
}

/// Serves one load: the bytes that were received and right.
fn obey(
    orders: &UdpSocket,
    listener: &TcpListener,
    order: &Order,
    from: SocketAddr,
) -> Result<u64> {
    match order.carrier {
        Carrier::Datagrams => {
            let socket = UdpSocket::bind(any(LOADS))?;
            orders.send_to(b"ready", from)?;
            match order.interface {
                Interface::Calls => calls::datagrams(&socket, order),
                Interface::Queue(passing) => queued::datagrams(&socket, order, passing),
            }
        }
        Carrier::Stream => {
            orders.send_to(b"ready", from)?;
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            match order.interface {
                Interface::Calls => calls::stream(&stream, order),
                Interface::Queue(passing) => queued::stream(&stream, order, passing),
            }
        }
    }
}
