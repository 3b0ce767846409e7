//! Sockets that lead nowhere: all semantics and techniques, with the bytes that
//! were meant, and nothing left afterwards.

// Helpers outside of test functions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod parties;

use parties::{DATA, Parties, QUOTA};
use socket_api::{
    Completion, Extent, Op, Passing, Request, Semantics, SocketKind, Status, Technique, flags, null,
};

/// Frames with the pattern, of the reserve.
const PATTERN: u32 = 8;

/// Parties whose manager has null sockets, with a pattern in frames that
/// nobody else has.
fn parties() -> Parties {
    let mut parties = Parties::new(1, 1, QUOTA);
    let block = parties.machine.add_frames(spare(&parties), PATTERN, 4096);
    parties.manager.allow_null(block, PATTERN);
    parties
}

/// Where the last frames of memory are.
fn spare(parties: &Parties) -> u64 {
    parties.physical.bytes() as u64 - u64::from(PATTERN) * 4096
}

fn open(parties: &mut Parties, options: u64) -> Completion {
    let mut request = Request::new(Op::Open, 0, 77);
    request.arg = SocketKind::Null as u64 | options;
    parties.refused(0, request)
}

fn ask(
    parties: &mut Parties,
    op: Op,
    socket: u32,
    passing: Passing,
    len: u32,
) -> Option<(Technique, u16)> {
    let request = Request {
        extent: Extent { address: DATA, len },
        passing: passing.word(),
        flags: flags::BLOCKED,
        ..Request::new(op, socket, 1)
    };
    let completion = parties.refused(0, request);
    if completion.status == Status::BadRequest as u16 {
        return None;
    }
    assert_eq!(
        (completion.status, completion.len),
        (Status::Ok as u16, len)
    );
    null::from_outcome(completion.arg)
}

fn pattern(len: u32) -> Vec<u8> {
    (0..len).map(null::pattern).collect()
}

/// What was carried out, out and in, of `len` bytes.
fn round(parties: &mut Parties, socket: u32, semantics: Semantics, len: u32) -> Vec<Technique> {
    let mut done = Vec::new();
    let moves = matches!(semantics, Semantics::Move | Semantics::EmulatedMove);
    let all = || Technique::ALL.iter().map(|&t| Some(t)).chain([None]);
    for forced in all() {
        let passing = Passing { semantics, forced };
        parties.store(0, DATA, &vec![0x5a; len as usize]);
        let Some((technique, sum)) = ask(parties, Op::Send, socket, passing, len) else {
            continue;
        };
        assert_eq!(sum, (0x5a5a * u64::from(len / 2) % 0xffff) as u16);
        assert!(forced.is_none_or(|t| t == technique));
        done.push(technique);
        if moves {
            ask(parties, Op::Recv, socket, Passing::new(semantics), len).unwrap();
        }
    }
    for forced in all() {
        let passing = Passing { semantics, forced };
        if moves {
            ask(parties, Op::Send, socket, Passing::new(semantics), len).unwrap();
        }
        let got = ask(parties, Op::Recv, socket, passing, len);
        if got.is_none() && moves {
            ask(parties, Op::Recv, socket, Passing::new(semantics), len).unwrap();
        }
        let Some((technique, _)) = got else {
            continue;
        };
        done.push(technique);
        assert_eq!(
            parties.load(0, DATA, len as usize),
            pattern(len),
            "{passing:?}"
        );
    }
    done
}

#[test]
fn all_semantics_pass_the_right_bytes_and_leave_nothing() {
    let mut parties = parties();
    for options in [0, null::EARLY | null::FILL] {
        let socket = open(&mut parties, options).socket;
        let mut done = Vec::new();
        for &semantics in Semantics::ALL {
            for len in [64, 4096, 10_000] {
                done.extend(round(&mut parties, socket, semantics, len));
                parties.assert_settled();
            }
        }
        for &technique in Technique::ALL {
            let early = matches!(technique, Technique::InPlace | Technique::Swap);
            let wanted = options != 0 || !early;
            assert_eq!(done.contains(&technique), wanted, "{technique}");
        }
        let closed = parties.refused(0, Request::new(Op::Close, socket, 9));
        assert_eq!(closed.status, Status::Ok as u16);
        let gone = parties.refused(0, Request::new(Op::Close, socket, 9));
        assert_eq!(gone.status, Status::BadSocket as u16);
    }
    assert_eq!(parties.manager.in_use(0), (0, 0));
    assert!(parties.servers[0].requests.is_empty());
}

#[test]
fn there_are_none_unless_they_are_allowed() {
    let mut parties = Parties::new(1, 1, QUOTA);
    assert_eq!(open(&mut parties, 0).status, Status::Unsupported as u16);
    assert_eq!(parties.manager.in_use(0), (0, 0));
}

#[test]
fn they_do_nothing_but_send_receive_and_close_within_the_quota() {
    let mut parties = parties();
    let socket = open(&mut parties, 0).socket;
    for (op, arg) in [(Op::Listen, 1), (Op::Accept, 0), (Op::Shutdown, 3)] {
        let request = Request {
            arg,
            ..Request::new(op, socket, 1)
        };
        let completion = parties.refused(0, request);
        assert_eq!(completion.status, Status::InvalidState as u16, "{op}");
    }
    let extent = Extent {
        address: DATA,
        len: QUOTA.queued_bytes + 1,
    };
    for op in [Op::Send, Op::Recv] {
        let request = Request {
            extent,
            ..Request::new(op, socket, 1)
        };
        let completion = parties.refused(0, request);
        assert_eq!(completion.status, Status::QuotaExceeded as u16, "{op}");
    }
    parties.assert_settled();
}
