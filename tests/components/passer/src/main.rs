//! Sends and receives as it is told, and says what that cost.
//!
//! Takes one command a datagram ([`order`] has the words) and answers with
//! words `name=value`: what the I/O manager's account of this component and
//! the library's own counters have grown by, how many bytes were wrong, and so
//! on. Data goes over a TCP connection that the other side opens to the port of
//! the same number, or over the very socket of the commands. Every byte
//! received is compared, room that nothing was received into must stay as it
//! was, and what was sent is overwritten as soon as the call returns.
//!
//! With a second thread (`threads = 2`) it also rewrites memory that is being
//! sent: see [`overlap`].
#![no_std]
#![no_main]

mod datagrams;
mod failure;
mod meter;
mod order;
mod overlap;
mod pattern;
mod stream;
mod text;

use core::net::SocketAddr;
use core::time::Duration;

use component_runtime::Component;
use ioipc::Settings;
use ioipc::net::{TcpListener, UdpSocket};
use shared_ring::SharedMemory;
use spin::Mutex;
use zerocopy::FromBytes;

use failure::{Failure, Result};
use order::{Order, Verb, Way};
use text::Text;

component_runtime::entry!(main);

/// Port unless `port` in the configuration says otherwise.
const PORT: u16 = 12;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of the application's own memory, a page more than what is sent.
const ROOM: usize = (1 << 20) + 4096;

/// The application's own memory, from the start of a page on.
#[repr(align(4096))]
struct Room([u8; ROOM]);

static BUFFER: Mutex<Room> = Mutex::new(Room([0; ROOM]));

/// What orders are carried out with.
struct Tools {
    commands: UdpSocket,
    listener: TcpListener,
    /// Memory that several threads write to.
    shared: Option<SharedMemory>,
}

fn main(component: &'static Component) -> ! {
    let settings = Settings {
        datagrams: 4,
        datagram_order: 5,
        stream_order: 5,
        most_stream_order: 5,
        // Each receive is into the application's own memory.
        receive_ahead: false,
        ..Settings::DEFAULT
    };
    if let Err(why) = ioipc::init_with(component, settings) {
        log::error!("no sockets: {why}");
    } else if let Err(why) = serve(component) {
        log::error!("passer ended: {why}");
    }
    loop {
        component.wait();
    }
}

fn serve(component: &'static Component) -> Result<()> {
    let port = component.config("port").and_then(|p| p.parse().ok());
    let address = SocketAddr::from(([0, 0, 0, 0], port.unwrap_or(PORT)));
    let heap = component.memory("heap");
    let tools = Tools {
        commands: UdpSocket::bind(address)?,
        listener: TcpListener::bind(address)?,
        shared: heap
            .and_then(|heap| <[u64]>::mut_from_bytes(heap).ok())
            .map(SharedMemory::from_static),
    };
    log::info!("passer on port {}", address.port());
    let mut line = [0; 512];
    loop {
        let (len, from) = tools.commands.recv_from(&mut line)?;
        let words = core::str::from_utf8(line.get(..len).unwrap_or(&[]));
        let mut answer = Text::default();
        let done = match words.ok().and_then(Order::parse) {
            Some(order) => obey(&tools, &order, from, &mut answer),
            None => Err(Failure::Order),
        };
        if let Err(why) = done {
            answer.say(format_args!(" failed={why}"));
        }
        if let Err(why) = tools.commands.send_to(answer.bytes(), from) {
            log::warn!("no answer to {from}: {why}");
        }
    }
}

fn obey(tools: &Tools, order: &Order, from: SocketAddr, answer: &mut Text) -> Result<()> {
    let mut room = BUFFER.lock();
    let room = &mut room.0;
    match (order.verb, order.way) {
        (Verb::Send, Way::Stream) => stream::send(tools, order, room, answer),
        (Verb::Receive, Way::Stream) => stream::receive(tools, order, room, answer),
        (Verb::Send, Way::Datagrams) => datagrams::send(tools, order, from, room, answer),
        (Verb::Receive, Way::Datagrams) => datagrams::receive(tools, order, from, room, answer),
        (Verb::Rewrite, _) => overlap::rewrite(tools, order, answer),
        (Verb::Die, _) => overlap::die(tools, order),
    }
}
