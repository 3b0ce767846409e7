//! The manager's thread when it has guests: who gets turns, when it sleeps, and
//! how long a fault waits. The residents here pass tokens to each other over
//! queues; all that guests have goes through the manager, as in the real system.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use io_manager::hosting::{BUDGET, Domain, Guest, Host, Next, Resident};
use proptest::prelude::*;

/// A token: how many more hops it makes, and where the next one leads.
type Token = (u32, usize);

#[derive(Debug, Default)]
struct World {
    /// To each guest.
    to: Vec<VecDeque<Token>>,
    /// To the manager.
    manager: VecDeque<Token>,
    /// Tokens that came from outside and were not taken yet, by badge bit.
    outside: Vec<VecDeque<Token>>,
    turns: u32,
    done: u32,
    /// The manager's wish that no ring shows.
    wish: bool,
    /// The turn, counted from 1, in which a guest gives up.
    last_turn: BTreeMap<usize, u32>,
}

type Shared = Rc<RefCell<World>>;

struct Manager(Shared);

impl Resident for Manager {
    fn turn(&mut self, _: u64) -> bool {
        let mut world = self.0.borrow_mut();
        world.turns += 1;
        // A bounded amount: two tokens.
        for _ in 0..2 {
            if let Some((hops, to)) = world.manager.pop_front() {
                let guest = to % world.to.len();
                match hops {
                    0 => world.done += 1,
                    _ => world.to[guest].push_back((hops - 1, to / 2)),
                }
            }
        }
        !world.manager.is_empty()
    }

    fn arm(&mut self) -> bool {
        self.0.borrow().manager.is_empty()
    }
}

impl Host for Manager {
    fn hears_guests(&self) -> bool {
        !self.0.borrow().manager.is_empty()
    }

    fn wakes_guests(&mut self) -> bool {
        std::mem::take(&mut self.0.borrow_mut().wish)
    }
}

struct Lodger {
    world: Shared,
    index: usize,
    settled: Rc<RefCell<u32>>,
    /// Turns that it took.
    turns: Rc<RefCell<u32>>,
    /// Never has done enough.
    greedy: bool,
}

impl Resident for Lodger {
    fn turn(&mut self, signals: u64) -> bool {
        let mut world = self.world.borrow_mut();
        world.turns += 1;
        *self.turns.borrow_mut() += 1;
        assert_eq!(signals & !self.hears(), 0, "only what is for it");
        if signals != 0 {
            let arrived: Vec<_> = world.outside[self.index].drain(..).collect();
            world.manager.extend(arrived);
        }
        if let Some(token) = world.to[self.index].pop_front() {
            world.manager.push_back(token);
        }
        self.greedy || !world.to[self.index].is_empty()
    }

    fn arm(&mut self) -> bool {
        self.world.borrow().to[self.index].is_empty()
    }
}

impl Guest for Lodger {
    fn hears(&self) -> u64 {
        1 << self.index
    }

    fn settle(&mut self) {
        *self.settled.borrow_mut() += 1;
    }

    fn has_ended(&self) -> bool {
        let last = self.world.borrow().last_turn.get(&self.index).copied();
        last.is_some_and(|last| *self.turns.borrow() >= last)
    }
}

struct Setup {
    world: Shared,
    manager: Manager,
    domain: Domain<Lodger>,
    settled: Rc<RefCell<u32>>,
    turns: Vec<Rc<RefCell<u32>>>,
}

fn setup(guests: usize, greedy: bool) -> Setup {
    let world = Shared::default();
    {
        let mut world = world.borrow_mut();
        world.to.resize_with(guests.max(1), VecDeque::new);
        world.outside.resize_with(guests.max(1), VecDeque::new);
    }
    let settled = Rc::default();
    let turns: Vec<Rc<RefCell<u32>>> = (0..guests).map(|_| Rc::default()).collect();
    let lodger = |index: usize| Lodger {
        world: Rc::clone(&world),
        index,
        settled: Rc::clone(&settled),
        turns: Rc::clone(&turns[index]),
        greedy,
    };
    Setup {
        manager: Manager(Rc::clone(&world)),
        domain: Domain::new((0..guests).map(lodger).collect()),
        world,
        settled,
        turns,
    }
}

impl Setup {
    /// Steps until the thread would sleep; the turns that this took.
    fn run(&mut self) -> u32 {
        let before = self.world.borrow().turns;
        for _ in 0..100_000 {
            if self.domain.step(&mut self.manager) == Next::Sleep {
                let world = self.world.borrow();
                assert!(world.manager.is_empty(), "the manager had something to do");
                assert!(world.to.iter().all(VecDeque::is_empty), "a guest had");
                return world.turns - before;
            }
        }
        panic!("it never sleeps");
    }
}

proptest! {
    /// Whatever passes between manager and guests, nobody sleeps while one has
    /// something to do, and every token gets where it is to go.
    #[test]
    fn nobody_sleeps_while_one_has_work(
        guests in 1..5usize,
        rounds in prop::collection::vec(
            prop::collection::vec((0..20u32, 0..1000usize, any::<bool>()), 0..8),
            1..6,
        ),
    ) {
        let mut setup = setup(guests, false);
        let mut sent = 0;
        for tokens in rounds {
            let mut signals = 0;
            for (hops, to, inward) in tokens {
                sent += 1;
                let index = to % guests;
                let mut world = setup.world.borrow_mut();
                if inward {
                    world.outside[index].push_back((hops, to));
                    signals |= 1 << index;
                } else {
                    world.manager.push_back((hops, to));
                    signals |= 1 << 20;
                }
            }
            setup.domain.signalled(signals);
            setup.run();
        }
        prop_assert_eq!(setup.world.borrow().done, sent);
    }
}

/// A fault, or a death, is looked for after a budget of turns at most, whoever
/// takes them: a manager that is flooded or a guest that never ends.
#[test]
fn a_fault_waits_at_most_a_budget() {
    for (guests, greedy) in [(0, false), (1, true), (3, true)] {
        let mut setup = setup(guests, greedy);
        let mut looks = 0;
        for _ in 0..20 * BUDGET {
            // A client that never rests.
            setup.world.borrow_mut().manager.extend([(0, 0); 3]);
            let before = setup.world.borrow().turns;
            match setup.domain.step(&mut setup.manager) {
                Next::Sleep => panic!("there is work"),
                Next::Look => looks += 1,
                Next::Work => {}
            }
            assert_eq!(setup.world.borrow().turns - before, 1, "one turn a step");
        }
        assert_eq!(looks, 20, "{guests} guests");
    }
}

/// A flood keeps nobody from turns: clients' keeps no guest, one guest's neither
/// another nor the manager.
#[test]
fn everybody_has_turns() {
    for flooded in [false, true] {
        let mut setup = setup(3, true);
        for n in 0..400 {
            let tokens = if flooded { 3 } else { u32::from(n % 4 == 0) };
            let mut world = setup.world.borrow_mut();
            world.manager.extend((0..tokens).map(|_| (0, 0)));
            drop(world);
            setup.domain.step(&mut setup.manager);
        }
        let guests: u32 = setup.turns.iter().map(|t| *t.borrow()).sum();
        assert!(400 - guests >= 90, "the manager had {}", 400 - guests);
        for turns in &setup.turns {
            assert!(*turns.borrow() >= 90, "{turns:?}");
        }
    }
}

/// All guests are told before the thread sleeps, and a turn is taken only by who
/// has something to do: two hops through one guest are four turns.
#[test]
fn idle_residents_take_no_turns() {
    let mut setup = setup(3, false);
    setup.run();
    assert_eq!(*setup.settled.borrow(), 3);
    setup.world.borrow_mut().outside[1].push_back((1, 1));
    setup.domain.signalled(1 << 1);
    assert_eq!(setup.run(), 4, "guest, manager, guest, manager");
    assert_eq!(*setup.settled.borrow(), 6);
    // Nothing has happened: nobody has a turn.
    assert_eq!(setup.run(), 0);
}

/// What the manager wants, and no ring says, gives the guests a turn to see it.
#[test]
fn a_wish_wakes_the_guests() {
    let mut setup = setup(2, false);
    setup.run();
    setup.world.borrow_mut().wish = true;
    assert_eq!(setup.run(), 2);
}

/// After the turn in which a guest gives up, deaths are looked for at once, and
/// it is known which guest it was.
#[test]
fn who_gives_up_is_looked_for_at_once() {
    let mut setup = setup(2, false);
    setup.run();
    setup.world.borrow_mut().last_turn.insert(1, 2);
    setup.world.borrow_mut().outside[1].push_back((0, 0));
    setup.domain.signalled(1 << 1);
    assert_eq!(setup.domain.step(&mut setup.manager), Next::Look);
    let ended: Vec<_> = setup.domain.guests().map(Guest::has_ended).collect();
    assert_eq!(ended, [false, true]);
    setup.run();
}
