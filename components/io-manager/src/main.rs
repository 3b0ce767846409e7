//! Stands between clients and servers: validates, accounts, passes extents.
fn main() {}
