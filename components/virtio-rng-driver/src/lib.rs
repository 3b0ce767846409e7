//! Entropy from virtio-rng, RDRAND and timing jitter.
#![no_std]
#![forbid(unsafe_code)]
