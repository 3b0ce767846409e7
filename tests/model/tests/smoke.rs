//! Bytes cross from one simulated host to the other.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use ioipc::net::{TcpListener, TcpStream, UdpSocket};
use ioipc::{Settings, UserBuffer};
use model_tests::{HEAP, HostConfig, World};

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|n| (n as u8).wrapping_mul(31).wrapping_add(seed) ^ (n >> 8) as u8)
        .collect()
}

#[test]
fn a_datagram_crosses() {
    let world = World::new([HostConfig::stock(1), HostConfig::stock(2)]);
    let a = world.stack(0, 0, Settings::DEFAULT);
    let b = world.stack(1, 0, Settings::DEFAULT);
    let from = UdpSocket::bind_on(a, "10.0.0.1:4000").unwrap();
    let to = UdpSocket::bind_on(b, "10.0.0.2:5000").unwrap();
    for len in [0, 1, 100, 1472, 1473, 8192, 60000] {
        let bytes = pattern(len, 7);
        world.lock().hosts[0].store(0, HEAP + 3, &bytes).unwrap();
        let memory = UserBuffer::at(HEAP + 3, len as u32);
        let sent = from.send_memory_to(memory, "10.0.0.2:5000", None).unwrap();
        assert_eq!(sent, len);
        let room = UserBuffer::at(HEAP + 100, 65000);
        let (got, _) = to.recv_memory_from(room, None).unwrap();
        assert_eq!(got, len);
        let mut back = vec![0; len];
        world.lock().hosts[1]
            .load(0, HEAP + 100, &mut back)
            .unwrap();
        assert_eq!(back, bytes, "{len}");
    }
}

#[test]
fn a_stream_crosses() {
    let world = World::new([HostConfig::stock(1), HostConfig::stock(2)]);
    let a = world.stack(0, 0, Settings::DEFAULT);
    let b = world.stack(1, 0, Settings::DEFAULT);
    let listener =
        TcpListener::bind_on(b, "10.0.0.2:80".parse::<std::net::SocketAddr>().unwrap(), 4).unwrap();
    let stream = TcpStream::connect_on(a, "10.0.0.2:80", None).unwrap();
    let (other, _) = listener.accept().unwrap();
    let bytes = pattern(50_000, 9);
    world.lock().hosts[0].store(0, HEAP, &bytes).unwrap();
    let memory = UserBuffer::at(HEAP, bytes.len() as u32);
    assert_eq!(stream.write_memory(memory, None).unwrap(), bytes.len());
    let mut got = Vec::new();
    while got.len() < bytes.len() {
        let room = UserBuffer::at(HEAP + 1, 8192);
        let n = other.read_memory(room, None).unwrap();
        let mut part = vec![0; n];
        world.lock().hosts[1].load(0, HEAP + 1, &mut part).unwrap();
        got.extend(part);
    }
    assert_eq!(got, bytes);
}
