//! Packets that are made here, beside smoltcp.
//!
//! Problem: a connection in TIME-WAIT has no socket, and of a datagram that
//! nobody wants smoltcp would quote payload that is not here. Invariant: each
//! answer is one packet, to where the packet came from.

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, Icmpv4DstUnreachable,
    Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr,
    TcpSeqNumber,
};

use crate::classify::{Datagram, ETHERNET};
use crate::counters::{Counter, Counters};
use crate::environment::{Environment, Outgoing};
use crate::stack::Stack;
use crate::time_wait::Entry;
use crate::wire::IP_HEADER;

impl Stack {
    /// Acknowledges a segment on behalf of a connection in TIME-WAIT.
    pub fn acknowledge<E: Environment>(
        &mut self,
        entry: &Entry,
        ip: &Datagram,
        env: &mut E,
        counters: &mut Counters,
    ) {
        let tcp = TcpRepr {
            src_port: entry.flow.port,
            dst_port: entry.flow.remote_port,
            control: TcpControl::None,
            seq_number: TcpSeqNumber(entry.seq as i32),
            ack_number: Some(TcpSeqNumber(entry.ack as i32)),
            window_len: 0,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload: &[],
        };
        let len = ETHERNET + IP_HEADER + tcp.buffer_len();
        self.head(ip, IpProtocol::Tcp, tcp.buffer_len());
        tcp.emit(
            &mut TcpPacket::new_unchecked(&mut self.buffer[ETHERNET + IP_HEADER..len]),
            &ip.dst.into(),
            &ip.src.into(),
            &ChecksumCapabilities::default(),
        );
        self.answer(len, env, counters);
    }

    /// Says that nobody has the port that a datagram is for (RFC 792), of
    /// which `start` are the first 8 bytes.
    pub fn unreachable<E: Environment>(
        &mut self,
        ip: &Datagram,
        start: &[u8; 8],
        env: &mut E,
        counters: &mut Counters,
    ) {
        let icmp = Icmpv4Repr::DstUnreachable {
            reason: Icmpv4DstUnreachable::PortUnreachable,
            header: Ipv4Repr {
                src_addr: ip.src,
                dst_addr: ip.dst,
                next_header: ip.protocol,
                payload_len: ip.payload_len,
                hop_limit: 64,
            },
            data: start,
        };
        let len = ETHERNET + IP_HEADER + icmp.buffer_len();
        self.head(ip, IpProtocol::Icmp, icmp.buffer_len());
        icmp.emit(
            &mut Icmpv4Packet::new_unchecked(&mut self.buffer[ETHERNET + IP_HEADER..len]),
            &ChecksumCapabilities::default(),
        );
        self.answer(len, env, counters);
    }

    /// Writes the headers of an answer to a packet.
    fn head(&mut self, to: &Datagram, protocol: IpProtocol, payload_len: usize) {
        let own_mac = self.facts().mac;
        let frame = &mut self.buffer[..ETHERNET + IP_HEADER];
        EthernetRepr {
            src_addr: EthernetAddress(own_mac),
            dst_addr: to.src_mac,
            ethertype: EthernetProtocol::Ipv4,
        }
        .emit(&mut EthernetFrame::new_unchecked(&mut *frame));
        Ipv4Repr {
            src_addr: to.dst,
            dst_addr: to.src,
            next_header: protocol,
            payload_len,
            hop_limit: 64,
        }
        .emit(
            &mut Ipv4Packet::new_unchecked(&mut frame[ETHERNET..]),
            &ChecksumCapabilities::default(),
        );
    }

    fn answer<E: Environment>(&mut self, len: usize, env: &mut E, counters: &mut Counters) {
        if env.transmit(&Outgoing::whole(&self.buffer[..len])) {
            counters.add(Counter::FramesSent);
        } else {
            counters.add(Counter::DropSendRoom);
        }
    }
}
