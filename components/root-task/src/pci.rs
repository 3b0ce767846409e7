//! Finding devices on the PCI bus, and reading their base address registers.
//!
//! Problem: firmware has numbered the buses and assigned addresses; a driver
//! must get exactly its device's windows, and never the configuration ports
//! with which it could reach every other device. Invariant: sizing leaves
//! every register as it was found, and nothing here believes a device further
//! than it can check (a bridge that points back is not followed for ever).

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;

/// Bytes of a page: windows are mapped whole.
const PAGE: u64 = 4096;

/// Bytes of the configuration space that a snapshot holds.
pub const CONFIG_BYTES: usize = 256;

const IDENTITY: u8 = 0x00;
const COMMAND: u8 = 0x04;
const HEADER: u8 = 0x0c;
const FIRST_BAR: u8 = 0x10;
const BUS_NUMBERS: u8 = 0x18;
const INTERRUPT: u8 = 0x3c;

const COMMAND_IO: u32 = 1 << 0;
const COMMAND_MEMORY: u32 = 1 << 1;
const COMMAND_BUS_MASTER: u32 = 1 << 2;
const COMMAND_NO_INTX: u32 = 1 << 10;

/// Reads and writes configuration space, a doubleword at a time.
pub trait ConfigSpace {
    /// Why the access failed.
    type Error;

    /// The doubleword at `offset`, a multiple of 4.
    ///
    /// # Errors
    /// The kernel's.
    fn read(&mut self, at: Function, offset: u8) -> Result<u32, Self::Error>;

    /// Writes the doubleword at `offset`, a multiple of 4.
    ///
    /// # Errors
    /// The kernel's.
    fn write(&mut self, at: Function, offset: u8, value: u32) -> Result<(), Self::Error>;
}

/// Where a function sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Function {
    /// Bus.
    pub bus: u8,
    /// Device, 0 to 31.
    pub device: u8,
    /// Function, 0 to 7.
    pub function: u8,
}

impl Function {
    /// What goes to port 0xcf8 to reach `offset` (mechanism 1).
    #[must_use]
    pub fn address(self, offset: u8) -> u32 {
        1 << 31
            | u32::from(self.bus) << 16
            | u32::from(self.device & 31) << 11
            | u32::from(self.function & 7) << 8
            | u32::from(offset & !3)
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus, self.device, self.function)
    }
}

/// A function that answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub at: Function,
    /// Vendor identity.
    pub vendor: u16,
    /// Device identity.
    pub device: u16,
}

/// What a base address register decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// Memory.
    Memory {
        /// Physical address.
        paddr: u64,
        /// Bytes, a power of two.
        bytes: u64,
    },
    /// I/O ports.
    Ports {
        /// First port.
        first: u16,
        /// Number of ports, a power of two.
        count: u16,
    },
}

/// All functions, in bus order, behind bridges too.
///
/// # Errors
/// Those of `config`.
pub fn enumerate<C: ConfigSpace>(config: &mut C) -> Result<Vec<Found>, C::Error> {
    let (mut found, mut buses) = (Vec::new(), Vec::from([0u8]));
    let mut seen = BTreeSet::from([0u8]);
    while let Some(bus) = buses.pop() {
        for device in 0..32 {
            for function in 0..8 {
                let at = Function {
                    bus,
                    device,
                    function,
                };
                let identity = config.read(at, IDENTITY)?;
                if identity as u16 == 0xffff {
                    if function == 0 {
                        break;
                    }
                    continue;
                }
                found.push(Found {
                    at,
                    vendor: identity as u16,
                    device: (identity >> 16) as u16,
                });
                let header = config.read(at, HEADER)? >> 16;
                if header & 0x7f == 1 {
                    let behind = (config.read(at, BUS_NUMBERS)? >> 8) as u8;
                    if seen.insert(behind) {
                        buses.push(behind);
                    }
                }
                if function == 0 && header & 0x80 == 0 {
                    break;
                }
            }
        }
    }
    found.sort_unstable_by_key(|f| f.at);
    Ok(found)
}

/// The function's base address registers; those that the firmware left
/// unassigned are `None`, as is the upper half of a 64-bit one. The function
/// decodes nothing while its registers are sized.
///
/// # Errors
/// Those of `config`.
pub fn bars<C: ConfigSpace>(config: &mut C, at: Function) -> Result<[Option<Bar>; 6], C::Error> {
    let mut bars = [None; 6];
    if config.read(at, HEADER)? >> 16 & 0x7f != 0 {
        return Ok(bars);
    }
    let command = config.read(at, COMMAND)? & 0xffff;
    config.write(at, COMMAND, command & !(COMMAND_IO | COMMAND_MEMORY))?;
    let mut n = 0;
    while n < 6 {
        let register = FIRST_BAR + 4 * n as u8;
        let (low, low_mask) = size(config, at, register)?;
        let wide = low & 1 == 0 && low >> 1 & 3 == 2 && n < 5;
        let (high, high_mask) = if wide {
            size(config, at, register + 4)?
        } else {
            (0, 0xffff_ffff)
        };
        bars[n] = decode(
            u64::from(high) << 32 | u64::from(low),
            u64::from(high_mask) << 32 | u64::from(low_mask),
        );
        n += if wide { 2 } else { 1 };
    }
    config.write(at, COMMAND, command)?;
    Ok(bars)
}

/// A register's value, and what it reads after all ones were written.
fn size<C: ConfigSpace>(
    config: &mut C,
    at: Function,
    register: u8,
) -> Result<(u32, u32), C::Error> {
    let value = config.read(at, register)?;
    config.write(at, register, 0xffff_ffff)?;
    let mask = config.read(at, register)?;
    config.write(at, register, value)?;
    Ok((value, mask))
}

/// What a register decodes, from its value and its mask, both 64 bits wide
/// (for a 32-bit one the upper half is 0 and all ones).
#[must_use]
pub fn decode(value: u64, mask: u64) -> Option<Bar> {
    if mask as u32 == 0 {
        return None;
    }
    if value & 1 != 0 {
        let first = (value & 0xfffc) as u16;
        let count = (!(mask as u16 & !3)).wrapping_add(1);
        return (first != 0 && count.is_power_of_two()).then_some(Bar::Ports { first, count });
    }
    let paddr = value & !0xf;
    let bytes = (!(mask & !0xf)).wrapping_add(1);
    let sane = paddr != 0 && bytes.is_power_of_two() && paddr & (bytes - 1) == 0;
    sane.then_some(Bar::Memory { paddr, bytes })
}

/// Bytes of a window of `bytes` at `paddr` that fit whole pages of `room` bytes;
/// `None` if not even its first page does.
#[must_use]
pub fn cut(paddr: u64, bytes: u64, room: u64) -> Option<u64> {
    let skipped = paddr % PAGE;
    let room = room - room % PAGE;
    (bytes != 0 && room > skipped).then(|| bytes.min(room - skipped))
}

/// Lets the function decode its windows, access memory by itself, and raise
/// its interrupt.
///
/// # Errors
/// Those of `config`.
pub fn enable<C: ConfigSpace>(config: &mut C, at: Function) -> Result<(), C::Error> {
    let command = config.read(at, COMMAND)? & 0xffff & !COMMAND_NO_INTX;
    let wanted = COMMAND_IO | COMMAND_MEMORY | COMMAND_BUS_MASTER;
    config.write(at, COMMAND, command | wanted)
}

/// Cuts the function off: no access to memory, no window, no interrupt.
///
/// # Errors
/// Those of `config`.
pub fn disable<C: ConfigSpace>(config: &mut C, at: Function) -> Result<(), C::Error> {
    let command = config.read(at, COMMAND)? & 0xffff;
    let off = COMMAND_IO | COMMAND_MEMORY | COMMAND_BUS_MASTER;
    config.write(at, COMMAND, command & !off | COMMAND_NO_INTX)
}

/// The interrupt line that the firmware chose; `None` if the function has no
/// interrupt or none was routed.
///
/// # Errors
/// Those of `config`.
pub fn interrupt_line<C: ConfigSpace>(
    config: &mut C,
    at: Function,
) -> Result<Option<u8>, C::Error> {
    let [line, pin, ..] = config.read(at, INTERRUPT)?.to_le_bytes();
    Ok((pin != 0 && line != 0 && line < 24).then_some(line))
}

/// The configuration space as it is now.
///
/// # Errors
/// Those of `config`.
pub fn snapshot<C: ConfigSpace>(
    config: &mut C,
    at: Function,
) -> Result<[u8; CONFIG_BYTES], C::Error> {
    let mut bytes = [0; CONFIG_BYTES];
    for (word, offset) in bytes.chunks_exact_mut(4).zip((0..=252).step_by(4)) {
        word.copy_from_slice(&config.read(at, offset)?.to_le_bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::convert::Infallible;
    use std::collections::BTreeMap;

    /// A function of the fake bus: registers, and which bits can be written.
    struct Registers {
        values: [u32; 64],
        writable: [u32; 64],
    }

    #[derive(Default)]
    struct Bus(BTreeMap<Function, Registers>);

    fn place(bus: u8, device: u8, function: u8) -> Function {
        Function {
            bus,
            device,
            function,
        }
    }

    impl Bus {
        fn add(&mut self, at: Function, identity: u32, header: u32) -> &mut Registers {
            let mut registers = Registers {
                values: [0; 64],
                writable: [0; 64],
            };
            registers.values[0] = identity;
            registers.values[1] = 0x0010_0003;
            registers.writable[1] = 0xffff;
            registers.values[3] = header << 16;
            self.0.entry(at).or_insert(registers)
        }
    }

    impl ConfigSpace for Bus {
        type Error = Infallible;

        fn read(&mut self, at: Function, offset: u8) -> Result<u32, Infallible> {
            let registers = self.0.get(&at);
            Ok(registers.map_or(u32::MAX, |r| r.values[offset as usize / 4]))
        }

        fn write(&mut self, at: Function, offset: u8, value: u32) -> Result<(), Infallible> {
            let registers = self.0.get_mut(&at).expect("a function that exists");
            let n = offset as usize / 4;
            let mask = registers.writable[n];
            registers.values[n] = registers.values[n] & !mask | value & mask;
            Ok(())
        }
    }

    #[test]
    fn functions_behind_bridges_are_found_once() {
        let mut bus = Bus::default();
        bus.add(place(0, 0, 0), 0x1237_8086, 0);
        bus.add(place(0, 1, 0), 0x7000_8086, 0x80);
        bus.add(place(0, 1, 3), 0x7113_8086, 0);
        bus.add(place(0, 3, 5), 0xdead_1111, 0); // no function 0: not there
        bus.add(place(0, 2, 0), 0x000c_1b36, 1).values[6] = 0x0007_0700;
        bus.add(place(7, 4, 0), 0x1041_1af4, 0);
        // A bridge that leads back where we came from.
        bus.add(place(7, 5, 0), 0x000c_1b36, 1).values[6] = 0x0007_0007;
        let found = enumerate(&mut bus).unwrap();
        let places: Vec<_> = found
            .iter()
            .map(|f| (f.at.bus, f.at.device, f.at.function))
            .collect();
        assert_eq!(
            places,
            [
                (0, 0, 0),
                (0, 1, 0),
                (0, 1, 3),
                (0, 2, 0),
                (7, 4, 0),
                (7, 5, 0)
            ]
        );
        assert_eq!((found[4].vendor, found[4].device), (0x1af4, 0x1041));
    }

    #[test]
    fn windows_are_sized_and_left_as_found() {
        let mut bus = Bus::default();
        let at = place(0, 3, 0);
        let registers = bus.add(at, 0x1041_1af4, 0);
        for (n, value, writable) in [
            (4, 0xc001, 0xffff_ffe0),
            (5, 0xfebd_1000, 0xffff_f000),
            (8, 0xfe00_000c, 0xffff_c000),
            (9, 0x0000_0001, 0xffff_ffff),
        ] {
            registers.values[n] = value;
            registers.writable[n] = writable;
        }
        let before = registers.values;
        let bars = bars(&mut bus, at).unwrap();
        let memory = |paddr, bytes| Some(Bar::Memory { paddr, bytes });
        let ports = Some(Bar::Ports {
            first: 0xc000,
            count: 32,
        });
        let expected = [
            ports,
            memory(0xfebd_1000, 4096),
            None,
            None,
            memory(0x1_fe00_0000, 16384),
            None,
        ];
        assert_eq!(bars, expected);
        assert_eq!(bus.0[&at].values, before);
    }

    #[test]
    fn windows_of_any_size_are_cut_to_the_room() {
        let (mib, paddr) = (1 << 20, 0xfe00_0000);
        assert_eq!(cut(paddr, 16384, mib), Some(16384));
        // With a page for the doorbell of each of 1024 queues.
        assert_eq!(cut(paddr, 8 * mib, mib), Some(mib));
        assert_eq!(cut(paddr, 1 << 40, 5 * PAGE + 5), Some(5 * PAGE));
        assert_eq!(cut(paddr + 16, 1 << 40, PAGE), Some(PAGE - 16));
        for (bytes, room) in [(0, mib), (16, 0), (16, PAGE - 1)] {
            assert_eq!(cut(paddr, bytes, room), None);
        }
    }

    #[test]
    fn registers_that_make_no_sense_are_no_window() {
        assert_eq!(decode(0, 0xffff_ffff_ffff_f000), None, "unassigned");
        assert_eq!(decode(0xfebd_1000, 0), None, "not there");
        assert_eq!(decode(0xfebd_1000, 0xffff_ffff_f0ff_f000), None, "holes");
        assert_eq!(
            decode(0xfebd_1000, 0xffff_ffff_ffff_c000),
            None,
            "misaligned"
        );
        assert_eq!(
            decode(0xc001, 0xffff_ffff_0000_fff1),
            Some(Bar::Ports {
                first: 0xc000,
                count: 16
            })
        );
    }

    #[test]
    fn a_device_is_switched_on_and_off() {
        let mut bus = Bus::default();
        let at = place(0, 3, 0);
        bus.add(at, 0x1041_1af4, 0).values[15] = 0x010b;
        assert_eq!(interrupt_line(&mut bus, at), Ok(Some(11)));
        enable(&mut bus, at).unwrap();
        assert_eq!(bus.0[&at].values[1] & 0x407, 7);
        disable(&mut bus, at).unwrap();
        assert_eq!(bus.0[&at].values[1] & 0x407, 0x400);
        bus.0.get_mut(&at).unwrap().values[15] = 0x01ff;
        assert_eq!(interrupt_line(&mut bus, at), Ok(None));
        assert_eq!(
            snapshot(&mut bus, at).unwrap()[..4],
            [0xf4, 0x1a, 0x41, 0x10]
        );
    }

    #[test]
    fn addresses_are_those_of_mechanism_1() {
        assert_eq!(place(1, 2, 3).address(0x3c), 0x8001_133c);
    }
}
