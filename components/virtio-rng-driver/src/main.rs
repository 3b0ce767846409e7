//! The entropy service as a component.
//!
//! Waits for the first bytes of the device, then answers calls; every answer
//! draws on what each source has to offer by then.
#![no_std]
#![no_main]

use component_runtime::{Component, Event, counters};
use monitor_api::Counter;
use service_api::entropy;
use virtio_queue::{DmaSpan, PciTransport};
use virtio_rng_driver::cpu::{self, Rdrand};
use virtio_rng_driver::{Pool, REQUEST_BYTES, Rng};

component_runtime::entry!(main);

/// Time-stamp counts, a second or less, that the device has for its first
/// answer.
const PATIENCE: u64 = 1_000_000_000;

struct Service {
    pool: Pool,
    device: Option<Rng<PciTransport>>,
    rdrand: Option<Rdrand>,
    answers: Counter,
    device_bytes: Counter,
    device_errors: Counter,
}

/// The device, or why there is none.
fn find_device(component: &Component) -> Result<Rng<PciTransport>, &'static str> {
    let device = component.devices().next().ok_or("no device was granted")?;
    let (memory, paddr) = component.dma("dma").ok_or("no dma memory was granted")?;
    let window = |bar| device.bar(bar).and_then(|w| w.memory());
    let transport = PciTransport::new(device.config_space, window).map_err(|e| {
        log::warn!("{e}");
        "not usable"
    })?;
    Rng::new(transport, DmaSpan { memory, paddr }).map_err(|e| {
        log::warn!("{e}");
        "not usable"
    })
}

impl Service {
    fn new(component: &Component) -> Self {
        let page = counters(component);
        let counter = |name| page.map_or_else(Counter::detached, |p| p.counter(name));
        let device = find_device(component);
        if let Err(why) = &device {
            log::warn!("no entropy device: {why}");
        }
        Self {
            pool: Pool::new(),
            device: device.ok(),
            rdrand: Rdrand::find(),
            answers: counter("answers"),
            device_bytes: counter("device.bytes"),
            device_errors: counter("device.errors"),
        }
    }

    /// Mixes in what the device has; how many bytes.
    fn feed_from_device(&mut self) -> usize {
        let mut bytes = [0; REQUEST_BYTES];
        let Some(device) = &mut self.device else {
            return 0;
        };
        match device.take(&mut bytes) {
            Ok(len) => {
                self.pool.mix(bytes.get(..len).unwrap_or(&[]));
                self.device_bytes.add(len as u64);
                len
            }
            Err(error) => {
                log::error!("{error}; switched off");
                self.device_errors.add(1);
                self.device = None;
                0
            }
        }
    }

    /// Fills the pool from every source before the first answer.
    fn seed(&mut self) {
        let (start, mut bytes) = (cpu::tsc(), 0);
        while self.device.is_some()
            && bytes < REQUEST_BYTES
            && cpu::tsc().wrapping_sub(start) < PATIENCE
        {
            bytes += self.feed_from_device();
            core::hint::spin_loop();
        }
        let pool = &mut self.pool;
        let rdrand = self.rdrand.is_some_and(|r| r.feed(pool));
        cpu::feed_jitter(pool);
        if bytes < 32 && !rdrand {
            log::warn!("entropy from timing jitter only: numbers may be guessable");
        } else {
            let has = if rdrand { "and RDRAND" } else { "no RDRAND" };
            log::info!("{bytes} bytes of the device, {has}");
        }
    }

    fn answer(&mut self) -> [u64; 4] {
        self.feed_from_device();
        if let Some(rdrand) = self.rdrand {
            rdrand.feed(&mut self.pool);
        }
        self.pool.mix(&cpu::tsc().to_le_bytes());
        self.answers.add(1);
        let seed = self.pool.draw();
        let mut words = [0; entropy::SEED_WORDS];
        for (word, bytes) in words.iter_mut().zip(seed.chunks_exact(8)) {
            let mut le = [0; 8];
            le.copy_from_slice(bytes);
            *word = u64::from_le_bytes(le);
        }
        words
    }
}

fn main(component: &'static Component) -> ! {
    let mut service = Service::new(component);
    service.seed();
    loop {
        if let Event::Call { info, .. } = component.recv() {
            match info.label() {
                entropy::LABEL_SEED => component.reply(service.answer()),
                _ => component.reply_with_label(entropy::REPLY_REFUSED, [0; 4]),
            }
        }
    }
}
