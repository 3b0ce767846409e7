//! Data passing against a copying model, and each technique by itself.
//!
//! [`property`] runs random programs; [`mutations`] shows that it would see
//! what it is there for; [`sending`] and [`receiving`] try each technique with
//! what it must cost; [`matrix`] holds the documentation to the code.

mod arrivals;
mod bench;
mod coverage;
mod inputs;
mod matrix;
mod mutations;
mod outputs;
mod own_access;
mod platform;
mod program;
mod property;
mod receiving;
mod regions;
mod sending;
mod shadow;
mod world;
