//! DHCP against a scripted server, under a simulated clock.
#![allow(clippy::unwrap_used, reason = "a test is to stop where it fails")]

mod support;

use net_server::Counter;
use smoltcp::wire::*;
use socket_api::{Op, Request, SocketKind, Status, flags};
use support::datagrams::{udp_frame, udp_of};
use support::*;

const DHCP_SERVER: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);

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

/// Somebody answers the question for an address that was just leased.
#[test]
fn a_lease_of_somebodys_address_is_declined() {
    let mut w = dhcp_world();
    let mut seen = vec![];
    for _ in 0..100 {
        run_dhcp(&mut w, 200_000, Some(SERVER_IP), &mut seen);
        if w.server.address().is_some() {
            break;
        }
    }
    assert_eq!(w.server.address().unwrap().address(), SERVER_IP);
    let mut frame = vec![0; 42];
    frame[..6].fill(0xff);
    frame[6..22].copy_from_slice(&[2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2]);
    frame.copy_within(6..12, 22);
    frame[28..32].copy_from_slice(&SERVER_IP.octets());
    w.env.to_server.push_back(frame);
    seen.clear();
    run_dhcp(&mut w, 200_000, Some(SERVER_IP), &mut seen);
    assert_eq!(seen, [DhcpMessageType::Decline]);
    assert_eq!(w.server.address(), None);
    assert_eq!(w.count(Counter::AddressConflicts), 1);
    // It waits before it asks again, and takes another.
    seen.clear();
    run_dhcp(&mut w, 9_500_000, Some(SERVER_IP), &mut seen);
    assert_eq!(seen, []);
    let other = Ipv4Address::new(10, 0, 0, 50);
    run_dhcp(&mut w, 20_000_000, Some(other), &mut seen);
    assert_eq!(w.server.address().unwrap().address(), other);
    assert!(!seen.contains(&DhcpMessageType::Decline));
}
