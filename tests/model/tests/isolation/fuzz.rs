//! Whatever a generator makes of requests and entries, for a while.
//!
//! Most of it is nearly right, so that it gets past the first check: something
//! right of which a few bytes are changed, or that comes at the wrong time.
//! Nothing panics, the honest client is served all along, and when the hostile
//! party is gone nothing is lost. Each world ends after some time, since what
//! it has been told cannot be told twice.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use model_tests::raw::RawClient;
use model_tests::{HEAP, HostConfig, Noise, World, pattern};
use socket_api::{Extent, Message, Op, Request, Status};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::client::{Sockets, right};
use crate::honest::{HOST, Honest, OTHER, by_value, hosts};
use crate::server::{Given, Scene};
use crate::wrong;

/// Rounds in a world.
const ROUNDS: u64 = 300;

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs worlds until the time is over.
fn for_a_while(
    hosts: impl Fn() -> [HostConfig; 2],
    mut round: impl FnMut(&'static World, &mut Noise) -> u64,
) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_nanos() as u64);
    let seed = setting("IOIPC_SEED").unwrap_or(now);
    println!("IOIPC_SEED={seed}");
    let limit = Duration::from_secs(setting("IOIPC_FUZZ_SECONDS").unwrap_or(5));
    let (start, mut noise) = (Instant::now(), Noise::new(seed));
    let (mut worlds, mut messages) = (0, 0);
    while worlds == 0 || start.elapsed() < limit {
        messages += World::with(hosts(), |world| round(world, &mut noise));
        worlds += 1;
    }
    println!("{messages} messages in {worlds} worlds");
}

/// Changes a few bytes: sets them to what is often special, or to anything.
fn mutate<T: IntoBytes + FromBytes + Immutable>(noise: &mut Noise, entry: &mut T) {
    let bytes = entry.as_mut_bytes();
    for _ in 0..=noise.below(3) {
        let at = noise.below(bytes.len() as u64) as usize;
        bytes[at] = match noise.below(4) {
            0 => noise.number() as u8,
            1 => bytes[at] ^ 1 << noise.below(8),
            2 => noise.pick(&[0, 1, 0x7f, 0x80, 0xff]),
            _ => bytes[at].wrapping_add(1),
        };
    }
}

/// One thing a hostile client says.
fn request(noise: &mut Noise, sockets: &Sockets) -> Request {
    let all = right(sockets);
    let mut request = noise.pick(&all);
    request.user_data = noise.below(50);
    if noise.below(3) == 0 {
        // All kinds of bytes, all kinds of ways.
        request.extent = Extent {
            address: HEAP + noise.below(1 << 16) as u32,
            len: noise.below(20_000) as u32,
        };
        request.passing = noise.below(9) as u32 | (noise.below(11) as u32) << 8;
    }
    match noise.below(8) {
        0 => request.as_mut_bytes().fill_with(|| noise.number() as u8),
        1..4 => mutate(noise, &mut request),
        _ => {}
    }
    request
}

fn hostile_client(world: &'static World, noise: &mut Noise) -> u64 {
    let mut honest = Honest::new(world);
    let mut client = RawClient::new(world, HOST, OTHER);
    let nic = noise.below(2) as u32;
    // A server that answers nothing has sockets that never open.
    let mut sockets = match nic {
        0 => Sockets::open(&mut client, nic),
        _ => Sockets { udp: 1, tcp: 2 },
    };
    for round in 0..ROUNDS {
        for _ in 0..noise.below(24) {
            client.submit(&request(noise, &sockets));
        }
        while let Some(answer) = client.answer() {
            let opened = answer.op == Op::Open as u16 && answer.status == Status::Ok as u16;
            match noise.below(2) {
                0 if opened => sockets.udp = answer.socket,
                _ if opened => sockets.tcp = answer.socket,
                _ => {}
            }
        }
        let (at, len) = (noise.below(1 << 16) as u32, noise.below(9000) as usize);
        let bytes = pattern(len, round as u32);
        // Its pages may be away.
        let _ = world.lock().hosts[HOST].store(OTHER as u16, HEAP + at, &bytes);
        world.lock().frames = noise.below(8) as usize;
        world.step();
        world.lock().frames = 64;
        if round % 64 == 0 {
            honest.exchange();
        }
    }
    let requests = honest.count("requests") + honest.count("refused.field");
    {
        let host = &mut world.lock().hosts[HOST];
        host.manager.client_died(OTHER);
        host.manager.server_died(1);
    }
    honest.exchange();
    honest.end_without_reserve();
    requests
}

/// One thing a hostile server says.
fn entry(noise: &mut Noise, given: &[Given]) -> Message {
    let said = wrong::right(&given[noise.below(given.len() as u64) as usize]);
    let other = wrong::right(&given[noise.below(given.len() as u64) as usize]);
    let mut held = said.held;
    held.flags |= noise.pick(&[0, 4]);
    let mut transmit = said.transmit;
    transmit.slot = noise.below(260) as u16;
    transmit.count = noise.below(4) as u16;
    transmit.parts[1] = other.transmit.parts[0];
    transmit.flags = noise.pick(&[0, 0, 8, 32]);
    let mut message = match noise.below(7) {
        0 | 1 => transmit.into(),
        2 => said.sent.into(),
        3 => said.deliver.into(),
        4 => said.received.into(),
        5 => said.release.into(),
        _ => Message::from(held),
    };
    match noise.below(64) {
        0 => message.as_mut_bytes().fill_with(|| noise.number() as u8),
        1..6 => mutate(noise, &mut message),
        _ => {}
    }
    message
}

fn hostile_server(world: &'static World, noise: &mut Noise) -> u64 {
    let mut scene = Scene::new(world);
    let mut messages = 0;
    while messages < ROUNDS * 4 {
        let given = [scene.give()];
        let said = wrong::right(&given[0]);
        let all: [Message; 5] = [
            said.transmit.into(),
            said.sent.into(),
            said.deliver.into(),
            said.received.into(),
            said.held.into(),
        ];
        for message in all {
            if noise.below(20) == 0 {
                scene.say(entry(noise, &given));
            }
            scene.say(message);
            messages += 1;
        }
        world.step();
        world.step();
        while scene.victim.answer().is_some() {}
        scene.rogue(|rogue| while rogue.hear().is_some() {});
        // So many more and it is given up, which has its own test.
        if scene.honest.count("server.faults") >= 9 {
            break;
        }
    }
    scene.honest.exchange();
    {
        let host = &mut scene.world.lock().hosts[HOST];
        host.manager.client_died(OTHER);
        host.manager.server_died(1);
    }
    scene.honest.exchange();
    scene.honest.end_without_reserve();
    messages
}

#[test]
fn no_request_harms_anybody() {
    for_a_while(hosts, hostile_client);
}

/// A few worlds more: what a client can say is the same.
#[test]
fn no_request_by_value_harms_a_server() {
    for_a_while(by_value, hostile_client);
}

#[test]
fn no_entry_harms_anybody() {
    for_a_while(hosts, hostile_server);
}
