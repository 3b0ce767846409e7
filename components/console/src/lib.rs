//! Serial console, logs of all components, and the serial monitor.
#![no_std]
#![forbid(unsafe_code)]
