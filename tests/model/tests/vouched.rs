//! A sender on the same machine leaves checksums to the device: the mark that
//! says so goes with the packet all the way, however payload travels.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use ioipc::UserBuffer;
use ioipc::net::UdpSocket;
use model_tests::pairs::direct;
use model_tests::{HEAP, Host, HostConfig, World};
use nic_api::{frame_flags, nic_features};

/// The folded sum of big-endian words.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// A datagram from 10.0.0.1 to port 7 of 10.0.0.2, with the checksum of its
/// pseudo-header.
fn partial(from: u16, payload: &[u8]) -> Vec<u8> {
    let len = 8 + payload.len() as u16;
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0];
    ip.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    ip[2..4].copy_from_slice(&(20 + len).to_be_bytes());
    let check = !sum(&ip);
    ip[10..12].copy_from_slice(&check.to_be_bytes());
    let [high, low] = len.to_be_bytes();
    let pseudo = sum(&[&ip[12..20], &[0, 17, high, low]].concat());
    frame.extend(ip);
    for field in [from, 7, len, pseudo] {
        frame.extend(field.to_be_bytes());
    }
    frame.extend(payload);
    frame
}

fn receives(host: HostConfig) {
    World::with([HostConfig::stock(1), host], |world| {
        let stack = world.stack(1, 0, direct());
        let socket = UdpSocket::bind_on(stack, "10.0.0.2:7").unwrap();
        // The manager passes the second and third to the server whole.
        for port in [4000, 53, 67] {
            for mark in [frame_flags::NEEDS_CHECKSUM, frame_flags::CHECKSUM_VALID] {
                let frame = partial(port, b"vouched for");
                let nic = |host: &mut Host| host.nic.receive_marked(&frame, mark);
                nic(&mut world.lock().hosts[1]);
                let room = UserBuffer::at(HEAP, 100);
                let (len, from) = socket.recv_memory_from(room, None).unwrap();
                assert_eq!((len, from.port()), (11, port));
                assert_eq!(world.load(1, 0, HEAP, len), b"vouched for");
            }
        }
        let dropped = net_server::Counter::DropChecksum;
        assert_eq!(world.lock().hosts[1].server.counters().get(dropped), 0);
    });
}

#[test]
fn partial_checksums_count_however_payload_travels() {
    for host in [HostConfig::stock(2), HostConfig::conventional(2)] {
        receives(HostConfig {
            features: nic_features::GUEST_CHECKSUM,
            ..host
        });
    }
}
