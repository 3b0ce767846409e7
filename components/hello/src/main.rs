//! The smallest component.
fn main() {}
