//! Echoes datagrams or bytes through a server on the host, for counting.
//!
//! `perf stat -e instructions:u echo_cost udp 64 10000 256` runs 10000 echoes
//! of 64 bytes, 256 in flight at a time; the difference between two counts of
//! echoes is their cost, with the test's own frames and requests included
//! (a few hundred instructions each, shown by `none`).

use std::collections::VecDeque;
use std::env::args;

use net_server::environment::{DriverFault, ManagerFault, PartialChecksum, Received};
use net_server::{Config, Environment, Server};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, IpProtocol, Ipv4Address, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr,
};
use socket_api::{Completion, Extent, Op, Request, SocketKind};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OWN: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);
const PEER: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);

struct Bench {
    frame: Vec<u8>,
    frames: usize,
    requests: VecDeque<Request>,
    region: Vec<u8>,
    sent: usize,
    last: Completion,
}

impl Environment for Bench {
    fn receive_frame(&mut self, into: &mut [u8]) -> Result<Option<Received>, DriverFault> {
        if self.frames == 0 {
            return Ok(None);
        }
        self.frames -= 1;
        into[..self.frame.len()].copy_from_slice(&self.frame);
        let len = self.frame.len();
        Ok(Some(Received {
            len,
            verified: false,
        }))
    }

    fn frame_room(&mut self) -> usize {
        256
    }

    fn send_frame(&mut self, frame: &[u8], _: Option<PartialChecksum>) -> bool {
        self.sent += usize::from(frame.len() > 42);
        self.region[..frame.len()].copy_from_slice(frame);
        true
    }

    fn next_request(&mut self) -> Result<Option<Request>, ManagerFault> {
        Ok(self.requests.pop_front())
    }

    fn complete(&mut self, completion: &Completion) -> bool {
        self.last = *completion;
        true
    }

    fn region_len(&self, _: u32) -> Option<usize> {
        Some(self.region.len())
    }

    fn read_client(&self, _: u32, offset: usize, into: &mut [u8]) -> bool {
        into.copy_from_slice(&self.region[offset..offset + into.len()]);
        true
    }

    fn write_client(&mut self, _: u32, offset: usize, from: &[u8]) -> bool {
        self.region[offset..offset + from.len()].copy_from_slice(from);
        true
    }
}

fn datagram(len: usize) -> Vec<u8> {
    let caps = ChecksumCapabilities::default();
    let mut frame = vec![0; 42 + len];
    EthernetRepr {
        src_addr: EthernetAddress([2, 0, 0, 0, 0, 2]),
        dst_addr: EthernetAddress(MAC),
        ethertype: EthernetProtocol::Ipv4,
    }
    .emit(&mut EthernetFrame::new_unchecked(&mut frame));
    Ipv4Repr {
        src_addr: PEER,
        dst_addr: OWN,
        next_header: IpProtocol::Udp,
        payload_len: 8 + len,
        hop_limit: 64,
    }
    .emit(&mut Ipv4Packet::new_unchecked(&mut frame[14..]), &caps);
    let ports = UdpRepr {
        src_port: 4000,
        dst_port: 7,
    };
    let (src, dst) = (PEER.into(), OWN.into());
    let mut packet = UdpPacket::new_unchecked(&mut frame[34..]);
    ports.emit(&mut packet, &src, &dst, len, |b| b.fill(7), &caps);
    frame
}

fn arp() -> Vec<u8> {
    let mut frame = vec![0; 42];
    EthernetRepr {
        src_addr: EthernetAddress([2, 0, 0, 0, 0, 2]),
        dst_addr: EthernetAddress(MAC),
        ethertype: EthernetProtocol::Arp,
    }
    .emit(&mut EthernetFrame::new_unchecked(&mut frame));
    ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr: EthernetAddress([2, 0, 0, 0, 0, 2]),
        source_protocol_addr: PEER,
        target_hardware_addr: EthernetAddress([0; 6]),
        target_protocol_addr: OWN,
    }
    .emit(&mut ArpPacket::new_unchecked(&mut frame[14..]));
    frame
}

fn main() {
    let numbers: Vec<usize> = args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let (len, count, batch) = match numbers[..] {
        [len, count, batch] => (len, count, batch.min(64)),
        _ => (64, 10_000, 64),
    };
    let mut config = Config::default();
    config.set("ip", "10.0.0.1/24").expect("a legal address");
    let mut server = Server::new(config, MAC, 1500, false, [1; 32]).expect("legal sizes");
    let mut env = Bench {
        frame: arp(),
        frames: 1,
        requests: VecDeque::with_capacity(256),
        region: vec![0; 1 << 16],
        sent: 0,
        last: Completion::default(),
    };
    let mut open = Request::new(Op::Open, 0, 0);
    open.arg = SocketKind::Udp as u64;
    let mut bind = Request::new(Op::Bind, 0, 0);
    bind.address = std::net::SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, 7)).into();
    env.requests.extend([open, bind]);
    server.poll(1_000_000_000, &mut env);
    env.frame = datagram(len);
    let mut recv = Request::new(Op::Recv, 0, 1);
    recv.extent = Extent {
        offset: 4096,
        len: 2048,
    };
    let mut send = Request::new(Op::Send, 0, 2);
    send.extent = Extent {
        offset: 4096,
        len: len as u32,
    };
    let mut now = 2_000_000_000;
    let mut done = 0;
    while done < count {
        for _ in 0..batch {
            env.requests.push_back(recv);
        }
        now += 1000;
        while server.poll(now, &mut env).more {}
        env.frames = batch;
        server.poll(now, &mut env);
        send.address = env.last.address;
        for _ in 0..batch {
            env.requests.push_back(send);
        }
        while server.poll(now, &mut env).more {}
        done += batch;
    }
    assert_eq!(env.sent, done);
    println!("{done} echoes of {len} bytes");
}
