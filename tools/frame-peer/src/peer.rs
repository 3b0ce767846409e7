//! The peer: a link, a host on it, and handles for tests.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::dhcp::{DhcpConfig, DhcpStats};
use crate::dns::DnsConfig;
use crate::engine::{Engine, Shared};
use crate::faults::FaultRates;
use crate::host::Host;
use crate::link::{Deframer, MAX_FRAME};
use crate::options::Options;
use crate::stats::Stats;
use crate::tcp::{TcpAcceptor, TcpHandle};
use crate::udp::UdpHandle;
use crate::wire::{
    BROADCAST, Ipv4, Located, Mac, PROTO_ICMP, TYPE_ARP, TYPE_IPV4, arp, ethernet, icmp,
};

/// A host on the other end of a guest's link. Dropped, it leaves the link.
pub struct Peer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    mac: Mac,
    address: Ipv4Addr,
}

impl Peer {
    /// Waits at a Unix socket for QEMU (`-netdev
    /// stream,id=…,server=off,addr.type=unix,addr.path=PATH`), in the
    /// background. When QEMU goes away the next one may come.
    ///
    /// # Errors
    /// If the socket or the capture file cannot be made.
    pub fn listen(path: &Path, options: &Options) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Self::start(Some(listener), None, options)
    }

    /// Connects to a Unix socket at which QEMU waits (`server=on`), trying for
    /// `patience`.
    ///
    /// # Errors
    /// If nobody waits there, or the capture file cannot be made.
    pub fn connect(path: &Path, options: &Options, patience: Duration) -> io::Result<Self> {
        let deadline = Instant::now() + patience;
        loop {
            match UnixStream::connect(path) {
                Ok(stream) => return Self::over(stream, options),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Uses a connected stream as the link.
    ///
    /// # Errors
    /// If the capture file cannot be made.
    pub fn over(stream: UnixStream, options: &Options) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Self::start(None, Some(stream), options)
    }

    /// Two peers on one cable.
    ///
    /// # Errors
    /// If the host gives no socket pair, or a capture file cannot be made.
    pub fn pair(one: &Options, other: &Options) -> io::Result<(Self, Self)> {
        let (a, b) = UnixStream::pair()?;
        Ok((Self::over(a, one)?, Self::over(b, other)?))
    }

    fn start(
        listener: Option<UnixListener>,
        stream: Option<UnixStream>,
        options: &Options,
    ) -> io::Result<Self> {
        if !(68..=65_535).contains(&options.mtu) || options.prefix > 32 {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "MTU or prefix out of range",
            ));
        }
        let mut host = Host::new(options)?;
        host.link_up = stream.is_some();
        let shared = Shared::new(host)?;
        let engine = Engine {
            shared: shared.clone(),
            listener,
            stream,
            deframer: Deframer::default(),
        };
        let thread = std::thread::Builder::new()
            .name("frame-peer".into())
            .spawn(|| engine.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
            mac: options.mac,
            address: options.address,
        })
    }

    /// The peer's own Ethernet address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// The peer's own IPv4 address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Whether the other end is there; waits for it.
    pub fn wait_linked(&self, patience: Duration) -> bool {
        self.shared
            .wait(patience, |host| host.link_up.then_some(()))
            .is_some()
    }

    /// Counts of frames up to now.
    pub fn stats(&self) -> Stats {
        self.shared.with(|host| host.stats)
    }

    /// Waits until `wanted` holds of the counts; whether it did in time.
    pub fn wait_stats(&self, patience: Duration, wanted: impl Fn(&Stats) -> bool) -> bool {
        self.shared
            .wait(patience, |host| wanted(&host.stats).then_some(()))
            .is_some()
    }

    /// A UDP socket at `port`.
    ///
    /// # Errors
    /// `AddrInUse` for port 0.
    pub fn udp_socket(&self, port: u16) -> io::Result<UdpHandle> {
        UdpHandle::open(self.shared.clone(), port)
    }

    /// Connects over TCP.
    ///
    /// # Errors
    /// `ConnectionRefused` on a reset, `TimedOut`.
    pub fn tcp_connect(&self, to: SocketAddrV4, patience: Duration) -> io::Result<TcpHandle> {
        TcpHandle::connect(self.shared.clone(), to, patience)
    }

    /// Accepts TCP connections at `port`, `backlog` of them unaccepted.
    ///
    /// # Errors
    /// `InvalidInput` for port 0 or backlog 0.
    pub fn tcp_listen(&self, port: u16, backlog: usize) -> io::Result<TcpAcceptor> {
        TcpAcceptor::open(self.shared.clone(), port, backlog)
    }

    /// Puts a frame on the link as it is, past stack, MTU and faults, waiting
    /// for room.
    ///
    /// # Errors
    /// `InvalidInput` over [`MAX_FRAME`] bytes, `NotConnected`, `TimedOut`
    /// after 10 s without room.
    pub fn send_frame(&self, frame: &[u8]) -> io::Result<()> {
        if frame.len() > MAX_FRAME {
            return Err(ErrorKind::InvalidInput.into());
        }
        let put = |host: &mut Host| match (host.link_up, host.has_room(frame.len())) {
            (false, _) => Some(Err(ErrorKind::NotConnected.into())),
            (true, false) => None,
            (true, true) => {
                host.put(frame);
                Some(Ok(()))
            }
        };
        let done = self.shared.wait(Duration::from_secs(10), put);
        done.unwrap_or_else(|| Err(ErrorKind::TimedOut.into()))
    }

    /// A copy of every frame that the guest sends from now on.
    pub fn tap(&self) -> Receiver<Vec<u8>> {
        let (sender, receiver) = channel();
        self.shared.with(|host| host.taps.push(sender));
        receiver
    }

    /// Sends frames and waits for one that `wanted` makes something of.
    fn ask<R>(
        &self,
        frame: &[u8],
        patience: Duration,
        wanted: impl Fn(&[u8]) -> Option<R>,
    ) -> io::Result<R> {
        let tap = self.tap();
        self.send_frame(frame)?;
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let frame = tap.recv_timeout(left).map_err(|_| ErrorKind::TimedOut)?;
            if let Some(result) = wanted(&frame) {
                return Ok(result);
            }
        }
    }

    /// Asks by ARP for the Ethernet address of `address`.
    ///
    /// # Errors
    /// `TimedOut`, or as for [`Peer::send_frame`].
    pub fn resolve(&self, address: Ipv4Addr, patience: Duration) -> io::Result<Mac> {
        let request = arp(1, (self.mac, self.address), ([0; 6], address));
        let frame = ethernet(BROADCAST, self.mac, TYPE_ARP, &request);
        self.ask(&frame, patience, |reply| {
            let expected = [&TYPE_ARP.to_be_bytes()[..], &[0, 1, 8, 0, 6, 4, 0, 2]].concat();
            let fits = reply.get(12..22)? == expected && reply.get(28..32)? == address.octets();
            fits.then(|| reply.get(22..)?.first_chunk().copied())?
        })
    }

    /// Sends one ICMP echo request with `payload` and gives its round-trip
    /// time once the same bytes came back.
    ///
    /// # Errors
    /// As for [`Peer::resolve`].
    pub fn ping(
        &self,
        address: Ipv4Addr,
        payload: &[u8],
        patience: Duration,
    ) -> io::Result<Duration> {
        let mac = self.resolve(address, patience)?;
        let message = icmp(8, 0, [0x70, 0x65, 0, 1], payload);
        let packet = Ipv4::new(self.address, address, PROTO_ICMP).packet(&message);
        let reply = icmp(0, 0, [0x70, 0x65, 0, 1], payload);
        let start = Instant::now();
        self.ask(
            &ethernet(mac, self.mac, TYPE_IPV4, &packet),
            patience,
            |frame| {
                let found = Located::find(frame)?;
                (found.src == address && found.protocol == PROTO_ICMP && found.payload == reply)
                    .then(|| start.elapsed())
            },
        )
    }

    /// Changes the cable.
    pub fn set_faults(&self, to_guest: FaultRates, from_guest: FaultRates) {
        self.shared.with(|host| {
            host.to_guest.rates = to_guest;
            host.from_guest.rates = from_guest;
        });
    }

    /// Takes nothing from the link any more, so that what the guest sends stays
    /// in its device once the link is full; or goes on.
    pub fn set_stalled(&self, on: bool) {
        self.shared.with(|host| host.stalled = on);
    }

    /// Answers ARP for every address, or stops doing so.
    pub fn set_proxy_arp(&self, on: bool) {
        self.shared.with(|host| host.proxy_arp = on);
    }

    /// Changes the DHCP service; false if the peer has none.
    pub fn change_dhcp(&self, change: impl FnOnce(&mut DhcpConfig)) -> bool {
        self.shared.with(|host| {
            host.dhcp
                .as_mut()
                .map(|server| change(&mut server.config))
                .is_some()
        })
    }

    /// What the DHCP service did up to now.
    pub fn dhcp_stats(&self) -> DhcpStats {
        self.shared
            .with(|host| host.dhcp.as_ref().map(|server| server.stats))
            .unwrap_or_default()
    }

    /// Waits until `wanted` holds of the DHCP counts; whether it did in time.
    pub fn wait_dhcp(&self, patience: Duration, wanted: impl Fn(&DhcpStats) -> bool) -> bool {
        let holds = |host: &mut Host| {
            host.dhcp
                .as_ref()
                .is_some_and(|server| wanted(&server.stats))
                .then_some(())
        };
        self.shared.wait(patience, holds).is_some()
    }

    /// Changes the DNS service; false if the peer has none.
    pub fn change_dns(&self, change: impl FnOnce(&mut DnsConfig)) -> bool {
        self.shared.with(|host| {
            host.dns
                .as_mut()
                .map(|server| change(&mut server.config))
                .is_some()
        })
    }

    /// Has the DNS service, if there is one, answer over TCP too, up to 8
    /// connections at once, until the peer is dropped.
    ///
    /// # Errors
    /// As for the socket.
    pub fn serve_dns_over_tcp(&self) -> io::Result<()> {
        let listening = self.tcp_listen(crate::dns::stream::PORT, 8)?;
        crate::dns::stream::serve(Arc::clone(&self.shared), listening)
    }

    /// Queries that the DNS service got.
    pub fn dns_queries(&self) -> u64 {
        self.shared
            .with(|host| host.dns.as_ref().map_or(0, |server| server.queries))
    }

    /// Echoes UDP datagrams and TCP streams at `port` from now on, up to 8
    /// connections at once, until the peer is dropped.
    ///
    /// # Errors
    /// As for the sockets.
    pub fn serve_echo(&self, port: u16) -> io::Result<()> {
        crate::echo::serve(self.udp_socket(port)?, self.tcp_listen(port, 8)?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.shared.stop();
        // A panicked engine has nothing left to wait for.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
