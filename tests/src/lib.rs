//! Tests that boot images in the emulator.
