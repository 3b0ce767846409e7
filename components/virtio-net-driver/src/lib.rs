//! Driver for virtio-net.
#![no_std]
#![forbid(unsafe_code)]
