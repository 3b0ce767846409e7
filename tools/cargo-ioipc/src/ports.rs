//! Free ports on the host for forwards that name none.
//!
//! Problem: the emulator wants numbers. A port found free can be taken by
//! another process before the emulator binds it; [`crate::Running`] then tries
//! again with others. On a TAP device there is nothing to choose: the host
//! reaches every port of the system under its own number. Forwards of one guest port get one host port for both
//! transports where possible, so that people remember one number.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use crate::Error;
use crate::machine::{Forward, Machine, Net, Transport};

/// Where the host reaches the ports of the system that its description names:
/// an address, and the ports there. None if it does not know.
pub(crate) fn reach(machine: &Machine) -> Result<(Ipv4Addr, Vec<Forward>), Error> {
    match (&machine.net, machine.address) {
        (Net::User | Net::Passt, _) => Ok((Ipv4Addr::LOCALHOST, assign(&machine.forwards)?)),
        (Net::Tap(_), Some(address)) => {
            let direct = |forward: &Forward| Forward {
                host: forward.guest,
                ..*forward
            };
            Ok((address, machine.forwards.iter().map(direct).collect()))
        }
        _ => Ok((Ipv4Addr::LOCALHOST, Vec::new())),
    }
}

/// Replaces host port 0 by free ones; leaves the others as they are.
fn assign(forwards: &[Forward]) -> Result<Vec<Forward>, Error> {
    let mut assigned: Vec<Forward> = Vec::with_capacity(forwards.len());
    for &forward in forwards {
        let host = match forward.host {
            0 => {
                let twin = assigned.iter().find(|other| {
                    other.guest == forward.guest && other.transport != forward.transport
                });
                pick(forward.transport, twin.map(|other| other.host), &assigned)?
            }
            host => host,
        };
        assigned.push(Forward { host, ..forward });
    }
    Ok(assigned)
}

/// A free port: `wish` if it is free, else any that `taken` does not name.
fn pick(transport: Transport, wish: Option<u16>, taken: &[Forward]) -> Result<u16, Error> {
    if let Some(port) = wish.and_then(|port| bind(transport, port).ok()) {
        return Ok(port);
    }
    loop {
        let port = bind(transport, 0).map_err(Error::io("find a free port on", "127.0.0.1"))?;
        let clash = |other: &Forward| other.transport == transport && other.host == port;
        if !taken.iter().any(clash) {
            return Ok(port);
        }
    }
}

/// Takes a port of the loopback interface for a moment, any for 0; which.
pub(crate) fn bind(transport: Transport, port: u16) -> std::io::Result<u16> {
    let address = (Ipv4Addr::LOCALHOST, port);
    let bound = match transport {
        Transport::Udp => UdpSocket::bind(address)?.local_addr()?,
        Transport::Tcp => TcpListener::bind(address)?.local_addr()?,
    };
    Ok(bound.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_and_given_ones_kept() {
        let forward = |transport, host, guest| Forward {
            transport,
            host,
            guest,
        };
        let assigned = assign(&[
            forward(Transport::Udp, 0, 7),
            forward(Transport::Udp, 0, 8),
            forward(Transport::Tcp, 9999, 7),
        ])
        .unwrap();
        assert!(assigned.iter().all(|forward| forward.host != 0));
        assert_ne!(assigned[0].host, assigned[1].host);
        assert_eq!(assigned[2].host, 9999);
    }
}
