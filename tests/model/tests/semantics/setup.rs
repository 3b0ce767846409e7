//! The world that a program runs in.

use std::time::Duration;

use ioipc::Settings;
use model_tests::pairs::{Pair, direct};
use model_tests::{HostConfig, World};
use nic_api::nic_features;

use crate::client::{Client, Socket};
use crate::program::{End, Program};
use crate::state::{PORT, State};

/// Two hosts as the program wants them.
pub fn hosts(program: &Program) -> [HostConfig; 2] {
    let host = |number| HostConfig {
        conventional: program.conventional,
        mtu: if program.steering && !program.conventional {
            9000
        } else {
            1500
        },
        costs: costs(program.mapping),
        features: (nic_features::STEERING * u32::from(program.steering))
            | (nic_features::CHECKSUM * u32::from(program.checksum)),
        ..HostConfig::stock(number)
    };
    [host(1), host(2)]
}

fn costs(percent: u32) -> data_passing::Costs {
    let costs = data_passing::Costs::PINNED;
    let scale = |cost: u32| cost * percent / 100;
    data_passing::Costs {
        map: scale(costs.map),
        unmap: scale(costs.unmap),
        protect: scale(costs.protect),
        fault: scale(costs.fault),
        ..costs
    }
}

/// Clients with sockets.
pub fn set_up(world: &'static World, program: &Program) -> State {
    let settings = match program.ahead {
        true => Settings::DEFAULT,
        false => direct(),
    };
    let pairs = [0, 1].map(|client| Pair::new(world, client, settings));
    let sockets = pairs.map(|pair| sockets(pair, program.stream));
    let mut clients = [Vec::new(), Vec::new()];
    for (client, (pair, sockets)) in pairs.into_iter().zip(sockets).enumerate() {
        for (host, socket) in sockets.into_iter().enumerate() {
            let end = End { host, client };
            clients[host].push(Client::new(end, pair, socket, program.ahead));
        }
    }
    let mut inner = world.lock();
    (inner.wire.lose, inner.wire.swap) = program.wire;
    let lossy = program.wire != (0, 0);
    State::new(
        world,
        clients.into_iter().flatten().collect(),
        program.stream,
        lossy,
    )
}

fn sockets(pair: Pair, stream: bool) -> [Socket; 2] {
    let port = PORT + pair.client;
    if stream {
        let connection = pair.connection(port);
        for stream in &connection {
            let limit = Some(Duration::from_secs(20));
            stream.set_read_timeout(limit).unwrap();
        }
        return connection.map(Socket::Tcp);
    }
    pair.datagrams(port).map(Socket::Udp)
}
