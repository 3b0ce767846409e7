//! What the driver counts.

use monitor_api::{Counter, CounterPage};

/// The driver's numbers, by the name they have in the serial monitor.
#[derive(Clone, Copy, Debug)]
pub struct Counters {
    /// `rx.frames`: frames handed to the manager.
    pub rx_frames: Counter,
    /// `rx.bytes`: their bytes, Ethernet headers included.
    pub rx_bytes: Counter,
    /// `rx.runt`: frames without a whole Ethernet header or longer than
    /// the MTU allows, dropped.
    pub rx_runt: Counter,
    /// `rx.no-room`: frames dropped since the manager's ring had no room.
    pub rx_no_room: Counter,
    /// `tx.frames`: frames handed to the device.
    pub tx_frames: Counter,
    /// `tx.bytes`: their bytes.
    pub tx_bytes: Counter,
    /// `tx.no-room`: sent frames of which the manager's ring had no room to
    /// tell.
    pub tx_no_room: Counter,
    /// `device.errors`: completions that contradict the books.
    pub device_errors: Counter,
    /// `manager.refused`: entries of the manager that were refused.
    pub manager_refused: Counter,
    /// `irqs`: interrupts taken.
    pub irqs: Counter,
    /// `signals`: signals sent to the manager.
    pub signals: Counter,
    /// `doorbells`: notifications of the device.
    pub doorbells: Counter,
    /// `rx.posted`, a gauge: receive buffers on the driver's side.
    pub rx_posted: Counter,
    /// `tx.in-flight`, a gauge: frames that the device is sending.
    pub tx_in_flight: Counter,
    /// `link.up`, a gauge: 1 or 0.
    pub link_up: Counter,
}

impl Counters {
    /// Registers all of them in `page`; without a page they go nowhere.
    #[must_use]
    pub fn new(page: Option<CounterPage>) -> Self {
        let counter = |name| page.map_or_else(Counter::detached, |p| p.counter(name));
        let gauge = |name| page.map_or_else(Counter::detached, |p| p.gauge(name));
        Self {
            rx_frames: counter("rx.frames"),
            rx_bytes: counter("rx.bytes"),
            rx_runt: counter("rx.runt"),
            rx_no_room: counter("rx.no-room"),
            tx_frames: counter("tx.frames"),
            tx_bytes: counter("tx.bytes"),
            tx_no_room: counter("tx.no-room"),
            device_errors: counter("device.errors"),
            manager_refused: counter("manager.refused"),
            irqs: counter("irqs"),
            signals: counter("signals"),
            doorbells: counter("doorbells"),
            rx_posted: gauge("rx.posted"),
            tx_in_flight: gauge("tx.in-flight"),
            link_up: gauge("link.up"),
        }
    }
}
