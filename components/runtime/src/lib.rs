//! What every component links: entry, panic, start-up page, log, counters.
#![no_std]
#![forbid(unsafe_code)]
