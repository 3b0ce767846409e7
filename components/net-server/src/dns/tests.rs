//! Answers right and wrong, and bytes that are none.

use super::*;
use proptest::prelude::*;
use std::vec::Vec;

const NUMBER: u16 = 0x1234;

/// Owner, type and data.
type Entry<'a> = (&'a [u8], u16, &'a [u8]);

fn question(name: &str) -> Vec<u8> {
    let mut bytes = [0; MOST_QUESTION];
    let len = ask(NUMBER, &Name::from_text(name).unwrap(), &mut bytes);
    bytes[..len].to_vec()
}

/// An answer with these flags and records.
fn answer(name: &str, flags: u16, records: &[Entry<'_>]) -> Vec<u8> {
    let mut message = question(name);
    message[2..4].copy_from_slice(&(0x8180 | flags).to_be_bytes());
    message[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    for (owner, kind, data) in records {
        message.extend(*owner);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 60]);
        message.extend((data.len() as u16).to_be_bytes());
        message.extend(*data);
    }
    message
}

fn heard(message: &[u8], name: &str) -> Option<Answer> {
    hear(message, NUMBER, &Name::from_text(name).unwrap())
}

fn addresses(message: &[u8], name: &str) -> Vec<[u8; 4]> {
    match heard(message, name) {
        Some(Answer::Addresses(found, count)) => {
            found[..count].iter().map(|a| a.octets()).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// A pointer to the question's name.
const SAME: &[u8] = &[0xc0, 12];

#[test]
fn names_are_checked() {
    let long = [&["a"; 126][..], &["a"]].concat().join(".");
    assert!(
        Name::from_text(&long).is_some(),
        "{} characters",
        long.len()
    );
    for bad in ["", ".", "a..b", ".a", &"a".repeat(64), &(long + "b.")] {
        assert!(Name::from_text(bad).is_none(), "{bad}");
    }
    let dotted = Name::from_text("a.b.").unwrap();
    assert_eq!(dotted.as_bytes(), b"\x01a\x01b\0");
}

#[test]
fn addresses_are_found_behind_aliases_in_any_order() {
    let (one, two): (&[u8], &[u8]) = (b"\x03one\x04test\0", b"\x03TWO\x04test\0");
    let chain: [Entry<'_>; 5] = [
        (two, A, &[1, 1, 1, 1]),
        (one, CNAME, b"\x03two\x04test\0"),
        (b"\x05other\0", A, &[6, 6, 6, 6]),
        (SAME, CNAME, one),
        (two, A, &[2, 2, 2, 2]),
    ];
    let message = answer("www.test", 0, &chain);
    assert_eq!(addresses(&message, "WWW.test"), [[1; 4], [2; 4]]);
    let many = [(SAME, A, &[9u8, 9, 9, 9][..]); 9];
    assert_eq!(addresses(&answer("a", 0, &many), "a"), [[9; 4]; 4]);
}

#[test]
fn an_alias_without_addresses_is_to_be_asked_for() {
    let message = answer("www.test", 0, &[(SAME, CNAME, b"\x03one\xc0\x10")]);
    match heard(&message, "www.test") {
        Some(Answer::Alias(name)) => assert_eq!(name.as_bytes(), b"\x03one\x04test\0"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_answers_something_else_says_nothing() {
    let right = answer("a.test", 0, &[(SAME, A, &[1; 4])]);
    assert_eq!(addresses(&right, "a.test"), [[1; 4]]);
    let changes: [(usize, u8); 7] = [
        (0, 0x13),
        (2, 0x01),
        (2, 0x89),
        (5, 2),
        (5, 0),
        (13, b'b'),
        (21, 28),
    ];
    for (at, value) in changes {
        let mut wrong = right.clone();
        wrong[at] = value;
        assert!(heard(&wrong, "a.test").is_none(), "byte {at} = {value}");
    }
    assert!(heard(&right, "b.test").is_none());
    assert!(heard(&right, "a.test.org").is_none());
    for cut in 0..24 {
        assert!(heard(&right[..cut], "a.test").is_none(), "{cut} bytes");
    }
}

#[test]
fn an_answer_without_addresses_is_none() {
    type Is = fn(&Answer) -> bool;
    let cases: [(u16, &[Entry<'_>], Is); 8] = [
        (0, &[], |a| matches!(a, Answer::Nothing)),
        (3, &[], |a| matches!(a, Answer::Nothing)),
        (0, &[(SAME, 28, &[0; 16])], |a| matches!(a, Answer::Nothing)),
        (0, &[(SAME, A, &[1; 5])], |a| matches!(a, Answer::Nothing)),
        (2, &[], |a| matches!(a, Answer::Failed)),
        (5, &[(SAME, A, &[1; 4])], |a| matches!(a, Answer::Failed)),
        // It is its own alias.
        (0, &[(SAME, CNAME, SAME)], |a| matches!(a, Answer::Failed)),
        // However many addresses it has.
        (0x200, &[(SAME, A, &[1; 4])], |a| {
            matches!(a, Answer::Truncated)
        }),
    ];
    for (n, (flags, records, is)) in cases.into_iter().enumerate() {
        let got = heard(&answer("a.test", flags, records), "a.test").unwrap();
        assert!(is(&got), "case {n}: {got:?}");
    }
}

#[test]
fn names_that_never_end_are_not_followed() {
    for owner in [
        &[0xc0, 24][..],
        &[0xc0, 26],
        &[1, b'x', 0xc0, 24],
        &[0x80, 0],
    ] {
        let got = heard(&answer("a.test", 0, &[(owner, A, &[1; 4])]), "a.test");
        let none = matches!(got, Some(Answer::Failed | Answer::Nothing));
        assert!(none, "{owner:?}: {got:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_do_harm(
        tail in proptest::collection::vec(any::<u8>(), 0..300),
        records in 0u16..20,
        pointers in proptest::collection::vec((0usize..300, 0u8..80), 0..8),
    ) {
        let mut message = answer("a.test", 0, &[]);
        message[6..8].copy_from_slice(&records.to_be_bytes());
        message.extend(tail);
        for (at, to) in pointers {
            if let Some([high, low]) = message.get_mut(at + 24..at + 26) {
                (*high, *low) = (0xc0, to);
            }
        }
        let _ = heard(&message, "a.test");
    }
}
