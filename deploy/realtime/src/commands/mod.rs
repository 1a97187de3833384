//! The commands for operators and trials. Each reads its values, does one thing and prints the result on
//! standard output; everything else goes to standard error.

mod apply;
mod apps;
mod certs;
mod client;
mod diff;
mod input;
mod keys;
mod nodes;
mod operator;
mod print;
mod publish;
mod reach;
mod reference;
mod settings;
mod subscribe;
mod token;

use crate::cli::{AppsCommand, CertsCommand, Command, KeysCommand, NodesCommand, SettingsCommand};
use crate::config::Layers;
use crate::failure::Failure;

/// Runs any command that is no server.
pub(crate) async fn run(command: &Command, layers: &Layers) -> Result<(), Failure> {
    match command {
        Command::Role(_) => unreachable!("main runs it"),
        Command::Completions { shell } => reference::completions(*shell),
        Command::Man(args) => reference::man(args, layers),
        Command::Token(args) => token::run(args, layers),
        Command::Keys(KeysCommand::Generate(args)) => keys::generate(args, layers),
        Command::Certs(CertsCommand::Init(args)) => certs::init(args, layers),
        Command::Certs(CertsCommand::Issue(args)) => certs::issue(args, layers),
        Command::Apps(AppsCommand::List(server)) => apps::list(server, layers).await,
        Command::Apps(AppsCommand::Get { app, server }) => apps::get(app, server, layers).await,
        Command::Apps(AppsCommand::Apply(args)) => apply::apps(args, layers).await,
        Command::Apps(AppsCommand::Delete { app, server }) => apps::delete(app, server, layers).await,
        Command::Settings(SettingsCommand::Get(server)) => settings::get(server, layers).await,
        Command::Settings(SettingsCommand::Apply(args)) => apply::settings(args, layers).await,
        Command::Nodes(NodesCommand::List(server)) => nodes::list(server, layers).await,
        Command::Drain(args) => nodes::drain(args, layers).await,
        Command::Undrain(args) => nodes::undrain(args, layers).await,
        Command::Pub(args) => publish::run(args, layers).await,
        Command::Sub(args) => subscribe::run(args, layers).await,
    }
}
