//! What a server may say of what it was given, and what it may not.

use socket_api::{
    Completion, Deliver, Further, Message, Op, Part, RELEASE_MOST, Release, Retire, Status,
    Transmit, WireAddress, flags, kind, packet_flags,
};

use crate::server::{BYTES, Given, HEADERS};

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
pub fn wrong(given: &Given) -> Vec<(&'static str, Message)> {
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
    let further = Further {
        packet: deliver.packet as u16,
        offset: deliver.offset as u16,
        len: 60,
        flags: 0,
    };
    let wrongs = [
        Further {
            packet: further.packet + 1,
            ..further
        },
        Further {
            packet: 1025,
            ..further
        },
        Further {
            offset: further.offset + 41,
            ..further
        },
        Further { len: 0, ..further },
        Further {
            flags: 1,
            ..further
        },
    ];
    for wrong in wrongs {
        let more = deliver.more.map(|_| wrong);
        say("deliver more", Deliver { more, ..deliver });
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
