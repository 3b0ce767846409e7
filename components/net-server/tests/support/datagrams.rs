//! Datagrams of a peer that is played by the test.

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::*;

use super::{PEER_MAC, SERVER_MAC};

/// Builds an Ethernet frame from the peer around a UDP payload.
pub fn udp_frame(src: (Ipv4Address, u16), dst: (Ipv4Address, u16), payload: &[u8]) -> Vec<u8> {
    let udp = UdpRepr {
        src_port: src.1,
        dst_port: dst.1,
    };
    let caps = ChecksumCapabilities::default();
    let mut frame = vec![0; 14 + 20 + 8 + payload.len()];
    EthernetRepr {
        src_addr: EthernetAddress(PEER_MAC),
        dst_addr: EthernetAddress(SERVER_MAC),
        ethertype: EthernetProtocol::Ipv4,
    }
    .emit(&mut EthernetFrame::new_unchecked(&mut frame));
    Ipv4Repr {
        src_addr: src.0,
        dst_addr: dst.0,
        next_header: IpProtocol::Udp,
        payload_len: 8 + payload.len(),
        hop_limit: 64,
    }
    .emit(&mut Ipv4Packet::new_unchecked(&mut frame[14..]), &caps);
    let (from, to) = (src.0.into(), dst.0.into());
    udp.emit(
        &mut UdpPacket::new_unchecked(&mut frame[34..]),
        &from,
        &to,
        payload.len(),
        |b| b.copy_from_slice(payload),
        &caps,
    );
    frame
}

/// The UDP payload of a frame that the server sent, with its ports.
pub fn udp_of(frame: &[u8]) -> Option<(Ipv4Address, u16, u16, Vec<u8>)> {
    let eth = EthernetFrame::new_checked(frame).ok()?;
    if eth.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let ip = Ipv4Packet::new_checked(eth.payload()).ok()?;
    if ip.next_header() != IpProtocol::Udp {
        return None;
    }
    let udp = UdpPacket::new_checked(ip.payload()).ok()?;
    assert!(udp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into()));
    Some((
        ip.dst_addr(),
        udp.src_port(),
        udp.dst_port(),
        udp.payload().to_vec(),
    ))
}

/// Builds an Ethernet frame from the peer around a TCP segment.
pub fn segment_frame(src: Ipv4Address, segment: &[u8]) -> Vec<u8> {
    let mut frame = udp_frame((src, 0), (super::SERVER_IP, 0), &segment[8..]);
    frame[34..42].copy_from_slice(&segment[..8]);
    let mut packet = Ipv4Packet::new_unchecked(&mut frame[14..]);
    packet.set_next_header(IpProtocol::Tcp);
    packet.fill_checksum();
    frame
}
