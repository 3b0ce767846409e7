//! Frames, pages, the eight data-passing semantics and the techniques behind
//! them.
#![no_std]
#![forbid(unsafe_code)]
