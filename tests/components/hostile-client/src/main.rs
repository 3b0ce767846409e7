//! Breaks every rule of the socket protocol, one at a time.
//!
//! With `mode = "fields"` it opens a socket properly and then sends requests
//! with one wrong field each, every field in turn. It logs how many were
//! refused and each one that was not; then it makes its ring index jump, which
//! must get it cut off. With `mode = "header"` it damages its ring headers
//! before the I/O manager attaches (give it a higher priority).
#![no_std]
#![no_main]

use component_runtime::{Component, Link, Protocol, Role};
use shared_ring::{Consumer, Producer, SharedMemory};
use socket_api::{
    CLIENT_RING, COMPLETIONS_OFFSET, Completion, Extent, Op, REQUESTS_OFFSET, Request, SocketKind,
    Status, WireAddress,
};

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
    for (name, request) in cases(socket, link.data_bytes) {
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

/// Requests that are right but for one field.
fn cases(socket: u32, data_bytes: u64) -> impl Iterator<Item = (&'static str, Request)> {
    let far = u32::try_from(data_bytes).unwrap_or(u32::MAX);
    let to = WireAddress::from(core::net::SocketAddr::from(([10, 0, 2, 2], 9)));
    let send = Request {
        extent: Extent { offset: 0, len: 32 },
        address: to,
        ..Request::new(Op::Send, socket, 0)
    };
    let extent = |offset, len| Request {
        extent: Extent { offset, len },
        ..send
    };
    let open = |arg| Request {
        arg,
        ..Request::new(Op::Open, 0, 0)
    };
    [
        ("op 0", Request { op: 0, ..send }),
        ("op unknown", Request { op: 999, ..send }),
        (
            "op of the server's hop",
            Request {
                op: Op::DropClient as u16,
                ..send
            },
        ),
        (
            "flags",
            Request {
                flags: 0x8000,
                ..send
            },
        ),
        (
            "socket of nobody",
            Request {
                socket: 0xffff_ffff,
                ..send
            },
        ),
        (
            "socket of another generation",
            Request {
                socket: socket ^ 0x0001_0000,
                ..send
            },
        ),
        (
            "socket next to ours",
            Request {
                socket: socket.wrapping_add(1),
                ..send
            },
        ),
        ("extent behind the region", extent(far, 1)),
        ("extent across the end", extent(far - 16, 32)),
        ("extent that wraps", extent(u32::MAX, u32::MAX)),
        ("extent larger than the region", extent(0, u32::MAX)),
        (
            "address family",
            Request {
                address: WireAddress { family: 5, ..to },
                ..send
            },
        ),
        (
            "address of another NIC",
            Request {
                address: WireAddress { nic: 7, ..to },
                ..send
            },
        ),
        ("client number", Request { client: 1, ..send }),
        (
            "reserved word",
            Request {
                reserved: 1,
                ..send
            },
        ),
        ("socket kind 0", open(0)),
        ("socket kind unknown", open(77)),
        (
            "listen on a datagram socket",
            Request {
                arg: 4,
                ..Request::new(Op::Listen, socket, 0)
            },
        ),
        (
            "accept on a datagram socket",
            Request::new(Op::Accept, socket, 0),
        ),
        (
            "cancel what is not there",
            Request {
                arg: 12345,
                ..Request::new(Op::Cancel, socket, 0)
            },
        ),
        (
            "shutdown bits",
            Request {
                arg: 0xff,
                ..Request::new(Op::Shutdown, socket, 0)
            },
        ),
    ]
    .into_iter()
}
