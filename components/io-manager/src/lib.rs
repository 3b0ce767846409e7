//! Stands between clients and servers: validates, accounts, passes extents.
#![no_std]
#![forbid(unsafe_code)]
