//! Messages and pages of the small services: timer, entropy, lifecycle.
#![no_std]
#![forbid(unsafe_code)]
