//! What came over the link, by kind, as the guest sent it.

use crate::wire::{ETHERNET, Located, PROTO_ICMP, PROTO_TCP, PROTO_UDP, TCP, TYPE_ARP, Tcp};

/// Counts of frames since the peer started; faults are applied after the
/// received ones are counted and before the sent ones are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames received.
    pub received: u64,
    /// Bytes in them.
    pub received_bytes: u64,
    /// Frames sent.
    pub sent: u64,
    /// Frames that found the queue to the link full, or no link.
    pub lost_in_queue: u64,
    /// ARP requests received.
    pub arp_requests: u64,
    /// ARP replies received.
    pub arp_replies: u64,
    /// ICMP messages received.
    pub icmp: u64,
    /// UDP datagrams received, first fragments included.
    pub udp: u64,
    /// TCP segments received.
    pub tcp: u64,
    /// Those with SYN and ACK.
    pub syn_acks: u64,
    /// Those with RST.
    pub resets: u64,
    /// IPv4 fragments received.
    pub fragments: u64,
    /// Writing the capture failed; it ends there.
    pub capture_failed: bool,
}

impl Stats {
    pub(crate) fn note_received(&mut self, frame: &[u8]) {
        self.received += 1;
        self.received_bytes += frame.len() as u64;
        if frame.len() >= ETHERNET + 8 && frame[12..14] == TYPE_ARP.to_be_bytes() {
            match frame[ETHERNET + 7] {
                1 => self.arp_requests += 1,
                2 => self.arp_replies += 1,
                _ => {}
            }
        }
        let Some(found) = Located::find(frame) else {
            return;
        };
        if found.fragment() & 0x1fff != 0 {
            return;
        }
        match found.protocol {
            PROTO_ICMP => self.icmp += 1,
            PROTO_UDP => self.udp += 1,
            PROTO_TCP if found.payload.len() >= TCP => self.note_segment(found.payload[13]),
            _ => {}
        }
    }

    fn note_segment(&mut self, flags: u8) {
        self.tcp += 1;
        self.syn_acks += u64::from(flags & Tcp::SYN != 0 && flags & Tcp::ACK != 0);
        self.resets += u64::from(flags & Tcp::RST != 0);
    }
}
