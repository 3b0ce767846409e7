//! Sends or receives a stream for a time and says how it went.
//!
//! Whoever connects sends eight bytes first: `>` for bytes from here, `<` for
//! bytes to here, three that mean nothing, and the time in milliseconds
//! (little-endian). The bytes are those of the sequence in [`pattern`]; each
//! that is received is compared. What came of it goes to the console, which
//! loses nothing, and not over the wire, which may:
//!
//! ```text
//! stream-load sent BYTES
//! stream-load received BYTES wrong BYTE-OR-NONE silence MICROSECONDS
//! ```
//!
//! The silence is the longest time without new bytes, from the order to the end
//! of the time. Invariant: an order ends, whatever the peer does, soon after its
//! time; the connection is reset then.
#![no_std]
#![no_main]

#[path = "../../placement-bench/src/pattern.rs"]
mod pattern;

use core::net::SocketAddr;
use core::time::Duration;

use component_runtime::Component;
use ioipc::net::{TcpListener, TcpStream};
use ioipc::time::Instant;
use ioipc::{Result, Settings};
use spin::Mutex;

component_runtime::entry!(main);

/// Port unless `port` in the configuration says otherwise.
const PORT: u16 = 40;
/// Bytes of an order.
const ORDER: usize = 8;
/// How long an order may take to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of one call.
const PIECE: usize = 32 << 10;

/// What is sent from and received into, from the start of a page on.
#[repr(align(4096))]
struct Room([u8; PIECE]);

static ROOM: Mutex<Room> = Mutex::new(Room([0; PIECE]));

fn main(component: &'static Component) -> ! {
    if let Err(why) = ioipc::init_with(component, Settings::DEFAULT) {
        log::error!("no sockets: {why}");
    } else if let Err(why) = serve(component) {
        log::error!("stream-load ended: {why}");
    }
    loop {
        component.wait();
    }
}

fn serve(component: &Component) -> Result<()> {
    let port = component.config("port").and_then(|p| p.parse().ok());
    let address = SocketAddr::from(([0, 0, 0, 0], port.unwrap_or(PORT)));
    let listener = TcpListener::bind(address)?;
    log::info!("stream-load on port {}", address.port());
    loop {
        let (stream, peer) = listener.accept()?;
        stream.set_linger(Some(Duration::ZERO));
        if let Err(why) = obey(&stream) {
            log::warn!("stream-load, order of {peer}: {why}");
        }
    }
}

fn obey(stream: &TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut order, mut had) = ([0; ORDER], 0);
    while let Some(rest) = order.get_mut(had..).filter(|rest| !rest.is_empty()) {
        had += match stream.read(rest)? {
            0 => return Ok(()),
            len => len,
        };
    }
    let [way, _, _, _, ms @ ..] = order;
    let until = Instant::now()? + Duration::from_millis(u32::from_le_bytes(ms).into());
    match way {
        b'>' => send(stream, until),
        b'<' => receive(stream, until),
        _ => Ok(()),
    }
}

/// How long it is until then; a moment if that is past.
fn left(until: Instant) -> Result<Duration> {
    Ok((until - Instant::now()?).max(Duration::from_millis(1)))
}

/// Sends until the time is over or the peer has had enough.
fn send(stream: &TcpStream, until: Instant) -> Result<()> {
    let (mut room, mut sent) = (ROOM.lock(), 0);
    'time: while Instant::now()? < until {
        pattern::fill(&mut room.0, sent);
        let mut rest = &room.0[..];
        while !rest.is_empty() {
            stream.set_write_timeout(Some(left(until)?))?;
            let Ok(len) = stream.write(rest) else {
                break 'time;
            };
            sent += len as u64;
            rest = rest.get(len..).unwrap_or_default();
        }
    }
    log::info!("stream-load sent {sent}");
    Ok(())
}

/// Receives until the time is over or the peer has sent everything.
fn receive(stream: &TcpStream, until: Instant) -> Result<()> {
    let (mut room, mut at, mut wrong) = (ROOM.lock(), 0, None);
    let (mut last, mut silence) = (Instant::now()?, Duration::ZERO);
    while last < until {
        stream.set_read_timeout(Some(left(until)?))?;
        let len = stream.read(&mut room.0).unwrap_or(0);
        let now = Instant::now()?;
        silence = silence.max(now - last);
        let came = room.0.get(..len).filter(|came| !came.is_empty());
        let Some(came) = came else {
            break;
        };
        if wrong.is_none() && !pattern::is_right(came, at) {
            wrong = Some(at);
        }
        (at, last) = (at + len as u64, now);
    }
    let silence = silence.as_micros();
    match wrong {
        None => log::info!("stream-load received {at} wrong none silence {silence}"),
        Some(wrong) => log::info!("stream-load received {at} wrong {wrong} silence {silence}"),
    }
    Ok(())
}
