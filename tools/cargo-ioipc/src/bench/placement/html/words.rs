//! What a newcomer has to know.

use maud::{Markup, html};

use super::super::panel::{CAVEAT, number};
use super::super::record::Record;

/// The words, with a picture of the two placements.
pub(super) fn introduction() -> Markup {
    html! {
        section id="words" {
            h2 { "What is compared" }
            p {
                "On a microkernel such as seL4, the network stack is not part of the kernel. It is an ordinary "
                "program, the " dfn { "protocol server" } ", and so is the driver of the network card. A fault in "
                "either then stays there. The price is that a packet has to pass through several programs that do "
                "not trust each other; this page shows that price, and how much of it can be avoided."
            }
            (picture())
            dl.words {
                div {
                    dt { "Placement: kernel or user" }
                    dd {
                        "Where server and driver are installed. " b { "Kernel" } " means inside the I/O manager, the one "
                        "privileged program that holds the memory, like a network stack inside a monolithic kernel: "
                        "fast, and a mistake there is everybody's. " b { "User" } " means as programs of their own. "
                        "The source code is the same."
                    }
                }
                div {
                    dt { "I/O-oriented IPC" }
                    dd {
                        "Inter-process communication made for input and output. Applications keep the ordinary "
                        "interface (“send these bytes”), servers and drivers get references to the bytes instead of "
                        "the bytes. The I/O manager in between passes pages of memory where that is cheaper than "
                        "copying, and copies where that is."
                    }
                }
                div {
                    dt { "Conventional" }
                    dd {
                        "What it is held against: every message is copied from the sender into the server and from "
                        "the server to the receiver, as user-level servers did before."
                    }
                }
                div {
                    dt { "Crossing" }
                    dd {
                        "One switch from one program (protection domain) to another. A call and its reply are two. "
                        "Each costs about a thousand instructions, whatever the number of bytes; waiting for several "
                        "messages before switching shares that."
                    }
                }
                div {
                    dt { "Semantics" }
                    dd {
                        "What an application may rely on when it hands over a buffer. "
                        b { "Copy" } ": the buffer is its own again as soon as the call returns, and the bytes are "
                        "copied. " b { "Emulated copy" } ": the same promise, kept without copying where possible, by "
                        "protecting pages while they are in use; this is the default. " b { "Share" } ": the buffer "
                        "must be left alone until the operation is done. " b { "Emulated move" } ": the buffer is given "
                        "away, and received data come in a new one."
                    }
                }
                div {
                    dt { "Operation, burst, echo" }
                    dd {
                        "An operation is one datagram (UDP), or one buffer sent or received on a stream (TCP). "
                        "Operations of a burst are under way together. An echo is a request and a reply of the same "
                        "size: the pattern in which nothing can be shared when it goes one at a time."
                    }
                }
            }
        }
    }
}

/// The two placements as boxes.
fn picture() -> Markup {
    html! {
        div.placements {
            figure {
                div.domains {
                    div.domain { b { "application" } }
                    span.crossing { "⇄" }
                    div.domain.privileged {
                        b { "I/O manager" }
                        span.inside { "protocol server" }
                        span.inside { "driver" }
                    }
                }
                figcaption { b { "Kernel" } " placement: one boundary to cross, nothing between server and memory." }
            }
            figure {
                div.domains {
                    div.domain { b { "application" } }
                    span.crossing { "⇄" }
                    div.domain.privileged { b { "I/O manager" } }
                    span.crossing { "⇄" }
                    div.domain { b { "protocol server" } }
                    div.domain { b { "driver" } }
                }
                figcaption { b { "User" } " placement: each box is protected from the others." }
            }
        }
    }
}

/// How the figures came about.
pub(super) fn method(record: &Record) -> Markup {
    html! {
        section id="method" {
            h2 { "How this was measured" }
            ul.method {
                li {
                    "Counted from outside by the emulator: every instruction that the machine executes, user and "
                    "kernel together, release build, one processor. " b.caveat { (CAVEAT) }
                    " A copied byte therefore looks cheaper here than it is, and so does a switch of address space."
                }
                li {
                    "Every byte that arrived was checked; a run that lost or changed one is no figure. Each row is "
                    "the median of " (record.runs) " runs; thin vertical lines in the plots go from the least to the "
                    "greatest."
                }
                li {
                    "What the idle system executes is included: "
                    @if record.idle.is_empty() { "it was not measured" }
                    @for (at, (boot, rate)) in record.idle.iter().enumerate() {
                        @if at > 0 { ", " }
                        (boot) " " (number(*rate))
                    }
                    " instructions a second."
                }
                li {
                    "Crossings, system calls, bytes copied and page operations are the system's own counters and the "
                    "emulator's, for one operation."
                }
            }
        }
    }
}
