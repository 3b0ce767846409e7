//! The I/O manager as a component that hosts nobody.
#![no_std]
#![no_main]

use component_runtime::Component;

component_runtime::entry!(main);

fn main(component: &'static Component) -> ! {
    io_manager::program::run(component, &[])
}
