//! DHCP and DNS against a scripted server, under a simulated clock.
#![allow(clippy::unwrap_used, reason = "a test is to stop where it fails")]

mod support;

use net_server::{Config, Counter};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::*;
use socket_api::{Op, Request, SocketKind, Status, flags};
use support::*;

const DHCP_SERVER: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);

/// Builds an Ethernet frame from the peer around a UDP payload.
fn udp_frame(src: (Ipv4Address, u16), dst: (Ipv4Address, u16), payload: &[u8]) -> Vec<u8> {
    let udp = UdpRepr {
        src_port: src.1,
        dst_port: dst.1,
    };
    let caps = ChecksumCapabilities::default();
    let mut frame = vec![0; 14 + 20 + 8 + payload.len()];
    EthernetRepr {
        src_addr: EthernetAddress(PEER_MAC),
        dst_addr: EthernetAddress(SERVER_MAC),
        ethertype: EthernetProtocol::Ipv4,
    }
    .emit(&mut EthernetFrame::new_unchecked(&mut frame));
    Ipv4Repr {
        src_addr: src.0,
        dst_addr: dst.0,
        next_header: IpProtocol::Udp,
        payload_len: 8 + payload.len(),
        hop_limit: 64,
    }
    .emit(&mut Ipv4Packet::new_unchecked(&mut frame[14..]), &caps);
    let (from, to) = (src.0.into(), dst.0.into());
    udp.emit(
        &mut UdpPacket::new_unchecked(&mut frame[34..]),
        &from,
        &to,
        payload.len(),
        |b| b.copy_from_slice(payload),
        &caps,
    );
    frame
}

/// The UDP payload of a frame that the server sent, with its ports.
fn udp_of(frame: &[u8]) -> Option<(Ipv4Address, u16, u16, Vec<u8>)> {
    let eth = EthernetFrame::new_checked(frame).ok()?;
    if eth.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let ip = Ipv4Packet::new_checked(eth.payload()).ok()?;
    if ip.next_header() != IpProtocol::Udp {
        return None;
    }
    let udp = UdpPacket::new_checked(ip.payload()).ok()?;
    assert!(udp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into()));
    Some((
        ip.dst_addr(),
        udp.src_port(),
        udp.dst_port(),
        udp.payload().to_vec(),
    ))
}

/// Runs for a while, answering DHCP with this address (or not at all).
fn run_dhcp(w: &mut World, us: u64, give: Option<Ipv4Address>, seen: &mut Vec<DhcpMessageType>) {
    let end = w.now_us + us;
    while w.now_us < end {
        w.log = Some(vec![]);
        w.step(100_000);
        for frame in w.log.take().unwrap() {
            let Some((_, 68, 67, payload)) = udp_of(&frame) else {
                continue;
            };
            let packet = DhcpPacket::new_checked(&payload[..]).unwrap();
            let ask = DhcpRepr::parse(&packet).unwrap();
            seen.push(ask.message_type);
            let Some(give) = give else { continue };
            let wants = ask.message_type == DhcpMessageType::Request
                && ask.requested_ip.is_some_and(|ip| ip != give)
                || ask.message_type == DhcpMessageType::Request
                    && ask.requested_ip.is_none()
                    && ask.client_ip != give;
            let answer = match ask.message_type {
                DhcpMessageType::Discover => DhcpMessageType::Offer,
                _ if wants => DhcpMessageType::Nak,
                _ => DhcpMessageType::Ack,
            };
            let reply = DhcpRepr {
                message_type: answer,
                transaction_id: ask.transaction_id,
                secs: 0,
                client_hardware_address: ask.client_hardware_address,
                client_ip: Ipv4Address::UNSPECIFIED,
                your_ip: give,
                server_ip: DHCP_SERVER,
                router: Some(DHCP_SERVER),
                subnet_mask: Some(Ipv4Address::new(255, 255, 255, 0)),
                relay_agent_ip: Ipv4Address::UNSPECIFIED,
                broadcast: false,
                requested_ip: None,
                client_identifier: None,
                server_identifier: Some(DHCP_SERVER),
                parameter_request_list: None,
                dns_servers: Some([DHCP_SERVER].into_iter().collect()),
                max_size: None,
                renew_duration: None,
                rebind_duration: None,
                lease_duration: Some(600),
                additional_options: &[],
            };
            let mut bytes = vec![0; reply.buffer_len()];
            reply
                .emit(&mut DhcpPacket::new_unchecked(&mut bytes[..]))
                .unwrap();
            let frame = udp_frame((DHCP_SERVER, 67), (give, 68), &bytes);
            w.env.to_server.push_back(frame);
        }
        w.env.completions.len();
    }
}

fn dhcp_world() -> World {
    let mut config = small();
    config.set("dhcp", "true").unwrap();
    World::new(config)
}

#[test]
fn an_address_is_leased_renewed_changed_and_lost() {
    let mut w = dhcp_world();
    let mut seen = vec![];
    let waits = w.submit(Request::new(Op::AwaitAddress, 0, 0));
    let mut poll = Request::new(Op::AwaitAddress, 0, 0);
    poll.flags = flags::NO_WAIT;
    let polled = w.submit(poll);
    w.step(1000);
    assert_eq!(
        w.completion(polled).unwrap().status,
        Status::NetworkDown as u16
    );
    assert!(w.completion(waits).is_none());
    run_dhcp(&mut w, 20_000_000, Some(SERVER_IP), &mut seen);
    let got = w.completion(waits).unwrap();
    ok(&got);
    assert_eq!(
        (got.address.octets[..4].to_vec(), got.arg, got.len),
        (vec![10, 0, 0, 1], 24, 1500)
    );

    // Half the lease later it is renewed.
    seen.clear();
    run_dhcp(&mut w, 320_000_000, Some(SERVER_IP), &mut seen);
    assert!(seen.contains(&DhcpMessageType::Request) && !seen.contains(&DhcpMessageType::Discover));
    assert!(w.server.address().is_some());

    // Another address: connections of the old one end.
    w.listen(0, 7, 4);
    let accept = w.submit(World::accept(0, 10));
    w.peer_connect(7, 40000);
    for _ in 0..5 {
        w.step(1000);
    }
    ok(&w.completion(accept).unwrap());
    let recv = w.submit(World::recv(10, 0, 10));
    let other = Ipv4Address::new(10, 0, 0, 50);
    run_dhcp(&mut w, 700_000_000, Some(other), &mut seen);
    assert_eq!(w.server.address().unwrap().address(), other);
    assert_eq!(
        w.completion(recv).unwrap().status,
        Status::ConnectionAborted as u16
    );
    assert_eq!(w.count(Counter::ConnectionsFree), 80);

    // Nobody answers: the lease runs out.
    seen.clear();
    run_dhcp(&mut w, 700_000_000, None, &mut seen);
    assert_eq!(w.server.address(), None);
    assert!(seen.contains(&DhcpMessageType::Discover));
    w.open(1, SocketKind::Udp);
    ok(&w.bind(1, 9));
    let mut send = World::send(1, 0, 4);
    send.address = address(PEER_IP, 9);
    assert_eq!(w.call(send).status, Status::NetworkDown as u16);
}

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
        Status::NotFound as u16
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
