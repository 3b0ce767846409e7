//! DHCP and DNS against smoltcp's own clients, in a time of the test's own:
//! an hour passes in as many polls as it takes.
#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use frame_peer::{Deframer, DnsConfig, DnsMood, Options, Peer, enframe};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{dhcpv4, dns};
use smoltcp::time::Instant;
use smoltcp::wire::{DnsQueryType, EthernetAddress, HardwareAddress, IpAddress, IpCidr, Ipv4Cidr};

const GIVEN: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 99);

/// The client's end of the cable.
struct Cable {
    stream: UnixStream,
    deframer: Deframer,
}

struct Rx(Vec<u8>);
struct Tx<'a>(&'a mut UnixStream);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        let mut bytes = Vec::new();
        enframe(&frame, &mut bytes);
        self.0.write_all(&bytes).unwrap();
        result
    }
}

impl Device for Cable {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }

    fn receive(&mut self, _: Instant) -> Option<(Rx, Tx<'_>)> {
        let frame = self.deframer.next_frame().unwrap()?;
        Some((Rx(frame), Tx(&mut self.stream)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.stream))
    }
}

struct Client {
    iface: Interface,
    sockets: SocketSet<'static>,
    cable: Cable,
    seconds: f64,
}

impl Client {
    fn new(options: &Options) -> (Peer, Client) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_millis(5)))
            .unwrap();
        let mut cable = Cable {
            stream: ours,
            deframer: Deframer::default(),
        };
        let mac = HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 0, 1]));
        let iface = Interface::new(Config::new(mac), &mut cable, Instant::ZERO);
        let sockets = SocketSet::new(Vec::new());
        (
            Peer::over(theirs, options).unwrap(),
            Client {
                iface,
                sockets,
                cable,
                seconds: 0.0,
            },
        )
    }

    /// Lets `step` seconds pass at a time, for as long as `wanted` says none
    /// and at most `limit` seconds.
    fn run<R>(
        &mut self,
        step: f64,
        limit: f64,
        mut wanted: impl FnMut(&mut Interface, &mut SocketSet<'static>) -> Option<R>,
    ) -> Option<R> {
        let end = self.seconds + limit;
        while self.seconds < end {
            let mut buffer = [0; 4096];
            match self.cable.stream.read(&mut buffer) {
                Ok(n) => self.cable.deframer.push(&buffer[..n]),
                Err(e) => assert!(matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut
                )),
            }
            let now = Instant::from_micros((self.seconds * 1e6) as i64);
            self.iface.poll(now, &mut self.cable, &mut self.sockets);
            if let Some(result) = wanted(&mut self.iface, &mut self.sockets) {
                return Some(result);
            }
            self.seconds += step;
        }
        None
    }

    /// The next thing that the DHCP client reports: an address, or that it lost
    /// its own.
    fn lease(&mut self, handle: SocketHandle, step: f64, limit: f64) -> Option<Option<Ipv4Cidr>> {
        self.run(step, limit, |iface, sockets| {
            let event = sockets.get_mut::<dhcpv4::Socket<'_>>(handle).poll()?;
            let address = match event {
                dhcpv4::Event::Configured(config) => Some(config.address),
                dhcpv4::Event::Deconfigured => None,
            };
            iface.update_ip_addrs(|list| {
                list.clear();
                list.extend(address.map(IpCidr::Ipv4));
            });
            Some(address)
        })
    }
}

#[test]
fn a_lease_is_given_renewed_refused_and_runs_out() {
    let (peer, mut client) = Client::new(&Options::default().with_dhcp(GIVEN));
    assert!(peer.change_dhcp(|dhcp| dhcp.lease = 60));
    let handle = client.sockets.add(dhcpv4::Socket::new());
    // smoltcp says "deconfigured" at the start.
    assert_eq!(client.lease(handle, 0.1, 60.0), Some(None));
    assert_eq!(
        client.lease(handle, 0.1, 60.0),
        Some(Some(Ipv4Cidr::new(GIVEN, 24)))
    );
    let stats = peer.dhcp_stats();
    assert_eq!((stats.offers, stats.acks, stats.naks), (1, 1, 0));

    // Renewals pass without a word.
    assert_eq!(client.lease(handle, 0.5, 100.0), None);
    assert!(peer.dhcp_stats().acks >= 3, "{:?}", peer.dhcp_stats());

    // Another address: the renewal is refused, the client starts again.
    peer.change_dhcp(|dhcp| dhcp.address = OTHER);
    assert_eq!(client.lease(handle, 0.5, 100.0), Some(None));
    assert_eq!(
        client.lease(handle, 0.5, 100.0),
        Some(Some(Ipv4Cidr::new(OTHER, 24)))
    );
    assert!(peer.dhcp_stats().naks >= 1);

    // Silence: the lease runs out.
    peer.change_dhcp(|dhcp| dhcp.silent = true);
    assert_eq!(client.lease(handle, 0.5, 200.0), Some(None));
    assert_eq!(client.lease(handle, 0.5, 30.0), None);
    peer.change_dhcp(|dhcp| dhcp.silent = false);
    assert_eq!(
        client.lease(handle, 0.5, 100.0),
        Some(Some(Ipv4Cidr::new(OTHER, 24)))
    );
    assert!(peer.wait_dhcp(Duration::from_secs(1), |stats| stats.offers >= 3));
}

fn lookup(mood: DnsMood, name: &str) -> Result<Vec<IpAddress>, ()> {
    let table = DnsConfig {
        mood,
        ttl: 60,
        ..DnsConfig::default()
    };
    let options = Options {
        dns: Some(table.with("echo.test", OTHER)),
        ..Options::default()
    };
    let (peer, mut client) = Client::new(&options);
    client.iface.update_ip_addrs(|list| {
        list.push(IpCidr::new(IpAddress::Ipv4(GIVEN), 24)).unwrap();
    });
    let servers = [IpAddress::Ipv4(peer.address())];
    let mut socket = dns::Socket::new(&servers, vec![None]);
    let query = socket
        .start_query(client.iface.context(), name, DnsQueryType::A)
        .unwrap();
    let handle = client.sockets.add(socket);
    let answer = client.run(0.1, 60.0, |_, sockets| {
        match sockets
            .get_mut::<dns::Socket<'_>>(handle)
            .get_query_result(query)
        {
            Ok(addresses) => Some(Ok(addresses.to_vec())),
            Err(dns::GetQueryResultError::Pending) => None,
            Err(_) => Some(Err(())),
        }
    });
    assert!(peer.dns_queries() >= 1);
    answer.unwrap_or(Err(()))
}

#[test]
fn names_are_found_or_not() {
    assert_eq!(
        lookup(DnsMood::Honest, "echo.test"),
        Ok(vec![IpAddress::Ipv4(OTHER)])
    );
    assert_eq!(lookup(DnsMood::Honest, "no-such.test"), Err(()));
    for mood in [
        DnsMood::Failing,
        DnsMood::Truncated,
        DnsMood::Silent,
        DnsMood::WrongId,
    ] {
        assert_eq!(lookup(mood, "echo.test"), Err(()), "{mood:?}");
    }
}
