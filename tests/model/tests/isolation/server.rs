//! A server whose entries have one wrong field.
//!
//! It serves the second NIC of the host, and a client that was unwise enough to
//! open sockets there; the honest client's server and NIC are others.

use model_tests::World;
use model_tests::raw::{RawClient, RogueServer};
use socket_api::{
    FROM_SERVER_OFFSET, Message, Op, Packet, Request, Retire, SocketKind, Status, TO_SERVER_OFFSET,
    flags, kind,
};

use crate::honest::{HOST, Honest, OTHER, hosts};
use crate::wrong::{right, wrong};

/// Its NIC.
const NIC: u32 = 1;
/// Bytes of headers of a datagram's frame.
pub const HEADERS: u32 = 42;
/// Bytes of payload in each packet, and in each `Send`.
pub const BYTES: u32 = 100;
/// Entries that break the protocol before a server is given up, and some to
/// spare.
const MOST_FAULTS: usize = 16;

/// The hostile server, its client, and the others.
pub struct Scene {
    pub world: &'static World,
    pub victim: RawClient,
    pub honest: Honest,
    udp: u32,
    tcp: u32,
}

/// What the server has been given, for which it can say something right.
pub struct Given {
    pub send: Request,
    pub receive: Request,
    pub hold: Request,
    pub packet: Packet,
}

impl Scene {
    pub fn new(world: &'static World) -> Self {
        let mut honest = Honest::new(world);
        honest.exchange();
        let mut this = Self {
            world,
            victim: RawClient::new(world, HOST, OTHER),
            honest,
            udp: 0,
            tcp: 0,
        };
        this.udp = this.open(SocketKind::Udp);
        this.tcp = this.open(SocketKind::Tcp);
        this
    }

    pub fn rogue<R>(&self, act: impl FnOnce(&mut RogueServer) -> R) -> R {
        let mut inner = self.world.lock();
        act(inner.hosts[HOST].rogue.as_mut().unwrap())
    }

    /// Says something, and lets the manager hear it.
    pub fn say(&self, message: impl Into<Message>) {
        self.rogue(|rogue| rogue.say(message));
        self.world.lock().hosts[HOST].manage();
    }

    fn open(&mut self, kind: SocketKind) -> u32 {
        let mut request = Request::new(Op::Open, 0, 9);
        request.arg = kind as u64;
        request.address.nic = NIC;
        let heard = self.ask(&request);
        self.say(heard.complete(Status::Ok));
        self.victim.answer().unwrap().socket
    }

    /// The client asks; what the server hears.
    fn ask(&mut self, request: &Request) -> Request {
        self.victim.submit(request);
        self.world.lock().hosts[HOST].manage();
        let heard = self.rogue(RogueServer::hear);
        Request::from(heard.expect("a request"))
    }

    /// A request of each kind that has bytes, and a packet.
    pub fn give(&mut self) -> Given {
        let memory = |op, socket, user_data, len| Request {
            extent: socket_api::Extent {
                address: model_tests::HEAP + 1000 * user_data as u32,
                len,
            },
            ..Request::new(op, socket, user_data)
        };
        let mut send = memory(Op::Send, self.udp, 1, BYTES);
        send.address = std::net::SocketAddr::from(([10, 0, 0, 1], 9)).into();
        send.address.nic = NIC;
        let mut hold = memory(Op::Send, self.tcp, 3, BYTES);
        hold.flags = flags::BLOCKED;
        let receive = memory(Op::Recv, self.udp, 2, 2 * BYTES);
        Given {
            send: self.ask(&send),
            receive: self.ask(&receive),
            hold: self.ask(&hold),
            packet: self.packet(),
        }
    }

    fn packet(&self) -> Packet {
        self.rogue(|rogue| rogue.nic.receive(&frame()));
        self.world.step();
        self.world.step();
        let heard = self.rogue(RogueServer::hear).expect("a packet");
        assert_eq!(heard.kind(), kind::PACKET);
        Packet::from(heard)
    }
}

/// A datagram's frame.
fn frame() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    frame.extend([0x45, 0, 0, 28 + BYTES as u8, 0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0, 9, 0, 9, 0, 8 + BYTES as u8, 0, 0]);
    frame.resize((HEADERS + BYTES) as usize, 7);
    frame
}

/// How many violations the manager has counted.
fn faults(scene: &Scene) -> u64 {
    scene.honest.count("server.faults")
}

/// Says something wrong, then everything right that still can be; each request
/// is answered once.
fn one(scene: &mut Scene, number: usize) -> bool {
    let given = scene.give();
    let Some((what, message)) = wrong(&given).into_iter().nth(number) else {
        return false;
    };
    let before = faults(scene);
    scene.say(message);
    assert_eq!(faults(scene), before + 1, "{what}: {message:?}");
    let mut answered = [false; 4];
    let mut take = |scene: &mut Scene| {
        while let Some(answer) = scene.victim.answer() {
            let before = std::mem::replace(&mut answered[answer.user_data as usize], true);
            assert!(!before, "answered twice after {what}");
        }
        answered
    };
    let gone = take(scene);
    let said = right(&given);
    if !gone[1] {
        scene.say(said.transmit);
        scene.say(said.sent);
    }
    if gone[2] {
        scene.say(said.release);
    } else {
        scene.say(said.deliver);
        scene.say(said.received);
    }
    if !gone[3] {
        scene.say(said.held);
    }
    scene.world.step();
    scene.world.step();
    assert_eq!(take(scene), [false, true, true, true], "after {what}");
    assert_eq!(faults(scene), before + 1, "what is right, after {what}");
    true
}

/// Ends a scene: the server and its client are gone, and nothing is missing.
pub fn end(mut scene: Scene) {
    scene.honest.exchange();
    {
        let host = &mut scene.world.lock().hosts[HOST];
        host.manager.client_died(OTHER);
        host.manager.server_died(1);
    }
    scene.honest.exchange();
    scene.honest.end();
}

#[test]
fn every_wrong_field_of_an_entry_is_refused() {
    let mut number = 0;
    let mut more = true;
    while more {
        World::with(hosts(), |world| {
            let mut scene = Scene::new(world);
            for _ in 0..MOST_FAULTS - 1 {
                more = more && one(&mut scene, number);
                number += 1;
            }
            end(scene);
        });
    }
    assert!(number > 100, "{number} wrong entries");
}

#[test]
fn a_server_that_goes_on_lying_is_given_up() {
    World::with(hosts(), |world| {
        let mut scene = Scene::new(world);
        let given = scene.give();
        for _ in 0..MOST_FAULTS {
            scene.say(Retire::default());
        }
        let gone: Vec<_> = std::iter::from_fn(|| scene.victim.answer()).collect();
        assert_eq!(gone.len(), 3, "nobody waits for it any more");
        assert!(gone.iter().all(|a| a.status == Status::ServerGone as u16));
        assert_eq!(scene.honest.count("servers.gone"), 1);
        // What it says now, nobody hears.
        scene.say(right(&given).sent);
        assert_eq!(scene.victim.answer(), None);
        end(scene);
    });
}

#[test]
fn what_a_server_says_twice_is_refused() {
    World::with(hosts(), |world| {
        let mut scene = Scene::new(world);
        let given = scene.give();
        let said = right(&given);
        let before = faults(&scene);
        for message in [
            Message::from(said.transmit),
            said.sent.into(),
            said.received.into(),
        ] {
            // The device has not let go of the slot yet.
            scene.say(message);
            scene.say(message);
        }
        scene.say(said.release);
        assert_eq!(faults(&scene), before + 4);
        world.step();
        world.step();
        let answers = std::iter::from_fn(|| scene.victim.answer()).count();
        assert_eq!(answers, 2, "one for each");
        scene.say(said.held);
        assert_eq!(scene.victim.answer().map(|a| a.user_data), Some(3));
        end(scene);
    });
}

#[test]
fn a_ring_index_that_jumps_ends_the_server() {
    use model_tests::raw::{HEAD, TAIL};
    for word in [FROM_SERVER_OFFSET + TAIL, TO_SERVER_OFFSET + HEAD] {
        World::with(hosts(), |world| {
            let mut scene = Scene::new(world);
            scene.give();
            let jump = 0x4000_0000_u32.to_ne_bytes();
            scene.rogue(|rogue| rogue.control.write(word, &jump).unwrap());
            for _ in 0..20_000 {
                if scene.honest.count("servers.gone") == 1 {
                    break;
                }
                // A ring that seems full is noticed when it is written to.
                scene.rogue(|rogue| rogue.nic.receive(&frame()));
                scene.world.step();
            }
            if word == FROM_SERVER_OFFSET + TAIL {
                assert_eq!(scene.honest.count("servers.gone"), 1);
            }
            end(scene);
        });
    }
}
