//! Split virtqueues over physical addresses, hostile-device safe.
#![no_std]
#![forbid(unsafe_code)]
