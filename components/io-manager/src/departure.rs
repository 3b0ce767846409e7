//! Parties that leave: cut off, given up, or dead.
//!
//! Invariant: what a party has left is given back before its numbers are used
//! again, each thing once: a client's requests when every server has forgotten
//! it, a server's packets and requests at once, and memory when no device has
//! it.

use data_passing::Machine;
use socket_api::{Op, Request, SERVER_PACKETS, Status};

use crate::client::{Client, Standing, client_at};
use crate::progress::Core;
use crate::server::Server;
use crate::tokens::{Outstanding, Stage};

impl<M: Machine> Core<M> {
    /// Sends the `DropClient`s that are still to be sent.
    pub(crate) fn tell_dropped(&mut self, servers: &mut [Server], index: usize) {
        let Some(client) = client_at(&mut self.clients, index) else {
            return;
        };
        let Standing::Dropping {
            mut untold,
            mut unconfirmed,
        } = client.standing
        else {
            return;
        };
        for (n, server) in servers.iter_mut().enumerate() {
            if untold & 1 << n == 0 || !matches!(server.to.room(), Ok(1..)) {
                continue;
            }
            if let Some(token) = client.tokens.insert_drop(n as u8) {
                let mut request = Request::new(Op::DropClient, 0, token);
                request.client = index as u32;
                server.overrun |= server.to.push(&request.into()).is_err();
                untold &= !(1 << n);
                unconfirmed |= 1 << n;
            }
        }
        client.standing = Standing::Dropping {
            untold,
            unconfirmed,
        };
        finish_drop(client);
    }

    /// A server has forgotten a client, as the `DropClient` in slot `index`
    /// asked.
    pub(crate) fn dropped(&mut self, number: usize, server: &mut Server, index: u16) {
        let Some(client) = client_at(&mut self.clients, number) else {
            return;
        };
        client.tokens.free(index);
        if let Standing::Dropping { unconfirmed, .. } = &mut client.standing {
            *unconfirmed &= !(1 << server.index);
        }
        self.end_requests(server, number);
        if let Some(client) = client_at(&mut self.clients, number) {
            finish_drop(client);
        }
    }

    /// Ends all requests of a client that a server has, which needs none of
    /// their bytes any more. The `Close`s come last, since each tells that
    /// nothing of its socket is left.
    fn end_requests(&mut self, server: &mut Server, number: usize) {
        for closes in [false, true] {
            let mut from = 0;
            while let Some(index) = client_at(&mut self.clients, number).and_then(|client| {
                client.tokens.position(from, |r| {
                    r.server == server.index && (r.op == Op::Close) == closes
                })
            }) {
                from = index + 1;
                self.end_request(server, number, index);
            }
        }
    }

    fn end_request(&mut self, server: &mut Server, number: usize, index: u16) {
        let Some(request) = self.request(number, index) else {
            return;
        };
        match request.stage {
            Stage::Waiting if request.op == Op::DropClient => {
                if let Some(client) = client_at(&mut self.clients, number) {
                    client.tokens.free(index);
                }
            }
            Stage::Waiting => {
                let status = server.farewell;
                self.end_server_side(&mut server.nic, number, index, status);
            }
            Stage::Holding | Stage::Held => self.retire_now(server, number, index),
            Stage::Done | Stage::Draining => {}
        }
    }

    /// Answers everything that waits for a server, and asks it nothing any
    /// more.
    pub(crate) fn server_gone(&mut self, server: &mut Server) {
        self.counters.servers_gone.add(1);
        self.part_with(server);
    }

    fn part_with(&mut self, server: &mut Server) {
        server.alive = false;
        self.alive &= !(1 << server.index);
        self.refuse_unfinished(server);
        for packet in 1..=SERVER_PACKETS {
            self.release_one(&mut server.nic, packet);
        }
        for number in 0..self.clients.len() {
            let Some(client) = client_at(&mut self.clients, number) else {
                continue;
            };
            if let Standing::Dropping {
                untold,
                unconfirmed,
            } = &mut client.standing
            {
                *untold &= !(1 << server.index);
                *unconfirmed &= !(1 << server.index);
            }
            self.end_requests(server, number);
            if let Some(client) = client_at(&mut self.clients, number) {
                finish_drop(client);
            }
        }
    }

    /// Takes nothing from a NIC's driver any more. What the device may still
    /// have stays in use; nobody waits for it. A server whose NIC was never there
    /// does not start: who asks it hears that the network is down.
    pub(crate) fn driver_gone(&mut self, server: &mut Server) {
        if server.nic.info.is_none() && server.alive {
            log::warn!("the network of server {} is down for good", server.index);
            server.farewell = Status::NetworkDown;
            self.part_with(server);
        }
        server.nic.give_up();
        self.counters.drivers_gone.add(1);
        self.lose_steered(server);
        for number in 0..self.clients.len() {
            let mut from = 0;
            let waits = |r: &Outstanding| r.server == server.index && r.delayed;
            while let Some(index) = client_at(&mut self.clients, number)
                .and_then(|client| client.tokens.position(from, waits))
            {
                from = index + 1;
                self.proceed(number, index, false);
            }
        }
    }
}

/// Frees what a dropped client had, once no server knows of it any more.
fn finish_drop(client: &mut Client) {
    let done = Standing::Dropping {
        untold: 0,
        unconfirmed: 0,
    };
    if client.standing == done {
        client.standing = Standing::Gone;
        client.sockets.release_all();
        client.queued_bytes = 0;
        client.news = true;
    }
}
