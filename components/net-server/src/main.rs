//! The protocol server: smoltcp behind validated request rings.
fn main() {}
