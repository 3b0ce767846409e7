//! TCP segments by hand, from a host that does as it likes.

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Packet,
    Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
};

use super::{PEER_IP, PEER_MAC, SERVER_IP, SERVER_MAC, World, ok};

/// One end of a connection to the server's port 7.
pub struct Hand {
    pub port: u16,
    /// The number of our first byte.
    pub first: u32,
    /// What the server sent so far, and the number behind it.
    pub theirs: u32,
    pub window: u16,
}

/// What a frame from the server is, if it is a segment.
pub fn segment(frame: &[u8]) -> Option<TcpRepr<'_>> {
    let ip = Ipv4Packet::new_checked(frame.get(14..)?).ok()?;
    if ip.next_header() != IpProtocol::Tcp || frame[12..14] != [8, 0] {
        return None;
    }
    let packet = TcpPacket::new_checked(&frame[34..14 + usize::from(ip.total_len())]).ok()?;
    let (src, dst) = (SERVER_IP.into(), PEER_IP.into());
    assert!(packet.verify_checksum(&src, &dst));
    TcpRepr::parse(&packet, &src, &dst, &ChecksumCapabilities::default()).ok()
}

/// A frame with a segment to the server.
pub fn frame(tcp: &TcpRepr<'_>) -> Vec<u8> {
    let caps = ChecksumCapabilities::default();
    let mut frame = vec![0; 34 + tcp.buffer_len()];
    EthernetRepr {
        src_addr: EthernetAddress(PEER_MAC),
        dst_addr: EthernetAddress(SERVER_MAC),
        ethertype: EthernetProtocol::Ipv4,
    }
    .emit(&mut EthernetFrame::new_unchecked(&mut frame));
    Ipv4Repr {
        src_addr: PEER_IP,
        dst_addr: SERVER_IP,
        next_header: IpProtocol::Tcp,
        payload_len: tcp.buffer_len(),
        hop_limit: 64,
    }
    .emit(&mut Ipv4Packet::new_unchecked(&mut frame[14..]), &caps);
    let (src, dst) = (PEER_IP.into(), SERVER_IP.into());
    tcp.emit(
        &mut TcpPacket::new_unchecked(&mut frame[34..]),
        &src,
        &dst,
        &caps,
    );
    frame
}

/// An ARP answer of the peer's.
pub fn arp_reply() -> Vec<u8> {
    arp(2)
}

/// Has the server know the peer's hardware address: the peer asks for the
/// server's, and is asked itself.
pub fn introduce(w: &mut World) {
    w.env.to_server.push_back(arp(1));
    w.run_server();
    let asked = w.env.from_server.iter().any(|f| f[12..22] == ARP_REQUEST);
    assert!(asked, "a question for the peer");
    w.env.to_server.push_back(arp_reply());
    w.run_server();
}

const ARP_REQUEST: [u8; 10] = [8, 6, 0, 1, 8, 0, 6, 4, 0, 1];

/// What the peer says of itself to the server.
fn arp(operation: u8) -> Vec<u8> {
    let mut frame = vec![0; 14 + 28];
    frame[..6].copy_from_slice(&SERVER_MAC);
    frame[6..12].copy_from_slice(&PEER_MAC);
    frame[12..22].copy_from_slice(&[8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
    frame[22..28].copy_from_slice(&PEER_MAC);
    frame[28..32].copy_from_slice(&PEER_IP.octets());
    frame[32..38].copy_from_slice(&SERVER_MAC);
    frame[38..42].copy_from_slice(&SERVER_IP.octets());
    frame
}

impl Hand {
    /// The segment with these bytes, `at` so many from the first.
    pub fn repr<'a>(&self, at: u32, payload: &'a [u8]) -> TcpRepr<'a> {
        TcpRepr {
            src_port: self.port,
            dst_port: 7,
            control: TcpControl::None,
            seq_number: TcpSeqNumber(self.first.wrapping_add(at) as i32),
            ack_number: Some(TcpSeqNumber(self.theirs as i32)),
            window_len: self.window,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload,
        }
    }

    /// Opens a connection whose first byte has this number; the server's
    /// socket 0 listens, the new one is `socket`.
    pub fn open(w: &mut World, port: u16, first: u32, socket: u32) -> Self {
        Self::open_with(w, port, first, socket, 1460)
    }

    /// As `open`, taking segments of `mss` bytes.
    pub fn open_with(w: &mut World, port: u16, first: u32, socket: u32, mss: u16) -> Self {
        Self::open_offering(w, port, first, socket, (mss, false, None))
    }

    /// As `open_with`, and perhaps acknowledging selectively and shifting windows.
    pub fn open_offering(
        w: &mut World,
        port: u16,
        first: u32,
        socket: u32,
        (mss, selective, shift): (u16, bool, Option<u8>),
    ) -> Self {
        let mut hand = Self {
            port,
            first,
            theirs: 0,
            window: 0xffff,
        };
        w.alone = true;
        introduce(w);
        let accept = w.submit(World::accept(0, socket));
        let syn = TcpRepr {
            control: TcpControl::Syn,
            ack_number: None,
            max_seg_size: Some(mss),
            sack_permitted: selective,
            window_scale: shift,
            ..hand.repr(u32::MAX, &[])
        };
        w.env.to_server.push_back(frame(&syn));
        w.run_server();
        let answers: Vec<_> = w.env.from_server.drain(..).collect();
        let answer = answers.iter().find_map(|f| segment(f)).expect("a SYN");
        assert_eq!(answer.control, TcpControl::Syn);
        hand.theirs = answer.seq_number.0.wrapping_add(1) as u32;
        hand.send(w, 0, &[]);
        ok(&w.completion(accept).expect("accepted"));
        hand
    }

    /// Takes bytes until the server sends as many at once as a window has: a
    /// connection that has just begun sends ten segments (RFC 6928).
    pub fn widen(&mut self, w: &mut World, socket: u32) {
        for _ in 0..4 {
            let token = w.submit(World::send(socket, 0, 60_000));
            let mut bytes = vec![0; 60_000];
            let start = self.theirs;
            while self.theirs != start.wrapping_add(60_000) {
                w.run_server();
                self.fetch(w, start, &mut bytes);
                self.send(w, 0, &[]);
            }
            ok(&w.completion(token).unwrap());
        }
    }

    /// Sends bytes that are `at` so many from the first.
    pub fn send(&self, w: &mut World, at: u32, payload: &[u8]) {
        w.env.to_server.push_back(frame(&self.repr(at, payload)));
        w.run_server();
    }

    /// What the server sent since: the payload of its segments by number from
    /// its first byte, which is `start`, written into `into`.
    pub fn fetch(&mut self, w: &mut World, start: u32, into: &mut [u8]) {
        let frames: Vec<_> = w.env.from_server.drain(..).collect();
        for repr in frames.iter().filter_map(|f| segment(f)) {
            let at = (repr.seq_number.0 as u32).wrapping_sub(start) as usize;
            into[at..at + repr.payload.len()].copy_from_slice(repr.payload);
            let end = (repr.seq_number + repr.segment_len()).0 as u32;
            if end.wrapping_sub(self.theirs) as i32 > 0 {
                self.theirs = end;
            }
        }
    }
}
