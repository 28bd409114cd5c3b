//! The project's own commands: `cargo xtask help`.

mod build_ebpf;
mod cargo;
mod check;
mod check_api;
mod check_deploy;
mod check_ebpf;
mod fuzz;
mod kernel;
mod program;
mod python;
mod root;
mod step;
mod test;

use std::process::ExitCode;

use clap::Parser;

/// The project's own commands.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Command {
    /// Build the eBPF object and say with which tools.
    BuildEbpf(build_ebpf::Options),
    /// Check format, lints and documentation, exactly as CI does.
    Check(check::Options),
    /// Check that the API answers as its description says, with schemathesis.
    CheckApi(check_api::Options),
    /// Check what is in deploy/ with systemd-analyze, promtool, yamllint and the schemas of Kubernetes.
    CheckDeploy(check_deploy::Options),
    /// Disassemble the eBPF object: instructions and stack within budget, no result of an atomic lost.
    CheckEbpf(check_ebpf::Options),
    /// Throw random inputs at the packet engine, the configuration and the API, with oracles, for some CPU time.
    Fuzz(fuzz::Options),
    /// Build everything and run every test; needs root unless `--unit` is given.
    Test(test::Options),
    /// Prove the promises of docs/specification.md with real connections between network namespaces; needs root.
    Prove(program::Options),
    /// Measure what a packet costs, beside reference programs in the same run; needs root.
    Bench(program::Options),
    /// Compare the gateway with one made of nftables, by random conversations through both; needs root.
    Differential(program::Options),
    /// Show the gateway at work in network namespaces; needs root.
    Demo(program::Options),
}

fn main() -> ExitCode {
    let done = match Command::parse() {
        Command::BuildEbpf(options) => build_ebpf::run(&options),
        Command::Check(options) => check::run(&options),
        Command::CheckApi(options) => check_api::run(&options),
        Command::CheckDeploy(options) => check_deploy::run(&options),
        Command::CheckEbpf(options) => check_ebpf::run(&options),
        Command::Fuzz(options) => fuzz::run(&options),
        Command::Test(options) => test::run(&options),
        Command::Prove(options) => program::run("prove", options),
        Command::Bench(options) => program::run("bench", options),
        Command::Differential(options) => program::run("differential", options),
        Command::Demo(options) => program::run("demo", options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not anyhow's own form: with RUST_BACKTRACE set it buries the message.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
