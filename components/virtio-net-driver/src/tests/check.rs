//! What may be sent, rule by rule.

use nic_api::{NicInfo, SendFrame, Span, frame_flags, nic_features};

use super::bench::{MTU, frame, span};
use crate::check::Limits;

const SUM: u16 = frame_flags::NEEDS_CHECKSUM;
const SEGMENT: u16 = frame_flags::SEGMENT | SUM;
const ALL: u32 = nic_features::CHECKSUM | nic_features::SEGMENTATION;

fn check(features: u32, entry: SendFrame, lengths: &[u32]) -> Option<u32> {
    let limits = Limits::new(NicInfo {
        mac: [0; 6],
        mtu: MTU,
        features,
    });
    let spans: Vec<Span> = lengths.iter().map(|len| span(*len)).collect();
    limits.check(&entry, &spans)
}

#[test]
fn plain_frames_have_a_header_and_fit() {
    let plain = |lengths: &[u32]| check(0, frame(0, &[]), lengths);
    assert_eq!(plain(&[14]), Some(14));
    assert_eq!(plain(&[1, 1, 12]), Some(14));
    assert_eq!(plain(&[14, MTU]), Some(MTU + 14));
    for bad in [
        &[][..],
        &[0],
        &[13],
        &[14, 0],
        &[0, 14],
        &[15, MTU],
        &[u32::MAX],
        &[u32::MAX; 36],
        // Would be 60 in 32 bits.
        &[u32::MAX, 61],
    ] {
        assert_eq!(plain(bad), None, "{bad:?}");
    }
}

#[test]
fn checksums_are_agreed_on_and_inside() {
    let sum = |start, offset| SendFrame {
        flags: SUM,
        checksum_start: start,
        checksum_offset: offset,
        ..frame(0, &[])
    };
    assert_eq!(check(ALL, sum(34, 6), &[60]), Some(60));
    assert_eq!(check(ALL, sum(34, 24), &[42, 18]), Some(60));
    assert_eq!(check(0, sum(34, 6), &[60]), None, "not agreed on");
    for (start, offset) in [(59, 0), (34, 25), (0, u16::MAX), (u16::MAX, u16::MAX)] {
        assert_eq!(check(ALL, sum(start, offset), &[60]), None);
    }
    assert_eq!(check(ALL, sum(34, 6), &[MTU + 15]), None);
    assert_eq!(check(ALL, sum(0, 0), &[13]), None);
}

#[test]
fn segments_are_agreed_on_and_packets() {
    let good = SendFrame {
        flags: SEGMENT,
        checksum_start: 34,
        checksum_offset: 16,
        segment_bytes: 1460,
        header_len: 54,
        ..frame(0, &[])
    };
    assert_eq!(check(ALL, good, &[54, 30000]), Some(30054));
    assert_eq!(check(ALL, good, &[54, 1]), Some(55), "one segment");
    assert_eq!(check(ALL, good, &[14, 65535]), Some(65549));
    assert_eq!(check(ALL, good, &[14, 65536]), None);
    assert_eq!(check(ALL, good, &[54]), None, "no payload");
    assert_eq!(check(ALL, good, &[13]), None);
    assert_eq!(check(nic_features::CHECKSUM, good, &[54, 30000]), None);
    assert_eq!(check(nic_features::SEGMENTATION, good, &[54, 30000]), None);
    for bad in [
        SendFrame {
            flags: frame_flags::SEGMENT,
            ..good
        },
        SendFrame {
            segment_bytes: 0,
            ..good
        },
        SendFrame {
            segment_bytes: 1461,
            ..good
        },
        SendFrame {
            segment_bytes: u16::MAX,
            ..good
        },
        SendFrame {
            header_len: 53,
            ..good
        },
        SendFrame {
            header_len: 55,
            ..good
        },
        SendFrame {
            header_len: u16::MAX,
            ..good
        },
        // Behind the headers.
        SendFrame {
            checksum_offset: 19,
            ..good
        },
    ] {
        assert_eq!(check(ALL, bad, &[54, 30000]), None, "{bad:?}");
    }
}
