//! Log records and counters in shared memory.
#![no_std]
#![forbid(unsafe_code)]
