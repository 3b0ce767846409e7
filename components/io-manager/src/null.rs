//! Null sockets: the ways of passing data, without a protocol server.
//!
//! Problem: what a technique costs is to be measured, and compared with what
//! the cost model says, without servers, drivers and devices around it.
//! Invariant: bytes are passed as for any other socket, by the same calls on
//! the same memory; only who is at the other end differs. Here it is done with
//! a request before it looks at the next, so nothing of a null socket is ever
//! on its way.
//!
//! Each request costs the manager as much as its bytes do, and a NIC that
//! demultiplexes early is only played: frames that it would have written to
//! keep what was in them, unless the client asked for it ([`null::FILL`]). So
//! there are null sockets only where the system description has them.

use data_passing::{FrameId, Input, Machine, PassingError, Place};
use socket_api::{Completion, Extent, Op, Request, Status, flags, null};

use crate::check::Refusal;
use crate::forward::{Desk, Route, passing, quota};
use crate::progress::Core;
use crate::sockets::NO_SOCKET;

/// The server of null sockets, which is none.
pub(crate) const NULL_SERVER: u8 = u8::MAX;
/// Bytes of a frame.
const FRAME: u32 = 4096;

/// Frames with the pattern that null sockets receive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pattern {
    first: FrameId,
    bytes: u32,
}

impl Pattern {
    /// No frame: null sockets cannot be opened.
    pub const NONE: Self = Self {
        first: FrameId(0),
        bytes: 0,
    };

    /// Calls `each` with the pieces of the first `len` bytes, each within a
    /// frame, until it fails.
    fn pieces<E>(
        &self,
        len: u32,
        mut each: impl FnMut(Place, u32) -> Result<(), E>,
    ) -> Result<(), E> {
        (0..len).step_by(FRAME as usize).try_for_each(|at| {
            let frame = FrameId(self.first.0 + at / FRAME);
            each(Place { frame, offset: 0 }, FRAME.min(len - at))
        })
    }
}

impl<M: Machine> Core<M> {
    /// Lets clients open null sockets, which receive what is written here to
    /// `count` frames from `first` on.
    pub(crate) fn allow_null(&mut self, first: FrameId, count: u32) {
        let pattern = Pattern {
            first,
            bytes: count * FRAME,
        };
        let machine = self.memory.machine();
        let mut page = [0; FRAME as usize];
        for n in 0..count {
            for (at, byte) in page.iter_mut().enumerate() {
                *byte = null::pattern(n * FRAME + at as u32);
            }
            let frame = FrameId(first.0 + n);
            machine.write(Place { frame, offset: 0 }, &page);
        }
        self.pattern = pattern;
    }
}

impl<M: Machine> Desk<'_, M> {
    /// Carries out a checked request on a null socket, and answers it.
    #[cold]
    pub(crate) fn serve_null(
        &mut self,
        op: Op,
        request: &Request,
        route: Route,
    ) -> Result<(), Refusal> {
        let mut completion = request.complete(Status::Ok);
        match op {
            Op::Open => completion.socket = self.open_null(request, route.new_socket)?,
            Op::Send => self.send_null(request, &mut completion)?,
            Op::Recv => self.receive_null(request, route.socket, &mut completion)?,
            Op::Close => {
                self.client.sockets.release(route.socket);
            }
            Op::Cancel => return Err(Refusal::NOT_FOUND),
            _ => return Err(Refusal::new(Status::InvalidState, 0)),
        }
        self.counters.requests.add(1);
        let quiet = request.flags & flags::QUIET != 0;
        self.client.tell(&completion, quiet);
        Ok(())
    }

    fn open_null(&mut self, request: &Request, new: u16) -> Result<u32, Refusal> {
        let allowed = self.pattern.bytes != 0;
        let client = &mut *self.client;
        if new == NO_SOCKET || !allowed {
            client.sockets.release(new);
            return Err(Refusal::new(Status::Unsupported, 0));
        }
        client.sockets.open(new);
        client.sockets.bound(new, (request.arg >> 16) as u16, false);
        Ok(client.sockets.handle(new))
    }

    /// No more bytes than the client may queue: each is work.
    fn check_bytes(&self, extent: Extent) -> Result<(), Refusal> {
        match extent.len <= self.client.quota.queued_bytes {
            true => Ok(()),
            false => Err(Refusal::quota(quota::QUEUED_BYTES)),
        }
    }

    /// Reads each byte once, as a device does that sums them.
    fn send_null(&mut self, request: &Request, completion: &mut Completion) -> Result<(), Refusal> {
        self.check_bytes(request.extent)?;
        let blocked = request.flags & flags::BLOCKED != 0;
        let output = self
            .memory
            .begin_output(self.index as u16, request.extent, passing(request), blocked)
            .map_err(Refusal::passing)?;
        self.counters.output(output.technique()).add(1);
        let sum = self.memory.sum_output(&output, 0, output.len());
        completion.len = output.len();
        completion.arg = null::outcome(output.technique(), sum);
        self.memory.end_output(output);
        Ok(())
    }

    fn receive_null(
        &mut self,
        request: &Request,
        socket: u16,
        completion: &mut Completion,
    ) -> Result<(), Refusal> {
        self.check_bytes(request.extent)?;
        let options = u64::from(self.client.sockets.options(socket)) << 16;
        let waits = request.flags & flags::BLOCKED != 0;
        let early = options & null::EARLY != 0;
        let number = self.index as u16;
        let mut input = self
            .memory
            .begin_input(number, request.extent, passing(request), (waits, early))
            .map_err(Refusal::passing)?;
        let technique = input.technique();
        self.counters.input(technique).add(1);
        let len = request.extent.len.min(self.pattern.bytes);
        let delivered = self.fill_null(&mut input, len, options & null::FILL != 0);
        self.memory.end_input(input);
        completion.len = len;
        completion.arg = null::outcome(technique, 0);
        delivered.map_err(Refusal::passing)
    }

    /// Delivers `len` bytes: a NIC has written them to what was posted, really
    /// so with `write`, or they lie in buffers of its own.
    fn fill_null(&mut self, input: &mut Input, len: u32, write: bool) -> Result<(), PassingError> {
        if !input.is_posted() {
            let pattern = self.pattern;
            return pattern.pieces(len, |at, len| self.memory.deliver(input, at, len));
        }
        if write {
            let mut posted = alloc::vec::Vec::new();
            input.posted(|at, len| posted.push((at, len)));
            self.write_posted(&posted, len);
        }
        self.memory.deliver_posted(input, len)
    }

    /// Writes the first `len` bytes of the pattern to posted frames, as a NIC
    /// would.
    fn write_posted(&mut self, posted: &[(Place, u32)], len: u32) {
        let mut at = 0;
        for &(mut to, room) in posted {
            let mut left = room.min(len - at);
            while left != 0 {
                let offset = at % FRAME;
                let part = left.min(FRAME - offset);
                let frame = FrameId(self.pattern.first.0 + at / FRAME);
                self.memory
                    .machine()
                    .copy(Place { frame, offset }, to, part);
                (to.offset, at, left) = (to.offset + part, at + part, left - part);
            }
        }
    }
}
