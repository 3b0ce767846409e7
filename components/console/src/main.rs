//! Serial console, logs of all components, and the serial monitor.
fn main() {}
