//! The kernel's table of TCP sockets.
//!
//! Problem: what waits in a socket of another process, and which sockets
//! listen, is nowhere but in `/proc/PID/net/tcp`. Lines that cannot be
//! understood are left out: a newer kernel may add columns, at the end.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

/// The kernel's number for a listening socket (`net/tcp_states.h`).
const LISTEN: u8 = 10;

/// One socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Socket {
    /// Its own address.
    pub local: SocketAddrV4,
    /// Its peer's.
    pub remote: SocketAddrV4,
    /// Whether it listens.
    pub listens: bool,
    /// Bytes that its process has not read yet, the end of the stream counted
    /// as one.
    pub unread: u32,
    /// Its number in the file system of sockets; 0 if no process has it.
    pub inode: u64,
}

/// The IPv4 sockets in the network of `process`: a number, or `thread-self`.
///
/// # Errors
/// If there is no such process, or its table cannot be read.
pub(crate) fn of(process: &str) -> io::Result<Vec<Socket>> {
    let table = fs::read_to_string(format!("/proc/{process}/net/tcp"))?;
    Ok(table.lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<Socket> {
    let mut words = line.split_whitespace().skip(1);
    let (local, remote) = (address(words.next()?)?, address(words.next()?)?);
    let state = u8::from_str_radix(words.next()?, 16).ok()?;
    let (_, unread) = words.next()?.split_once(':')?;
    Some(Socket {
        local,
        remote,
        listens: state == LISTEN,
        unread: u32::from_str_radix(unread, 16).ok()?,
        inode: words.nth(4)?.parse().ok()?,
    })
}

/// `0100007F:0007`: the address as a number of this machine, which holds it in
/// network order; the port in plain hexadecimal.
fn address(text: &str) -> Option<SocketAddrV4> {
    let (address, port) = text.split_once(':')?;
    let address = u32::from_str_radix(address, 16).ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(SocketAddrV4::new(
        Ipv4Addr::from(address.to_ne_bytes()),
        port,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn what_waits_in_a_socket_is_seen_and_so_is_that_it_was_read() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        let mut ours = TcpStream::connect(at).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        let find = |local: &TcpStream| {
            let local = local.local_addr().unwrap();
            let all = of("thread-self").unwrap();
            *all.iter()
                .find(|s| !s.listens && local == s.local.into())
                .unwrap()
        };
        ours.write_all(b"abc").unwrap();
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        // Three bytes, and the end.
        assert_eq!(find(&theirs).unread, 4);
        let all = of("thread-self").unwrap();
        assert!(all.iter().any(|s| s.listens && at == s.local.into()));
        assert_eq!(theirs.read_to_end(&mut Vec::new()).unwrap(), 3);
        assert_eq!(find(&theirs).unread, 0);
        assert_eq!(find(&theirs).remote, find(&ours).local);
    }

    #[test]
    fn lines_of_another_form_are_left_out() {
        for bad in ["", "  sl  local_address rem_address", "0: 0100007F 0 0A"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
