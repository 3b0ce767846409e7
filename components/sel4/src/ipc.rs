//! Messages through endpoints.
//!
//! A message's first four words travel in registers. The plain calls keep them
//! in the IPC buffer's first words, as rust-sel4 does; those with `_with_mrs`
//! pass them as arguments and touch the buffer only for words beyond the fourth,
//! which makes them the ones for fast paths. The kernel's own fast path wants
//! at most four words, no capability, and a callee of at least the caller's
//! priority.
//!
//! Invocations of kernel objects use the IPC buffer too: they overwrite its
//! capabilities and the words beyond the fourth. Fill it last, read it first.
//!
//! When a signal of a bound notification ends a `recv`, its message info is
//! zero; after a `reply_recv` it is whatever was passed in. Tell signals by
//! their badge.

use crate::{
    Badge, IpcBuffer, Word,
    capability::{Cap, CapType, cap_type},
    context::{assert_not_lent, ipc_buffer_ptr},
    message_info::MessageInfo,
    sys::{self, Received, Registers},
};
use core::ptr::addr_of_mut;
use sel4_bindings::syscall;

/// Message words that travel in registers.
pub const NUM_FAST_MESSAGE_REGISTERS: usize = 4;

/// What replies to a received message.
///
/// Classic kernels keep that in the thread: pass `()`.
pub trait ConveysReplyAuthority {}

impl ConveysReplyAuthority for () {}

/// What messages can be sent to or received from: endpoints, and whatever is
/// only known at run time, such as the reply capability that
/// [`save_caller`](crate::AbsoluteCPtr::save_caller) keeps.
pub trait IpcCapType: CapType {}

impl IpcCapType for cap_type::Endpoint {}
impl IpcCapType for cap_type::Notification {}
impl IpcCapType for cap_type::Unspecified {}

/// Up to four message words as an argument.
pub trait FastMessages {
    /// The words, filled up with zeros.
    fn into_registers(self) -> [Word; NUM_FAST_MESSAGE_REGISTERS];
}

macro_rules! fast_messages {
    ($($length:literal: $($word:ident)*;)*) => {$(
        impl FastMessages for [Word; $length] {
            #[inline(always)]
            fn into_registers(self) -> [Word; NUM_FAST_MESSAGE_REGISTERS] {
                let [$($word),*] = self;
                let mut words = [0; NUM_FAST_MESSAGE_REGISTERS];
                words[..$length].copy_from_slice(&[$($word),*]);
                words
            }
        }
    )*};
}

fast_messages! {
    0: ;
    1: a;
    2: a b;
    3: a b c;
    4: a b c d;
}

/// A received message with its first four words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecvWithMRs {
    /// What it is.
    pub info: MessageInfo,
    /// Through which capability it came.
    pub badge: Badge,
    /// The first words; beyond `info.length()` they mean nothing.
    pub msg: [Word; NUM_FAST_MESSAGE_REGISTERS],
}

/// A reply with its first four words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallWithMRs {
    /// What it is.
    pub info: MessageInfo,
    /// The first words; beyond `info.length()` they mean nothing.
    pub msg: [Word; NUM_FAST_MESSAGE_REGISTERS],
}

/// The first words in the IPC buffer.
#[inline(always)]
fn load() -> Registers {
    assert_not_lent();
    // SAFETY: the thread's own IPC buffer, which is not lent out.
    let msg = unsafe { &*addr_of_mut!((*ipc_buffer_ptr()).msg) };
    [msg[0], msg[1], msg[2], msg[3]]
}

/// Puts the first words into the IPC buffer.
#[inline(always)]
fn store(words: Registers) {
    // SAFETY: the thread's own IPC buffer, which is not lent out.
    let msg = unsafe { &mut *addr_of_mut!((*ipc_buffer_ptr()).msg) };
    msg[..NUM_FAST_MESSAGE_REGISTERS].copy_from_slice(&words);
}

#[inline(always)]
fn stored(received: Received) -> (MessageInfo, Badge) {
    store(received.words);
    (MessageInfo::from_word(received.info), received.badge)
}

#[inline(always)]
fn with_mrs(received: Received) -> RecvWithMRs {
    RecvWithMRs {
        info: MessageInfo::from_word(received.info),
        badge: received.badge,
        msg: received.words,
    }
}

impl<T: IpcCapType> Cap<T> {
    /// Corresponds to `seL4_Send`. Blocks until somebody receives.
    #[inline(always)]
    pub fn send(self, info: MessageInfo) {
        sys::send(syscall::Send, self.bits(), info.word(), load());
    }

    /// Corresponds to `seL4_NBSend`. Nothing happens if nobody waits.
    #[inline(always)]
    pub fn nb_send(self, info: MessageInfo) {
        sys::send(syscall::NBSend, self.bits(), info.word(), load());
    }

    /// Corresponds to `seL4_Recv`. Blocks until a message comes.
    #[inline(always)]
    pub fn recv(self, _reply_authority: impl ConveysReplyAuthority) -> (MessageInfo, Badge) {
        assert_not_lent();
        stored(sys::recv(syscall::Recv, self.bits()))
    }

    /// Corresponds to `seL4_NBRecv`. The badge is zero if no message was there.
    #[inline(always)]
    pub fn nb_recv(self, _reply_authority: impl ConveysReplyAuthority) -> (MessageInfo, Badge) {
        assert_not_lent();
        stored(sys::recv(syscall::NBRecv, self.bits()))
    }

    /// Corresponds to `seL4_Call`. Blocks until the reply comes.
    #[inline(always)]
    pub fn call(self, info: MessageInfo) -> MessageInfo {
        let words = load();
        stored(sys::send_recv(
            syscall::Call,
            self.bits(),
            info.word(),
            words,
        ))
        .0
    }

    /// Corresponds to `seL4_ReplyRecv`: replies to the last caller, then blocks
    /// until the next message comes.
    #[inline(always)]
    pub fn reply_recv(
        self,
        info: MessageInfo,
        _reply_authority: impl ConveysReplyAuthority,
    ) -> (MessageInfo, Badge) {
        let words = load();
        stored(sys::send_recv(
            syscall::ReplyRecv,
            self.bits(),
            info.word(),
            words,
        ))
    }

    /// Corresponds to `seL4_SendWithMRs`.
    #[inline(always)]
    pub fn send_with_mrs<M: FastMessages>(self, info: MessageInfo, messages: M) {
        sys::send(
            syscall::Send,
            self.bits(),
            info.word(),
            messages.into_registers(),
        );
    }

    /// Corresponds to `seL4_NBSendWithMRs`.
    #[inline(always)]
    pub fn nb_send_with_mrs<M: FastMessages>(self, info: MessageInfo, messages: M) {
        sys::send(
            syscall::NBSend,
            self.bits(),
            info.word(),
            messages.into_registers(),
        );
    }

    /// Corresponds to `seL4_RecvWithMRs`.
    #[inline(always)]
    pub fn recv_with_mrs(self, _reply_authority: impl ConveysReplyAuthority) -> RecvWithMRs {
        with_mrs(sys::recv(syscall::Recv, self.bits()))
    }

    /// Corresponds to `seL4_NBRecv` with the words as a result.
    #[inline(always)]
    pub fn nb_recv_with_mrs(self, _reply_authority: impl ConveysReplyAuthority) -> RecvWithMRs {
        with_mrs(sys::recv(syscall::NBRecv, self.bits()))
    }

    /// Corresponds to `seL4_CallWithMRs`.
    #[inline(always)]
    pub fn call_with_mrs<M: FastMessages>(self, info: MessageInfo, messages: M) -> CallWithMRs {
        let words = messages.into_registers();
        let answer = sys::send_recv(syscall::Call, self.bits(), info.word(), words);
        CallWithMRs {
            info: MessageInfo::from_word(answer.info),
            msg: answer.words,
        }
    }

    /// Corresponds to `seL4_ReplyRecvWithMRs`.
    #[inline(always)]
    pub fn reply_recv_with_mrs<M: FastMessages>(
        self,
        info: MessageInfo,
        messages: M,
        _reply_authority: impl ConveysReplyAuthority,
    ) -> RecvWithMRs {
        let words = messages.into_registers();
        with_mrs(sys::send_recv(
            syscall::ReplyRecv,
            self.bits(),
            info.word(),
            words,
        ))
    }
}

/// Corresponds to `seL4_Reply`: replies to the last caller.
#[inline(always)]
pub fn reply(ipc_buffer: &mut IpcBuffer, info: MessageInfo) {
    let msg = ipc_buffer.msg_regs();
    let words = [msg[0], msg[1], msg[2], msg[3]];
    sys::send(syscall::Reply, 0, info.word(), words);
}

/// Corresponds to `seL4_Yield`: lets other threads of the same priority run.
#[inline(always)]
pub fn r#yield() {
    sys::send_null(syscall::Yield, 0, 0);
}
