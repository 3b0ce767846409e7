//! Creates the components that the system description names.
fn main() {}
