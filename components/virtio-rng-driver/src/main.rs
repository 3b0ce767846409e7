//! Entropy from virtio-rng, RDRAND and timing jitter.
fn main() {}
