//! A client whose requests have one wrong field.

use core::mem::offset_of;

use ioipc::{Passing, Semantics, Technique};
use model_tests::raw::RawClient;
use model_tests::{HEAP, HEAP_BYTES, LARGE_BYTES, World};
use shared_ring::SharedMemory;
use socket_api::{Extent, Op, Request, SocketKind, Status, WireAddress, flags};

use crate::honest::{HOST, Honest, OTHER, hosts};

/// What the client has that requests can name.
pub struct Sockets {
    pub udp: u32,
    pub tcp: u32,
}

impl Sockets {
    pub fn open(client: &mut RawClient, nic: u32) -> Self {
        Self {
            udp: client.open(SocketKind::Udp, nic),
            tcp: client.open(SocketKind::Tcp, nic),
        }
    }
}

fn to(host: u8, port: u16) -> WireAddress {
    std::net::SocketAddr::from(([10, 0, 0, host], port)).into()
}

/// A request of each kind with nothing wrong.
pub fn right(sockets: &Sockets) -> Vec<Request> {
    let request = |op, socket, arg| Request {
        arg,
        ..Request::new(op, socket, 7)
    };
    let Sockets { udp, tcp } = *sockets;
    let memory = |op, socket, len| Request {
        extent: Extent { address: HEAP, len },
        ..request(op, socket, 0)
    };
    vec![
        request(Op::Open, 0, SocketKind::Udp as u64),
        Request {
            address: to(2, 4000),
            ..request(Op::Bind, udp, 0)
        },
        Request {
            address: to(1, 9),
            ..request(Op::Connect, tcp, 0)
        },
        request(Op::Listen, tcp, 4),
        request(Op::Accept, tcp, 0),
        Request {
            address: to(1, 4000),
            ..memory(Op::Send, udp, 100)
        },
        memory(Op::Recv, udp, 2000),
        request(Op::Shutdown, tcp, 3),
        request(Op::Close, udp, 0),
        request(Op::Cancel, udp, 99),
        Request {
            arg: 100,
            ..memory(Op::Resolve, 0, 11)
        },
        request(Op::AwaitAddress, 0, 0),
        memory(Op::Account, 0, 4096),
        Request {
            arg: u64::from(HEAP) + 65536,
            ..memory(Op::Exchange, 0, 8192)
        },
    ]
}

/// Whether requests of the kind name memory.
fn names_memory(op: u16) -> bool {
    [Op::Send, Op::Recv, Op::Resolve, Op::Account, Op::Exchange]
        .map(|op| op as u16)
        .contains(&op)
}

/// The request with one wrong field, in each way that cannot be right: the
/// status, and the field's place for `BadRequest`.
fn wrong(r: Request) -> Vec<(Request, Status, usize)> {
    let mut all = Vec::new();
    let mut field = |request: Request, at: usize| all.push((request, Status::BadRequest, at));
    for op in [0, 13, 16, u16::MAX] {
        field(Request { op, ..r }, offset_of!(Request, op));
    }
    for bit in [5, 6, 15] {
        let flags = r.flags | 1 << bit;
        field(Request { flags, ..r }, offset_of!(Request, flags));
    }
    let flags = r.flags | flags::REPOST;
    if r.op == Op::Send as u16 {
        // No room, and room that ends where there are no addresses.
        for arg in [0, 1 << 32, u64::MAX] {
            field(Request { flags, arg, ..r }, offset_of!(Request, arg));
        }
        let flags = flags | flags::BLOCKED;
        let waits = Request {
            flags,
            arg: 100,
            ..r
        };
        field(waits, offset_of!(Request, flags));
    } else {
        field(Request { flags, ..r }, offset_of!(Request, flags));
    }
    for client in [1, u32::MAX] {
        field(Request { client, ..r }, offset_of!(Request, client));
    }
    let last = Passing {
        semantics: Semantics::EmulatedCopy,
        forced: Some(Technique::Hide),
    };
    for passing in [9, 0xff00, 0x1_0002, u32::MAX, last.word()] {
        field(Request { passing, ..r }, offset_of!(Request, passing));
    }
    for extent in extents(r) {
        field(Request { extent, ..r }, offset_of!(Request, extent));
    }
    for address in addresses(r.address) {
        field(Request { address, ..r }, offset_of!(Request, address));
    }
    if r.op == Op::Open as u16 || r.op == Op::Listen as u16 || r.op == Op::Shutdown as u16 {
        for arg in [0, 1 << 20, u64::MAX] {
            field(Request { arg, ..r }, offset_of!(Request, arg));
        }
    }
    if r.op == Op::Exchange as u16 {
        // No page, a part of one, one of the extent itself.
        for arg in [0, u64::from(HEAP) + 1, u64::from(HEAP) + 4096] {
            field(Request { arg, ..r }, offset_of!(Request, extent));
        }
        let arg = 1 << 40;
        field(Request { arg, ..r }, offset_of!(Request, arg));
    }
    if r.socket == 0 {
        field(Request { socket: 1, ..r }, offset_of!(Request, socket));
    } else {
        for socket in [0, r.socket ^ 1 << 16, r.socket ^ 1 << 8, u32::MAX] {
            all.push((Request { socket, ..r }, Status::BadSocket, 0));
        }
    }
    all
}

/// Bytes that are not the client's, or that the operation has no use for.
fn extents(r: Request) -> Vec<Extent> {
    let extent = |address, len| Extent { address, len };
    if !names_memory(r.op) {
        return vec![extent(HEAP, 0), extent(0, 1), extent(HEAP, 4096)];
    }
    let len = r.extent.len;
    vec![
        extent(0x1000, len),
        extent(HEAP - 1, len),
        // Across two holdings, and behind the last.
        extent(HEAP + HEAP_BYTES - 5, len),
        extent(HEAP + HEAP_BYTES + LARGE_BYTES - 5, len),
        extent(u32::MAX - 2, len),
        // Nobody looks at more than the start of it in `Account`.
        extent(
            if r.op == Op::Account as u16 {
                HEAP - 1
            } else {
                HEAP
            },
            7 << 20,
        ),
        extent(0, 1 << 20),
    ]
}

/// Addresses that cannot be meant.
fn addresses(right: WireAddress) -> Vec<WireAddress> {
    vec![
        WireAddress { family: 5, ..right },
        WireAddress {
            nic: 9,
            family: 4,
            ..right
        },
        WireAddress {
            nic: u32::MAX,
            ..right
        },
    ]
}

fn with_client(run: impl FnOnce(&mut RawClient, &mut Honest)) {
    World::with(hosts(), |world| {
        let mut honest = Honest::new(world);
        honest.exchange();
        let mut client = RawClient::new(world, HOST, OTHER);
        run(&mut client, &mut honest);
        world.lock().hosts[HOST].manager.client_died(OTHER);
        honest.exchange();
        world.lock().hosts[HOST].manager.server_died(1);
        honest.end();
    });
}

#[test]
fn every_wrong_field_of_a_request_is_refused() {
    with_client(|client, honest| {
        let sockets = Sockets::open(client, 0);
        let mut refused = honest.count("refused.field") + honest.count("refused.socket");
        for right in right(&sockets) {
            for (request, status, field) in wrong(right) {
                let answer = client.call(&request);
                assert_eq!(
                    answer.status, status as u16,
                    "{field} of {request:?}: {answer:?}"
                );
                assert_eq!(answer.user_data, 7);
                if status == Status::BadRequest {
                    assert_eq!(answer.arg, field as u64, "{request:?}");
                }
                let now = honest.count("refused.field") + honest.count("refused.socket");
                assert_eq!(now, refused + 1, "{request:?}");
                refused = now;
            }
            honest.exchange();
        }
        assert_eq!(client.answer(), None);
    });
}

#[test]
fn what_is_said_twice_or_is_in_use_harms_nobody() {
    with_client(|client, honest| {
        let sockets = Sockets::open(client, 0);
        let all = right(&sockets);
        let bind = client.call(&all[1]);
        assert_eq!(bind.status, Status::Ok as u16);
        // The same room, and the same bytes, many times; then what they belong
        // to is closed.
        for n in 0..64 {
            let user_data = u64::from(n % 2 == 0);
            client.submit(&Request {
                user_data,
                ..all[6]
            });
            client.submit(&Request {
                user_data,
                ..all[5]
            });
        }
        client.submit(&all[8]);
        client.submit(&all[8]);
        honest.exchange();
        let mut answers = 0;
        while client.answer().is_some() {
            answers += 1;
        }
        assert_eq!(answers, 130, "one for each");
    });
}

/// Moves the index that a client writes of one of its rings.
fn jump(control: &SharedMemory, at: usize, to: u32) {
    control.write(at, &to.to_ne_bytes()).unwrap();
}

#[test]
fn a_ring_index_that_jumps_cuts_the_client_off() {
    use socket_api::{CLIENT_REQUESTS, COMPLETIONS_OFFSET, REQUESTS_OFFSET};
    for (ring, word) in [
        (REQUESTS_OFFSET, model_tests::raw::TAIL),
        (COMPLETIONS_OFFSET, model_tests::raw::HEAD),
    ] {
        with_client(|client, honest| {
            let sockets = Sockets::open(client, 0);
            let all = right(&sockets);
            client.submit(&all[6]);
            // A ring that seems full is noticed when it is written to.
            for _ in 0..CLIENT_REQUESTS {
                client.submit(&all[12]);
                jump(&client.control, ring + word, 0x4000_0000);
                client.step();
            }
            honest.exchange();
            assert_eq!(honest.count("clients.cut-off"), 1);
        });
    }
}
