//! Each safety mechanism, switched off: the tests must see it.

use data_passing::{Costs, Mutations};
use socket_api::{Semantics, Technique};

use crate::platform::{PAGE, SMALL};
use crate::program::{Begin, Op, Program, Spot};
use crate::world::{Check, run};

const UNPROTECTED: Mutations = Mutations {
    no_protection: true,
    no_clearing: false,
};
const UNCLEARED: Mutations = Mutations {
    no_protection: false,
    no_clearing: true,
};

fn check(ops: Vec<Op>, mutations: Mutations) -> Check {
    let program = Program {
        reserve: 8,
        costs: Costs::PINNED,
        ops,
    };
    run(&program, mutations).map(drop)
}

/// A client of several threads overwrites what it is sending.
fn overwrite_during_output(mutations: Mutations) -> Check {
    let at = Spot::page(1, SMALL, 3, 2 * PAGE + 5);
    let begin = Begin::forced(false, Semantics::EmulatedCopy, Technique::Tcow, at);
    let ops = vec![
        Op::Output(begin),
        Op::Store(Spot::page(1, SMALL, 4, 700)),
        Op::DeviceReads {
            which: 0,
            from: 0,
            len: 0xffff,
        },
    ];
    check(ops, mutations)
}

/// A page that was moved away comes back, partly filled, with another frame.
fn frames_change_owner(mutations: Mutations) -> Check {
    let move_away = |client| {
        let at = Spot::page(client, SMALL, 1, PAGE);
        Op::Output(Begin::forced(false, Semantics::Move, Technique::Remove, at))
    };
    let at = Spot::page(0, SMALL, 1, PAGE);
    let begin = Begin::forced(true, Semantics::Move, Technique::Create, at);
    let ops = vec![
        move_away(0),
        move_away(1),
        // The last frame to become free is another client's.
        Op::EndOutput { which: 0 },
        Op::EndOutput { which: 0 },
        Op::Input(begin),
        Op::Deliver {
            which: 0,
            len: 0x1000,
            pieces: 0,
        },
        Op::EndInput { which: 0 },
    ];
    check(ops, mutations)
}

#[test]
fn without_protection_the_overwrite_is_seen() {
    assert_eq!(overwrite_during_output(Mutations::default()), Ok(()));
    let found = overwrite_during_output(UNPROTECTED).expect_err("it must be seen");
    assert!(found.contains("the device reads"), "{found}");
}

#[test]
fn without_clearing_the_canary_is_seen() {
    assert_eq!(frames_change_owner(Mutations::default()), Ok(()));
    let found = frames_change_owner(UNCLEARED).expect_err("it must be seen");
    assert!(found.contains("others' bytes"), "{found}");
}

#[test]
fn random_programs_see_both() {
    use proptest::strategy::{Strategy, ValueTree};
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut unprotected, mut uncleared) = (0, 0);
    for _ in 0..20 {
        let program = crate::program::program(400).new_tree(&mut runner);
        let program = program.expect("a program").current();
        unprotected += u32::from(run(&program, UNPROTECTED).is_err());
        uncleared += u32::from(run(&program, UNCLEARED).is_err());
    }
    println!("of 20 programs, {unprotected} and {uncleared} see it");
    assert!(unprotected != 0 && uncleared != 0);
}
