//! Closing: what was sent goes out first, unless the linger time says no.
//!
//! What has to wait for answers goes on whenever the library is called next,
//! for whatever socket. A stream's sends are answered once they have been
//! acknowledged, so `Close` follows that. Invariant: a socket that the
//! application dropped gives back everything it held, and its record is freed
//! when the server has answered `Close`.

use socket_api::Op;

use crate::buffers::NO_UNIT;
use crate::core_state::Core;
use crate::records::{flag, kind, state};

impl Core {
    /// The application has dropped its last handle of socket `index`.
    pub fn start_close(&mut self, index: u16) {
        self.leave_poll(index);
        let socket = self.socket(index);
        let first = socket.state != state::CLOSING;
        socket.state = state::CLOSING;
        self.closing += u16::from(first);
        let socket = self.socket(index);
        socket.flags &= !(flag::POSTS | flag::STARTED);
        while let Some(record) = self.dequeue(index) {
            if self.socket(index).kind == kind::LISTENER {
                let accepted = self.record(record).accepted;
                self.start_close(accepted);
            }
            self.free_with_buffer(record);
        }
        self.finish_close(index);
    }

    /// Submits `Close` once that may be.
    pub fn finish_close(&mut self, index: u16) {
        let socket = self.socket(index);
        let (handle, linger) = (socket.handle, socket.linger);
        let stream = socket.kind == kind::STREAM;
        let drops = stream && (linger == 0 || socket.send_end != 0);
        if socket.flags & flag::CLOSE_SENT != 0 || (socket.sends != 0 && !drops) {
            return;
        }
        if handle == 0 {
            // Never opened.
            self.free_socket(index);
            return;
        }
        let mut request = self.request(Op::Close, index);
        request.arg = linger;
        match self.submit(request, index, NO_UNIT, 0) {
            Some(_) => self.socket(index).flags |= flag::CLOSE_SENT,
            None => self.need_attention(index),
        }
    }

    /// Whether the socket that had record `index` in life `life` is gone.
    pub fn is_gone(&mut self, index: u16, life: u32) -> bool {
        self.socket(index).life != life
    }

    /// Whether nothing more has to be submitted for now: `Close` is, or what
    /// was sent before has to be answered first.
    pub fn close_is_under_way(&mut self, index: u16, life: u32) -> bool {
        let socket = self.socket(index);
        socket.life != life || socket.flags & flag::CLOSE_SENT != 0 || socket.sends != 0
    }
}
