//! Parses and validates system.toml.
