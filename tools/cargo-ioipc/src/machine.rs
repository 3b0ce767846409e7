//! The machine that images run on, as QEMU arguments.
//!
//! Problem: the kernel, the drivers and the tests each depend on details of
//! the machine: which processor features the kernel was configured for, which
//! PCI slots share an interrupt line, which devices have option ROMs. They are
//! all decided here.
//!
//! Invariant: the devices that take interrupts are in slots whose INTx lines
//! reach different interrupt inputs.

use std::ffi::OsString;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use frame_peer::relay::Conditions;

use crate::{Subnet, tap};

/// Processor: what the kernel's configuration needs, and RDRAND.
const CPU: &str = "Nehalem,+fsgsbase,+pdpe1gb,+syscall,+lm,+rdrand";
/// PCI slot of the network device.
const NIC_SLOT: u8 = 3;
/// PCI slot of the entropy device.
const RNG_SLOT: u8 = 5;
/// I/O port that ends the emulator: writing `v` makes its exit status
/// `2 v + 1`.
pub const EXIT_PORT: u16 = 0xf4;

/// How instructions are executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accel {
    /// Translated; works everywhere.
    #[default]
    Tcg,
    /// By the processor; needs `/dev/kvm`.
    Kvm,
}

/// Transport protocol of a forwarded port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
        })
    }
}

/// A port of the host's loopback interface that leads into the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// UDP or TCP.
    pub transport: Transport,
    /// Port on 127.0.0.1; 0 means any that is free.
    pub host: u16,
    /// Port in the system.
    pub guest: u16,
}

/// What is at the other end of the network device's wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Net {
    /// QEMU's user network, with the system's forwards.
    #[default]
    User,
    /// passt, likewise, with windows and room for connections that wait.
    Passt,
    /// A process that listens on a TCP socket (`HOST:PORT`); each frame goes
    /// behind its length as a big-endian 32-bit word.
    Socket(String),
    /// The same over a Unix stream socket.
    Unix(PathBuf),
    /// The host's TAP device of this name, with all the offloads it has.
    Tap(String),
    /// Nothing: the machine has no network device.
    None,
}

impl std::str::FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "user" => Ok(Self::User),
            None if text == "none" => Ok(Self::None),
            None if text == "passt" => Ok(Self::Passt),
            Some(("socket", peer)) if peer.contains(':') => Ok(Self::Socket(peer.to_owned())),
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            Some(("tap", name)) if tap::is_name(name) => Ok(Self::Tap(name.to_owned())),
            _ => Err(
                "expected user, passt, none, socket:HOST:PORT, unix:PATH or tap:NAME".to_owned(),
            ),
        }
    }
}

/// Everything about the machine that varies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Memory in MiB.
    pub memory_mib: u32,
    /// How instructions are executed.
    pub accel: Accel,
    /// The wire's other end.
    pub net: Net,
    /// Hardware address of the network device.
    pub mac: [u8; 6],
    /// The system's own address, if it is known: where a host on its wire
    /// reaches it.
    pub address: Option<Ipv4Addr>,
    /// What the user network, or passt's, looks like.
    pub subnet: Subnet,
    /// Where the emulator listens for passt.
    pub socket: Option<PathBuf>,
    /// Ports that lead into the system; only the user network and passt have
    /// them.
    pub forwards: Vec<Forward>,
    /// File that every frame is recorded in.
    pub pcap: Option<PathBuf>,
    /// What the wire does to frames; nothing if there is none.
    pub wire: Option<Conditions>,
    /// Further arguments for QEMU, after ours.
    pub extra: Vec<OsString>,
}

impl Machine {
    /// The arguments of `qemu-system-x86_64` for this machine with serial
    /// port 1 on its standard input and output. Forwards must have host ports.
    #[must_use]
    pub fn arguments(&self, kernel: &Path, image: &Path) -> Vec<OsString> {
        let mut list: Vec<OsString> = Vec::new();
        let mut add = |words: &[&str]| list.extend(words.iter().map(OsString::from));
        add(&["-nodefaults", "-no-user-config", "-no-reboot"]);
        add(&["-machine", "pc", "-display", "none", "-cpu", CPU]);
        add(&["-accel", self.accel.name()]);
        add(&["-m", &format!("{}M", self.memory_mib)]);
        add(&["-chardev", "stdio,id=serial0,signal=off"]);
        add(&["-serial", "chardev:serial0"]);
        let exit = format!("isa-debug-exit,iobase={EXIT_PORT:#x},iosize=0x04");
        add(&["-device", &exit]);
        let rng = format!("virtio-rng-pci,disable-legacy=on,vectors=0,addr={RNG_SLOT}");
        add(&["-device", &rng]);
        if let Some(netdev) = self.netdev() {
            let nic = format!(
                "virtio-net-pci,netdev=n0,mac={},romfile=,disable-legacy=on,vectors=0,addr={NIC_SLOT}",
                mac_text(self.mac)
            );
            add(&["-netdev", &netdev, "-device", &nic]);
            if let Some(file) = &self.pcap {
                let file = escaped(&file.to_string_lossy());
                let dump = format!("filter-dump,id=dump0,netdev=n0,file={file}");
                add(&["-object", &dump]);
            }
        }
        list.extend(["-kernel".into(), kernel.into()]);
        list.extend(["-initrd".into(), escaped(&image.to_string_lossy()).into()]);
        list.extend(self.extra.iter().cloned());
        list
    }

    /// The network backend, or `None` if there is no network device.
    fn netdev(&self) -> Option<String> {
        match &self.net {
            Net::None => None,
            Net::User => {
                let mut text = format!("user,id=n0{}", user_network(&self.subnet));
                for forward in &self.forwards {
                    text.push_str(&format!(
                        ",hostfwd={}:127.0.0.1:{}-{}:{}",
                        forward.transport, forward.host, self.subnet.own, forward.guest
                    ));
                }
                Some(text)
            }
            Net::Passt => self.socket.as_ref().map(|path| {
                let path = escaped(&path.to_string_lossy());
                format!("stream,id=n0,server=on,addr.type=unix,addr.path={path}")
            }),
            Net::Socket(peer) => Some(format!("socket,id=n0,connect={peer}")),
            Net::Unix(path) => Some(format!(
                "stream,id=n0,server=off,addr.type=unix,addr.path={}",
                escaped(&path.to_string_lossy())
            )),
            // With headers that say what is left to do, the device offers
            // checksum and segmentation offloads. Ours to process, not the
            // kernel's: only then is it the same device as on other wires.
            Net::Tap(name) => Some(format!(
                "tap,id=n0,ifname={},script=no,downscript=no,vnet_hdr=on,vhost=off",
                escaped(name)
            )),
        }
    }
}

/// What the user network has to be told to be `subnet`. Its DHCP server gives
/// away the system's address and those behind it.
fn user_network(subnet: &Subnet) -> String {
    if *subnet == Subnet::default() {
        return String::new();
    }
    let Subnet {
        own,
        prefix,
        router,
        names,
    } = subnet;
    let base = subnet.base();
    format!(",net={base}/{prefix},host={router},dns={names},dhcpstart={own}")
}

impl Accel {
    fn name(self) -> &'static str {
        match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
        }
    }
}

/// QEMU separates options with commas and takes a doubled one literally.
pub(crate) fn escaped(value: &str) -> String {
    value.replace(',', ",,")
}

/// A hardware address as people write it.
#[must_use]
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Interrupt input that INTA of a PCI slot reaches: the chipset rotates
    /// four lines by slot, the firmware puts two on each of inputs 10 and 11.
    fn interrupt_input(slot: u8) -> u8 {
        [10, 10, 11, 11][usize::from((slot - 1) % 4)]
    }

    fn machine() -> Machine {
        Machine {
            memory_mib: 256,
            accel: Accel::Tcg,
            net: Net::User,
            mac: [2, 0, 0, 0, 0, 0xab],
            address: None,
            subnet: Subnet::default(),
            socket: None,
            forwards: vec![Forward {
                transport: Transport::Udp,
                host: 4000,
                guest: 7,
            }],
            pcap: None,
            wire: None,
            extra: vec!["-plugin".into()],
        }
    }

    fn text(machine: &Machine) -> String {
        let list = machine.arguments(Path::new("k"), Path::new("a,b"));
        let words: Vec<_> = list.iter().map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    #[test]
    fn devices_do_not_share_an_interrupt() {
        assert_ne!(interrupt_input(NIC_SLOT), interrupt_input(RNG_SLOT));
    }

    #[test]
    fn arguments_carry_what_was_asked_for() {
        let text = text(&machine());
        assert!(text.contains("-netdev user,id=n0,hostfwd=udp:127.0.0.1:4000-10.0.2.15:7 "));
        assert!(text.contains("mac=02:00:00:00:00:ab,"));
        assert!(text.contains("-initrd a,,b"));
        assert!(text.ends_with(" -plugin"));
    }

    #[test]
    fn the_user_network_fits_the_system_and_forwards_go_to_it() {
        let (own, gateway) = (
            Ipv4Addr::new(192, 168, 7, 20),
            Ipv4Addr::new(192, 168, 7, 1),
        );
        let text = text(&Machine {
            subnet: Subnet::around(Some((own, 24)), Some(gateway), &[]),
            ..machine()
        });
        let netdev = "-netdev user,id=n0,net=192.168.7.0/24,host=192.168.7.1,dns=192.168.7.3,\
                      dhcpstart=192.168.7.20,hostfwd=udp:127.0.0.1:4000-192.168.7.20:7 ";
        assert!(text.contains(netdev), "{text}");
    }

    #[test]
    fn without_a_network_there_is_no_network_device() {
        let text = text(&Machine {
            net: Net::None,
            ..machine()
        });
        assert!(!text.contains("virtio-net"));
    }

    #[test]
    fn a_tap_device_comes_with_its_offloads_and_is_the_emulators() {
        let text = text(&Machine {
            net: Net::Tap("a,b".to_owned()),
            ..machine()
        });
        let netdev = "-netdev tap,id=n0,ifname=a,,b,script=no,downscript=no,vnet_hdr=on,vhost=off ";
        assert!(text.contains(netdev), "{text}");
        assert!(!text.contains("hostfwd"));
    }

    #[test]
    fn the_emulator_listens_for_passt() {
        let text = text(&Machine {
            net: Net::Passt,
            socket: Some("/a,b/wire".into()),
            ..machine()
        });
        let netdev = "-netdev stream,id=n0,server=on,addr.type=unix,addr.path=/a,,b/wire ";
        assert!(text.contains(netdev), "{text}");
        assert!(!text.contains("hostfwd"));
    }

    #[test]
    fn wires_are_named_as_documented() {
        assert_eq!("user".parse(), Ok(Net::User));
        assert_eq!("passt".parse(), Ok(Net::Passt));
        assert_eq!("unix:/a".parse(), Ok(Net::Unix("/a".into())));
        assert_eq!(
            "socket:127.0.0.1:9".parse(),
            Ok(Net::Socket("127.0.0.1:9".to_owned()))
        );
        assert!("socket:9".parse::<Net>().is_err());
        assert_eq!("tap:tap0".parse(), Ok(Net::Tap("tap0".to_owned())));
        for bad in ["tap", "tap:", "tap:a/b", "tap:much-too-long-a-name"] {
            assert!(bad.parse::<Net>().is_err(), "{bad}");
        }
    }
}
