//! What a device must know of packets.

/// Fills in a checksum whose field holds the sum of the pseudo-header (virtio
/// 1.2, 5.1.6.2).
///
/// # Panics
/// If the field does not lie in the frame.
pub(crate) fn complete_checksum(frame: &mut [u8], start: u16, offset: u16) {
    let (start, offset) = (usize::from(start), usize::from(offset));
    let sum = !sum(&frame[start..]);
    // 0 means "none" for UDP, and is the same number for TCP.
    let sum = if sum == 0 { 0xffff } else { sum };
    frame[start + offset..][..2].copy_from_slice(&sum.to_be_bytes());
}

/// The destination port and payload of a whole UDP datagram over IPv4 without
/// options, whose checksum is right.
pub(crate) fn steerable(frame: &[u8]) -> Option<(u16, &[u8])> {
    let word = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    let whole = word(12)? == 0x0800 && *frame.get(14)? == 0x45 && word(20)? & 0x3fff == 0;
    if !whole || *frame.get(23)? != 17 {
        return None;
    }
    let (total, udp) = (usize::from(word(16)?), usize::from(word(38)?));
    if total != udp + 20 || udp < 8 || word(40)? == 0 {
        return None;
    }
    let datagram = frame.get(34..14 + total)?;
    let mut pseudo = frame[26..34].to_vec();
    pseudo.extend([0, 17]);
    pseudo.extend((udp as u16).to_be_bytes());
    pseudo.extend(datagram);
    (sum(&pseudo) == 0xffff).then_some((word(36)?, &datagram[8..]))
}

fn sum(bytes: &[u8]) -> u16 {
    let pair = |pair: &[u8]| {
        u32::from(u16::from_be_bytes([
            pair[0],
            pair.get(1).copied().unwrap_or(0),
        ]))
    };
    let mut sum: u32 = bytes.chunks(2).map(pair).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
