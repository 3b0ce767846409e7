//! What the host tool tells the root task, and the root task tells a component.
#![no_std]
#![forbid(unsafe_code)]
