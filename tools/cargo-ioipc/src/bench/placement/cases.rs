//! Which cases are measured, by the system that has to be booted for them.
//!
//! Invariant: no two cases of a plan are the same; bursts fit the windows and
//! queues that the system has, and those of its NIC.

use std::collections::BTreeSet;

use super::record::{Case, Passing, Pattern, Placement, Protocol};

/// Bytes of an operation: from a short message to the longest that goes over
/// UDP in pages.
const SIZES: [u32; 6] = [64, 512, 1400, 4 << 10, 16 << 10, LARGEST];
/// Those of the quick subset.
const QUICK_SIZES: [u32; 3] = [64, 1400, LARGEST];
/// The largest.
pub const LARGEST: u32 = 60 << 10;
/// How many of the largest are a burst, and as many bytes are a stream's.
pub const OF_LARGEST: u32 = 4;
const BULK: u32 = OF_LARGEST * LARGEST;
/// Operations of a burst of small datagrams.
const MANY: u32 = 64;
/// Operations of a stream's burst, at most: as many as a client may have on
/// their way on one stream.
const MANY_OF_STREAM: u32 = 32;
/// Bytes of a burst of datagrams that do not fit a packet each, unless so few of
/// them are that.
const BURST: u32 = 64 << 10;
/// Largest IP packets: the reference, and with jumbo frames.
pub const MTU: u32 = 1500;
const JUMBO: u32 = 9000;

/// All that is measured.
pub(super) struct Plan {
    pub variants: Vec<Variant>,
}

/// A system, and the cases that are measured on it.
pub(super) struct Variant {
    pub placement: Placement,
    /// Messages are copied in and out, as user-level servers did before.
    pub conventional: bool,
    pub mtu: u32,
    pub cases: Vec<Case>,
}

impl Plan {
    /// The cases of some placements and ways of passing; all, where none is
    /// named.
    pub fn new(quick: bool, placements: &[Placement], passings: &[Passing]) -> Self {
        let mtus: &[u32] = if quick { &[MTU] } else { &[MTU, JUMBO] };
        let mut variants = Vec::new();
        for placement in chosen(&[Placement::Kernel, Placement::User], placements) {
            for conventional in [false, true] {
                let mut passings = chosen(&ALL, passings);
                passings.retain(|passing| (*passing == Passing::Conventional) == conventional);
                for &mtu in mtus.iter().filter(|_| !passings.is_empty()) {
                    let of = |&passing: &Passing| cases((placement, passing, mtu), quick);
                    variants.push(Variant {
                        placement,
                        conventional,
                        mtu,
                        cases: passings.iter().flat_map(of).collect(),
                    });
                }
            }
        }
        Self { variants }
    }

    /// Leaves the cases `wanted` only.
    pub fn retain(&mut self, wanted: impl Fn(&Case) -> bool) {
        for variant in &mut self.variants {
            variant.cases.retain(&wanted);
        }
        self.variants.retain(|variant| !variant.cases.is_empty());
    }

    /// Steps of a progress bar: the cases, once or twice.
    pub fn steps(&self, twice: bool) -> u64 {
        let cases = self.variants.iter().map(|variant| variant.cases.len());
        cases.sum::<usize>() as u64 * (1 + u64::from(twice))
    }
}

impl Variant {
    /// Its name in a record.
    pub fn name(&self) -> String {
        let placement = match self.placement {
            Placement::Kernel => "kernel",
            Placement::User => "user",
        };
        let ipc = if self.conventional {
            "conventional"
        } else {
            "io"
        };
        match self.mtu {
            MTU => format!("{placement}/{ipc}"),
            mtu => format!("{placement}/{ipc}/{mtu}"),
        }
    }
}

const ALL: [Passing; 5] = [
    Passing::EmulatedCopy,
    Passing::Copy,
    Passing::Share,
    Passing::EmulatedMove,
    Passing::Conventional,
];

/// Those of `all` that `some` names; all, if it names none.
fn chosen<T: Copy + PartialEq>(all: &[T], some: &[T]) -> Vec<T> {
    let named = |one: &&T| some.is_empty() || some.contains(one);
    all.iter().filter(named).copied().collect()
}

fn cases((placement, passing, mtu): (Placement, Passing, u32), quick: bool) -> Vec<Case> {
    let case = |protocol, pattern, bytes, outstanding| Case {
        placement,
        passing,
        protocol,
        pattern,
        bytes,
        outstanding,
        mtu,
    };
    let sizes: &[u32] = if quick { &QUICK_SIZES } else { &SIZES };
    // What fits a packet of the reference is no different in a larger one.
    let sizes = sizes.iter().filter(|bytes| mtu == MTU || **bytes > MTU);
    let patterns = [Pattern::Out, Pattern::In, Pattern::Echo];
    let mut cases = Vec::new();
    for &bytes in sizes {
        for outstanding in datagrams_of(bytes, quick) {
            cases.extend(patterns.map(|way| case(Protocol::Udp, way, bytes, outstanding)));
        }
        let bulk = (BULK / bytes).min(MANY_OF_STREAM);
        if quick && bytes != LARGEST {
            continue;
        }
        cases.extend(patterns.map(|way| case(Protocol::Tcp, way, bytes, bulk)));
        cases.extend(patterns.map(|way| case(Protocol::Tcp, way, bytes, 1)));
    }
    cases.iter_mut().for_each(bring_regions_back);
    let mut seen = BTreeSet::new();
    cases.retain(|case| seen.insert(case.clone()));
    cases
}

/// Sent with emulated move, a region comes back only with something received,
/// and a burst one way is asked for by one word.
fn bring_regions_back(case: &mut Case) {
    if (case.passing, case.pattern) == (Passing::EmulatedMove, Pattern::Out) {
        case.outstanding = 1;
    }
}

/// How many datagrams are sent at once.
fn datagrams_of(bytes: u32, quick: bool) -> Vec<u32> {
    let many = match bytes <= MTU {
        true => MANY,
        false => (BURST / bytes).max(OF_LARGEST),
    };
    match bytes {
        // The quick subset has what the project's limits are about.
        1400 if quick => vec![many],
        _ => vec![1, many],
    }
}

/// Bursts of a run: as many as make some million instructions, so that what a
/// run begins and ends with does not matter.
pub fn bursts(case: &Case, quick: bool) -> u64 {
    let ways = if case.pattern == Pattern::Echo { 2 } else { 1 };
    let operation = 6000 + 2 * ways * u64::from(case.bytes);
    let burst = u64::from(case.outstanding) * operation + 10_000;
    let (run, most) = if quick {
        (3_000_000, 100)
    } else {
        (6_000_000, 200)
    };
    (run / burst).clamp(4, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(plan: &Plan) -> Vec<Case> {
        let cases = plan.variants.iter().flat_map(|variant| &variant.cases);
        cases.cloned().collect()
    }

    #[test]
    fn no_case_is_measured_twice_and_each_on_its_system() {
        for quick in [false, true] {
            let plan = Plan::new(quick, &[], &[]);
            let cases = all(&plan);
            assert_eq!(cases.iter().collect::<BTreeSet<_>>().len(), cases.len());
            assert_eq!(plan.steps(true), 2 * cases.len() as u64);
            for variant in &plan.variants {
                for case in &variant.cases {
                    let conventional = case.passing == Passing::Conventional;
                    let of = (case.placement, conventional, case.mtu);
                    let system = (variant.placement, variant.conventional, variant.mtu);
                    assert_eq!(of, system);
                }
            }
        }
    }

    #[test]
    fn all_that_was_asked_for_is_there() {
        let cases = all(&Plan::new(false, &[], &[]));
        for placement in [Placement::Kernel, Placement::User] {
            for passing in ALL {
                for bytes in [64, 512, 1400, 4096, 16_384, 61_440] {
                    for protocol in [Protocol::Udp, Protocol::Tcp] {
                        for pattern in [Pattern::In, Pattern::Out, Pattern::Echo] {
                            let fits = |case: &&Case| {
                                (case.placement, case.passing, case.bytes, case.mtu)
                                    == (placement, passing, bytes, MTU)
                                    && (case.protocol, case.pattern) == (protocol, pattern)
                            };
                            assert!(cases.iter().any(|case| fits(&case)));
                        }
                    }
                }
            }
        }
        let required = |case: &&Case| (case.bytes, case.outstanding) == (1400, 64);
        // Emulated move has no bursts out.
        assert_eq!(
            cases.iter().filter(required).count(),
            2 * (ALL.len() * 3 - 1)
        );
        assert!(cases.iter().any(|case| case.mtu == JUMBO));
    }

    #[test]
    fn bursts_fit_and_runs_are_long_enough() {
        for quick in [false, true] {
            for case in all(&Plan::new(quick, &[], &[])) {
                let burst = case.outstanding * case.bytes;
                assert!(burst <= BULK, "{case:?}");
                // Each frame takes a buffer of the NIC's.
                let frames = case.outstanding * case.bytes.div_ceil(1400);
                assert!(frames <= 200, "{case:?}: {frames} frames");
                let runs = bursts(&case, quick);
                assert!((4..=200).contains(&runs), "{case:?}: {runs}");
            }
        }
    }

    #[test]
    fn a_choice_leaves_nothing_else() {
        let plan = Plan::new(true, &[Placement::User], &[Passing::Share]);
        let names: Vec<_> = plan.variants.iter().map(Variant::name).collect();
        assert_eq!(names, ["user/io"]);
        assert!(all(&plan).iter().all(|case| case.passing == Passing::Share));
        let plan = Plan::new(false, &[], &[Passing::Conventional]);
        let names: Vec<_> = plan.variants.iter().map(Variant::name).collect();
        let expected = [
            "kernel/conventional",
            "kernel/conventional/9000",
            "user/conventional",
            "user/conventional/9000",
        ];
        assert_eq!(names, expected);
    }
}
