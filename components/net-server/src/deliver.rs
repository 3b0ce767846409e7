//! Pieces of packets on their way to a receive.
//!
//! Problem: the bytes of one receive may be in many packets, of which the
//! manager must hear in order. Invariant: each byte handed out leaves its list
//! of pieces; all pieces but the last are told in [`Deliver`]s, the last one
//! goes into the completion, which the caller makes.

use socket_api::{Deliver, Further, NO_PACKET, flags, kind, packet_flags};

use crate::counters::Counter;
use crate::environment::Environment;
use crate::lists::List;
use crate::server::Server;

/// The last piece of what is handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub packet: u32,
    pub offset: u32,
    len: u32,
    /// Nothing else of the packet is needed.
    pub release: bool,
    /// It was the last of its datagram.
    pub last: bool,
}

impl End {
    /// No byte was handed out.
    const NOTHING: Self = Self {
        packet: NO_PACKET,
        offset: 0,
        len: 0,
        release: false,
        last: false,
    };

    /// The flags of the completion.
    #[inline]
    pub fn flags(&self) -> u32 {
        if self.release { flags::RELEASE } else { 0 }
    }
}

impl Server {
    /// Hands `len` bytes from the front of a list out to a receive.
    #[inline]
    pub(crate) fn hand_out(
        &mut self,
        list: &mut List,
        len: u32,
        token: u64,
        env: &mut impl Environment,
    ) -> End {
        let (mut end, mut left) = (End::NOTHING, len);
        let mut batch = Batch::new(token);
        while left != 0 {
            if end.packet != NO_PACKET && !batch.add(&end) {
                self.tell_batch(&mut batch, env);
                batch.add(&end);
            }
            let slot = list.head;
            let Some(piece) = self.packets.piece_mut(slot) else {
                break;
            };
            let n = piece.len.min(left);
            end = End {
                packet: piece.packet,
                offset: piece.at,
                len: n,
                release: false,
                last: piece.last && n == piece.len,
            };
            left -= n;
            if n == piece.len {
                end.release = self.packets.remove_first(list).is_some();
            } else {
                piece.at += n;
                piece.len -= n;
                piece.word = piece.word.wrapping_add(n);
            }
        }
        self.tell_batch(&mut batch, env);
        self.note_referenced(len);
        end
    }

    /// Tells the manager what was gathered, if anything was.
    fn tell_batch(&mut self, batch: &mut Batch, env: &mut impl Environment) {
        if batch.count == 0 {
            return;
        }
        let deliver = core::mem::replace(batch, Batch::new(batch.deliver.token)).deliver;
        // Quietly: the completion follows.
        if !env.tell_quietly(&deliver.into()) {
            self.counters.add(Counter::CompletionsLost);
        }
    }
}

/// Pieces that go to one receive in one message.
struct Batch {
    deliver: Deliver,
    count: usize,
}

impl Batch {
    fn new(token: u64) -> Self {
        let deliver = Deliver {
            kind: kind::DELIVER,
            token,
            ..Deliver::default()
        };
        Self { deliver, count: 0 }
    }

    /// Adds a piece; false if it has no place.
    fn add(&mut self, end: &End) -> bool {
        let flags = if end.release {
            packet_flags::RELEASE
        } else {
            0
        };
        let deliver = &mut self.deliver;
        if self.count == 0 {
            deliver.flags = flags;
            (deliver.packet, deliver.offset, deliver.len) = (end.packet, end.offset, end.len);
        } else {
            let numbers = [end.packet, end.offset, end.len].map(u16::try_from);
            let [Ok(packet), Ok(offset), Ok(len)] = numbers else {
                return false;
            };
            let Some(place) = deliver.more.get_mut(self.count - 1) else {
                return false;
            };
            *place = Further {
                packet,
                offset,
                len,
                flags,
            };
        }
        self.count += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(packet: u32, offset: u32, len: u32) -> End {
        End {
            packet,
            offset,
            len,
            release: packet.is_multiple_of(2),
            last: false,
        }
    }

    #[test]
    fn six_pieces_go_in_one_message() {
        let mut batch = Batch::new(77);
        let ends = [1, 2, 3, 1024, 5, 6].map(|n| end(n, 54 + n, 65535 - n));
        assert!(ends.iter().all(|end| batch.add(end)));
        assert!(!batch.add(&end(7, 54, 1)));
        assert_eq!((batch.deliver.token, batch.count), (77, 6));
        let all: std::vec::Vec<_> = batch.deliver.all().collect();
        assert_eq!(all.len(), 6);
        for (delivery, end) in all.iter().zip(&ends) {
            let place = (delivery.packet, delivery.offset, delivery.len);
            assert_eq!(place, (end.packet, end.offset, end.len));
            let release = delivery.flags == packet_flags::RELEASE;
            assert_eq!(release, end.release);
        }
    }

    #[test]
    fn what_has_large_numbers_comes_first_or_not_at_all() {
        let large = [end(1, 65536, 1), end(1, 54, 65536)];
        for end in &large {
            let mut batch = Batch::new(7);
            assert!(batch.add(end));
            assert_eq!(batch.deliver.first().offset, end.offset);
            assert!(!batch.add(end));
            assert_eq!((batch.count, batch.deliver.all().count()), (1, 1));
        }
    }
}
