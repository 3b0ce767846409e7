//! Segments of a connection that leave once more (RFC 6675, RFC 8985).
//!
//! Problem: what is sent again is not where smoltcp is in the stream, and it is
//! still the client's memory. Invariant: [`crate::recovery`] says which bytes;
//! they are found by their numbers, as when they were sent first, and leave
//! with the acknowledgement and the window that the peer was told last, so that
//! the peer hears nothing that smoltcp does not know of.

use crate::classify::ETHERNET;
use crate::counters::Counter;
use crate::cut::{self, ACK, Cut, FIN, HEADERS, PSH, Source};
use crate::environment::{Environment, Outgoing};
use crate::recovery::Piece;
use crate::server::{Id, Run, Server};

/// Segments that are sent again in one go.
const BURST: u32 = 32;

impl Server {
    /// Sends again what of a connection is lost.
    #[inline]
    pub(crate) fn send_again(&mut self, c: u32, env: &mut impl Environment) -> Run {
        if self.connections[c as usize].recovery.is_idle() {
            return Run::Done;
        }
        self.send_lost(c, env)
    }

    fn send_lost(&mut self, c: u32, env: &mut impl Environment) -> Run {
        let now = self.now();
        let connection = &mut self.connections[c as usize];
        if !connection.sends() || connection.detached {
            connection.recovery.give_up();
            return Run::Done;
        }
        connection.recovery.tick(now);
        for _ in 0..BURST {
            let Some(piece) = self.connections[c as usize].recovery.next() else {
                return Run::Done;
            };
            if !env.has_room(1) {
                return Run::Blocked;
            }
            let Some(headers) = self.headers_again(c, piece) else {
                self.await_neighbour(Id::Connection(c));
                return Run::Done;
            };
            if !self.send_piece(c, piece, &headers, env) {
                return Run::Blocked;
            }
            self.counters.add(Counter::SentAgain);
            self.connections[c as usize].recovery.sent_again(piece, now);
        }
        Run::Again
    }

    /// The headers of such a segment, if the way to the peer is known.
    fn headers_again(&mut self, c: u32, piece: Piece) -> Option<[u8; HEADERS]> {
        let flow = self.connections[c as usize].flow;
        if self.stack.hops.find(flow.remote, self.stack.now).is_none() {
            self.stack.find_way(flow.remote);
        }
        let hop = self.stack.hops.find(flow.remote, self.stack.now)?;
        let connection = &self.connections[c as usize];
        let (ack, window) = connection.inflow.told();
        let fin = connection.recovery.ends_with_fin(piece);
        let mut h = [0; HEADERS];
        h[..hop.head.len()].copy_from_slice(&hop.head);
        h[ETHERNET + 9] = 6;
        h[34..36].copy_from_slice(&flow.port.to_be_bytes());
        h[36..38].copy_from_slice(&flow.remote_port.to_be_bytes());
        h[38..42].copy_from_slice(&piece.seq.to_be_bytes());
        h[42..46].copy_from_slice(&ack.to_be_bytes());
        h[46] = 0x50;
        h[47] = ACK | if fin { FIN } else { PSH };
        h[48..50].copy_from_slice(&window.to_be_bytes());
        Some(h)
    }

    /// Sends it; false if there was no room for all of it.
    fn send_piece(
        &mut self,
        c: u32,
        piece: Piece,
        headers: &[u8; HEADERS],
        env: &mut impl Environment,
    ) -> bool {
        let connection = &mut self.connections[c as usize];
        let fin = connection.recovery.ends_with_fin(piece);
        let payload = piece.end.wrapping_sub(piece.seq) - u32::from(fin);
        if payload == 0 {
            let mut headers = *headers;
            cut::without_payload(&mut headers, piece.seq, fin);
            self.counters.add(Counter::FramesSent);
            return env.transmit(&Outgoing::whole(&headers));
        }
        let mut source = Source {
            outflow: &mut connection.outflow,
            pending: &self.pending,
            kept: connection.recovery.first(),
            sent: connection.sent_seq,
        };
        let mut segment = Cut::new(headers, payload, None, false);
        segment.send(&mut source, env, &mut self.counters)
    }
}
