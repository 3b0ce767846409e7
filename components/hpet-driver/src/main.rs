//! Timer driver for the HPET.
fn main() {}
