//! Sockets for components, in the shape of std::net.
#![no_std]
#![forbid(unsafe_code)]
