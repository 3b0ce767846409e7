//! Holds the memory of clients in place of an I/O manager, and resolves faults.
//!
//! Looks at what the client `kept` says it has, through the windows onto its
//! memory; changes it, protects it, takes it away; resolves the faults that
//! follow, and passes on the one that it cannot resolve. Once that client is
//! dead its frames must still be there. In the end the manager faults itself.
#![no_std]
#![no_main]

use core::sync::atomic::Ordering;

use component_runtime::{
    ClientSpace, Component, Event, Fault, Holding, Owner, PageError, Protocol, Role,
};

component_runtime::entry!(main);

/// The client called `kept`.
const KEPT: u16 = 0;
const PATTERN: u64 = 0x6b65_7074_0000_0000;

fn main(component: &'static Component) -> ! {
    if let Err(why) = serve(component) {
        log::error!("keeper ended: {why}");
    }
    loop {
        component.recv();
    }
}

fn serve(component: &'static Component) -> Result<(), &'static str> {
    let orders = component.link_named("orders").ok_or("no orders")?;
    let lifecycle = component.link(Protocol::Lifecycle, Role::Client);
    let lifecycle = lifecycle.ok_or("no lifecycle")?;
    let mut told = false;
    loop {
        match component.recv() {
            Event::Signals(badge) if badge & orders.badge != 0 && !told => {
                told = true;
                let words = orders.data.ok_or("no memory for orders")?;
                prepare(component, |n| {
                    words.word64(8 * n).map_or(0, |w| w.load(Ordering::Relaxed))
                })?;
                orders.signal();
            }
            Event::Signals(badge) if badge & lifecycle.badge != 0 && told => break,
            Event::Signals(_) => {}
            Event::Call { .. } => return Err("a call"),
            Event::Fault(fault) => match resolve(component, &fault) {
                Ok(()) => component.resume(),
                Err(why) => {
                    log::info!("passes on a fault of client {}: {why}", fault.client);
                    component.forward_fault(&fault);
                }
            },
        }
    }
    outlive(component)?;
    log::info!("faults now");
    if let Some(end) = component.link_named("end") {
        end.signal();
    }
    // SAFETY: none is possible; this is how the manager dies.
    unsafe { core::arch::asm!("ud2") };
    Ok(())
}

/// The holding of the client with the address, and the offset there.
fn find(component: &Component, address: u64) -> Option<(Holding, u64)> {
    let mut holdings = component.holdings();
    let found = holdings.find(|h| {
        let end = h.vaddr + h.page * u64::from(h.pages);
        h.owner == Owner::Client(KEPT) && (h.vaddr..end).contains(&address)
    })?;
    Some((found, address - found.vaddr))
}

fn page_of(holding: &Holding, offset: u64) -> u32 {
    (offset / holding.page) as u32
}

fn space(component: &Component) -> Result<ClientSpace, &'static str> {
    let mut spaces = component.spaces();
    spaces.find(|s| s.client == KEPT).ok_or("no address space")
}

fn said(error: PageError) -> &'static str {
    match error {
        PageError::Number => "no such page",
        PageError::Kernel(_) => "the kernel refused",
    }
}

/// Looks at the words that the client names, then makes trouble.
fn prepare(component: &Component, address: impl Fn(usize) -> u64) -> Result<(), &'static str> {
    let mut seen = [0; 5];
    for (n, seen) in seen.iter_mut().enumerate() {
        let (holding, offset) = find(component, address(n)).ok_or("an address not held")?;
        let word = holding.window.word64(offset as usize);
        let value = word.map_err(|_| "no window")?.load(Ordering::Relaxed);
        let paddr = holding.paddr(page_of(&holding, offset)).map_err(said)?;
        log::info!(
            "word {n}: {value:#x}, writable {}, pages of {}",
            holding.writable,
            holding.page
        );
        if value != PATTERN + n as u64 || paddr == 0 || !paddr.is_multiple_of(holding.page) {
            return Err("a wrong word");
        }
        *seen = paddr;
    }
    log::info!("all words right, at {seen:x?}");
    let space = space(component)?;
    let (data, offset) = find(component, address(0)).ok_or("no data")?;
    let word = data.window.word64(offset as usize);
    word.map_err(|_| "no window")?
        .store(PATTERN + 9, Ordering::Relaxed);
    data.protect(page_of(&data, offset), space, false)
        .map_err(said)?;
    for n in [3, 4] {
        let (holding, offset) = find(component, address(n)).ok_or("no heap")?;
        holding.unmap(page_of(&holding, offset)).map_err(said)?;
    }
    Ok(())
}

fn reserve(component: &Component) -> Result<Holding, &'static str> {
    let mut holdings = component.holdings();
    let reserve = holdings.find(|h| h.owner == Owner::Reserve);
    reserve.ok_or("no reserve")
}

fn resolve(component: &Component, fault: &Fault) -> Result<(), &'static str> {
    let access = fault.access().ok_or("not about memory")?;
    let (holding, offset) = find(component, access.address).ok_or("not held")?;
    let (space, page) = (space(component)?, page_of(&holding, offset));
    log::info!(
        "fault at {:#x}, write {}, present {}",
        access.address,
        access.write,
        access.present
    );
    let at = holding.vaddr + u64::from(page) * holding.page;
    if access.present {
        return holding.protect(page, space, true).map_err(said);
    }
    if holding.page != 4096 {
        return holding.map(page, space, at, holding.writable).map_err(said);
    }
    let reserve = reserve(component)?;
    let last = reserve.pages - 1;
    let word = reserve.window.word64(last as usize * 4096);
    word.map_err(|_| "no window")?
        .store(PATTERN + 11, Ordering::Relaxed);
    reserve.map(last, space, at, true).map_err(said)
}

/// The client is dead: its frames are still there, and can be unmapped.
fn outlive(component: &Component) -> Result<(), &'static str> {
    let space = space(component)?;
    let (mut pages, mut words) = (0, 0);
    for holding in component.holdings() {
        if holding.owner != Owner::Client(KEPT) {
            continue;
        }
        for page in 0..holding.pages {
            holding.unmap(page).map_err(said)?;
            pages += 1;
        }
        for at in (0..holding.window.len()).step_by(8) {
            let word = holding.window.word64(at).map_err(|_| "no window")?;
            words += u32::from(word.load(Ordering::Relaxed) == PATTERN + 10);
        }
        if holding.map(0, space, holding.vaddr, false).is_ok() {
            return Err("mapped a page in a dead client");
        }
    }
    log::info!("outlived: {pages} pages, {words} words");
    Ok(())
}
