//! Echoes datagrams, or receives and sends a stream, through a server on the
//! host, for counting.
//!
//! `perf stat -e instructions:u echo_cost udp 64 100000 64` runs 100000 echoes
//! of 64 bytes, 64 in flight at a time; `tcp 1460 100000 32` takes as many
//! segments of 1460 bytes, 32 at a time, and sends them back. The difference
//! between two counts is their cost, with the example's own packets and
//! requests included.

use std::collections::VecDeque;
use std::env::args;

use net_server::environment::{ManagerFault, Outgoing};
use net_server::{Config, Environment, Server};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, IpProtocol, Ipv4Address, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr,
    TcpSeqNumber, UdpPacket, UdpRepr, checksum,
};
use socket_api::{
    Completion, Extent, Message, Op, Packet, Request, SocketKind, flags, kind, packet_flags,
};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OWN: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);
const PEER: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);

#[derive(Default)]
struct Bench {
    to_server: VecDeque<Message>,
    headers: Vec<u8>,
    free: Vec<u32>,
    sent: usize,
    sent_bytes: usize,
    /// The last frame's headers.
    frame: Vec<u8>,
    last: Completion,
    completions: usize,
    received: usize,
}

impl Environment for Bench {
    fn next(&mut self, message: &mut Message) -> Result<bool, ManagerFault> {
        let says = self.to_server.pop_front();
        *message = says.unwrap_or_default();
        Ok(says.is_some())
    }

    fn read_header(&self, at: u32, into: &mut [u8]) -> bool {
        into.copy_from_slice(&self.headers[at as usize..][..into.len()]);
        true
    }

    fn has_room(&mut self, _: usize) -> bool {
        true
    }

    fn segment_room(&mut self) -> u32 {
        24
    }

    fn transmit(&mut self, frame: &Outgoing<'_>) -> bool {
        self.sent += 1;
        self.sent_bytes += frame.len() - frame.header.len();
        self.frame.clear();
        self.frame.extend_from_slice(frame.header);
        true
    }

    fn tell(&mut self, message: &Message) -> bool {
        if message.kind() == Op::Recv as u16 || message.kind() == Op::Send as u16 {
            self.completions += 1;
            self.last = Completion::from(*message);
            if message.kind() == Op::Recv as u16 {
                self.received += self.last.len as usize;
                if self.last.flags & flags::RELEASE != 0 {
                    self.free.push(self.last.packet);
                }
            }
        } else if message.kind() == kind::DELIVER {
            for deliver in socket_api::Deliver::from(*message).all() {
                if deliver.flags & packet_flags::RELEASE != 0 {
                    self.free.push(deliver.packet);
                }
            }
        }
        true
    }

    fn release(&mut self, packet: u32) {
        self.free.push(packet);
    }
}

impl Bench {
    /// Hands a frame over of which the server gets the headers, or all.
    fn packet(&mut self, frame: &[u8], header_len: usize, whole: bool) {
        let id = self.free.pop().expect("a packet");
        let at = id as usize * 256;
        self.headers[at..at + header_len].copy_from_slice(&frame[..header_len]);
        let sum = if whole {
            0
        } else {
            checksum::data(&frame[34..])
        };
        self.to_server.push_back(
            Packet {
                kind: kind::PACKET,
                flags: if whole { packet_flags::WHOLE } else { 0 },
                id,
                header: at as u32,
                header_len: header_len as u32,
                len: frame.len() as u32,
                sum: u32::from(u16::from_ne_bytes(sum.to_be_bytes())),
                ..Packet::default()
            }
            .into(),
        );
    }

    fn request(&mut self, request: Request) {
        self.to_server.push_back(request.into());
    }
}

fn ip(payload: usize, protocol: IpProtocol) -> Vec<u8> {
    let mut frame = vec![0; 34 + payload];
    EthernetRepr {
        src_addr: EthernetAddress([2, 0, 0, 0, 0, 2]),
        dst_addr: EthernetAddress(MAC),
        ethertype: EthernetProtocol::Ipv4,
    }
    .emit(&mut EthernetFrame::new_unchecked(&mut frame));
    Ipv4Repr {
        src_addr: PEER,
        dst_addr: OWN,
        next_header: protocol,
        payload_len: payload,
        hop_limit: 64,
    }
    .emit(
        &mut Ipv4Packet::new_unchecked(&mut frame[14..]),
        &ChecksumCapabilities::default(),
    );
    frame
}

fn datagram(len: usize) -> Vec<u8> {
    let mut frame = ip(8 + len, IpProtocol::Udp);
    let ports = UdpRepr {
        src_port: 4000,
        dst_port: 7,
    };
    let caps = ChecksumCapabilities::default();
    let mut packet = UdpPacket::new_unchecked(&mut frame[34..]);
    ports.emit(
        &mut packet,
        &PEER.into(),
        &OWN.into(),
        len,
        |b| b.fill(7),
        &caps,
    );
    frame
}

fn segment(control: TcpControl, seq: u32, ack: Option<u32>, payload: &[u8]) -> Vec<u8> {
    let tcp = TcpRepr {
        src_port: 4000,
        dst_port: 7,
        control,
        seq_number: TcpSeqNumber(seq as i32),
        ack_number: ack.map(|a| TcpSeqNumber(a as i32)),
        window_len: 65535,
        window_scale: None,
        max_seg_size: (control == TcpControl::Syn).then_some(1460),
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload,
    };
    let mut frame = ip(tcp.buffer_len(), IpProtocol::Tcp);
    let caps = ChecksumCapabilities::default();
    let mut packet = TcpPacket::new_unchecked(&mut frame[34..]);
    tcp.emit(&mut packet, &PEER.into(), &OWN.into(), &caps);
    frame
}

/// What the peer says of itself.
fn arp(operation: ArpOperation) -> Vec<u8> {
    let mut frame = vec![0; 42];
    EthernetRepr {
        src_addr: EthernetAddress([2, 0, 0, 0, 0, 2]),
        dst_addr: EthernetAddress(MAC),
        ethertype: EthernetProtocol::Arp,
    }
    .emit(&mut EthernetFrame::new_unchecked(&mut frame));
    ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: EthernetAddress([2, 0, 0, 0, 0, 2]),
        source_protocol_addr: PEER,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: OWN,
    }
    .emit(&mut ArpPacket::new_unchecked(&mut frame[14..]));
    frame
}

fn open(env: &mut Bench, socket: u32, kind: SocketKind) {
    let mut open = Request::new(Op::Open, socket, 0);
    open.arg = kind as u64;
    env.request(open);
    let mut bind = Request::new(Op::Bind, socket, 0);
    bind.address = std::net::SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, 7)).into();
    env.request(bind);
}

fn with_extent(op: Op, socket: u32, token: u64, len: usize) -> Request {
    let mut request = Request::new(op, socket, token);
    request.extent = Extent {
        address: 0,
        len: len as u32,
    };
    request
}

/// When measuring begins: what the server says of its address at the start has
/// been said.
const START_NS: u64 = 10_000_000_000;

fn udp(server: &mut Server, env: &mut Bench, len: usize, count: usize, batch: usize) {
    open(env, 0, SocketKind::Udp);
    server.poll(START_NS, env);
    let frame = datagram(len);
    let recv = with_extent(Op::Recv, 0, 1, 2048);
    let mut send = with_extent(Op::Send, 0, 2, len);
    (send.flags, send.arg) = (flags::SUMMED | flags::QUIET, 0x1234);
    let (mut now, mut done) = (START_NS + 1_000_000_000, 0);
    while done < count {
        for _ in 0..batch {
            env.request(recv);
        }
        now += 1000;
        while server.poll(now, env).more {}
        for _ in 0..batch {
            env.packet(&frame, 42, false);
        }
        server.poll(now, env);
        send.address = env.last.address;
        for _ in 0..batch {
            env.request(send);
        }
        while server.poll(now, env).more {}
        done += batch;
    }
    assert!(env.sent >= done);
}

fn tcp(server: &mut Server, env: &mut Bench, len: usize, count: usize, batch: usize) {
    open(env, 0, SocketKind::Tcp);
    let mut listen = Request::new(Op::Listen, 0, 0);
    listen.arg = 4;
    env.request(listen);
    let mut accept = Request::new(Op::Accept, 0, 0);
    accept.arg = 1;
    env.request(accept);
    let (mut seq, mut now) = (1000u32, START_NS);
    let syn = segment(TcpControl::Syn, seq - 1, None, &[]);
    env.packet(&syn, syn.len(), false);
    server.poll(now, env);
    let answer = TcpPacket::new_checked(&env.frame[34..]).expect("a SYN");
    let mut ack = answer.seq_number().0 as u32 + 1;
    let opened = segment(TcpControl::None, seq, Some(ack), &[]);
    env.packet(&opened, 54, false);
    server.poll(now, env);
    let payload = vec![3; len];
    let all = len * batch;
    let mut done = 0;
    while done < count {
        env.request(with_extent(Op::Recv, 1, 1, all));
        for _ in 0..batch {
            let frame = segment(TcpControl::Psh, seq, Some(ack), &payload);
            seq = seq.wrapping_add(len as u32);
            env.packet(&frame, 54.max(frame.len().min(134)), false);
        }
        now += 10_000;
        while server.poll(now, env).more {}
        env.request(with_extent(Op::Send, 1, 2, all));
        while server.poll(now, env).more {}
        // The peer acknowledges with every second segment.
        for _ in 0..batch.div_ceil(2) {
            ack = ack.wrapping_add((all / batch.div_ceil(2)) as u32);
            let frame = segment(TcpControl::None, seq, Some(ack), &[]);
            env.packet(&frame, 54, false);
        }
        while server.poll(now, env).more {}
        done += batch;
        assert_eq!(env.received, done * len);
    }
    assert_eq!(env.sent_bytes, done * len);
}

fn main() {
    let kind = args().nth(1).unwrap_or_default();
    let numbers: Vec<usize> = args().skip(2).filter_map(|a| a.parse().ok()).collect();
    let [len, count, batch] = numbers[..] else {
        eprintln!("echo_cost udp|tcp LEN COUNT BATCH");
        return;
    };
    let mut config = Config::default();
    config.set("ip", "10.0.0.1/24").expect("a legal address");
    let mut server = Server::new(config, MAC, 1500, false, [1; 32]).expect("legal sizes");
    let mut env = Bench {
        headers: vec![0; 1025 * 256],
        free: (1..=1024).rev().collect(),
        ..Bench::default()
    };
    for operation in [ArpOperation::Request, ArpOperation::Reply] {
        env.packet(&arp(operation), 42, true);
        server.poll(1_000_000_000, &mut env);
    }
    for second in 2..=10 {
        while server.poll(second * 1_000_000_000, &mut env).more {}
    }
    env.sent = 0;
    match kind.as_str() {
        "tcp" => tcp(&mut server, &mut env, len, count, batch),
        _ => udp(&mut server, &mut env, len, count, batch),
    }
    println!(
        "{count} of {len} bytes, {} frames sent, {} completions",
        env.sent, env.completions
    );
}
