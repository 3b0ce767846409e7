//! A server whose entries have one wrong field.
//!
//! It serves the second NIC of the host, and a client that was unwise enough to
//! open sockets there; the honest client's server and NIC are others.

use model_tests::World;
use model_tests::raw::{RawClient, RogueServer};
use socket_api::{
    Completion, Deliver, FROM_SERVER_OFFSET, Message, Op, Packet, Part, RELEASE_MOST, Release,
    Request, Retire, SocketKind, Status, TO_SERVER_OFFSET, Transmit, WireAddress, flags, kind,
    packet_flags,
};

use crate::honest::{HOST, Honest, OTHER, hosts};

/// Its NIC.
const NIC: u32 = 1;
/// Bytes of headers of a datagram's frame.
const HEADERS: u32 = 42;
/// Bytes of payload in each packet, and in each `Send`.
const BYTES: u32 = 100;
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

/// What may be said of what was given.
pub struct Said {
    pub transmit: Transmit,
    pub sent: Completion,
    pub deliver: Deliver,
    pub received: Completion,
    pub release: Release,
    pub held: Completion,
}

/// All that is right, in this order.
pub fn right(given: &Given) -> Said {
    let mut transmit = Transmit {
        kind: kind::TRANSMIT,
        slot: 3,
        header_len: HEADERS as u16,
        count: 1,
        ..Transmit::default()
    };
    transmit.parts[0] = Part {
        token: given.send.user_data,
        offset: 0,
        len: BYTES,
    };
    let mut packets = [0; RELEASE_MOST];
    packets[0] = given.packet.id;
    let mut held = given.hold.complete(Status::Ok);
    held.len = BYTES;
    Said {
        transmit,
        sent: Completion {
            len: BYTES,
            ..given.send.complete(Status::Ok)
        },
        deliver: Deliver {
            kind: kind::DELIVER,
            packet: given.packet.id,
            token: given.receive.user_data,
            offset: HEADERS,
            len: 10,
            ..Deliver::default()
        },
        received: Completion {
            len: BYTES,
            packet: given.packet.id,
            offset: HEADERS,
            flags: flags::RELEASE,
            ..given.receive.complete(Status::Ok)
        },
        release: Release {
            kind: kind::RELEASE,
            count: 1,
            packets,
            reserved: 0,
        },
        held,
    }
}

/// Tokens that are not this server's to use: another generation, index and
/// client, and all that the honest client might have at its own server.
fn tokens(right: u64) -> Vec<u64> {
    let mut all = vec![
        0,
        u64::MAX,
        right + (1 << 32),
        right ^ 1 << 63,
        right ^ 0x4000,
    ];
    all.extend((0..3).flat_map(|index| [1, 2, 3].map(|generation| generation << 32 | index)));
    all
}

/// Each entry with one field that cannot be right.
fn wrong(given: &Given) -> Vec<(&'static str, Message)> {
    let said = right(given);
    let mut all = Vec::new();
    wrong_transmits(&said.transmit, given, &mut all);
    wrong_completions(&said, &mut all);
    let mut say = |what, deliver: Deliver| all.push((what, deliver.into()));
    let deliver = said.deliver;
    for token in tokens(deliver.token)
        .into_iter()
        .chain([given.send.user_data])
    {
        say("deliver to", Deliver { token, ..deliver });
    }
    for packet in [0, given.packet.id + 1, 1025, u32::MAX] {
        say("deliver of", Deliver { packet, ..deliver });
    }
    for offset in [HEADERS + BYTES, u32::MAX] {
        say("deliver from", Deliver { offset, ..deliver });
    }
    for len in [0, BYTES + 1, u32::MAX] {
        say("deliver bytes", Deliver { len, ..deliver });
    }
    say(
        "deliver flags",
        Deliver {
            flags: 1,
            ..deliver
        },
    );
    let release = said.release;
    let mut packets = release.packets;
    for packet in [0, given.packet.id + 1, 1025, u32::MAX] {
        packets[0] = packet;
        all.push(("release", Release { packets, ..release }.into()));
    }
    all.push((
        "release count",
        Release {
            count: 15,
            ..release
        }
        .into(),
    ));
    for token in tokens(given.hold.user_data)
        .into_iter()
        .chain([given.send.user_data])
    {
        let retire = Retire {
            kind: kind::RETIRE,
            token,
            ..Retire::default()
        };
        all.push(("retire", retire.into()));
    }
    for number in [0, 99, 0x100, 0x106, u16::MAX] {
        let unknown = Retire {
            kind: number,
            ..Retire::default()
        };
        all.push(("kind", unknown.into()));
    }
    all
}

fn wrong_transmits(right: &Transmit, given: &Given, all: &mut Vec<(&'static str, Message)>) {
    let right = *right;
    let mut say = |what, transmit: Transmit| all.push((what, transmit.into()));
    for slot in [256, u16::MAX] {
        say("slot", Transmit { slot, ..right });
    }
    for header_len in [0, 13, 1515, u16::MAX] {
        say(
            "header",
            Transmit {
                header_len,
                ..right
            },
        );
    }
    for flags in [1, 1 << 1, 1 << 15, packet_flags::SEGMENT] {
        say("flags", Transmit { flags, ..right });
    }
    for (start, offset) in [(0, 0), (34, 7), (41, 0), (u16::MAX, u16::MAX)] {
        let transmit = Transmit {
            flags: packet_flags::CHECKSUM,
            checksum_start: start,
            checksum_offset: offset,
            ..right
        };
        say("checksum", transmit);
    }
    for count in [4, u16::MAX] {
        say("parts", Transmit { count, ..right });
    }
    let mut part = |what, part| {
        let mut transmit = right;
        transmit.parts[0] = part;
        say(what, transmit);
    };
    let first = right.parts[0];
    for token in tokens(first.token)
        .into_iter()
        .chain([given.receive.user_data])
    {
        part("part of", Part { token, ..first });
    }
    for offset in [1, BYTES + 1, u32::MAX] {
        part("part from", Part { offset, ..first });
    }
    for len in [0, BYTES + 1, u32::MAX] {
        part("part bytes", Part { len, ..first });
    }
}

fn wrong_completions(said: &Said, all: &mut Vec<(&'static str, Message)>) {
    for right in [said.sent, said.received] {
        let mut say = |what, completion: Completion| all.push((what, completion.into()));
        for user_data in tokens(right.user_data) {
            say("completion of", Completion { user_data, ..right });
        }
        for op in [Op::Open, Op::Close, Op::DropClient].map(|op| op as u16) {
            say("completion op", Completion { op, ..right });
        }
        for status in [21, u16::MAX] {
            say("status", Completion { status, ..right });
        }
        for socket in [right.socket + 1, u32::MAX] {
            say("completion socket", Completion { socket, ..right });
        }
        for len in [2 * BYTES + 1, u32::MAX] {
            say("completion bytes", Completion { len, ..right });
        }
        for bits in [1 << 5, u32::MAX, flags::HELD | right.flags] {
            say(
                "completion flags",
                Completion {
                    flags: bits,
                    ..right
                },
            );
        }
        for packet in [right.packet ^ 1, 1025, u32::MAX] {
            say("completion packet", Completion { packet, ..right });
        }
        for offset in [HEADERS + 1, u32::MAX] {
            say("completion offset", Completion { offset, ..right });
        }
        let address = WireAddress {
            family: 5,
            ..right.address
        };
        say("completion address", Completion { address, ..right });
    }
    let held = said.held;
    let mut hold = |held: Completion| all.push(("held", held.into()));
    hold(Completion {
        flags: flags::HELD,
        arg: u64::from(BYTES) + 1,
        ..held
    });
    hold(Completion {
        flags: flags::HELD,
        arg: u64::MAX,
        ..held
    });
    hold(Completion {
        flags: flags::HELD,
        status: Status::TimedOut as u16,
        ..held
    });
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
