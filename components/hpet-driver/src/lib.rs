//! Timer driver for the HPET.
#![no_std]
#![forbid(unsafe_code)]
