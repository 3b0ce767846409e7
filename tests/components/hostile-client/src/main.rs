//! Breaks every rule of the socket protocol, one at a time.
//!
//! With `mode = "fields"` it opens a socket properly and then sends requests
//! with one wrong field each, every field in turn. It logs how many were
//! refused and each one that was not; then it makes its ring index jump, which
//! must get it cut off. Nothing is wrong with the requests but that field: the
//! extents lie in its data region where they are not what is forged. After all
//! of them it still sends, rightly. With a second thread it also claims that it
//! has none. With `mode = "header"` it damages its ring headers before the I/O
//! manager attaches (give it a higher priority).
#![no_std]
#![no_main]

use component_runtime::{Component, Link, Protocol, Role};
use shared_ring::{Consumer, Producer, SharedMemory};
use socket_api::{
    Account, CLIENT_RING, COMPLETIONS_OFFSET, Completion, Extent, Op, Passing, REQUESTS_OFFSET,
    Request, Semantics, SocketKind, Status, Technique, WireAddress, flags,
};
use system_description::map;

component_runtime::entry!(main);

fn main(component: &'static Component) -> ! {
    if let Err(why) = attack(component) {
        log::error!("hostile client cannot attack: {why}");
    }
    loop {
        component.wait();
    }
}

fn attack(component: &'static Component) -> Result<(), &'static str> {
    let link = component
        .link(Protocol::Sockets, Role::Client)
        .ok_or("no sockets")?;
    let control = link.control.ok_or("no control region")?;
    if component.config("mode") == Some("header") {
        return damage_headers(&control).ok_or("control region too small");
    }
    let mut wire = Wire::new(component, link, control).ok_or("rings do not attach")?;
    // So that nothing is refused for want of an address.
    let address = wire.status(&Request::new(Op::AwaitAddress, 0, 0));
    address.filter(|s| *s == Status::Ok).ok_or("no address")?;
    let socket = wire.open().ok_or("cannot open a socket")?;
    let data = Data {
        start: link.data_vaddr as u32,
        bytes: link.data_bytes as u32,
        rings: control.address() as u32,
    };
    let threads = component.threads().count();
    try_all(&mut wire, socket, data, threads);
    let right = wire.status(&send(socket, data));
    log::info!("hostile client: what is right gets {right:?}");
    // Every case was answered, so the ring is still in use; now break it.
    let tail = control
        .word32(REQUESTS_OFFSET + 64)
        .map_err(|_| "no tail")?;
    tail.fetch_add(100_000, core::sync::atomic::Ordering::Release);
    link.signal();
    log::info!("hostile client: index moved");
    Ok(())
}

/// Sends every request that has something wrong and says what came of them.
fn try_all(wire: &mut Wire, socket: u32, data: Data, threads: usize) {
    let all = of_fields(socket, data)
        .chain(of_extents(socket, data))
        .chain(of_rooms(socket, data))
        .chain(of_names(data))
        .chain(of_passing(socket, data))
        .chain(of_others(socket))
        .chain((threads > 1).then(|| of_threads(socket, data)));
    let (mut refused, mut accepted) = (0, 0);
    for (name, request) in all {
        match wire.status(&request) {
            Some(Status::Ok) => {
                accepted += 1;
                log::error!("hostile case {name} was accepted");
            }
            Some(_) => refused += 1,
            None => log::error!("hostile case {name} got no legal status"),
        }
    }
    log::info!("hostile client: {refused} refused, {accepted} accepted");
}

/// Writes another version into both ring headers.
fn damage_headers(control: &SharedMemory) -> Option<()> {
    for ring in [REQUESTS_OFFSET, COMPLETIONS_OFFSET] {
        control.store32(ring + 4, 0xffff_0002).ok()?;
    }
    log::info!("hostile client: headers damaged");
    Some(())
}

/// Our end of both rings.
struct Wire {
    component: &'static Component,
    link: Link,
    requests: Producer<Request>,
    completions: Consumer<Completion>,
    next: u64,
}

impl Wire {
    fn new(component: &'static Component, link: Link, control: SharedMemory) -> Option<Self> {
        let ring = |offset| control.slice(offset, CLIENT_RING.bytes());
        Some(Self {
            component,
            link,
            requests: Producer::attach(ring(REQUESTS_OFFSET).ok()?, CLIENT_RING).ok()?,
            completions: Consumer::attach(ring(COMPLETIONS_OFFSET).ok()?, CLIENT_RING).ok()?,
            next: 1,
        })
    }

    /// Sends a request and waits for its answer.
    fn ask(&mut self, request: &Request) -> Option<Completion> {
        let user_data = self.next;
        self.next += 1;
        let request = Request {
            user_data,
            ..*request
        };
        self.requests.push(&request).ok()?;
        if self.requests.publish() {
            self.link.signal();
        }
        loop {
            while let Some(completion) = self.completions.pop().ok()? {
                if completion.user_data == user_data {
                    return Some(completion);
                }
            }
            if self.completions.arm().ok()? {
                self.component.wait();
            }
        }
    }

    fn status(&mut self, request: &Request) -> Option<Status> {
        Status::from_number(self.ask(request)?.status)
    }

    fn open(&mut self) -> Option<u32> {
        let mut request = Request::new(Op::Open, 0, 0);
        request.arg = SocketKind::Udp as u64;
        let completion = self.ask(&request)?;
        (completion.status == Status::Ok as u16).then_some(completion.socket)
    }
}

/// Where the data region lies, and the rings; all of it below 4 GiB.
#[derive(Clone, Copy)]
struct Data {
    start: u32,
    bytes: u32,
    rings: u32,
}

/// A case: its name, and a request with one wrong field.
type Case = (&'static str, Request);

fn peer() -> WireAddress {
    core::net::SocketAddr::from(([10, 0, 2, 2], 9)).into()
}

/// A datagram that nothing is wrong with.
fn send(socket: u32, data: Data) -> Request {
    Request {
        extent: Extent {
            address: data.start,
            len: 32,
        },
        address: peer(),
        ..Request::new(Op::Send, socket, 0)
    }
}

fn receive(socket: u32, data: Data) -> Request {
    Request {
        extent: send(socket, data).extent,
        // Nothing has come: who is not refused is answered at once.
        flags: flags::NO_WAIT,
        ..Request::new(Op::Recv, socket, 0)
    }
}

/// Operation, flags, socket, address, client.
fn of_fields(socket: u32, data: Data) -> impl Iterator<Item = Case> {
    let send = send(socket, data);
    let op = |op| Request { op, ..send };
    let flags = |flags| Request { flags, ..send };
    let socket_is = |socket| Request { socket, ..send };
    let address = |address| Request { address, ..send };
    [
        ("op 0", op(0)),
        ("op unknown", op(999)),
        ("op of the server's hop", op(Op::DropClient as u16)),
        ("flags unknown", flags(0x8000)),
        ("flags of the server's hop, held", flags(flags::MAY_HOLD)),
        ("flags of the server's hop, summed", flags(flags::SUMMED)),
        ("flags of another operation", flags(flags::REUSE_ADDRESS)),
        ("socket of nobody", socket_is(0xffff_ffff)),
        ("socket of another generation", socket_is(socket ^ 0x1_0000)),
        ("socket next to ours", socket_is(socket.wrapping_add(1))),
        (
            "address family",
            address(WireAddress {
                family: 5,
                ..peer()
            }),
        ),
        (
            "address of another NIC",
            address(WireAddress { nic: 7, ..peer() }),
        ),
        ("client number", Request { client: 1, ..send }),
        ("argument of a send", Request { arg: 1, ..send }),
    ]
    .into_iter()
}

/// The address of our code, which is read-only.
fn code() -> u32 {
    main as *const () as u32
}

/// Extents to send that are not, or not all, memory of ours.
fn of_extents(socket: u32, data: Data) -> impl Iterator<Item = Case> {
    let send = send(socket, data);
    let end = data.start.wrapping_add(data.bytes);
    let out = |address, len| Request {
        extent: Extent { address, len },
        ..send
    };
    [
        ("extent behind the region", out(end, 1)),
        ("extent across the end", out(end - 16, 32)),
        ("extent one byte across the end", out(end - 1, 2)),
        ("extent before the region", out(data.start - 1, 2)),
        ("extent that wraps", out(u32::MAX, u32::MAX)),
        ("extent larger than the region", out(data.start, u32::MAX)),
        ("extent at 0", out(0, 32)),
        // The region's offsets, which once were what an extent held.
        ("extent by offset", out(4096, 32)),
        ("extent of the start-up page", out(map::STARTUP as u32, 32)),
        ("extent of the rings", out(data.rings, 32)),
        ("extent below the stacks", out(map::THREADS as u32, 32)),
        ("extent of the kernel", out(0xffff_f000, 32)),
        ("extent of the last byte", out(u32::MAX, 1)),
        (
            "extent of an operation without",
            Request {
                extent: send.extent,
                arg: SocketKind::Udp as u64,
                ..Request::new(Op::Open, 0, 0)
            },
        ),
    ]
    .into_iter()
}

/// Rooms that are not, or not all, memory of ours that can be written to.
fn of_rooms(socket: u32, data: Data) -> impl Iterator<Item = Case> {
    let receive = receive(socket, data);
    let end = data.start.wrapping_add(data.bytes);
    let into = |address, len| Request {
        extent: Extent { address, len },
        ..receive
    };
    let account = |address, len| Request {
        extent: Extent { address, len },
        ..Request::new(Op::Account, 0, 0)
    };
    let bytes = size_of::<Account>() as u32;
    [
        ("room behind the region", into(end, 1)),
        ("room across the end", into(end - 16, 32)),
        ("room one byte across the end", into(end - 1, 2)),
        ("room at 0", into(0, 32)),
        ("room in the start-up page", into(map::STARTUP as u32, 32)),
        ("room in the rings", into(data.rings, 32)),
        ("room in our code", into(code(), 32)),
        ("account without room", account(data.start, 8)),
        ("account in our code", account(code(), bytes)),
        ("account across the end", account(end - 8, bytes)),
        ("account in the rings", account(data.rings, bytes)),
    ]
    .into_iter()
}

/// Names that are none, and answers that would lie elsewhere.
fn of_names(data: Data) -> impl Iterator<Item = Case> {
    let end = data.start.wrapping_add(data.bytes);
    let name = |address, len, arg| Request {
        extent: Extent { address, len },
        arg,
        ..Request::new(Op::Resolve, 0, 0)
    };
    [
        ("name of no byte", name(data.start, 0, 64)),
        ("name too long", name(data.start, 254, 254)),
        ("name at 0", name(0, 8, 64)),
        ("name behind the region", name(end, 8, 64)),
        ("answer without room", name(data.start, 8, 15)),
        ("answer's room wraps", name(data.start, 8, u64::MAX)),
    ]
    .into_iter()
}

/// A component with two threads that says it has one, which waits.
fn of_threads(socket: u32, data: Data) -> Case {
    let passing = Passing {
        semantics: Semantics::EmulatedCopy,
        forced: Some(Technique::Reference),
    };
    let request = Request {
        flags: flags::BLOCKED,
        passing: passing.word(),
        ..send(socket, data)
    };
    ("by reference, blocked, with another thread", request)
}

/// Semantics and techniques that do not exist, or not here.
fn of_passing(socket: u32, data: Data) -> impl Iterator<Item = Case> {
    let (send, receive) = (send(socket, data), receive(socket, data));
    let word = |semantics, technique| {
        let forced = Some(technique);
        Passing { semantics, forced }.word()
    };
    let out = |passing| Request { passing, ..send };
    let into = |passing| Request { passing, ..receive };
    let of_code = |semantics, technique| Request {
        extent: Extent {
            address: code() & !4095,
            len: 32,
        },
        passing: word(semantics, technique),
        ..send
    };
    [
        ("semantics unknown", out(99)),
        ("technique unknown", out(2 | 99 << 8)),
        ("semantics in the upper half", out(0x1_0002)),
        ("semantics missing", out(0x100)),
        (
            "a technique of receiving, to send",
            out(word(Semantics::EmulatedCopy, Technique::Swap)),
        ),
        (
            "a technique of sending, to receive",
            into(word(Semantics::EmulatedCopy, Technique::Tcow)),
        ),
        (
            "by reference without protection, under strong semantics",
            out(word(Semantics::EmulatedCopy, Technique::Reference)),
        ),
        (
            "move from within a page",
            Request {
                extent: Extent {
                    address: data.start + 64,
                    len: 32,
                },
                passing: Passing::new(Semantics::Move).word(),
                ..send
            },
        ),
        (
            "move of our code",
            of_code(Semantics::Move, Technique::Remove),
        ),
        (
            "hiding our code",
            of_code(Semantics::EmulatedMove, Technique::Hide),
        ),
        (
            "our code copy-on-write",
            of_code(Semantics::EmulatedCopy, Technique::Tcow),
        ),
        (
            "semantics of an operation without data",
            Request {
                passing: Passing::DEFAULT.word(),
                arg: SocketKind::Udp as u64,
                ..Request::new(Op::Open, 0, 0)
            },
        ),
    ]
    .into_iter()
}

/// Arguments of other operations.
fn of_others(socket: u32) -> impl Iterator<Item = Case> {
    let with = |op, socket, arg| Request {
        arg,
        ..Request::new(op, socket, 0)
    };
    [
        ("socket kind 0", with(Op::Open, 0, 0)),
        ("socket kind unknown", with(Op::Open, 0, 77)),
        ("listen on a datagram socket", with(Op::Listen, socket, 4)),
        ("accept on a datagram socket", with(Op::Accept, socket, 0)),
        ("cancel what is not there", with(Op::Cancel, socket, 12345)),
        ("shutdown bits", with(Op::Shutdown, socket, 0xff)),
    ]
    .into_iter()
}
