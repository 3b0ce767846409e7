//! UDP and TCP echo on one port.
fn main() {}
