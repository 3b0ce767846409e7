//! A 16550 serial port with a bounded queue before it.
//!
//! Problem: the line is slow, each register access is a system call, and the
//! other end may have stopped reading. Invariant: no operation here waits for
//! the line longer than a bounded number of looks; what finds no room in the
//! queue by then is dropped and counted.

use core::fmt;

use heapless::Deque;

/// Bytes that wait for the line, at most.
const QUEUE: usize = 4096;
/// Bytes of the transmit FIFO.
const FIFO: usize = 16;
/// Looks at the line for each time that the queue is full.
const PATIENCE: u32 = 20_000;

// Register offsets, and with the divisor latch open the last two.
const DATA: u16 = 0;
const INTERRUPTS: u16 = 1;
const IDENTIFY: u16 = 2;
const FIFO_CONTROL: u16 = 2;
const LINE_CONTROL: u16 = 3;
const MODEM_CONTROL: u16 = 4;
const LINE_STATUS: u16 = 5;
const DIVISOR_LOW: u16 = 0;
const DIVISOR_HIGH: u16 = 1;

const ON_RECEIVED: u8 = 1;
const ON_SENT: u8 = 2;
const NOTHING_PENDING: u8 = 1;
const HAS_BYTE: u8 = 1;
const CAN_SEND: u8 = 1 << 5;

/// The eight ports of a UART.
pub trait Ports {
    /// Reads the register at `offset`.
    fn read(&self, offset: u16) -> u8;
    /// Writes the register at `offset`.
    fn write(&self, offset: u16, value: u8);
}

/// The port.
#[derive(Debug)]
pub struct Uart<P> {
    ports: P,
    queue: Deque<u8, QUEUE>,
    interrupts: u8,
    /// The line was waited for in vain and has not moved since.
    stalled: bool,
    dropped: u64,
}

impl<P: Ports> Uart<P> {
    /// Sets the port up: 115200 bits a second, 8 bits, no parity, interrupts
    /// on received bytes.
    pub fn new(ports: P) -> Self {
        for (register, value) in [
            (INTERRUPTS, 0),
            (LINE_CONTROL, 0x80),
            (DIVISOR_LOW, 1),
            (DIVISOR_HIGH, 0),
            (LINE_CONTROL, 3),
            (FIFO_CONTROL, 7),
            // Ready, request to send, interrupts through to the controller.
            (MODEM_CONTROL, 0xb),
            (INTERRUPTS, ON_RECEIVED),
        ] {
            ports.write(register, value);
        }
        Self {
            ports,
            queue: Deque::new(),
            interrupts: ON_RECEIVED,
            stalled: false,
            dropped: 0,
        }
    }

    /// Bytes that the queue has room for.
    #[must_use]
    pub fn room(&self) -> usize {
        QUEUE - self.queue.len()
    }

    /// Bytes dropped since the line did not take them.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// A received byte, if there is one.
    pub fn receive(&mut self) -> Option<u8> {
        (self.ports.read(LINE_STATUS) & HAS_BYTE != 0).then(|| self.ports.read(DATA))
    }

    /// Whether the port still says why it interrupted. It must not any more
    /// before the next interrupt can come: its line is edge triggered.
    pub fn pending(&mut self) -> bool {
        self.ports.read(IDENTIFY) & NOTHING_PENDING == 0
    }

    /// Sends what the line takes now, and asks for an interrupt if something
    /// stays.
    pub fn pump(&mut self) {
        while !self.queue.is_empty() && self.send_some() {}
        let wanted = match self.queue.is_empty() {
            true => ON_RECEIVED,
            false => ON_RECEIVED | ON_SENT,
        };
        if wanted != self.interrupts {
            self.interrupts = wanted;
            self.ports.write(INTERRUPTS, wanted);
        }
    }

    /// Sends everything, if the line takes it in a bounded time.
    pub fn flush(&mut self) {
        self.drain_to(0);
    }

    /// Fills the transmit FIFO if it is empty; false if it is not.
    fn send_some(&mut self) -> bool {
        if self.ports.read(LINE_STATUS) & CAN_SEND == 0 {
            return false;
        }
        for _ in 0..FIFO {
            let Some(byte) = self.queue.pop_front() else {
                break;
            };
            self.ports.write(DATA, byte);
        }
        self.stalled = false;
        true
    }

    fn drain_to(&mut self, level: usize) {
        let mut patience = if self.stalled { 1 } else { PATIENCE };
        while self.queue.len() > level {
            if self.send_some() {
                continue;
            }
            patience -= 1;
            if patience == 0 {
                self.stalled = true;
                return;
            }
        }
    }

    fn put(&mut self, byte: u8) {
        if self.queue.is_full() {
            self.drain_to(QUEUE / 2);
        }
        if self.queue.push_back(byte).is_err() {
            self.dropped += 1;
        }
    }
}

impl<P: Ports> fmt::Write for Uart<P> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.put(b'\r');
            }
            self.put(byte);
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use fmt::Write;
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::rc::Rc;

    /// A port whose line takes `accepts` bytes, and then no more.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Fake(pub(crate) Rc<RefCell<State>>);

    #[derive(Debug, Default)]
    pub(crate) struct State {
        pub(crate) sent: Vec<u8>,
        pub(crate) typed: VecDeque<u8>,
        pub(crate) accepts: usize,
        pub(crate) looks: usize,
        pub(crate) enabled: u8,
        latch: bool,
    }

    pub(crate) fn port(accepts: usize) -> Fake {
        let fake = Fake::default();
        fake.0.borrow_mut().accepts = accepts;
        fake
    }

    impl Ports for Fake {
        fn read(&self, offset: u16) -> u8 {
            let mut state = self.0.borrow_mut();
            state.looks += 1;
            match offset {
                DATA => state.typed.pop_front().expect("a byte"),
                LINE_STATUS => {
                    let can_send = state.sent.len() < state.accepts;
                    (u8::from(can_send) * CAN_SEND) | u8::from(!state.typed.is_empty())
                }
                IDENTIFY => u8::from(state.typed.is_empty()),
                _ => 0,
            }
        }

        fn write(&self, offset: u16, value: u8) {
            let mut state = self.0.borrow_mut();
            match offset {
                LINE_CONTROL => state.latch = value & 0x80 != 0,
                DATA if !state.latch => state.sent.push(value),
                INTERRUPTS if !state.latch => state.enabled = value,
                _ => {}
            }
        }
    }

    #[test]
    fn text_leaves_with_line_ends() {
        let fake = port(usize::MAX);
        let mut uart = Uart::new(fake.clone());
        write!(uart, "a line\nand {}", 7).unwrap();
        assert!(fake.0.borrow().sent.is_empty());
        uart.pump();
        assert_eq!(fake.0.borrow().sent, b"a line\r\nand 7");
        assert_eq!(fake.0.borrow().enabled, ON_RECEIVED);
    }

    #[test]
    fn a_slow_line_interrupts_when_it_is_ready() {
        let fake = port(16);
        let mut uart = Uart::new(fake.clone());
        write!(uart, "{:40}", "x").unwrap();
        uart.pump();
        assert_eq!(fake.0.borrow().sent.len(), 16);
        assert_eq!(fake.0.borrow().enabled, ON_RECEIVED | ON_SENT);
        fake.0.borrow_mut().accepts = 100;
        uart.pump();
        assert_eq!(fake.0.borrow().sent.len(), 40);
        assert_eq!(fake.0.borrow().enabled, ON_RECEIVED);
    }

    #[test]
    fn a_dead_line_costs_a_bounded_time_once() {
        let fake = port(0);
        let mut uart = Uart::new(fake.clone());
        for _ in 0..20_000 {
            uart.write_str("x").unwrap();
        }
        assert_eq!(uart.dropped(), 20_000 - QUEUE as u64);
        let looks = fake.0.borrow().looks;
        assert!(looks < PATIENCE as usize + 20_000, "{looks}");
        uart.flush();
        fake.0.borrow_mut().accepts = usize::MAX;
        uart.flush();
        assert_eq!(fake.0.borrow().sent.len(), QUEUE);
        write!(uart, "{:5000}", "y").unwrap();
        uart.flush();
        assert_eq!(fake.0.borrow().sent.len(), QUEUE + 5000, "it recovered");
    }
}
