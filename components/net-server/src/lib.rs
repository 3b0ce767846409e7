//! The protocol server: smoltcp behind validated request rings.
#![no_std]
#![forbid(unsafe_code)]
