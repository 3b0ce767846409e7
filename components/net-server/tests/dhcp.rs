//! DHCP servers that give what nobody can use, or answer as fast as they can:
//! nothing of it is taken, and messages go out by the client's own clock.
#![allow(clippy::unwrap_used, reason = "a test is to stop where it fails")]

mod support;

use net_server::Counter;
use proptest::prelude::any;
use smoltcp::wire::*;
use socket_api::{Op, Request};
use support::datagrams::{udp_frame, udp_of};
use support::*;

const SERVER: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);
const MINUTE: u64 = 60_000_000;

/// What a server gives.
#[derive(Clone, Debug)]
struct Gives {
    address: [u8; 4],
    mask: Option<[u8; 4]>,
    /// Options 3 and 6.
    routers: Vec<[u8; 4]>,
    dns: Vec<[u8; 4]>,
    lease: Option<u32>,
    renew: Option<u32>,
    rebind: Option<u32>,
    server: [u8; 4],
}

impl Gives {
    fn good() -> Self {
        Self {
            address: [10, 0, 0, 1],
            mask: Some([255, 255, 255, 0]),
            routers: vec![[10, 0, 0, 2]],
            dns: vec![],
            lease: Some(3600),
            renew: None,
            rebind: None,
            server: SERVER.octets(),
        }
    }

    /// A message to whoever asked `ask`.
    fn reply(&self, kind: DhcpMessageType, ask: &DhcpRepr<'_>) -> Vec<u8> {
        let mut options: Vec<(u8, Vec<u8>)> = vec![(54, self.server.to_vec())];
        let word = |number: u32| number.to_be_bytes().to_vec();
        options.extend(self.mask.map(|mask| (1, mask.to_vec())));
        options.extend([(3, self.routers.concat()), (6, self.dns.concat())]);
        options.extend(self.lease.map(|seconds| (51, word(seconds))));
        options.extend(self.renew.map(|seconds| (58, word(seconds))));
        options.extend(self.rebind.map(|seconds| (59, word(seconds))));
        options.retain(|(_, data)| !data.is_empty());
        let options: Vec<DhcpOption<'_>> = options
            .iter()
            .map(|(kind, data)| DhcpOption { kind: *kind, data })
            .collect();
        let none = Ipv4Address::UNSPECIFIED;
        let reply = DhcpRepr {
            message_type: kind,
            transaction_id: ask.transaction_id,
            secs: 0,
            client_hardware_address: ask.client_hardware_address,
            client_ip: none,
            your_ip: self.address.into(),
            server_ip: SERVER,
            router: None,
            subnet_mask: None,
            relay_agent_ip: none,
            broadcast: false,
            requested_ip: None,
            client_identifier: None,
            server_identifier: None,
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            renew_duration: None,
            rebind_duration: None,
            lease_duration: None,
            additional_options: &options,
        };
        let mut bytes = vec![0; reply.buffer_len()];
        reply
            .emit(&mut DhcpPacket::new_unchecked(&mut bytes[..]))
            .unwrap();
        udp_frame((SERVER, 67), (Ipv4Address::BROADCAST, 68), &bytes)
    }
}

/// What the client said, and when, in microseconds.
type Said = Vec<(u64, DhcpMessageType)>;

/// Runs for a while; `answer` makes the frames that come back.
fn run(w: &mut World, us: u64, mut answer: impl FnMut(&DhcpRepr<'_>) -> Vec<Vec<u8>>) -> Said {
    let mut said = vec![];
    let end = w.now_us + us;
    while w.now_us < end {
        w.log = Some(vec![]);
        w.step(50_000);
        for frame in w.log.take().unwrap() {
            let Some((_, 68, 67, payload)) = udp_of(&frame) else {
                continue;
            };
            let packet = DhcpPacket::new_checked(&payload[..]).unwrap();
            let ask = DhcpRepr::parse(&packet).unwrap();
            said.push((w.now_us, ask.message_type));
            w.env.to_server.extend(answer(&ask));
        }
    }
    said
}

/// An answer to each message: an offer, then `last`.
fn as_asked(gives: &Gives, ask: &DhcpRepr<'_>, last: DhcpMessageType) -> Vec<Vec<u8>> {
    let kind = match ask.message_type {
        DhcpMessageType::Discover => DhcpMessageType::Offer,
        _ => last,
    };
    vec![gives.reply(kind, ask)]
}

fn world() -> World {
    let mut config = small();
    config.set("dhcp", "true").unwrap();
    World::new(config)
}

/// Wants an address soon from a server that gives what it should.
fn assert_recovers(w: &mut World) {
    let gives = Gives::good();
    run(w, 2 * MINUTE, |ask| {
        as_asked(&gives, ask, DhcpMessageType::Ack)
    });
    assert_eq!(w.server.address().unwrap().to_string(), "10.0.0.1/24");
}

#[test]
fn an_unanswered_message_is_sent_again_after_4_8_16_32_and_64_seconds() {
    let mut w = world();
    let said = run(&mut w, 5 * MINUTE, |_| vec![]);
    let times: Vec<u64> = said.iter().map(|(at, _)| *at).collect();
    let waits = times.windows(2).map(|pair| pair[1] - pair[0]);
    for (wait, wanted) in waits.zip([4, 8, 16, 32, 64, 64, 64]) {
        // Give or take one, and what a step takes.
        let off = wait.abs_diff(wanted * 1_000_000);
        assert!(off <= 1_100_000, "{wait} for {wanted} s: {times:?}");
    }
    assert_eq!(times.len(), 8);
}

#[test]
fn what_no_host_can_use_is_not_taken_and_causes_no_storm() {
    type Change = fn(&mut Gives);
    let changes: [(&str, Change); 17] = [
        ("no time", |g| g.lease = Some(0)),
        ("a second", |g| g.lease = Some(1)),
        ("the network", |g| g.address = [10, 0, 0, 0]),
        ("broadcast", |g| g.address = [10, 0, 0, 255]),
        ("no address", |g| g.address = [0; 4]),
        ("loopback", |g| g.address = [127, 0, 0, 1]),
        ("multicast", |g| g.address = [224, 0, 0, 1]),
        ("class E", |g| g.address = [240, 0, 0, 1]),
        ("everybody", |g| g.address = [255; 4]),
        ("/32", |g| g.mask = Some([255; 4])),
        ("/0", |g| g.mask = Some([0; 4])),
        ("no mask", |g| g.mask = None),
        ("half a mask", |g| g.mask = Some([255, 0, 255, 0])),
        ("itself as router", |g| g.routers = vec![[10, 0, 0, 1]]),
        ("a router elsewhere", |g| g.routers = vec![[10, 0, 1, 2]]),
        ("a router for all", |g| g.routers = vec![[10, 0, 0, 255]]),
        ("no server", |g| g.server = [0; 4]),
    ];
    for (what, change) in changes {
        let mut gives = Gives::good();
        change(&mut gives);
        let mut w = world();
        let waits = w.submit(Request::new(Op::AwaitAddress, 0, 0));
        let said = run(&mut w, 10 * MINUTE, |ask| {
            as_asked(&gives, ask, DhcpMessageType::Ack)
        });
        assert_eq!(w.server.address(), None, "{what}");
        assert!(w.completion(waits).is_none(), "{what}");
        // One at 0, 4, 12, 28 and 60 seconds, and one every 64.
        assert!((8..=16).contains(&said.len()), "{what}: {said:?}");
        let refused = w.count(Counter::DhcpRefused);
        assert_eq!(refused, said.len() as u64, "{what}");
        assert_recovers(&mut w);
    }
}

/// The offer is good, and what follows is not.
#[test]
fn an_offer_that_comes_to_nothing_causes_no_storm() {
    let good = Gives::good();
    let short = Gives {
        lease: Some(0),
        ..Gives::good()
    };
    let other = Gives {
        address: [10, 0, 0, 9],
        ..Gives::good()
    };
    for (last, given) in [
        (DhcpMessageType::Nak, &good),
        (DhcpMessageType::Ack, &short),
        (DhcpMessageType::Ack, &other),
    ] {
        let mut w = world();
        let said = run(&mut w, 10 * MINUTE, |ask| match ask.message_type {
            DhcpMessageType::Discover => as_asked(&good, ask, last),
            _ => vec![given.reply(last, ask)],
        });
        assert_eq!(w.server.address(), None);
        assert!((16..=34).contains(&said.len()), "{last:?}: {said:?}");
        assert_recovers(&mut w);
    }
}

#[test]
fn a_flood_of_offers_is_answered_once() {
    let mut w = world();
    let gives = Gives::good();
    let said = run(&mut w, MINUTE, |ask| {
        let offer = gives.reply(DhcpMessageType::Offer, ask);
        vec![offer; 30]
    });
    // A request at 0, 4, 12 and 28 seconds before it looks for another.
    assert!(said.len() <= 6, "{said:?}");
}

#[test]
fn renewals_keep_their_distance_whatever_the_times() {
    for (renew, rebind) in [
        (Some(0), Some(0)),
        (Some(1), Some(2)),
        (Some(u32::MAX), Some(0)),
        (None, None),
    ] {
        let gives = Gives {
            lease: Some(8),
            renew,
            rebind,
            ..Gives::good()
        };
        let mut w = world();
        let said = run(&mut w, 10 * MINUTE, |ask| {
            as_asked(&gives, ask, DhcpMessageType::Ack)
        });
        assert!(w.server.address().is_some());
        let times = said.iter().skip(2).map(|(at, _)| *at);
        let times: Vec<u64> = times.collect();
        assert!(times.len() > 100, "renewed {} times", times.len());
        for pair in times.windows(2) {
            assert!(pair[1] - pair[0] >= 3_900_000, "{renew:?}, {rebind:?}");
        }
        // And each way of refusing it afterwards.
        let said = run(&mut w, 10 * MINUTE, |ask| {
            as_asked(&gives, ask, DhcpMessageType::Nak)
        });
        assert!(said.len() <= 40, "{said:?}");
        assert_recovers(&mut w);
    }
}

/// Nobody answers the renewal: asked again after a minute at the earliest, of
/// everybody from seven eighths on, and given up at the end.
#[test]
fn a_lease_that_nobody_renews_ends_in_time() {
    let mut w = world();
    let gives = Gives {
        lease: Some(800),
        ..Gives::good()
    };
    run(&mut w, 1_000_000, |ask| {
        as_asked(&gives, ask, DhcpMessageType::Ack)
    });
    let bound = w.now_us;
    let said = run(&mut w, 810_000_000, |_| vec![]);
    let after: Vec<u64> = said
        .iter()
        .map(|(at, _)| (at - bound) / 1_000_000)
        .collect();
    let renewals = said
        .iter()
        .filter(|(_, kind)| *kind == DhcpMessageType::Request);
    // 400, 550, 625, 685; then all: 700, 760.
    assert_eq!(renewals.count(), 6, "{after:?}");
    assert_eq!(said[6].1, DhcpMessageType::Discover, "{after:?}");
    assert!((799..=801).contains(&after[6]), "{after:?}");
    assert_eq!(w.server.address(), None);
}

#[test]
fn a_router_that_can_be_reached_is_taken_and_name_servers_that_can_be_asked() {
    let mut w = world();
    let gives = Gives {
        routers: vec![[10, 0, 1, 2], [10, 0, 0, 2]],
        dns: vec![[0; 4], [10, 0, 0, 255], [10, 0, 0, 2]],
        ..Gives::good()
    };
    run(&mut w, 1_000_000, |ask| {
        as_asked(&gives, ask, DhcpMessageType::Ack)
    });
    w.region()[..6].copy_from_slice(b"a.test");
    let mut resolve = World::recv(0, 0, 6);
    resolve.op = Op::Resolve as u16;
    resolve.arg = 256;
    w.submit(resolve);
    w.log = Some(vec![]);
    w.step(1000);
    w.step(1000);
    let asked = w.log.take().unwrap();
    let asked: Vec<_> = asked.iter().filter_map(|frame| udp_of(frame)).collect();
    assert_eq!((asked[0].0, asked[0].2), (SERVER, 53));
}

/// Another server's offer counts, though the first one's is useless.
#[test]
fn a_useless_offer_does_not_stand_in_the_way_of_another() {
    let mut w = world();
    let (useless, good) = (
        Gives {
            lease: Some(0),
            server: [10, 0, 0, 3],
            ..Gives::good()
        },
        Gives::good(),
    );
    run(&mut w, 1_000_000, |ask| {
        let mut answers = as_asked(&useless, ask, DhcpMessageType::Nak);
        answers.extend(as_asked(&good, ask, DhcpMessageType::Ack));
        answers
    });
    assert!(w.server.address().is_some());
    assert_eq!(w.count(Counter::DhcpRefused), 1);
}

/// Replies to somebody else, or to nothing that was asked.
#[test]
fn what_was_not_asked_for_is_not_heard() {
    let mut w = world();
    let gives = Gives::good();
    run(&mut w, 1_000_000, |ask| {
        let mut wrong = ask.clone();
        wrong.transaction_id ^= 1;
        let mut other = ask.clone();
        other.client_hardware_address = EthernetAddress([2; 6]);
        [
            gives.reply(DhcpMessageType::Offer, &wrong),
            gives.reply(DhcpMessageType::Offer, &other),
            gives.reply(DhcpMessageType::Ack, ask),
            gives.reply(DhcpMessageType::Nak, ask),
        ]
        .to_vec()
    });
    assert_eq!(w.server.address(), None);
    assert_recovers(&mut w);
    // A held address is not lost to who has not been asked.
    let mut last = None;
    run(&mut w, 40 * MINUTE, |ask| {
        last = Some(ask.transaction_id);
        as_asked(&gives, ask, DhcpMessageType::Ack)
    });
    let mut stale = DhcpRepr {
        transaction_id: last.unwrap(),
        ..nobody()
    };
    for number in [stale.transaction_id, 0, 1] {
        stale.transaction_id = number;
        let nak = gives.reply(DhcpMessageType::Nak, &stale);
        w.env.to_server.push_back(nak);
        w.step(1000);
        assert!(w.server.address().is_some());
    }
}

/// A question over TCP is on its way as the address goes, and is asked anew
/// once there is one again.
#[test]
fn a_question_over_tcp_outlives_the_address() {
    let mut config = small();
    config.set("dhcp", "true").unwrap();
    config.set("dns", "10.0.0.2").unwrap();
    let mut w = World::new(config);
    let gives = Gives {
        lease: Some(8),
        ..Gives::good()
    };
    run(&mut w, 1_000_000, |ask| {
        as_asked(&gives, ask, DhcpMessageType::Ack)
    });
    w.region()[..6].copy_from_slice(b"a.test");
    let mut resolve = World::recv(0, 0, 6);
    (resolve.op, resolve.arg) = (Op::Resolve as u16, 256);
    let token = w.submit(resolve);
    let listening = w.peer_tcp();
    w.tcp(listening).listen(53).unwrap();
    w.log = Some(vec![]);
    for _ in 0..4 {
        w.step(1000);
        for frame in w.log.replace(vec![]).unwrap() {
            if let Some((_, port, 53, mut answer)) = udp_of(&frame) {
                answer[2] |= 0x82;
                let frame = udp_frame((SERVER, 53), (SERVER_IP, port), &answer);
                w.env.to_server.push_back(frame);
            }
        }
    }
    assert!(w.tcp(listening).may_recv(), "nobody has asked over TCP");
    let again = w.peer_tcp();
    w.tcp(again).listen(53).unwrap();
    // The renewal is refused, and then granted.
    let mut refused = false;
    run(&mut w, 5_000_000, |ask| {
        let again = std::mem::replace(&mut refused, true);
        let last = match again {
            true => DhcpMessageType::Ack,
            false => DhcpMessageType::Nak,
        };
        as_asked(&gives, ask, last)
    });
    assert!(refused && w.server.address().is_some());
    let mut query = vec![];
    let socket = w.tcp(again);
    let heard = socket.recv(|bytes| {
        query.extend_from_slice(bytes);
        (bytes.len(), ())
    });
    heard.unwrap();
    query[4] |= 0x80;
    query[9] = 1;
    query.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1]);
    let len = query.len() as u16 - 2;
    query[..2].copy_from_slice(&len.to_be_bytes());
    w.tcp(again).send_slice(&query).unwrap();
    w.step(1000);
    w.step(1000);
    ok(&w.completion(token).unwrap());
}

/// A message of the client's, to be answered.
fn nobody() -> DhcpRepr<'static> {
    let none = Ipv4Address::UNSPECIFIED;
    DhcpRepr {
        message_type: DhcpMessageType::Request,
        transaction_id: 0,
        secs: 0,
        client_hardware_address: EthernetAddress(SERVER_MAC),
        client_ip: none,
        your_ip: none,
        server_ip: none,
        router: None,
        subnet_mask: None,
        relay_agent_ip: none,
        broadcast: false,
        requested_ip: None,
        client_identifier: None,
        server_identifier: None,
        parameter_request_list: None,
        dns_servers: None,
        max_size: None,
        renew_duration: None,
        rebind_duration: None,
        lease_duration: None,
        additional_options: &[],
    }
}

proptest::proptest! {
    /// Options that end anywhere, of any length, in any number.
    #[test]
    fn any_options_are_read_without_harm(
        kinds in proptest::collection::vec(
            (0u8..64, proptest::collection::vec(any::<u8>(), 0..9)),
            0..20,
        ),
        cut in 0usize..400,
    ) {
        let mut w = world();
        let gives = Gives::good();
        run(&mut w, 200_000, |ask| {
            let mut frame = gives.reply(DhcpMessageType::Offer, ask);
            let mut message = udp_of(&frame).unwrap().3;
            message.truncate(243);
            for (kind, data) in &kinds {
                message.extend([*kind, data.len() as u8]);
                message.extend(data);
            }
            message.truncate(cut.max(1));
            frame = udp_frame((SERVER, 67), (Ipv4Address::BROADCAST, 68), &message);
            vec![frame]
        });
    }
}
