//! Connections opened and closed by the thousand.
//!
//! Leaks show only in numbers: a socket, a timer or a page that each close
//! leaves behind. Which side closes first matters, since that side keeps the
//! TIME-WAIT state, so the storm can be told who does.

use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use crate::tcp::{exchange, open};
use crate::{LoadError, Outcome, Pattern};

/// Who ends each connection of a [`storm`], after one exchange on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closer {
    /// We close first, and wait for the service's own close.
    Us,
    /// We reset the connection.
    Reset,
    /// The service closes first: `request` is sent, and the service is expected
    /// to echo all, part or none of it and then to close.
    Service {
        /// The bytes that make the service close.
        request: Vec<u8>,
    },
}

/// Opens and closes `count` connections, `parallel` at a time, each with one
/// echoed message of 32 bytes. Counts are connections: `lost` ones failed to
/// open or to end, `wrong` ones echoed wrongly.
///
/// # Errors
/// [`LoadError::BadRequest`] for an empty load. A failing connection is
/// counted, not an error.
pub fn storm(
    target: SocketAddr,
    count: u32,
    parallel: u32,
    closer: &Closer,
) -> Result<Outcome, LoadError> {
    if count == 0 || parallel == 0 {
        return Err(LoadError::BadRequest("nothing to open"));
    }
    let (next, done, wrong) = (AtomicU32::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..parallel {
            scope.spawn(|| {
                // Relaxed: the counts are read after the threads are joined.
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    match visit(target, number, closer) {
                        Ok(true) => done.fetch_add(1, Ordering::Relaxed),
                        Ok(false) => wrong.fetch_add(1, Ordering::Relaxed),
                        Err(_) => 0,
                    };
                }
            });
        }
    });
    let (done, wrong) = (done.into_inner(), wrong.into_inner());
    let lost = u64::from(count) - done - wrong;
    Ok(Outcome {
        done,
        lost,
        wrong,
        elapsed: start.elapsed(),
        median: None,
    })
}

/// One connection from open to end; whether every byte was right.
fn visit(target: SocketAddr, number: u32, closer: &Closer) -> Result<bool, LoadError> {
    let mut stream = open(target)?;
    let (mut message, mut reply) = ([0; 32], [0; 32]);
    Pattern::new(number.into()).fill(0, &mut message);
    exchange(&mut stream, &message, &mut reply)?;
    let tail_right = match closer {
        Closer::Us => {
            stream
                .shutdown(Shutdown::Write)
                .map_err(LoadError::io("close"))?;
            drain(&mut stream)?.is_empty()
        }
        Closer::Reset => {
            rustix::net::sockopt::set_socket_linger(&stream, Some(std::time::Duration::ZERO))
                .map_err(|e| LoadError::Io("arm a reset", e.into()))?;
            true
        }
        Closer::Service { request } => {
            exchange(&mut stream, request, &mut [])?;
            request.starts_with(&drain(&mut stream)?)
        }
    };
    Ok(message == reply && tail_right)
}

/// What is left until the service closes.
fn drain(stream: &mut TcpStream) -> Result<Vec<u8>, LoadError> {
    let mut rest = Vec::new();
    stream
        .read_to_end(&mut rest)
        .map_err(LoadError::io("await the close"))?;
    Ok(rest)
}
