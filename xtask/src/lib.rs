//! Building the kernel side, for `cargo xtask` and for `gateway-daemon/build.rs`.
//!
//! The library finds a compiler for the BPF target and calls it. The verbs of the command line live beside `main.rs`.

pub mod ebpf;
