//! DNS against a scripted server, under a simulated clock.
#![allow(clippy::unwrap_used, reason = "a test is to stop where it fails")]

mod support;

use net_server::Config;
use smoltcp::wire::Ipv4Address;
use socket_api::{Op, Request, Status};
use support::datagrams::{segment_frame, udp_frame, udp_of};
use support::*;

fn resolve(w: &mut World, name: &str) -> u64 {
    w.region()[..name.len()].copy_from_slice(name.as_bytes());
    let mut request = World::recv(0, 0, name.len() as u32);
    request.op = Op::Resolve as u16;
    request.arg = 256;
    w.submit(request)
}

/// Answers the DNS queries of the last while; `forge` sends a wrong id first.
fn answer_dns(w: &mut World, address: Option<[u8; 4]>, forge: bool) -> Vec<(u16, u16)> {
    let mut ids = vec![];
    for frame in w.log.replace(vec![]).unwrap() {
        let Some((to, port, 53, query)) = udp_of(&frame) else {
            continue;
        };
        assert_eq!(to, PEER_IP);
        ids.push((port, u16::from_be_bytes([query[0], query[1]])));
        let mut answer = query.clone();
        answer[2] |= 0x80;
        match address {
            Some(ip) => {
                answer[7] = 1;
                answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                answer.extend_from_slice(&ip);
            }
            None => answer[3] |= 3,
        }
        if forge {
            let mut wrong = answer.clone();
            wrong[0] ^= 1;
            w.env
                .to_server
                .push_back(udp_frame((PEER_IP, 53), (SERVER_IP, port), &wrong));
        }
        w.env
            .to_server
            .push_back(udp_frame((PEER_IP, 53), (SERVER_IP, port), &answer));
    }
    ids
}

fn dns_world() -> World {
    let mut config: Config = small();
    config.set("dns", "10.0.0.2").unwrap();
    let mut w = World::new(config);
    w.log = Some(vec![]);
    w
}

#[test]
fn names_are_resolved() {
    let mut w = dns_world();
    let token = resolve(&mut w, "www.example.org");
    for _ in 0..5 {
        w.step(1000);
    }
    let first = answer_dns(&mut w, Some([192, 0, 2, 7]), true);
    w.step(1000);
    let got = w.completion(token).unwrap();
    ok(&got);
    assert_eq!((got.len, &w.region()[..4]), (4, &[192, 0, 2, 7][..]));
    // Ids and ports of another query are not the next ones.
    let token = resolve(&mut w, "no.example.org");
    w.step(1000);
    let second = answer_dns(&mut w, None, false);
    w.step(1000);
    assert_eq!(w.completion(token).unwrap().status, Status::NotFound as u16);
    assert_ne!(first[0], second[0]);
    let literal = resolve(&mut w, "192.0.2.99");
    w.step(1000);
    assert_eq!(w.completion(literal).unwrap().len, 4);
    assert_eq!(w.region()[..4], [192, 0, 2, 99]);
}

#[test]
fn resolving_ends_without_an_answer_and_can_be_cancelled() {
    let mut w = dns_world();
    let silent = resolve(&mut w, "silent.example.org");
    for _ in 0..60 {
        w.step(1_000_000);
    }
    assert_eq!(
        w.completion(silent).unwrap().status,
        Status::TimedOut as u16
    );
    let tokens: Vec<_> = (0..17)
        .map(|i| resolve(&mut w, &format!("n{i}.example.org")))
        .collect();
    w.step(1000);
    assert_eq!(
        w.completion(tokens[16]).unwrap().status,
        Status::NoResources as u16
    );
    let mut cancel = Request::new(Op::Cancel, 0, 0);
    cancel.arg = tokens[3];
    ok(&w.call(cancel));
    assert_eq!(
        w.completion(tokens[3]).unwrap().status,
        Status::Cancelled as u16
    );
    for name in ["", "a..b", "ü.org"] {
        let token = resolve(&mut w, name);
        w.step(1000);
        assert_eq!(
            w.completion(token).unwrap().status,
            Status::BadRequest as u16,
            "{name}"
        );
    }
}

/// What the peer, as a DNS server, does with a question over TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tcp {
    /// It answers with so many addresses.
    Answers(u16),
    /// Nobody listens.
    Refuses,
    /// It says nothing.
    Silent,
    /// It ends the connection.
    Ends,
    /// It ends the connection in the middle of the answer.
    EndsEarly,
    /// It answers another question's number.
    OtherNumber,
    /// It answers another question.
    OtherName,
    /// It says that there is more, again.
    Truncates,
    /// It says that it cannot say.
    Fails,
    /// Bytes that are no message.
    Noise,
}

/// A server at the peer that truncates what it says in datagrams.
struct Truncating {
    sockets: Vec<smoltcp::iface::SocketHandle>,
    tcp: Tcp,
    /// The questions over TCP.
    heard: usize,
    /// The port that the last one came from.
    port: u16,
    /// Those in datagrams: to whom.
    asked: Vec<Ipv4Address>,
}

impl Truncating {
    fn new(w: &mut World, tcp: Tcp) -> Self {
        let count = if tcp == Tcp::Refuses { 0 } else { 8 };
        Self {
            sockets: (0..count).map(|_| w.peer_tcp()).collect(),
            tcp,
            heard: 0,
            port: 0,
            asked: vec![],
        }
    }

    fn run(&mut self, w: &mut World, steps: u32, us: u64) {
        for _ in 0..steps {
            w.step(us);
            self.answer_datagrams(w);
            for n in 0..self.sockets.len() {
                self.answer_stream(w, n);
            }
        }
    }

    fn answer_datagrams(&mut self, w: &mut World) {
        for frame in w.log.replace(vec![]).unwrap() {
            let Some((to, port, 53, query)) = udp_of(&frame) else {
                continue;
            };
            self.asked.push(to);
            let reply = match to {
                PEER_IP => answer(&query, 0x0200, &[[6; 4]]),
                // Any other speaks the truth, at once.
                _ => answer(&query, 0, &[[192, 0, 2, 53]]),
            };
            let frame = udp_frame((to, 53), (SERVER_IP, port), &reply);
            w.env.to_server.push_back(frame);
        }
    }

    fn answer_stream(&mut self, w: &mut World, n: usize) {
        let (handle, kind) = (self.sockets[n], self.tcp);
        let socket = w.tcp(handle);
        if !socket.is_open() {
            socket.listen(53).unwrap();
        }
        if socket.may_send() && !socket.may_recv() {
            socket.close();
        }
        if !socket.can_recv() {
            return;
        }
        let mut query = vec![];
        socket
            .recv(|bytes| {
                query.extend_from_slice(bytes);
                (bytes.len(), ())
            })
            .unwrap();
        self.heard += 1;
        let (len, query) = query.split_at(2);
        assert_eq!(len, (query.len() as u16).to_be_bytes());
        let port = socket.remote_endpoint().unwrap().port;
        assert!(socket_api::RESOLVER_PORTS.contains(&port), "{port}");
        self.port = port;
        let Some(reply) = kind.reply(query) else {
            if kind == Tcp::Ends {
                socket.close();
            }
            return;
        };
        let mut message = (reply.len() as u16).to_be_bytes().to_vec();
        message.extend(&reply);
        if kind == Tcp::EndsEarly {
            message.pop();
        }
        assert_eq!(socket.send_slice(&message).unwrap(), message.len());
        if kind == Tcp::EndsEarly {
            socket.close();
        }
    }
}

impl Tcp {
    fn reply(self, query: &[u8]) -> Option<Vec<u8>> {
        let few = [[192, 0, 2, 1]];
        let mut other = query.to_vec();
        Some(match self {
            Self::Answers(count) => {
                let all: Vec<_> = (0..count)
                    .map(|n| [10, 9, (n >> 8) as u8, n as u8])
                    .collect();
                answer(query, 0, &all)
            }
            Self::Refuses | Self::Silent | Self::Ends => return None,
            Self::EndsEarly => answer(query, 0, &few),
            Self::OtherNumber => {
                other[0] ^= 1;
                answer(&other, 0, &few)
            }
            Self::OtherName => {
                other[13] ^= 1;
                answer(&other, 0, &few)
            }
            Self::Truncates => answer(query, 0x0200, &few),
            Self::Fails => answer(query, 2, &few),
            Self::Noise => vec![0xff; 700],
        })
    }
}

/// An answer with these flags and addresses.
fn answer(query: &[u8], flags: u16, addresses: &[[u8; 4]]) -> Vec<u8> {
    let mut answer = query.to_vec();
    answer[2..4].copy_from_slice(&(0x8180 | flags).to_be_bytes());
    answer[6..8].copy_from_slice(&(addresses.len() as u16).to_be_bytes());
    for address in addresses {
        answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend_from_slice(address);
    }
    answer
}

#[test]
fn a_truncated_answer_is_asked_for_again_over_tcp() {
    // The longest takes dozens of segments, and nearly all of a message.
    for count in [1, 3, 200, 4000] {
        let mut w = dns_world();
        let mut server = Truncating::new(&mut w, Tcp::Answers(count));
        let token = resolve(&mut w, "many.example.org");
        server.run(&mut w, 2000, 1000);
        let got = w.completion(token).unwrap();
        ok(&got);
        let want = u32::from(count.min(4));
        assert_eq!((got.len, server.heard), (want * 4, 1), "{count}");
        for n in 0..want as usize {
            assert_eq!(w.region()[4 * n..4 * n + 4], [10, 9, 0, n as u8]);
        }
        // Everything is closed: no connection and no packet is held.
        let all_closed = |w: &mut World| {
            let open = server.sockets.iter().filter(|s| w.tcp(**s).is_active());
            open.collect::<Vec<_>>().len()
        };
        assert_eq!(all_closed(&mut w), 0);
    }
}

#[test]
fn a_truncated_answer_never_counts_itself() {
    for tcp in [
        Tcp::Refuses,
        Tcp::Silent,
        Tcp::Ends,
        Tcp::EndsEarly,
        Tcp::OtherNumber,
        Tcp::OtherName,
        Tcp::Truncates,
        Tcp::Fails,
        Tcp::Noise,
    ] {
        let mut w = dns_world();
        let mut server = Truncating::new(&mut w, tcp);
        let token = resolve(&mut w, "many.example.org");
        server.run(&mut w, 300, 50_000);
        let got = w.completion(token).unwrap();
        assert_eq!(got.status, Status::TimedOut as u16, "{tcp:?}");
        assert_eq!(got.len, 0);
        // The next one is answered all the same.
        if server.sockets.is_empty() {
            server.sockets.push(w.peer_tcp());
        }
        server.tcp = Tcp::Answers(1);
        let token = resolve(&mut w, "many.example.org");
        server.run(&mut w, 300, 50_000);
        ok(&w.completion(token).unwrap());
    }
}

/// Whoever can be asked next is, when a server truncates and then does not
/// answer over TCP.
#[test]
fn another_server_is_asked_when_one_fails() {
    for tcp in [Tcp::Refuses, Tcp::Silent, Tcp::Fails] {
        let mut config: Config = small();
        config.set("dns", "10.0.0.2,192.0.2.53").unwrap();
        let mut w = World::new(config);
        w.log = Some(vec![]);
        let mut server = Truncating::new(&mut w, tcp);
        let token = resolve(&mut w, "many.example.org");
        server.run(&mut w, 300, 50_000);
        ok(&w.completion(token).unwrap());
        assert_eq!(w.region()[..4], [192, 0, 2, 53], "{tcp:?}");
    }
}

#[test]
fn as_many_names_as_may_be_are_asked_for_over_tcp_and_again_and_again() {
    let mut w = dns_world();
    let mut server = Truncating::new(&mut w, Tcp::Answers(2));
    for round in 0..6 {
        let tokens: Vec<_> = (0..16)
            .map(|n| resolve(&mut w, &format!("n{n}.r{round}.test")))
            .collect();
        server.run(&mut w, 500, 2000);
        for token in tokens {
            ok(&w.completion(token).unwrap());
        }
    }
    assert_eq!(server.heard, 96);
}

/// Who hangs on to connections keeps others waiting for a while, not for ever.
#[test]
fn silent_servers_delay_others_no_longer_than_their_time() {
    let mut w = dns_world();
    let mut server = Truncating::new(&mut w, Tcp::Silent);
    let tokens: Vec<_> = (0..16)
        .map(|n| resolve(&mut w, &format!("n{n}.test")))
        .collect();
    server.run(&mut w, 300, 100_000);
    for token in tokens {
        let got = w.completion(token).unwrap();
        assert_eq!(got.status, Status::TimedOut as u16);
    }
}

#[test]
fn a_question_over_tcp_can_be_cancelled_and_its_client_may_go() {
    for dies in [false, true] {
        let mut w = dns_world();
        let mut server = Truncating::new(&mut w, Tcp::Silent);
        for _ in 0..10 {
            let token = resolve(&mut w, "many.example.org");
            server.run(&mut w, 20, 5000);
            let mut end = Request::new(Op::Cancel, 0, 0);
            end.arg = token;
            if dies {
                end = Request::new(Op::DropClient, 0, 0);
            }
            w.env.strict = !dies;
            ok(&w.call(end));
        }
        assert_eq!(server.heard, 10);
        server.tcp = Tcp::Answers(1);
        let token = resolve(&mut w, "many.example.org");
        server.run(&mut w, 100, 50_000);
        ok(&w.completion(token).unwrap());
    }
}

#[test]
fn a_bad_cable_costs_time_only() {
    let mut w = dns_world();
    w.loss = 12;
    let mut server = Truncating::new(&mut w, Tcp::Answers(100));
    for n in 0..20 {
        let token = resolve(&mut w, &format!("n{n}.test"));
        server.run(&mut w, 400, 50_000);
        // Lost segments are sent again, and lost questions asked again.
        ok(&w.completion(token).unwrap());
    }
}

/// A client's own business with port 53, from any port of its own, be it one of
/// those that the server uses.
#[test]
fn clients_streams_to_port_53_go_on() {
    for port in [0, *socket_api::RESOLVER_PORTS.start()] {
        let mut w = dns_world();
        let peer = w.peer_tcp();
        w.tcp(peer).listen(53).unwrap();
        w.open(0, socket_api::SocketKind::Tcp);
        if port != 0 {
            ok(&w.bind(0, port));
        }
        let mut connect = Request::new(Op::Connect, 0, 0);
        connect.address = address(PEER_IP, 53);
        ok(&w.call(connect));
        let bytes = pattern(200_000, 4);
        let (mut sent, mut got) = (0, vec![]);
        while got.len() < bytes.len() {
            sent += w.tcp(peer).send_slice(&bytes[sent..]).unwrap();
            let received = w.call(World::recv(0, 0, 50_000));
            ok(&received);
            let len = received.len as usize;
            got.extend_from_slice(&w.region()[..len]);
        }
        assert!(got == bytes, "from port {port}");
    }
}

/// An answer counts that is one to the question, from who was asked, to where
/// it was asked from.
#[test]
fn forgeries_do_not_count() {
    let mut w = dns_world();
    let token = resolve(&mut w, "a.test");
    w.step(1000);
    w.step(1000);
    let frames = w.log.replace(vec![]).unwrap();
    let (_, port, _, query) = frames.iter().find_map(|frame| udp_of(frame)).unwrap();
    let lie = answer(&query, 0, &[[6; 4]]);
    let changed = |at: usize, bits: u8| {
        let mut lie = lie.clone();
        lie[at] ^= bits;
        lie
    };
    let stranger = Ipv4Address::new(10, 0, 0, 3);
    for (from, from_port, to, message) in [
        (stranger, 53, port, lie.clone()),
        (PEER_IP, 54, port, lie.clone()),
        (PEER_IP, 53, port ^ 1, lie.clone()),
        (PEER_IP, 53, port, changed(1, 1)),
        (PEER_IP, 53, port, changed(2, 0x80)),
        (PEER_IP, 53, port, changed(13, 1)),
        (PEER_IP, 53, port, changed(20, 1)),
        (PEER_IP, 53, port, lie[..20].to_vec()),
        (PEER_IP, 53, port, vec![]),
    ] {
        let frame = udp_frame((from, from_port), (SERVER_IP, to), &message);
        w.env.to_server.push_back(frame);
        w.step(1000);
        assert!(w.completion(token).is_none(), "{from}:{from_port} to {to}");
    }
    let truth = udp_frame(
        (PEER_IP, 53),
        (SERVER_IP, port),
        &answer(&query, 0, &[[1; 4]]),
    );
    w.env.to_server.push_back(truth);
    w.step(1000);
    ok(&w.completion(token).unwrap());
    assert_eq!(w.region()[..4], [1; 4]);
}

/// Plays a server that answers each question in a datagram as `say` has it.
fn serve(w: &mut World, steps: u32, mut say: impl FnMut(Ipv4Address, &[u8]) -> Option<Vec<u8>>) {
    for _ in 0..steps {
        w.step(50_000);
        for frame in w.log.replace(vec![]).unwrap() {
            let Some((to, port, 53, query)) = udp_of(&frame) else {
                continue;
            };
            if let Some(reply) = say(to, &query) {
                let frame = udp_frame((to, 53), (SERVER_IP, port), &reply);
                w.env.to_server.push_back(frame);
            }
        }
    }
}

#[test]
fn an_answer_without_records_is_not_found_and_a_failing_server_is_not_the_last() {
    let mut config: Config = small();
    config.set("dns", "10.0.0.2,192.0.2.53").unwrap();
    let mut w = World::new(config);
    w.log = Some(vec![]);
    let token = resolve(&mut w, "none.test");
    serve(&mut w, 10, |_, query| Some(answer(query, 0, &[])));
    assert_eq!(w.completion(token).unwrap().status, Status::NotFound as u16);
    // Failure, refusal, silence: the other one is asked.
    for flags in [Some(2), Some(5), None] {
        let token = resolve(&mut w, "a.test");
        let mut servers = vec![];
        serve(&mut w, 250, |to, query| {
            servers.push(to);
            match to {
                PEER_IP => flags.map(|flags| answer(query, flags, &[])),
                _ => Some(answer(query, 0, &[[1; 4]])),
            }
        });
        ok(&w.completion(token).unwrap());
        assert_eq!(servers.len(), if flags.is_some() { 2 } else { 5 });
    }
    // All of them.
    let token = resolve(&mut w, "a.test");
    serve(&mut w, 10, |_, query| Some(answer(query, 2, &[])));
    assert_eq!(w.completion(token).unwrap().status, Status::TimedOut as u16);
}

#[test]
fn aliases_are_followed_and_not_in_circles() {
    let mut w = dns_world();
    let alias = |query: &[u8], to: &[u8]| {
        let mut reply = answer(query, 0, &[]);
        reply[7] = 1;
        reply.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, to.len() as u8]);
        reply.extend_from_slice(to);
        Some(reply)
    };
    let token = resolve(&mut w, "www.test");
    serve(&mut w, 20, |_, query| match &query[12..17] {
        b"\x03www\x04" => alias(query, b"\x03one\x04test\0"),
        _ => Some(answer(query, 0, &[[7; 4]])),
    });
    ok(&w.completion(token).unwrap());
    assert_eq!(w.region()[..4], [7; 4]);
    let token = resolve(&mut w, "www.test");
    let mut asked = 0;
    serve(&mut w, 100, |_, query| {
        asked += 1;
        match &query[12..17] {
            b"\x03www\x04" => alias(query, b"\x03one\x04test\0"),
            _ => alias(query, b"\x03www\x04test\0"),
        }
    });
    assert_eq!(w.completion(token).unwrap().status, Status::TimedOut as u16);
    assert_eq!(asked, 9);
}

/// Segments of all kinds on a connection of the server's own: it ends, as it
/// would have, and the next one works.
#[test]
fn hostile_segments_on_the_servers_own_connection_do_no_harm() {
    let mut w = dns_world();
    let mut server = Truncating::new(&mut w, Tcp::Silent);
    let token = resolve(&mut w, "many.example.org");
    server.run(&mut w, 20, 5000);
    assert_eq!(server.heard, 1);
    w.env.verified = true;
    let mut lcg = Lcg(7);
    for n in 0..20_000 {
        let len = lcg.below(64) as usize;
        let mut segment: Vec<u8> = (0..20 + len).map(|_| lcg.next() as u8).collect();
        segment[..2].copy_from_slice(&53u16.to_be_bytes());
        segment[2..4].copy_from_slice(&server.port.to_be_bytes());
        segment[12] = (5 + lcg.below(4) as u8) << 4;
        w.env.to_server.push_back(segment_frame(PEER_IP, &segment));
        if n % 50 == 0 {
            w.run_server();
        }
    }
    w.env.verified = false;
    w.run_server();
    w.env.from_server.clear();
    server.run(&mut w, 300, 50_000);
    assert!(w.completion(token).is_some());
    server.tcp = Tcp::Answers(1);
    let token = resolve(&mut w, "many.example.org");
    server.run(&mut w, 300, 50_000);
    ok(&w.completion(token).unwrap());
}
