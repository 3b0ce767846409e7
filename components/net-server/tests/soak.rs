//! Ten thousand of each thing that the server sends, with as many send slots
//! as there are on the real system; after each, everything else still works.
#![allow(clippy::unwrap_used, reason = "a test is to stop where it fails")]

mod support;

use net_server::{Config, Counter};
use smoltcp::iface::SocketHandle;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::*;
use socket_api::{Op, SocketKind};
use support::slots::Slots;
use support::*;

const MANY: u64 = 10_000;
/// The server's sockets: a datagram one, a listener, and what it accepts.
const UDP: u32 = 0;
const LISTENER: u32 = 1;
const STREAM: u32 = 2;

/// A frame from the peer around an IP payload.
fn frame(protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 34 + payload.len()];
    EthernetRepr {
        src_addr: EthernetAddress(PEER_MAC),
        dst_addr: EthernetAddress(SERVER_MAC),
        ethertype: EthernetProtocol::Ipv4,
    }
    .emit(&mut EthernetFrame::new_unchecked(&mut frame));
    Ipv4Repr {
        src_addr: PEER_IP,
        dst_addr: SERVER_IP,
        next_header: protocol,
        payload_len: payload.len(),
        hop_limit: 64,
    }
    .emit(
        &mut Ipv4Packet::new_unchecked(&mut frame[14..]),
        &ChecksumCapabilities::default(),
    );
    frame[34..].copy_from_slice(payload);
    frame
}

fn arp() -> Vec<u8> {
    let mut frame = vec![0; 42];
    EthernetRepr {
        src_addr: EthernetAddress(PEER_MAC),
        dst_addr: EthernetAddress::BROADCAST,
        ethertype: EthernetProtocol::Arp,
    }
    .emit(&mut EthernetFrame::new_unchecked(&mut frame));
    ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress(PEER_MAC),
        source_protocol_addr: PEER_IP,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: SERVER_IP,
    }
    .emit(&mut ArpPacket::new_unchecked(&mut frame[14..]));
    frame
}

fn ping() -> Vec<u8> {
    let echo = Icmpv4Repr::EchoRequest {
        ident: 1,
        seq_no: 1,
        data: &[7; 56],
    };
    let mut bytes = vec![0; echo.buffer_len()];
    let mut packet = Icmpv4Packet::new_unchecked(&mut bytes);
    echo.emit(&mut packet, &ChecksumCapabilities::default());
    frame(IpProtocol::Icmp, &bytes)
}

/// A SYN for a port that nobody has.
fn knock() -> Vec<u8> {
    let tcp = TcpRepr {
        src_port: 4000,
        dst_port: 9,
        control: TcpControl::Syn,
        seq_number: TcpSeqNumber(1),
        ack_number: None,
        window_len: 1000,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    let mut bytes = vec![0; tcp.buffer_len()];
    let (src, dst) = (PEER_IP.into(), SERVER_IP.into());
    let mut packet = TcpPacket::new_unchecked(&mut bytes[..]);
    tcp.emit(&mut packet, &src, &dst, &ChecksumCapabilities::default());
    frame(IpProtocol::Tcp, &bytes)
}

/// The protocol of an IP packet in a frame.
fn protocol(frame: &[u8]) -> Option<u8> {
    (frame[12..14] == [8, 0]).then(|| frame[23])
}

fn is_arp_reply(frame: &[u8]) -> bool {
    frame[12..14] == [8, 6] && frame[21] == 2
}

fn is_echo_reply(frame: &[u8]) -> bool {
    protocol(frame) == Some(1) && frame[34] == 0
}

fn is_reset(frame: &[u8]) -> bool {
    protocol(frame) == Some(6) && frame[47] & 4 != 0
}

fn is_query(frame: &[u8]) -> bool {
    protocol(frame) == Some(17) && frame[36..38] == [0, 53]
}

fn is_fragment(frame: &[u8]) -> bool {
    protocol(frame) == Some(17) && (frame[20] & 0x3f, frame[21]) != (0, 0)
}

/// Everything, and what it takes to use it.
struct Bench {
    w: World,
    udp: SocketHandle,
    tcp: SocketHandle,
}

impl Bench {
    fn new(mut w: World) -> Self {
        w.env.slots = Some(Slots::new());
        w.open(UDP, SocketKind::Udp);
        ok(&w.bind(UDP, 7));
        w.listen(LISTENER, 7, 4);
        let (udp, tcp) = (w.peer_udp(4001), w.peer_connect(7, 40_000));
        w.tcp(tcp).set_ack_delay(None);
        ok(&w.call(World::accept(LISTENER, STREAM)));
        Self { w, udp, tcp }
    }

    /// What the server sends in the next millisecond.
    fn sent(&mut self) -> Vec<Vec<u8>> {
        self.w.log = Some(vec![]);
        self.w.step(1100);
        self.w.log.take().unwrap()
    }

    /// Whether a frame is answered with one that is such.
    fn answers(&mut self, frame: Vec<u8>, such: fn(&[u8]) -> bool) -> bool {
        self.w.env.to_server.push_back(frame);
        self.sent().iter().any(|frame| such(frame))
    }

    /// Whether the datagram, which may be long, arrives.
    fn datagram(&mut self, len: u32) -> bool {
        let mut send = World::send(UDP, 0, len);
        send.address = address(PEER_IP, 4001);
        let token = self.w.submit(send);
        let sent = self.sent();
        ok(&self.w.completion(token).expect("sent"));
        match len > 1472 {
            true => sent.iter().filter(|f| is_fragment(f)).count() == len as usize / 1472 + 1,
            false => self.w.udp(self.udp).recv().is_ok(),
        }
    }

    /// Whether a byte gets through, and its acknowledgement.
    fn stream(&mut self) -> bool {
        let token = self.w.submit(World::send(STREAM, 0, 1));
        let mut arrived = false;
        for _ in 0..4 {
            self.w.step(1100);
            let mut byte = [0; 8];
            arrived |= matches!(self.w.tcp(self.tcp).recv_slice(&mut byte), Ok(1));
        }
        arrived && self.w.completion(token).is_some()
    }

    /// Whether a query goes out; it is taken back then.
    fn query(&mut self) -> bool {
        let mut resolve = World::recv(0, 0, 7);
        resolve.op = Op::Resolve as u16;
        resolve.arg = 256;
        self.w.region()[..7].copy_from_slice(b"a.b.org");
        let token = self.w.submit(resolve);
        let asked = self.sent().iter().any(|f| is_query(f));
        let mut cancel = socket_api::Request::new(Op::Cancel, 0, 0);
        cancel.arg = token;
        ok(&self.w.call(cancel));
        asked
    }

    fn everything_works(&mut self, after: &str) {
        let works = [
            ("ARP", self.answers(arp(), is_arp_reply)),
            ("ICMP", self.answers(ping(), is_echo_reply)),
            ("RST", self.answers(knock(), is_reset)),
            ("DNS", self.query()),
            ("UDP", self.datagram(100)),
            ("fragments", self.datagram(20_000)),
            ("TCP", self.stream()),
        ];
        for (what, works) in works {
            assert!(works, "no {what} after {after}");
        }
        assert_eq!(self.w.count(Counter::DropSendRoom), 0, "after {after}");
    }
}

fn with_dns(mut config: Config) -> Config {
    config.set("dns", "10.0.0.2").unwrap();
    config
}

#[test]
fn no_way_of_sending_uses_up_what_the_others_need() {
    let mut b = Bench::new(World::new(with_dns(small())));
    b.everything_works("nothing");
    for (what, frame, such) in [
        ("ARP", arp(), is_arp_reply as fn(&[u8]) -> bool),
        ("ICMP", ping(), is_echo_reply),
        ("RST", knock(), is_reset),
    ] {
        for n in 0..MANY {
            assert!(b.answers(frame.clone(), such), "{what} {n}");
        }
        b.everything_works(what);
    }
    for n in 0..MANY {
        assert!(b.query(), "DNS {n}");
    }
    b.everything_works("DNS");
    for n in 0..MANY {
        assert!(b.datagram(100), "UDP {n}");
    }
    b.everything_works("UDP");
    for n in 0..MANY / 14 {
        assert!(b.datagram(20_000), "fragments {n}");
    }
    b.everything_works("fragments");
    for n in 0..MANY {
        assert!(b.stream(), "TCP {n}");
    }
    b.everything_works("TCP");
}

#[test]
fn ten_thousand_questions_for_an_address_use_up_nothing() {
    let mut config = with_dns(small());
    config.set("dhcp", "true").unwrap();
    let mut w = World::new(config);
    w.env.slots = Some(Slots::new());
    w.alone = true;
    let mut asked = 0;
    while asked < MANY {
        w.step(66_000_000);
        let sent = w.env.from_server.drain(..).count() as u64;
        assert_ne!(sent, 0, "after {asked}");
        asked += sent;
    }
    assert_eq!(w.count(Counter::DropSendRoom), 0);
}
