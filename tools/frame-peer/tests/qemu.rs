//! The link as QEMU speaks it: a guest without any software of ours, the boot
//! firmware, asks for an address and for a file over it.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use frame_peer::{Options, Peer};

const GIVEN: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const BOOT: Duration = Duration::from_secs(60);

struct Qemu(Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn boot(socket: &Path, server: &str) -> Qemu {
    let netdev = format!(
        "stream,id=n0,server={server},addr.type=unix,addr.path={}",
        socket.display()
    );
    let child = Command::new("qemu-system-x86_64")
        .args([
            "-accel",
            "tcg",
            "-nodefaults",
            "-display",
            "none",
            "-m",
            "64",
            "-boot",
            "n",
        ])
        .args(["-netdev", &netdev, "-device", "virtio-net-pci,netdev=n0"])
        .stdin(Stdio::null())
        .spawn();
    Qemu(child.unwrap())
}

fn firmware_gets_its_address(peer: &Peer) {
    assert!(
        peer.wait_dhcp(BOOT, |stats| stats.acks > 0),
        "{:?}",
        peer.dhcp_stats()
    );
    // With its address it looks for the boot server: an ARP request for us.
    assert!(
        peer.wait_stats(BOOT, |stats| stats.arp_requests > 0),
        "{:?}",
        peer.stats()
    );
    assert_ne!(peer.resolve(GIVEN, BOOT).unwrap(), peer.mac());
}

#[test]
fn qemu_connects_to_the_peer() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("link");
    let peer = Peer::listen(&socket, &Options::default().with_dhcp(GIVEN)).unwrap();
    let _qemu = boot(&socket, "off");
    firmware_gets_its_address(&peer);
}

#[test]
fn the_peer_connects_to_qemu() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("link");
    let _qemu = boot(&socket, "on");
    let peer = Peer::connect(&socket, &Options::default().with_dhcp(GIVEN), BOOT).unwrap();
    firmware_gets_its_address(&peer);
}
