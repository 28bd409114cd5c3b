//! See [`gateway_fuzz::target`].

#![cfg_attr(fuzzing, no_main)]

gateway_fuzz::entry!("icmp_quote");
