//! What copies and page operations cost on this machine, measured at start.
//!
//! Problem: page operations need an address space and a page in it that can be
//! spared, and something always disturbs a measurement. A page of a client's
//! data region is taken out and put back; a client that touches it meanwhile
//! faults, waits for this component, and goes on, since for the books the page
//! was never away. Invariant: afterwards the page is mapped as it was, with the
//! frame that it had, and each number is the least of several; what cannot be
//! measured keeps the number that it had.

use alloc::vec::Vec;

use component_runtime::clock::tsc;
use data_passing::{Cost, Costs, FrameId, HoldingConfig, Machine, MachineError, Place, Rights};

/// How often each is measured.
const SAMPLES: usize = 9;
/// Bytes of a page.
const PAGE: u32 = 4096;

/// What was measured, one list for each.
#[derive(Debug, Default)]
struct Samples {
    copy: Vec<u32>,
    copy_page: Vec<u32>,
    map: Vec<u32>,
    unmap: Vec<u32>,
    protect: Vec<u32>,
}

/// `costs`, with what can be measured in its place: copies between the frames
/// `spare` and the one after it, page operations on a page of a client's.
/// Faults, and booking frames, keep their ratio to changing rights and to
/// copying a page.
pub(crate) fn calibrate<M: Machine>(
    machine: &mut M,
    costs: Costs,
    spare: FrameId,
    clients: &[Vec<HoldingConfig>],
) -> Costs {
    let mut samples = Samples::default();
    copies(machine, spare, &mut samples);
    let small = |h: &&HoldingConfig| h.writable && !h.large;
    let pages = clients.iter().enumerate();
    // The data region comes last, and a client that starts uses it last.
    let page = pages.filter_map(|(n, list)| Some((n, list.iter().rev().find(small)?)));
    for (client, holding) in page.take(1) {
        for _ in 0..SAMPLES {
            if operations(machine, client as u16, holding, &mut samples).is_err() {
                log::warn!("page operations cannot be measured: client {client} is gone");
                break;
            }
        }
    }
    let measured = costs
        .calibrated(Cost::Copy, &samples.copy)
        .calibrated(Cost::CopyPage, &samples.copy_page)
        .calibrated(Cost::Map, &samples.map)
        .calibrated(Cost::Unmap, &samples.unmap)
        .calibrated(Cost::Protect, &samples.protect);
    let scaled = |what, by, to| (u64::from(what) * u64::from(to) / u64::from(by).max(1)) as u32;
    let fault = scaled(costs.fault, costs.protect, measured.protect);
    let reference = scaled(costs.reference, costs.copy_page, measured.copy_page);
    measured
        .with(Cost::Fault, fault)
        .with(Cost::Reference, reference.max(1))
}

/// The time that `work` takes.
fn timed<R>(into: &mut Vec<u32>, work: impl FnOnce() -> R) -> R {
    let start = tsc();
    let result = work();
    into.push((tsc() - start).min(u64::from(u32::MAX)) as u32);
    result
}

fn copies<M: Machine>(machine: &mut M, spare: FrameId, samples: &mut Samples) {
    let place = |frame| Place {
        frame: FrameId(frame),
        offset: 0,
    };
    let (from, to) = (place(spare.0), place(spare.0 + 1));
    let mut whole = Vec::new();
    for _ in 0..SAMPLES {
        timed(&mut samples.copy, || machine.copy(from, to, 0));
        timed(&mut whole, || machine.copy(from, to, PAGE));
    }
    // What comes on top of a copy of nothing.
    let nothing = samples.copy.iter().copied().min().unwrap_or(0);
    let less = whole.iter().map(|all| all.saturating_sub(nothing));
    samples.copy_page = less.collect();
}

fn operations<M: Machine>(
    machine: &mut M,
    client: u16,
    holding: &HoldingConfig,
    samples: &mut Samples,
) -> Result<(), MachineError> {
    let HoldingConfig { address, first, .. } = *holding;
    timed(&mut samples.protect, || {
        machine.protect(client, address, first, Rights::Read)
    })?;
    timed(&mut samples.protect, || {
        machine.protect(client, address, first, Rights::Write)
    })?;
    timed(&mut samples.unmap, || machine.unmap(client, address, first))?;
    timed(&mut samples.map, || {
        machine.map(client, address, first, Rights::Write)
    })
}
