//! The protocol server as a component of its own.
#![no_std]
#![no_main]

component_runtime::serve!(net_server::program::NetServer);
