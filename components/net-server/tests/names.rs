//! DNS against a scripted server, under a simulated clock.
#![allow(clippy::unwrap_used, reason = "a test is to stop where it fails")]

mod support;

use net_server::Config;
use socket_api::{Op, Request, Status};
use support::datagrams::{udp_frame, udp_of};
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
