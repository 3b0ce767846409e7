//! One round: the bytes are made, passed, and looked at.
//!
//! Invariant: every byte is written by one side and read by the other within
//! the time that is taken, faults on the way included; and the buffer is as a
//! program would have it, mapped and written before it is sent, away if it was
//! moved before something is received into it.

use core::hint::black_box;

use component_runtime::Link;
use component_runtime::clock::tsc;
use shared_ring::Lender;
use socket_api::{
    Completion, Extent, Op, Passing, Request, Semantics, Status, Technique, flags, null,
};

use crate::cases::{Case, Way};
use crate::wire::Wire;

/// Bytes of the buffer.
pub const MOST: u32 = 2 << 20;

/// What a round took, and how it was carried out.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Time-stamp counts.
    pub counts: u64,
    /// The technique.
    pub technique: Technique,
}

/// Why there is no figure.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    /// The manager says that the technique is not legal.
    Illegal,
    /// Something that must not happen.
    Broken(&'static str),
}

/// A client with its buffer and sockets.
pub struct Bench {
    wire: Wire,
    lender: Lender,
    address: u32,
    /// Past a stock NIC, past one that demultiplexes early, and the same with
    /// the bytes that it would have written.
    sockets: [u32; 3],
    seed: u8,
}

impl Bench {
    /// Opens the sockets.
    pub fn new(mut wire: Wire, lender: Lender, link: Link) -> Result<Self, &'static str> {
        let sockets = [
            wire.open(0)?,
            wire.open(null::EARLY)?,
            wire.open(null::EARLY | null::FILL)?,
        ];
        Ok(Self {
            wire,
            lender,
            address: link.data_vaddr as u32,
            sockets,
            seed: 0,
        })
    }

    /// A round of `len` bytes; with `verify` their content is looked at.
    pub fn round(&mut self, case: &Case, len: u32, verify: bool) -> Result<Round, Failure> {
        match case.way {
            Way::Out => self.out(case, len),
            _ => self.in_(case, len, verify),
        }
    }

    /// Begins a series: the buffer can be written to, and has been.
    pub fn begin(&mut self) -> Result<(), Failure> {
        self.write(MOST)
    }

    fn out(&mut self, case: &Case, len: u32) -> Result<Round, Failure> {
        let request = self.request(Op::Send, case.passing(), case.blocked, len, self.sockets[0]);
        let start = tsc();
        self.write(len)?;
        let completion = self.ask(&request)?;
        let counts = tsc() - start;
        let (technique, sum) = outcome(&completion)?;
        if sum % 0xffff != self.expected(len) % 0xffff {
            return Err(Failure::Broken("other bytes were sent"));
        }
        if case.moves() {
            self.bring_back(case.semantics, len)?;
        }
        Ok(Round { counts, technique })
    }

    fn in_(&mut self, case: &Case, len: u32, verify: bool) -> Result<Round, Failure> {
        let socket = match (case.way, verify) {
            (Way::InEarly, true) => self.sockets[2],
            (Way::InEarly, false) => self.sockets[1],
            _ => self.sockets[0],
        };
        if case.moves() {
            self.send_away(case.semantics, len)?;
        } else if verify {
            self.write(len)?;
        }
        let request = self.request(Op::Recv, case.passing(), case.blocked, len, socket);
        let start = tsc();
        let answer = self.ask(&request).and_then(|c| Ok((outcome(&c)?, c.len)));
        let ((technique, _), got) = match answer {
            Err(Failure::Illegal) if case.moves() => {
                self.bring_back(case.semantics, len)?;
                return Err(Failure::Illegal);
            }
            answer => answer?,
        };
        let sum = self.read(len)?;
        let counts = tsc() - start;
        black_box(sum);
        if got != len {
            return Err(Failure::Broken("not all bytes were received"));
        }
        if verify {
            self.compare(len)?;
        }
        Ok(Round { counts, technique })
    }

    fn request(&self, op: Op, passing: Passing, blocked: bool, len: u32, socket: u32) -> Request {
        Request {
            flags: if blocked { flags::BLOCKED } else { 0 },
            extent: Extent {
                address: self.address,
                len,
            },
            passing: passing.word(),
            ..Request::new(op, socket, 1)
        }
    }

    #[inline]
    fn ask(&mut self, request: &Request) -> Result<Completion, Failure> {
        let completion = self.wire.ask(request);
        completion.ok_or(Failure::Broken("the manager broke the ring"))
    }

    /// Has the manager take the region away, as sending it would have done.
    fn send_away(&mut self, semantics: Semantics, len: u32) -> Result<(), Failure> {
        let passing = Passing::new(semantics);
        let request = self.request(Op::Send, passing, false, len, self.sockets[0]);
        let completion = self.ask(&request)?;
        outcome(&completion).map(|_| ())
    }

    /// Has the manager put pages where some were taken away.
    fn bring_back(&mut self, semantics: Semantics, len: u32) -> Result<(), Failure> {
        let passing = Passing::new(semantics);
        let request = self.request(Op::Recv, passing, false, len, self.sockets[1]);
        let completion = self.ask(&request)?;
        outcome(&completion).map(|_| ())
    }

    /// Writes each of `len` bytes: others than last time.
    #[inline]
    fn write(&mut self, len: u32) -> Result<(), Failure> {
        self.seed = self.seed.wrapping_add(1);
        let lease = self.lender.lend(0, len as usize);
        let mut lease = lease.map_err(|_| Failure::Broken("the buffer is lent"))?;
        lease.bytes_mut().fill(self.seed);
        self.lender.take_back(lease);
        Ok(())
    }

    /// Reads each of `len` bytes.
    #[inline]
    fn read(&mut self, len: u32) -> Result<u64, Failure> {
        let lease = self.lender.lend(0, len as usize);
        let lease = lease.map_err(|_| Failure::Broken("the buffer is lent"))?;
        let words = lease.bytes().as_chunks::<8>().0.iter();
        let sum = words.fold(0u64, |sum, w| sum.wrapping_add(u64::from_ne_bytes(*w)));
        self.lender.take_back(lease);
        Ok(sum)
    }

    /// The ones' complement sum of what was written last.
    fn expected(&self, len: u32) -> u16 {
        let word = u64::from(self.seed) * 0x101;
        (word * u64::from(len / 2) % 0xffff) as u16
    }

    /// Compares what was received with what null sockets give.
    fn compare(&mut self, len: u32) -> Result<(), Failure> {
        let lease = self.lender.lend(0, len as usize);
        let lease = lease.map_err(|_| Failure::Broken("the buffer is lent"))?;
        // All of a short one, some of each page of a long one.
        let step = if len > 1 << 16 { 61 } else { 1 };
        let bytes = lease.bytes().iter().enumerate().step_by(step);
        let right = bytes
            .into_iter()
            .all(|(n, byte)| *byte == null::pattern(n as u32));
        self.lender.take_back(lease);
        match right {
            true => Ok(()),
            false => Err(Failure::Broken("other bytes were received")),
        }
    }
}

/// How the manager says that it was carried out.
#[inline]
fn outcome(completion: &Completion) -> Result<(Technique, u16), Failure> {
    match Status::from_number(completion.status) {
        Some(Status::Ok) => {
            null::from_outcome(completion.arg).ok_or(Failure::Broken("no technique was named"))
        }
        Some(Status::BadRequest) => Err(Failure::Illegal),
        Some(Status::NoResources) => Err(Failure::Broken("no frames are left")),
        _ => Err(Failure::Broken("an answer that was not expected")),
    }
}
