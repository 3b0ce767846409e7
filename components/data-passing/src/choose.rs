//! Which techniques are legal for an operation, and which of them is cheapest.
//!
//! Invariant: what is chosen is legal; among the legal ones it is the one that
//! [`Costs`] say is cheapest, unless a technique was forced. The matrices
//! stand in `docs/data-passing.md`, and a test prints them from here.

use socket_api::{Semantics, Technique};

use crate::costs::Costs;

/// What is known of an output before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputCase {
    /// What the caller relies on.
    pub semantics: Semantics,
    /// Bytes.
    pub len: u32,
    /// Pages they touch.
    pub pages: u32,
    /// Whether the pages have 4 KiB, not 2 MiB.
    pub small_pages: bool,
    /// Whether the client can write to them at all.
    pub writable: bool,
    /// Whether the client's only thread waits for this.
    pub blocked: bool,
    /// Whether the bytes begin at a page.
    pub aligned: bool,
    /// In 256ths: how many of the client's protected pages are written to.
    pub fault_rate: u32,
    /// Pages among them that are read-only already.
    pub protected: u32,
    /// Whether a device may write to some of them: they are being received into.
    pub written: bool,
}

/// What is known of an input before it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputCase {
    /// What the caller relies on.
    pub semantics: Semantics,
    /// Bytes of room.
    pub len: u32,
    /// Pages they touch.
    pub pages: u32,
    /// Whether the pages have 4 KiB, not 2 MiB.
    pub small_pages: bool,
    /// Whether the client's only thread waits for this.
    pub blocked: bool,
    /// Whether the room begins at a page.
    pub aligned: bool,
    /// Whether the NIC can keep buffers for the receiver's flow.
    pub early: bool,
}

/// Whether the technique may carry out the output.
#[must_use]
#[inline]
pub const fn output_is_legal(case: &OutputCase, technique: Technique) -> bool {
    use Semantics as S;
    match (case.semantics, technique) {
        (S::Copy | S::EmulatedCopy, Technique::CopyOut) => true,
        (S::EmulatedCopy, Technique::Reference) => {
            !case.written && (case.blocked || !case.writable)
        }
        (S::EmulatedCopy, Technique::Tcow) => !case.written && case.writable && case.small_pages,
        (S::Share | S::EmulatedShare, Technique::Reference) => true,
        // The reserve gives and takes frames of 4 KiB only.
        (S::Move, Technique::Remove) => {
            !case.written && case.writable && case.aligned && case.small_pages
        }
        (S::EmulatedMove, Technique::Hide) => !case.written && case.writable && case.aligned,
        (S::WeakMove | S::EmulatedWeakMove, Technique::Reference) => case.writable && case.aligned,
        _ => false,
    }
}

/// Whether the technique may carry out the input; the room is writable.
#[must_use]
#[inline]
pub const fn input_is_legal(case: &InputCase, technique: Technique) -> bool {
    use Semantics as S;
    match (case.semantics, technique) {
        (S::Copy | S::EmulatedCopy | S::Share | S::EmulatedShare, Technique::CopyIn) => true,
        (S::EmulatedCopy, Technique::InPlace) => case.early && case.blocked,
        (S::EmulatedCopy, Technique::Swap) => case.early && case.small_pages,
        (S::Share | S::EmulatedShare, Technique::InPlace) => case.early,
        (S::Move, Technique::Create) => case.aligned && case.small_pages,
        (S::EmulatedMove, Technique::Reinstate) => case.aligned,
        (S::WeakMove | S::EmulatedWeakMove, Technique::CopyIn) => case.aligned,
        (S::WeakMove | S::EmulatedWeakMove, Technique::InPlace) => case.aligned && case.early,
        _ => false,
    }
}

/// What the output will cost, the end of it included.
#[must_use]
pub fn output_cost(costs: &Costs, case: &OutputCase, technique: Technique) -> u64 {
    let pages = u64::from(case.pages);
    let each = u64::from(costs.reference);
    match technique {
        Technique::Reference => pages * each,
        Technique::Tcow => {
            let open = pages - u64::from(case.protected).min(pages);
            let written = pages * u64::from(case.fault_rate) / 256;
            let protect = u64::from(costs.protect);
            pages * each + open * protect + written * (u64::from(costs.fault) + protect)
        }
        Technique::CopyOut => costs.copying(case.len) + u64::from(case.len.div_ceil(4096)) * each,
        _ => pages * (each + u64::from(costs.unmap)),
    }
}

/// What the input will cost if it is filled.
#[must_use]
pub fn input_cost(costs: &Costs, case: &InputCase, technique: Technique) -> u64 {
    let pages = u64::from(case.pages);
    let (map, unmap) = (u64::from(costs.map), u64::from(costs.unmap));
    let each = u64::from(costs.reference);
    // What the device could not write to its place.
    let late = if case.early {
        0
    } else {
        costs.copying(case.len)
    };
    match technique {
        Technique::InPlace => u64::from(costs.post) + pages * each,
        Technique::Swap => {
            // Both ends of an unaligned room are partial pages.
            let whole = match case.aligned {
                true => case.len >> 12,
                false => case.pages.saturating_sub(2),
            };
            let partial = costs.copying(case.len.saturating_sub(whole << 12));
            let moved = u64::from(whole) * (map + unmap);
            u64::from(costs.post) + pages * each + moved + partial
        }
        Technique::CopyIn => costs.copying(case.len),
        Technique::Create => pages * (map + each) + late,
        _ => pages * (map + unmap) + late,
    }
}

/// The cheapest legal technique for the output; `None` if there is none.
#[must_use]
#[inline]
pub fn choose_output(costs: &Costs, case: &OutputCase) -> Option<Technique> {
    let only = match case.semantics {
        Semantics::EmulatedCopy => return Some(choose_emulated_copy(costs, case)),
        Semantics::Copy => Technique::CopyOut,
        Semantics::Move => Technique::Remove,
        Semantics::EmulatedMove => Technique::Hide,
        _ => Technique::Reference,
    };
    output_is_legal(case, only).then_some(only)
}

#[inline]
fn choose_emulated_copy(costs: &Costs, case: &OutputCase) -> Technique {
    let Some(other) = without_copy(case) else {
        return Technique::CopyOut;
    };
    // A copy of bytes that do not begin at a page needs one frame less at most.
    let copy_is_dearer = other == Technique::Reference && costs.reference <= costs.copy;
    match copy_is_dearer
        || output_cost(costs, case, other) <= output_cost(costs, case, Technique::CopyOut)
    {
        true => other,
        false => Technique::CopyOut,
    }
}

/// How emulated copy may be carried out but by copying. Where the frames may go
/// by reference, protecting them as well only costs more.
#[must_use]
#[inline]
pub const fn without_copy(case: &OutputCase) -> Option<Technique> {
    if output_is_legal(case, Technique::Reference) {
        Some(Technique::Reference)
    } else if output_is_legal(case, Technique::Tcow) {
        Some(Technique::Tcow)
    } else {
        None
    }
}

/// The cheapest legal technique for the input; `None` if there is none.
#[must_use]
#[inline]
pub fn choose_input(costs: &Costs, case: &InputCase) -> Option<Technique> {
    let only = match case.semantics {
        Semantics::Move => Technique::Create,
        Semantics::EmulatedMove => Technique::Reinstate,
        _ => Technique::CopyIn,
    };
    let mut best = input_is_legal(case, only).then_some(only)?;
    // Whatever spares the copy needs such a NIC.
    if !case.early || best != Technique::CopyIn {
        return Some(best);
    }
    let mut least = input_cost(costs, case, best);
    for other in [Technique::Swap, Technique::InPlace] {
        if input_is_legal(case, other) {
            let cost = input_cost(costs, case, other);
            if cost <= least {
                (best, least) = (other, cost);
            }
        }
    }
    Some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: OutputCase = OutputCase {
        semantics: Semantics::EmulatedCopy,
        len: 65536,
        pages: 16,
        small_pages: true,
        writable: true,
        blocked: false,
        aligned: true,
        fault_rate: 256,
        protected: 0,
        written: false,
    };
    const INPUT: InputCase = InputCase {
        semantics: Semantics::EmulatedCopy,
        len: 65536,
        pages: 16,
        small_pages: true,
        blocked: false,
        aligned: true,
        early: true,
    };

    #[test]
    fn every_semantics_has_a_technique_for_aligned_small_pages() {
        for &semantics in Semantics::ALL {
            let output = OutputCase {
                semantics,
                ..OUTPUT
            };
            assert!(
                choose_output(&Costs::PINNED, &output).is_some(),
                "{semantics}"
            );
            for early in [false, true] {
                let input = InputCase {
                    semantics,
                    early,
                    ..INPUT
                };
                assert!(
                    choose_input(&Costs::PINNED, &input).is_some(),
                    "{semantics}"
                );
            }
        }
    }

    #[test]
    fn a_blocked_caller_goes_by_reference() {
        let blocked = OutputCase {
            blocked: true,
            ..OUTPUT
        };
        let chosen = choose_output(&Costs::PINNED, &blocked);
        assert_eq!(chosen, Some(Technique::Reference));
        let chosen = choose_output(&Costs::PINNED, &OUTPUT);
        assert_eq!(chosen, Some(Technique::CopyOut), "faults are dear");
    }

    #[test]
    fn pages_that_are_never_written_to_are_protected() {
        let calm = OutputCase {
            fault_rate: 0,
            protected: 16,
            ..OUTPUT
        };
        let chosen = choose_output(&Costs::PINNED, &calm);
        assert_eq!(chosen, Some(Technique::Tcow));
        let large = OutputCase {
            small_pages: false,
            ..calm
        };
        let chosen = choose_output(&Costs::PINNED, &large);
        assert_eq!(
            chosen,
            Some(Technique::CopyOut),
            "2 MiB cannot be protected"
        );
    }

    #[test]
    fn what_mapping_costs_decides_between_swap_and_copy() {
        let cheap = Costs {
            map: 90,
            unmap: 90,
            ..Costs::PINNED
        };
        assert_eq!(choose_input(&cheap, &INPUT), Some(Technique::Swap));
        let dear = Costs {
            map: 900,
            unmap: 900,
            ..Costs::PINNED
        };
        assert_eq!(choose_input(&dear, &INPUT), Some(Technique::CopyIn));
    }

    /// All cases of a semantics, and of a number of pages.
    fn cases(semantics: Semantics, pages: u32) -> impl Iterator<Item = (OutputCase, InputCase)> {
        (0..64).map(move |bits| {
            let is = |bit: u32| bits >> bit & 1 != 0;
            let len = pages * 4096 - if is(5) { 4000 } else { 0 };
            let output = OutputCase {
                semantics,
                len,
                pages,
                blocked: is(0),
                writable: is(1),
                small_pages: is(2),
                written: is(3),
                aligned: is(4),
                fault_rate: if is(5) { 0 } else { 256 },
                protected: if is(4) { pages } else { 0 },
            };
            let input = InputCase {
                semantics,
                len,
                pages,
                blocked: is(0),
                early: is(1),
                small_pages: is(2),
                aligned: is(4),
            };
            (output, input)
        })
    }

    #[test]
    fn the_choice_is_the_cheapest_of_all_legal_ones() {
        let dear = |times| Costs {
            map: Costs::PINNED.map * times / 10,
            unmap: Costs::PINNED.unmap * times / 10,
            protect: Costs::PINNED.protect * times / 10,
            ..Costs::PINNED
        };
        let all = || Technique::ALL.iter().copied();
        for costs in [1, 10, 100].map(dear) {
            for &semantics in Semantics::ALL {
                for (output, input) in [1, 2, 16].into_iter().flat_map(|n| cases(semantics, n)) {
                    let cost = |t| output_cost(&costs, &output, t);
                    let legal = all().filter(|t| output_is_legal(&output, *t));
                    let chosen = choose_output(&costs, &output);
                    assert_eq!(chosen.map(cost), legal.map(cost).min(), "{output:?}");
                    let cost = |t| input_cost(&costs, &input, t);
                    let legal = all().filter(|t| input_is_legal(&input, *t));
                    let chosen = choose_input(&costs, &input);
                    assert_eq!(chosen.map(cost), legal.map(cost).min(), "{input:?}");
                }
            }
        }
    }

    #[test]
    fn strong_semantics_are_never_carried_out_unprotected() {
        for (blocked, writable) in [(false, true), (true, true), (false, false)] {
            let case = OutputCase {
                blocked,
                writable,
                ..OUTPUT
            };
            let legal = output_is_legal(&case, Technique::Reference);
            assert_eq!(legal, blocked || !writable);
            let copy = OutputCase {
                semantics: Semantics::Copy,
                ..case
            };
            assert!(!output_is_legal(&copy, Technique::Reference));
        }
    }
}
