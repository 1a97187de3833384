//! The `realtime` binary: reads the command line, runs one command, and turns its failure into a line on
//! standard error and an exit status.

mod cli;
mod commands;
mod config;
mod credentials;
mod failure;
mod logs;
mod private_file;
mod serve;

use std::process::ExitCode;

use cli::Command;
use config::Layers;
use failure::Failure;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run() -> Result<(), Failure> {
    let (cli, unknown) = cli::parse(std::env::args_os())?;
    let layers = Layers::load(cli.config.as_deref(), &cli::flag_names(), unknown);
    if let Command::Serve(args) = &cli.command {
        return serve::run(args, &layers);
    }
    logs::for_commands();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(commands::run(&cli.command, &layers))
}
