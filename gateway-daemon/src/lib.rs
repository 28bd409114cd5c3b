//! The gateway's daemon: fills the tables of the data path, watches it, and answers operators.

mod tasks;

pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod control;
pub mod datapath;
pub mod doctor;
pub mod drain;
pub mod gateway;
pub mod health;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod notify;
pub mod pcapng;
pub mod store;
pub mod tenancy;
