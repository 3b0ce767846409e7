//! Frames as they are on the wire.

/// The ones' complement sum of bytes, in network order.
pub fn sum(bytes: &[u8]) -> u16 {
    let pair = |p: &[u8]| u32::from(u16::from_be_bytes([p[0], p.get(1).copied().unwrap_or(0)]));
    let mut sum: u32 = bytes.chunks(2).map(pair).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// A datagram with a payload, without UDP checksum.
pub fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let total = 28 + payload.len() as u16;
    let mut frame = vec![0; 42];
    frame[12..14].copy_from_slice(&0x0800u16.to_be_bytes());
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    frame[23] = 17;
    frame[26..34].copy_from_slice(&[10, 0, 2, 2, 10, 0, 2, 15]);
    frame[34..36].copy_from_slice(&from.to_be_bytes());
    frame[36..38].copy_from_slice(&to.to_be_bytes());
    frame[38..40].copy_from_slice(&(total - 20).to_be_bytes());
    frame.extend(payload);
    frame
}

/// A TCP segment with `options` bytes of options.
pub fn tcp(options: usize, payload: &[u8]) -> Vec<u8> {
    let mut frame = udp(1, 2, &[]);
    frame[23] = 6;
    frame.resize(14 + 20 + 20 + options, 0xaa);
    frame[46] = ((20 + options) as u8 / 4) << 4;
    frame.extend(payload);
    let total = (frame.len() - 14) as u16;
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    frame
}
