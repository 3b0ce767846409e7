//! Driver for virtio-net.
fn main() {}
