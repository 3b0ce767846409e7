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
/// Of the instructions for each page that is copied, those that do not copy.
const AROUND_A_COPY: u32 = 204;
/// Bytes of a page.
const PAGE: u32 = 4096;

/// What was measured, one list for each.
#[derive(Debug, Default)]
struct Samples {
    copies: Vec<u32>,
    map: Vec<u32>,
    unmap: Vec<u32>,
    protect: Vec<u32>,
}

/// `costs`, with what can be measured in its place: page operations on a page of
/// a client's, copies between the frames `spare` and the one after it. What
/// this program does itself, and a fault, take as much longer than pinned as
/// changing rights does.
pub(crate) fn calibrate<M: Machine>(
    machine: &mut M,
    costs: Costs,
    spare: FrameId,
    clients: &[Vec<HoldingConfig>],
) -> Costs {
    let samples = measure(machine, spare, clients);
    let measured = costs
        .calibrated(Cost::Map, &samples.map)
        .calibrated(Cost::Unmap, &samples.unmap)
        .calibrated(Cost::Protect, &samples.protect);
    let speed = |number: u32| {
        let by = u64::from(costs.protect.max(1));
        let scaled = u64::from(number) * u64::from(measured.protect) / by;
        scaled.min(u64::from(u32::MAX)) as u32
    };
    let around = speed(AROUND_A_COPY);
    let copies = samples
        .copies
        .iter()
        .map(|copy| copy.saturating_add(around));
    measured
        .calibrated(Cost::CopyPage, &copies.collect::<Vec<_>>())
        .with(Cost::Copy, speed(costs.copy))
        .with(Cost::Fault, speed(costs.fault))
        .with(Cost::Reference, speed(costs.reference))
        .with(Cost::Post, speed(costs.post))
}

fn measure<M: Machine>(machine: &mut M, spare: FrameId, clients: &[Vec<HoldingConfig>]) -> Samples {
    let mut samples = Samples::default();
    let place = |frame| Place {
        frame: FrameId(frame),
        offset: 0,
    };
    let (from, to) = (place(spare.0), place(spare.0 + 1));
    for _ in 0..SAMPLES {
        timed(&mut samples.copies, || machine.copy(from, to, PAGE));
    }
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
    samples
}

/// The time that `work` takes.
fn timed<R>(into: &mut Vec<u32>, work: impl FnOnce() -> R) -> R {
    let start = tsc();
    let result = work();
    into.push((tsc() - start).min(u64::from(u32::MAX)) as u32);
    result
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
