//! Data passing against a copying model, and each technique by itself.
//!
//! [`property`] runs random programs; the rest are small and fixed.

mod coverage;
mod inputs;
mod outputs;
mod platform;
mod program;
mod property;
mod regions;
mod shadow;
mod world;
