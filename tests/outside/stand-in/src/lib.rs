//! A server that does nothing but take turns, and ends as it is told to.
//!
//! It stands for servers of other people: a library that knows neither who gives
//! it turns nor in whose protection domain that happens.
#![no_std]

use core::fmt;

use component_runtime::server::Server;
use component_runtime::{Component, Protocol, Role, counters};
use monitor_api::Counter;

/// Turns that it takes before it ends, if it is to end.
const TURNS: u64 = 10;

/// How it ends.
#[derive(Clone, Copy)]
enum End {
    Never,
    Failure,
    Panic,
}

/// The server.
pub struct StandIn {
    turns: Counter,
    end: End,
}

/// Why it gives up.
#[derive(Debug)]
pub enum Failure {
    /// It has no manager.
    NoManager,
    /// It was told to.
    AsTold,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoManager => "nobody to stand in for",
            Self::AsTold => "gives up as it was told to",
        })
    }
}

impl Server for StandIn {
    type Failure = Failure;

    fn new(component: &'static Component) -> Result<Self, Failure> {
        let manager = component.link(Protocol::Server, Role::Server);
        let manager = manager.ok_or(Failure::NoManager)?;
        log::info!("{} stands in, manager near: {}", component.name(), manager.near);
        Ok(Self {
            turns: counters(component).map_or_else(Counter::detached, |p| p.counter("turns")),
            end: match component.config("end") {
                Some("failure") => End::Failure,
                Some("panic") => End::Panic,
                _ => End::Never,
            },
        })
    }

    fn turn(&mut self, _: u64) -> Result<bool, Failure> {
        self.turns.add(1);
        if self.turns.get() < TURNS {
            return Ok(true);
        }
        match self.end {
            End::Never => Ok(false),
            End::Failure => Err(Failure::AsTold),
            End::Panic => panic!("as it was told to"),
        }
    }

    fn arm(&mut self) -> bool {
        true
    }

    fn settle(&mut self) {}
}
