//! Calls out of the system, as datagrams tell it.
//!
//! The client side of the library cannot be reached from outside by itself, so
//! this takes one command a datagram and answers with one line of text:
//!
//! - `lookup NAME`: the addresses of a name, or the error's kind;
//! - `connect ADDRESS:PORT COUNT`: sends COUNT bytes over TCP, wants the same
//!   bytes back and then the end of the stream; `echoed COUNT` or what failed;
//! - `address`: the own address, prefix length and MTU.
//!
//! A datagram that begins with `echo` comes back as it is, up to the longest
//! that UDP knows.
//!
//! A command that comes again while it is worked on is worked on again.
#![no_std]
#![no_main]

use core::fmt::Write;
use core::net::SocketAddr;
use core::time::Duration;

use component_runtime::Component;
use ioipc::Settings;
use ioipc::net::{self, Shutdown, TcpStream, UdpSocket};
use spin::Mutex;

component_runtime::entry!(main);

/// Port unless `port` in the configuration says otherwise.
const PORT: u16 = 10;
/// Where datagrams are received.
static BUFFER: Mutex<[u8; 64 << 10]> = Mutex::new([0; 64 << 10]);
/// How long a connection may take to open, and a read or write to go on.
const PATIENCE: Duration = Duration::from_secs(10);

fn main(component: &'static Component) -> ! {
    let settings = Settings {
        datagrams: 4,
        datagram_order: 5,
        ..Settings::DEFAULT
    };
    if let Err(why) = ioipc::init_with(component, settings) {
        log::error!("no sockets: {why}");
    } else if let Err(why) = serve(component) {
        log::error!("caller ended: {why}");
    }
    loop {
        component.wait();
    }
}

fn serve(component: &Component) -> ioipc::Result<()> {
    let port = component.config("port").and_then(|p| p.parse().ok());
    let socket = UdpSocket::bind(SocketAddr::from(([0, 0, 0, 0], port.unwrap_or(PORT))))?;
    log::info!("caller waits on port {}", port.unwrap_or(PORT));
    let mut buffer = BUFFER.lock();
    loop {
        let (len, from) = socket.recv_from(&mut buffer[..])?;
        let received = &buffer[..len];
        let mut answer = Text::default();
        let sent = if received.starts_with(b"echo") {
            socket.send_to(received, from)
        } else {
            obey(
                core::str::from_utf8(received).unwrap_or_default(),
                &mut answer,
            );
            socket.send_to(answer.bytes(), from)
        };
        if let Err(why) = sent {
            log::warn!("no answer to {from}: {why}");
        }
    }
}

/// Does what `command` says and writes down how it went.
fn obey(command: &str, answer: &mut Text) {
    let mut words = command.split_whitespace();
    // Writing fails only when the text is full; its beginning is answer enough.
    let _ = match (words.next(), words.next(), words.next()) {
        (Some("lookup"), Some(name), None) => lookup(name, answer),
        (Some("connect"), Some(to), Some(count)) => connect(to, count, answer),
        (Some("address"), None, None) => address(answer),
        _ => answer.write_str("what?"),
    };
}

fn lookup(name: &str, answer: &mut Text) -> core::fmt::Result {
    match net::lookup_host(name) {
        Ok(addresses) => {
            answer.write_str("found")?;
            addresses
                .into_iter()
                .try_for_each(|a| write!(answer, " {a}"))
        }
        Err(why) => write!(answer, "{:?}", why.kind()),
    }
}

fn address(answer: &mut Text) -> core::fmt::Result {
    match net::interface() {
        Ok(own) => write!(answer, "{}/{} {}", own.address, own.prefix, own.mtu),
        Err(why) => write!(answer, "{:?}", why.kind()),
    }
}

fn connect(to: &str, count: &str, answer: &mut Text) -> core::fmt::Result {
    let (Ok(to), Ok(count)) = (to.parse(), count.parse()) else {
        return answer.write_str("what?");
    };
    match exchange(&to, count) {
        Ok(Echo::Same) => write!(answer, "echoed {count}"),
        Ok(Echo::Wrong(at)) => write!(answer, "wrong at {at}"),
        Ok(Echo::Short(at)) => write!(answer, "ended at {at}"),
        Ok(Echo::Long) => answer.write_str("goes on"),
        Err(why) => write!(answer, "{:?}", why.kind()),
    }
}

/// What came back.
enum Echo {
    /// The same bytes.
    Same,
    /// Another byte, here.
    Wrong(usize),
    /// Fewer bytes: so many.
    Short(usize),
    /// More bytes.
    Long,
}

/// Sends `count` bytes, a piece at a time, and compares what comes back.
fn exchange(to: &SocketAddr, count: usize) -> ioipc::Result<Echo> {
    let stream = TcpStream::connect_timeout(to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let (mut piece, mut back) = ([0; 1000], [0; 1000]);
    let mut at = 0;
    while at < count {
        let len = piece.len().min(count - at);
        (at..)
            .zip(&mut piece[..len])
            .for_each(|(n, byte)| *byte = pattern(n));
        stream.write_all(&piece[..len])?;
        let mut got = 0;
        while got < len {
            match stream.read(&mut back[got..len])? {
                0 => return Ok(Echo::Short(at + got)),
                n => got += n,
            }
        }
        if let Some(wrong) = (0..len).find(|i| back[*i] != piece[*i]) {
            return Ok(Echo::Wrong(at + wrong));
        }
        at += len;
    }
    stream.shutdown(Shutdown::Write)?;
    Ok(match stream.read(&mut back)? {
        0 => Echo::Same,
        _ => Echo::Long,
    })
}

/// The byte at `n`; no power of two is a period.
fn pattern(n: usize) -> u8 {
    (n % 251) as u8
}

/// A line of text of limited length.
struct Text {
    bytes: [u8; 256],
    len: usize,
}

impl Default for Text {
    fn default() -> Self {
        Self {
            bytes: [0; 256],
            len: 0,
        }
    }
}

impl Text {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let room = &mut self.bytes[self.len..];
        let to = room.get_mut(..text.len()).ok_or(core::fmt::Error)?;
        to.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}
