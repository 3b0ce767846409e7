//! Loads an echo service and checks every byte.
