//! A raw-frame peer on the other end of a QEMU socket netdev.
