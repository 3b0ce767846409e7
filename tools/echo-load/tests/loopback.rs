//! The generators against echo services of this process: a good one, and ones
//! that lose, change, double or cut, which must show in the outcome.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

use echo_load::{Closer, Held, LoadError};

fn udp_service(mut each: impl FnMut(u32, &mut Vec<u8>) -> u32 + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        for number in 0.. {
            let (len, from) = socket.recv_from(&mut buffer).unwrap();
            let mut reply = buffer[..len].to_vec();
            for _ in 0..each(number, &mut reply) {
                socket.send_to(&reply, from).unwrap();
            }
        }
    });
    address
}

fn tcp_service(serve: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    address
}

/// Echoes until the other side closes or says `quit`.
fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..n]).is_err() || buffer[..n].ends_with(b"quit") {
            break;
        }
    }
}

#[test]
fn a_good_udp_service_is_perfect() {
    let target = udp_service(|_, _| 1);
    for (size, outstanding) in [(64, 1), (512, 8), (1400, 64), (4, 3)] {
        let outcome = echo_load::udp(target, size, outstanding, 500).unwrap();
        assert!(outcome.is_perfect(), "{outcome}");
        assert_eq!(outcome.done, 500);
        assert!(outcome.median.is_some());
        let outcome = echo_load::udp_sliding(target, size, outstanding, 500).unwrap();
        assert!(outcome.is_perfect() && outcome.done == 500, "{outcome}");
    }
}

#[test]
fn lost_changed_and_doubled_datagrams_show() {
    let lossy = udp_service(|number, _| u32::from(number != 3));
    let outcome = echo_load::udp(lossy, 64, 8, 16).unwrap();
    assert_eq!((outcome.done, outcome.lost, outcome.wrong), (15, 1, 0));

    let changing = udp_service(|number, reply| {
        reply[63] ^= u8::from(number == 5);
        1
    });
    let outcome = echo_load::udp(changing, 64, 8, 16).unwrap();
    assert_eq!((outcome.done, outcome.lost, outcome.wrong), (15, 0, 1));

    let doubling = udp_service(|number, _| 1 + u32::from(number == 2));
    let outcome = echo_load::udp(doubling, 64, 8, 16).unwrap();
    assert_eq!((outcome.done, outcome.lost, outcome.wrong), (16, 0, 1));
}

#[test]
fn a_burst_is_exactly_the_stated_number() {
    use std::sync::{Arc, Mutex};
    let batches = Arc::new(Mutex::new(Vec::new()));
    let seen = batches.clone();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        loop {
            // Holds a whole burst back and proves that no ninth one comes.
            let mut held = Vec::new();
            socket
                .set_read_timeout(Some(std::time::Duration::from_millis(100)))
                .unwrap();
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                held.push((buffer[..len].to_vec(), from));
            }
            // Before the replies: with the last one the load ends.
            if !held.is_empty() {
                seen.lock().unwrap().push(held.len());
            }
            for (reply, from) in &held {
                socket.send_to(reply, from).unwrap();
            }
        }
    });
    assert!(echo_load::udp(target, 64, 8, 20).unwrap().is_perfect());
    assert_eq!(*batches.lock().unwrap(), [8, 8, 4]);
}

#[test]
fn a_good_tcp_service_is_perfect() {
    let target = tcp_service(echo);
    let outcome = echo_load::tcp_lockstep(target, 1400, 200).unwrap();
    assert!(outcome.is_perfect() && outcome.done == 200, "{outcome}");
    let outcome = echo_load::tcp_bulk(target, 60 << 10, 8 << 20).unwrap();
    assert!(outcome.is_perfect() && outcome.done == 8 << 20, "{outcome}");
    let outcome = echo_load::tcp_parallel(target, 64, 100, 5).unwrap();
    assert!(outcome.is_perfect() && outcome.done == 320, "{outcome}");
    let mut held = Held::open(target, 3).unwrap();
    assert!(held.check(64).unwrap().is_perfect());
}

#[test]
fn wrong_and_missing_bytes_of_a_stream_show() {
    let one_flip = tcp_service(|mut stream| {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            buffer[0] ^= 1;
            let _ = stream.write_all(&buffer[..n]);
        }
    });
    assert!(echo_load::tcp_bulk(one_flip, 1000, 10_000).unwrap().wrong >= 10);
    assert_eq!(echo_load::tcp_lockstep(one_flip, 64, 5).unwrap().wrong, 5);

    let cutting = tcp_service(|mut stream| {
        let mut buffer = [0; 100];
        stream.read_exact(&mut buffer).unwrap();
        stream.write_all(&buffer).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let outcome = echo_load::tcp_bulk(cutting, 1000, 10_000).unwrap();
    assert_eq!((outcome.done, outcome.lost, outcome.wrong), (100, 9_900, 0));
    let early = echo_load::tcp_lockstep(cutting, 100, 5);
    assert!(matches!(early, Err(LoadError::ClosedEarly)), "{early:?}");
}

#[test]
fn storms_end_whoever_closes() {
    let target = tcp_service(echo);
    let quit = Closer::Service {
        request: b"quit".to_vec(),
    };
    for closer in [Closer::Us, Closer::Reset, quit] {
        let outcome = echo_load::storm(target, 200, 4, &closer).unwrap();
        assert_eq!(
            (outcome.done, outcome.lost, outcome.wrong),
            (200, 0, 0),
            "{closer:?}"
        );
    }
}

#[test]
fn an_empty_load_is_refused() {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    for refused in [
        echo_load::udp(nowhere, 3, 1, 1),
        echo_load::udp(nowhere, 64, 0, 1),
        echo_load::tcp_lockstep(nowhere, 0, 1),
        echo_load::tcp_bulk(nowhere, 0, 1),
        echo_load::storm(nowhere, 1, 0, &Closer::Us),
    ] {
        assert!(
            matches!(refused, Err(LoadError::BadRequest(_))),
            "{refused:?}"
        );
    }
}
