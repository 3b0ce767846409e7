//! Has its memory held, and faults where its I/O manager makes it.
//!
//! Tells the manager where its data, constants, stack, heap and data region
//! are, waits until the manager has looked at them and changed what it likes,
//! then uses them. In the end it faults where nobody can help. Where it is to be
//! idle it only faults, some time after it was told the end.
#![no_std]
#![no_main]

use core::hint::black_box;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, Ordering};

use component_runtime::{Component, Link, Protocol, Role, clock};
use shared_ring::SharedMemory;

component_runtime::entry!(main);

/// What is in the words that the manager is told of, plus their number.
const PATTERN: u64 = 0x6b65_7074_0000_0000;
/// Nanoseconds from the end to the fault.
const AFTER: u64 = 6_000_000_000;
static DATA: AtomicU64 = AtomicU64::new(PATTERN);
static CONSTANT: [u64; 1] = [PATTERN + 1];

fn main(component: &'static Component) -> ! {
    if component.config("idle").is_none()
        && let Err(why) = serve(component)
    {
        log::error!("kept ended: {why}");
    }
    log::info!("idle");
    let end = component
        .link_named("end")
        .filter(|_| clock::init(component));
    loop {
        let signals = component.wait();
        if let (Some(end), Some(timer)) = (end, component.timer())
            && signals & end.badge != 0
            && timer.sleep(component, AFTER).is_ok()
        {
            fault();
        }
    }
}

/// Faults in a way that nobody resolves.
fn fault() {
    // SAFETY: none is possible; the kernel stops it.
    unsafe { (black_box(8_usize) as *mut u64).write_volatile(1) };
}

fn serve(component: &'static Component) -> Result<(), &'static str> {
    let orders = component.link_named("orders").ok_or("no orders")?;
    let words = orders.data.ok_or("no memory for orders")?;
    let sockets = component.link(Protocol::Sockets, Role::Client);
    let region = sockets.and_then(|s| region_word(&s));
    let region = region.ok_or("no data region")?;
    let heap = component.memory("heap").ok_or("no heap")?;
    let stack = AtomicU64::new(PATTERN + 2);
    let heap = first_word(heap)?;
    heap.store(PATTERN + 3, Ordering::Relaxed);
    region.store(PATTERN + 4, Ordering::Relaxed);
    let addresses = [
        DATA.as_ptr() as u64,
        black_box(&CONSTANT).as_ptr() as u64,
        stack.as_ptr() as u64,
        heap.as_ptr() as u64,
        region.as_ptr() as u64,
    ];
    for (n, address) in addresses.into_iter().enumerate() {
        set(&words, 8 * n, address)?;
    }
    orders.signal();
    component.wait();
    log::info!("data {:#x}", DATA.load(Ordering::Relaxed));
    // Protected: the manager gives the right back.
    DATA.store(PATTERN + 10, Ordering::Relaxed);
    log::info!("written {:#x}", DATA.load(Ordering::Relaxed));
    // Gone: the manager puts another frame there.
    log::info!("replaced {:#x}", region.load(Ordering::Relaxed));
    // A large page, gone: the manager puts it back.
    log::info!("restored {:#x}", heap.load(Ordering::Relaxed));
    fault();
    Err("nobody minded")
}

/// The first word of the data region.
fn region_word(sockets: &Link) -> Option<&'static AtomicU64> {
    let word = NonNull::new(sockets.data_vaddr as *mut u64)?;
    // SAFETY: the region is mapped, zeroed, for good; `take_region` is not
    // called here, so nobody else has a hold on it.
    (sockets.data_bytes != 0).then(|| unsafe { AtomicU64::from_ptr(word.as_ptr()) })
}

fn set(words: &SharedMemory, offset: usize, value: u64) -> Result<(), &'static str> {
    let word = words.word64(offset).map_err(|_| "no such word")?;
    word.store(value, Ordering::Relaxed);
    Ok(())
}

/// The first word of the heap.
fn first_word(heap: &'static mut [u8]) -> Result<&'static AtomicU64, &'static str> {
    // SAFETY: any bytes are a word.
    let (_, words, _) = unsafe { heap.align_to_mut::<u64>() };
    let first = words.first_mut().ok_or("no heap")?;
    // SAFETY: this is the only reference, and it is given up for the atomic.
    Ok(unsafe { AtomicU64::from_ptr(first) })
}
