//! Room for connections that wait at a forwarded port.
//!
//! Problem: the emulator's user network listens on a forwarded TCP port with a
//! backlog of one. Whoever comes third at the same moment is not refused, his
//! first packet is dropped, and he tries again after 1, 3, 7, 15 s: two hundred
//! connections opened at once take half a minute, and some fail. A socket may
//! be listened on again, with another backlog, by anybody who has it; the
//! kernel lets a process that may trace the emulator have it, as the user who
//! started it may (`pidfd_getfd(2)`).
//!
//! Invariant: nothing else about the emulator's sockets changes, and what is
//! taken is given back before the call returns.

use std::fs;
use std::io;
use std::net::Ipv4Addr;

use rustix::net::listen;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::tcp_table;

/// Connections that may wait; the kernel allows 4096 unless told otherwise,
/// and the emulator has files for a thousand.
const BACKLOG: i32 = 1024;

/// Listens again on those sockets of process `pid` that listen on `ports` of
/// the loopback interface. How many these are: fewer than `ports` where the
/// process does not listen yet.
///
/// # Errors
/// The host's refusal.
pub(crate) fn widen(pid: u32, ports: &[u16]) -> io::Result<usize> {
    let listening = tcp_table::of(&pid.to_string())?.into_iter().filter(|s| {
        s.listens && *s.local.ip() == Ipv4Addr::LOCALHOST && ports.contains(&s.local.port())
    });
    let names: Vec<String> = listening
        .map(|socket| format!("socket:[{}]", socket.inode))
        .collect();
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process = process.ok_or(io::ErrorKind::InvalidInput)?;
    let process = pidfd_open(process, PidfdFlags::empty())?;
    let mut widened = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        // One that was closed meanwhile is none of those.
        let Ok(link) = fs::read_link(entry.path()) else {
            continue;
        };
        if !names.iter().any(|name| link.as_os_str() == name.as_str()) {
            continue;
        }
        let number = entry.file_name().to_str().and_then(|n| n.parse().ok());
        let number = number.ok_or(io::ErrorKind::InvalidData)?;
        let socket = pidfd_getfd(&process, number, PidfdGetfdFlags::empty())?;
        listen(&socket, BACKLOG)?;
        widened += 1;
    }
    Ok(widened)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    /// Connections that nobody accepts, until one has to wait.
    fn fit(listener: &TcpListener, most: usize) -> usize {
        let at = listener.local_addr().unwrap();
        let patience = Duration::from_millis(300);
        let open = |_| TcpStream::connect_timeout(&at, patience).ok();
        let streams: Vec<TcpStream> = (0..most).map_while(open).collect();
        streams.len()
    }

    #[test]
    fn a_socket_of_a_process_gets_room_and_no_other_does() {
        let [narrow, other] = [(); 2].map(|()| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            listen(&listener, 1).unwrap();
            listener
        });
        let port = narrow.local_addr().unwrap().port();
        let own = std::process::id();
        assert_eq!(widen(own, &[port]).unwrap(), 1);
        assert_eq!(fit(&narrow, 200), 200);
        assert_eq!(fit(&other, 200), 2);
        assert_eq!(widen(own, &[]).unwrap(), 0);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(widen(u32::MAX, &[7]).is_err());
    }
}
