//! The host on the link: stack, services, cable and capture, without threads.
//!
//! Frames go in with [`Host::ingest`], time passes with [`Host::turn`], and
//! what is to be written to the link gathers in [`Host::take_out`]. What waits
//! there is bounded; frames over the bound are lost, as in a NIC, and counted.

use std::collections::VecDeque;
use std::fs::File;
use std::io::BufWriter;
use std::net::Ipv4Addr;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime};

use smoltcp::iface::{
    Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet,
};
use smoltcp::socket::tcp;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};

use crate::device::Queues;
use crate::dhcp::DhcpServer;
use crate::dns::DnsServer;
use crate::faults::Faults;
use crate::fragment::{Reassembly, fit};
use crate::framed::MAX_OUT;
use crate::link::enframe;
use crate::options::Options;
use crate::pcap::Pcap;
use crate::rng::Rng;
use crate::stats::Stats;
use crate::wire::{ETHERNET, Mac, TYPE_ARP, arp, ethernet};

/// How long a dropped connection may take to end before it is cut.
const ORPHAN_PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Host {
    pub iface: Interface,
    pub sockets: SocketSet<'static>,
    pub dhcp: Option<DhcpServer>,
    pub dns: Option<DnsServer>,
    pub to_guest: Faults,
    pub from_guest: Faults,
    pub stats: Stats,
    pub proxy_arp: bool,
    pub taps: Vec<Sender<Vec<u8>>>,
    pub link_up: bool,
    /// Nothing is taken from the link.
    pub stalled: bool,
    pub orphans: Vec<(Instant, SocketHandle)>,
    device: Queues,
    reassembly: Reassembly,
    pcap: Option<Pcap<BufWriter<File>>>,
    mac: Mac,
    mtu: usize,
    out: VecDeque<u8>,
    next_port: u16,
    epoch: Instant,
}

impl Host {
    pub fn new(options: &Options) -> std::io::Result<Self> {
        let mut device = Queues::default();
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(options.mac)));
        let mut rng = Rng::new(options.seed);
        config.random_seed = rng.bits();
        let mut iface = Interface::new(config, &mut device, smoltcp::time::Instant::ZERO);
        let own = IpCidr::new(IpAddress::Ipv4(options.address), options.prefix);
        iface.update_ip_addrs(|addresses| {
            // The list is empty and has room for at least one.
            let _ = addresses.push(own);
        });
        if let Some(router) = options.router {
            // As above: an empty table has room.
            let _ = iface.routes_mut().add_default_ipv4_route(router);
        }
        let (mac, address) = (options.mac, options.address);
        let pcap = options.pcap.as_deref().map(Pcap::create).transpose()?;
        Ok(Self {
            iface,
            sockets: SocketSet::new(Vec::new()),
            dhcp: options
                .dhcp
                .clone()
                .map(|config| DhcpServer::new(config, mac, address)),
            dns: options
                .dns
                .clone()
                .map(|config| DnsServer::new(config, mac, address)),
            to_guest: Faults::new(options.to_guest, rng.bits()),
            from_guest: Faults::new(options.from_guest, rng.bits()),
            stats: Stats::default(),
            proxy_arp: options.proxy_arp,
            taps: Vec::new(),
            link_up: false,
            stalled: false,
            orphans: Vec::new(),
            device,
            reassembly: Reassembly::default(),
            pcap,
            mac,
            mtu: options.mtu,
            out: VecDeque::new(),
            next_port: 49_152 + rng.below(8192) as u16,
            epoch: Instant::now(),
        })
    }

    /// The stack's time at `now`.
    fn stack_time(&self, now: Instant) -> smoltcp::time::Instant {
        let since = now.saturating_duration_since(self.epoch);
        smoltcp::time::Instant::from_micros(since.as_micros() as i64)
    }

    /// A local port that no recent connection had.
    pub fn ephemeral_port(&mut self) -> u16 {
        self.next_port = if self.next_port == u16::MAX {
            49_152
        } else {
            self.next_port + 1
        };
        self.next_port
    }

    /// A frame that came over the link.
    pub fn ingest(&mut self, frame: Vec<u8>, now: Instant) {
        self.stats.note_received(&frame);
        self.capture(&frame);
        self.taps.retain(|tap| tap.send(frame.clone()).is_ok());
        for frame in self.from_guest.pass(frame, now) {
            self.accept(frame);
        }
    }

    /// Services first, the stack for the rest.
    fn accept(&mut self, frame: Vec<u8>) {
        let proxied = if self.proxy_arp {
            self.answer_arp(&frame)
        } else {
            None
        };
        let answer = proxied
            .or_else(|| self.dhcp.as_mut()?.answer(&frame))
            .or_else(|| self.dns.as_mut()?.answer(&frame));
        match answer {
            Some(answer) => self.device.tx.push_back(answer),
            None => self.device.rx.extend(self.reassembly.take(frame)),
        }
    }

    /// Answers for every address that the asker does not ask for itself.
    fn answer_arp(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let (head, packet) = frame.split_at_checked(ETHERNET)?;
        let is_request = head[12..] == TYPE_ARP.to_be_bytes() && packet.get(6..8)? == [0, 1];
        let mac: Mac = *packet.get(8..14)?.first_chunk()?;
        let address = |at: usize| Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk::<4>()?));
        let (asker, asked) = (address(14)?, address(24)?);
        // A probe or an announcement of one's own address gets no answer.
        if !is_request || asker == asked || asker.is_unspecified() {
            return None;
        }
        let reply = arp(2, (self.mac, asked), (mac, asker));
        Some(ethernet(mac, self.mac, TYPE_ARP, &reply))
    }

    /// Lets time pass and the stack work.
    pub fn turn(&mut self, now: Instant) {
        self.ingress(now);
        self.egress(now);
    }

    /// Shows the stack what came in; its answers wait for [`Host::egress`].
    pub fn ingress(&mut self, now: Instant) {
        while let Some(frame) = self.from_guest.due(now) {
            self.accept(frame);
        }
        let time = self.stack_time(now);
        let mut next = || {
            self.iface
                .poll_ingress_single(time, &mut self.device, &mut self.sockets)
        };
        while !matches!(next(), PollIngressSingleResult::None) {}
    }

    /// Queues for the link whatever the stack has to send.
    pub fn egress(&mut self, now: Instant) {
        let time = self.stack_time(now);
        let mut next = || {
            self.iface
                .poll_egress(time, &mut self.device, &mut self.sockets)
        };
        while !matches!(next(), PollResult::None) {}
        while let Some(frame) = self.device.tx.pop_front() {
            for piece in fit(frame, self.mtu) {
                for frame in self.to_guest.pass(piece, now) {
                    self.put(&frame);
                }
            }
        }
        while let Some(frame) = self.to_guest.due(now) {
            self.put(&frame);
        }
        self.stats.fragments = self.reassembly.fragments;
        self.reap(now);
    }

    /// How long nothing will happen by itself.
    pub fn idle_for(&mut self, now: Instant) -> Option<Duration> {
        let time = self.stack_time(now);
        let stack = self
            .iface
            .poll_delay(time, &self.sockets)
            .map(Duration::from);
        let reaping = (!self.orphans.is_empty()).then_some(Duration::from_millis(50));
        let held = [self.from_guest.deadline(), self.to_guest.deadline()];
        let held = held
            .into_iter()
            .flatten()
            .map(|at| at.saturating_duration_since(now));
        held.chain(stack).chain(reaping).min()
    }

    /// Removes ended sockets that nobody holds, and cuts those that do not end.
    fn reap(&mut self, now: Instant) {
        let sockets = &mut self.sockets;
        self.orphans.retain(|(since, handle)| {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(*handle);
            let age = now.saturating_duration_since(*since);
            if age > ORPHAN_PATIENCE {
                socket.abort();
            }
            let ended = match socket.state() {
                tcp::State::TimeWait => true,
                // An aborted socket still has a reset to send.
                tcp::State::Closed => socket.remote_endpoint().is_none(),
                _ => false,
            };
            let gone = ended || age > 2 * ORPHAN_PATIENCE;
            if gone {
                sockets.remove(*handle);
            }
            !gone
        });
    }

    /// Whether a frame of `len` bytes can be queued now.
    pub fn has_room(&self, len: usize) -> bool {
        self.out.len() + len + 4 <= MAX_OUT
    }

    /// Queues a frame for the link, past stack, MTU and faults.
    pub fn put(&mut self, frame: &[u8]) {
        if !self.link_up || !self.has_room(frame.len()) {
            self.stats.lost_in_queue += 1;
            return;
        }
        self.stats.sent += 1;
        self.capture(frame);
        enframe(frame, &mut self.out);
    }

    /// The bytes that wait for the link, as the link takes them.
    pub fn take_out(&mut self) -> &mut VecDeque<u8> {
        &mut self.out
    }

    /// The link was lost: what waits for it is lost too.
    pub fn link_lost(&mut self) {
        self.link_up = false;
        self.out.clear();
    }

    fn capture(&mut self, frame: &[u8]) {
        let failed = self
            .pcap
            .as_mut()
            .is_some_and(|p| p.frame(SystemTime::now(), frame).is_err());
        if failed {
            // A full disk ends the capture, not the test; the file shows it.
            self.pcap = None;
            self.stats.capture_failed = true;
        }
    }

    /// Writes the capture out.
    pub fn flush_capture(&mut self) {
        self.stats.capture_failed |= self.pcap.as_mut().is_some_and(|pcap| pcap.flush().is_err());
    }
}
