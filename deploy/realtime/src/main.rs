//! The `realtime` binary: reads the command line, runs one command, and turns its failure into a line on
//! standard error and an exit status.

mod authority;
mod cli;
mod commands;
mod config;
mod credentials;
mod failure;
mod logs;
mod private_file;
mod roles;
mod text_file;

use std::ffi::OsString;
use std::process::ExitCode;

use cli::{Cli, Command};
use config::Layers;
use failure::Failure;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let asked = cli::asks_for_json(&args);
    let (cli, problems) = match cli::parse(args) {
        Ok(read) => read,
        Err(failure) => return failure.report(asked == Some(true)),
    };
    let layers = Layers::load(cli.config.as_deref(), &cli::flag_names(), problems);
    // Servers print no documents, and one environment may serve all commands.
    let json = !matches!(cli.command, Command::Role(_)) && asked.unwrap_or_else(|| layers.wants_json());
    match run(&cli, &layers) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}

fn run(cli: &Cli, layers: &Layers) -> Result<(), Failure> {
    if let Command::Role(role) = &cli.command {
        return roles::run(role, layers);
    }
    logs::for_commands();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(commands::run(&cli.command, layers))
}
