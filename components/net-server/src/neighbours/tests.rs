//! Whom we believe, and who gives way.

use super::*;
use std::vec::Vec;

const GATEWAY: Ipv4Address = Ipv4Address::new(10, 0, 0, 254);
const SECOND: u64 = 1_000_000;

fn host(n: u8) -> Ipv4Address {
    Ipv4Address::new(10, 0, 0, n)
}

fn mac(n: u8) -> EthernetAddress {
    EthernetAddress([2, 0, 0, 0, 0, n])
}

fn may_go(host: Ipv4Address, _: EthernetAddress) -> bool {
    host != GATEWAY
}

fn known(table: &Neighbours) -> usize {
    (0..PLACES).filter_map(|n| table.known(n)).count()
}

fn steps(table: &mut Neighbours, now: u64) -> Vec<Step> {
    std::iter::from_fn(|| table.due(now)).collect()
}

/// A table that knows these hosts, in this order.
fn knowing(hosts: impl IntoIterator<Item = u8>) -> Neighbours {
    let mut table = Neighbours::new();
    for n in hosts {
        assert_eq!(table.want(host(n), u64::from(n), may_go), Way::Asked);
        steps(&mut table, u64::from(n));
        let said = table.hear(host(n), mac(n), true, u64::from(n));
        assert_eq!(said, Said::Answer);
    }
    table
}

#[test]
fn only_answers_to_questions_are_believed() {
    let mut table = Neighbours::new();
    assert_eq!(table.hear(host(1), mac(1), true, 0), Said::Unknown);
    assert_eq!(table.want(host(1), 0, may_go), Way::Asked);
    // Not asked yet, and then not an answer.
    assert_eq!(table.hear(host(1), mac(9), true, 0), Said::Unknown);
    assert_eq!(steps(&mut table, 0), [Step::Ask(host(1), None)]);
    assert_eq!(table.hear(host(1), mac(9), false, 0), Said::Unknown);
    assert_eq!(table.hear(host(2), mac(9), true, 0), Said::Unknown);
    assert_eq!(table.hear(host(1), mac(1), true, 0), Said::Answer);
    assert_eq!(table.want(host(1), 1, may_go), Way::Known(mac(1)));
    assert_eq!(steps(&mut table, SECOND), []);
    assert_eq!(table.deadline(), None);
}

#[test]
fn who_does_not_answer_is_absent_for_a_while() {
    let mut table = Neighbours::new();
    table.want(host(1), 0, may_go);
    for n in 0..3 {
        assert_eq!(table.deadline(), Some(n * SECOND));
        assert_eq!(steps(&mut table, n * SECOND), [Step::Ask(host(1), None)]);
        assert_eq!(table.want(host(1), n * SECOND, may_go), Way::Asked);
    }
    let gone = 3 * SECOND;
    assert_eq!(steps(&mut table, gone), [Step::GiveUp]);
    assert_eq!(table.want(host(1), gone + 1, may_go), Way::Absent);
    let over = gone + ABSENT_US;
    assert_eq!(table.want(host(1), over, may_go), Way::Asked);
    // Who says something is asked at once.
    let mut table = Neighbours::new();
    table.want(host(1), 0, may_go);
    for n in 0..4 {
        steps(&mut table, n * SECOND);
    }
    assert_eq!(table.hear(host(1), mac(1), false, gone), Said::Unknown);
    assert_eq!(steps(&mut table, gone), [Step::Ask(host(1), Some(mac(1)))]);
    assert_eq!(table.hear(host(1), mac(1), true, gone), Said::Answer);
}

#[test]
fn another_address_is_taken_only_when_the_old_one_is_silent() {
    let mut table = knowing([1]);
    assert_eq!(table.hear(host(1), mac(2), true, SECOND), Said::Other);
    assert_eq!(
        steps(&mut table, SECOND),
        [Step::Ask(host(1), Some(mac(1)))]
    );
    assert_eq!(table.want(host(1), SECOND, may_go), Way::Known(mac(1)));
    // The old one answers: nothing changes, and it is not asked all the time.
    assert_eq!(table.hear(host(1), mac(1), true, SECOND), Said::Same);
    for _ in 0..100 {
        assert_eq!(table.hear(host(1), mac(2), true, SECOND + 1), Said::Other);
    }
    assert_eq!(steps(&mut table, SECOND + 1), []);
    assert_eq!(table.deadline(), Some(2 * SECOND));
    // It is silent.
    let old = Step::Ask(host(1), Some(mac(1)));
    assert_eq!(steps(&mut table, 2 * SECOND), [old]);
    assert_eq!(steps(&mut table, 3 * SECOND), [old]);
    assert_eq!(table.want(host(1), 3 * SECOND, may_go), Way::Known(mac(1)));
    assert_eq!(
        steps(&mut table, 4 * SECOND),
        [Step::Forget, Step::Ask(host(1), None)]
    );
    assert_eq!(table.hear(host(1), mac(2), true, 4 * SECOND), Said::Answer);
    assert_eq!(table.want(host(1), 4 * SECOND, may_go), Way::Known(mac(2)));
}

#[test]
fn what_is_old_is_used_while_it_is_asked_for() {
    let mut table = knowing([1]);
    let old = 1 + FRESH_US;
    assert_eq!(table.want(host(1), old - 1, may_go), Way::Known(mac(1)));
    assert_eq!(steps(&mut table, old - 1), []);
    assert_eq!(table.want(host(1), old, may_go), Way::Known(mac(1)));
    assert_eq!(steps(&mut table, old), [Step::Ask(host(1), Some(mac(1)))]);
    table.confirm(host(1), mac(2), old + 1);
    assert_eq!(table.deadline(), Some(old + SECOND));
    table.confirm(host(1), mac(1), old + 1);
    assert_eq!(steps(&mut table, old + SECOND), []);
    // And it is kept so, by packets as well as by ARP.
    assert_eq!(table.want(host(1), old + 2, may_go), Way::Known(mac(1)));
    assert_eq!(steps(&mut table, old + 2), []);
}

#[test]
fn smoltcp_is_told_what_is_known() {
    let mut table = knowing([1]);
    table.tell_smoltcp(host(1), SECOND);
    assert_eq!(steps(&mut table, SECOND), [Step::Tell(host(1), mac(1))]);
    assert_eq!(
        (steps(&mut table, SECOND), table.deadline()),
        (Vec::new(), None)
    );
    table.tell_smoltcp(host(2), SECOND);
    assert_eq!(steps(&mut table, SECOND), []);
}

#[test]
fn a_flood_does_not_push_out_who_is_in_use() {
    let mut table = knowing([254].into_iter().chain(1..=PLACES as u8 - 1));
    let in_use = |n: Ipv4Address, _: EthernetAddress| may_go(n, mac(0)) && n != host(7);
    // Strangers push out nobody who was ever wanted.
    for n in 100..200 {
        assert!(!table.meet(host(n), mac(n), SECOND));
    }
    assert_eq!(known(&table), PLACES);
    // Hosts that are not there, and are sent to all the same.
    for n in 64..250u8 {
        let now = SECOND + u64::from(n);
        assert_eq!(table.want(host(n), now, in_use), Way::Asked);
        steps(&mut table, now);
    }
    assert_eq!(known(&table), PLACES - WITHOUT);
    for n in [7, 254, 63] {
        let way = table.want(host(n), 2 * SECOND, in_use);
        assert_eq!(way, Way::Known(mac(n)), "{n}");
    }
    // One that is there is found among them.
    assert_eq!(table.want(host(250), 2 * SECOND, in_use), Way::Asked);
    steps(&mut table, 2 * SECOND);
    let said = table.hear(host(250), mac(250), true, 2 * SECOND);
    assert_eq!(said, Said::Answer);
}

#[test]
fn strangers_that_answer_give_way_to_each_other() {
    let mut table = knowing([254]);
    for n in 0..10_000u32 {
        let stranger = Ipv4Address::from(0x0a01_0000 + n);
        let now = SECOND + u64::from(n);
        assert!(table.meet(stranger, mac(1), now));
        let asks = steps(&mut table, now);
        assert_eq!(asks, [Step::Ask(stranger, Some(mac(1)))]);
        assert_eq!(table.hear(stranger, mac(1), true, now), Said::Answer);
    }
    let way = table.want(GATEWAY, 2 * SECOND, may_go);
    assert_eq!(way, Way::Known(mac(254)));
    // Those that do not answer, too.
    for n in 0..10_000u32 {
        let stranger = Ipv4Address::from(0x0a02_0000 + n);
        assert!(table.meet(stranger, mac(1), 3 * SECOND));
    }
    assert!(known(&table) >= PLACES - WITHOUT);
}
