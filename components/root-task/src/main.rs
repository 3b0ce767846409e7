//! The root task's program.
fn main() {}
