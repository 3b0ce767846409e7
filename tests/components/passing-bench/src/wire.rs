//! Our end of the rings shared with the I/O manager.
//!
//! The library is not in between: it would add the same to every figure.

use component_runtime::{Component, Link};
use shared_ring::{Consumer, Producer};
use socket_api::{
    CLIENT_RING, COMPLETIONS_OFFSET, Completion, Op, REQUESTS_OFFSET, Request, SocketKind, Status,
};

/// The rings.
pub struct Wire {
    component: &'static Component,
    link: Link,
    requests: Producer<Request>,
    completions: Consumer<Completion>,
}

impl Wire {
    /// Attaches to the rings of `link`.
    pub fn new(component: &'static Component, link: Link) -> Option<Self> {
        let control = link.control?;
        let ring = |offset| control.slice(offset, CLIENT_RING.bytes());
        Some(Self {
            component,
            link,
            requests: Producer::attach(ring(REQUESTS_OFFSET).ok()?, CLIENT_RING).ok()?,
            completions: Consumer::attach(ring(COMPLETIONS_OFFSET).ok()?, CLIENT_RING).ok()?,
        })
    }

    /// Submits a request and waits for its answer.
    #[inline]
    pub fn ask(&mut self, request: &Request) -> Option<Completion> {
        self.requests.push(request).ok()?;
        if self.requests.publish() {
            self.link.signal();
        }
        loop {
            if let Some(completion) = self.completions.pop().ok()? {
                return Some(completion);
            }
            if self.completions.arm().ok()? {
                self.component.wait();
            }
        }
    }

    /// A null socket with the bits `options`.
    pub fn open(&mut self, options: u64) -> Result<u32, &'static str> {
        let mut request = Request::new(Op::Open, 0, 0);
        request.arg = SocketKind::Null as u64 | options;
        let completion = self.ask(&request).ok_or("the manager broke the ring")?;
        match completion.status == Status::Ok as u16 {
            true => Ok(completion.socket),
            false => Err("no null sockets: io-manager needs \"null-frames\""),
        }
    }
}
