//! The driver between a manager and a device that both may lie.

mod bench;
mod check;
mod gather;
mod hostile;
mod receive;
mod send;
mod start;
