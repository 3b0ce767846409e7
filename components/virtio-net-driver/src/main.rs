//! The virtio-net driver as a component of its own.
#![no_std]
#![no_main]

component_runtime::serve!(virtio_net_driver::program::Driver);
