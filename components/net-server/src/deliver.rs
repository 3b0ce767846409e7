//! Pieces of packets on their way to a receive.
//!
//! Problem: the bytes of one receive may be in many packets, of which the
//! manager must hear in order. Invariant: each byte handed out leaves its list
//! of pieces; all pieces but the last are told as [`Deliver`]s, the last one
//! goes into the completion, which the caller makes.

use socket_api::{Deliver, NO_PACKET, flags, kind, packet_flags};

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
        while left != 0 {
            if end.packet != NO_PACKET {
                self.deliver(&end, token, env);
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
        self.note_referenced(len);
        end
    }

    fn deliver(&mut self, end: &End, token: u64, env: &mut impl Environment) {
        let deliver = Deliver {
            kind: kind::DELIVER,
            flags: if end.release {
                packet_flags::RELEASE
            } else {
                0
            },
            packet: end.packet,
            token,
            offset: end.offset,
            len: end.len,
            ..Deliver::default()
        };
        // Quietly: the completion follows.
        if !env.tell_quietly(&deliver.into()) {
            self.counters.add(Counter::CompletionsLost);
        }
    }
}
