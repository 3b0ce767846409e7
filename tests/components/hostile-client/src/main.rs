//! Breaks every rule of the socket protocol, one at a time.
//!
//! With `mode = "fields"` it opens a socket properly and then sends requests
//! with one wrong field each, every field in turn. It logs how many were
//! refused and each one that was not; then it makes its ring index jump, which
//! must get it cut off. Nothing is wrong with the requests but that field: the
//! extents lie in its data region where they are not what is forged. With `mode = "header"` it damages its ring headers
//! before the I/O manager attaches (give it a higher priority).
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
    let socket = wire.open().ok_or("cannot open a socket")?;
    let (mut refused, mut accepted) = (0, 0);
    let data = Data {
        start: link.data_vaddr as u32,
        bytes: link.data_bytes as u32,
    };
    let all = of_fields(socket, data)
        .chain(of_extents(socket, data))
        .chain(of_passing(socket, data))
        .chain(of_others(socket));
    for (name, request) in all {
        match wire
            .ask(&request)
            .and_then(|c| Status::from_number(c.status))
        {
            Some(Status::Ok) => {
                accepted += 1;
                log::error!("hostile case {name} was accepted");
            }
            Some(_) => refused += 1,
            None => log::error!("hostile case {name} got no legal status"),
        }
    }
    log::info!("hostile client: {refused} refused, {accepted} accepted");
    // Every case was answered, so the ring is still in use; now break it.
    let tail = control
        .word32(REQUESTS_OFFSET + 64)
        .map_err(|_| "no tail")?;
    tail.fetch_add(100_000, core::sync::atomic::Ordering::Release);
    link.signal();
    log::info!("hostile client: index moved");
    Ok(())
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

    fn open(&mut self) -> Option<u32> {
        let mut request = Request::new(Op::Open, 0, 0);
        request.arg = SocketKind::Udp as u64;
        let completion = self.ask(&request)?;
        (completion.status == Status::Ok as u16).then_some(completion.socket)
    }
}

/// Where the data region lies; all of it below 4 GiB.
#[derive(Clone, Copy)]
struct Data {
    start: u32,
    bytes: u32,
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

/// Extents that are not, or not all, memory of ours.
fn of_extents(socket: u32, data: Data) -> impl Iterator<Item = Case> {
    let (send, receive) = (send(socket, data), receive(socket, data));
    let end = data.start.wrapping_add(data.bytes);
    let out = |address, len| Request {
        extent: Extent { address, len },
        ..send
    };
    let into = |address, len| Request {
        extent: Extent { address, len },
        ..receive
    };
    [
        ("extent behind the region", out(end, 1)),
        ("extent across the end", out(end - 16, 32)),
        ("extent before the region", out(data.start - 1, 2)),
        ("extent that wraps", out(u32::MAX, u32::MAX)),
        ("extent larger than the region", out(data.start, u32::MAX)),
        ("extent at 0", out(0, 32)),
        // The region's offsets, which once were what an extent held.
        ("extent by offset", out(4096, 32)),
        ("extent of the start-up page", out(map::STARTUP as u32, 32)),
        ("extent of the kernel", out(0xffff_f000, 32)),
        ("room behind the region", into(end, 1)),
        ("room across the end", into(end - 16, 32)),
        ("room at 0", into(0, 32)),
        ("room in the start-up page", into(map::STARTUP as u32, 32)),
        ("room in our code", into(main as *const () as u32, 32)),
        (
            "extent of an operation without",
            Request {
                extent: send.extent,
                arg: SocketKind::Udp as u64,
                ..Request::new(Op::Open, 0, 0)
            },
        ),
        (
            "account without room",
            Request {
                extent: Extent {
                    address: data.start,
                    len: 8,
                },
                ..Request::new(Op::Account, 0, 0)
            },
        ),
        (
            "account in our code",
            Request {
                extent: Extent {
                    address: main as *const () as u32,
                    len: size_of::<Account>() as u32,
                },
                ..Request::new(Op::Account, 0, 0)
            },
        ),
    ]
    .into_iter()
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
