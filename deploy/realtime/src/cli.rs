//! The command line: commands and flags, as clap reads them. Values stay text here: `config` joins them with
//! the environment and the file, so that every problem is reported at once and names all three.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::failure::Failure;

/// Scalable publish/subscribe over WebSocket.
///
/// Every flag --some-flag can also be given as the environment variable REALTIME_SOME_FLAG and as the key
/// some-flag of the TOML file named by --config; the command line comes first, then the environment, then the file.
#[derive(Debug, Parser)]
#[command(name = "realtime", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// TOML file with flags as keys
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run everything on one machine: control plane, data-plane node and HTTP API in one process
    Serve(ServeArgs),
    /// Sign a token for tests and trials
    Token(TokenArgs),
    /// Make keys
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Manage applications
    #[command(subcommand)]
    Apps(AppsCommand),
    /// Read and change the operator's settings
    #[command(subcommand)]
    Settings(SettingsCommand),
    /// Look at the nodes
    #[command(subcommand)]
    Nodes(NodesCommand),
    /// Drain a node: it closes its sessions over time and takes no new ones until undrained
    Drain(NodeArgs),
    /// Let a drained node take sessions again
    Undrain(NodeArgs),
    /// Publish a message as a WebSocket client
    Pub(PubArgs),
    /// Follow topics as a WebSocket client
    Sub(SubArgs),
}

#[derive(Debug, Default, Args)]
pub(crate) struct ServeArgs {
    /// Public address: WebSocket and HTTP API [default: 127.0.0.1:8080]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    /// Where applications and settings are kept [default: ./realtime-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// Address of the gRPC services, or "off" [default: 127.0.0.1:7070]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) grpc_listen: Option<String>,
    /// Address of metrics and probes, or "off" [default: 127.0.0.1:9090]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) admin_listen: Option<String>,
    /// Name of this node [default: node-1]
    #[arg(long, value_name = "NAME")]
    pub(crate) node_id: Option<String>,
    /// Threads that own connections; 0: one per core [default: 0]
    #[arg(long, value_name = "N")]
    pub(crate) shards: Option<String>,
    /// Operator tokens: a name and a SHA-256 in hex per line, read again when the file changes
    #[arg(long, value_name = "FILE")]
    pub(crate) operator_tokens: Option<String>,
    /// Over how many seconds a stop closes the sessions [default: 30]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) drain_seconds: Option<String>,
    /// Write the bound addresses there, as JSON, once serving
    #[arg(long, value_name = "FILE")]
    pub(crate) ready_file: Option<String>,
    /// Allow gRPC without TLS on an address that other machines reach
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) insecure_cluster: Option<String>,
    /// Create the application "demo" and print a token and commands to try
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) demo: Option<String>,
}

/// A key to sign with.
#[derive(Debug, Default, Args)]
pub(crate) struct SigningArgs {
    /// File with the private key (PEM) or the secret; without any, DATA_DIR/keys/APP.pem, which --demo makes
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<String>,
    /// The secret of an HS* key
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Option<String>,
    /// Algorithm, such as ES512 [default: the first that fits the key]
    #[arg(long, value_name = "ALG")]
    pub(crate) alg: Option<String>,
    /// The claim "iss"
    #[arg(long, value_name = "ISSUER")]
    pub(crate) issuer: Option<String>,
    /// The claim "aud"
    #[arg(long, value_name = "AUDIENCE")]
    pub(crate) audience: Option<String>,
    /// Where `serve` keeps its data [default: ./realtime-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct TokenArgs {
    /// The application; names the key file where neither --key nor --secret is given
    #[arg(long, value_name = "ID")]
    pub(crate) app: Option<String>,
    /// The claim "sub"; without it the connection id is the subject
    #[arg(long, value_name = "SUBJECT")]
    pub(crate) sub: Option<String>,
    /// A permission, such as realtime:publisher:write:topic:*; may be repeated
    #[arg(long, value_name = "PERMISSION")]
    pub(crate) permission: Vec<String>,
    /// Lifetime: seconds, or with a unit as in 15m, 12h, 30d; "never" [default: 1h]
    #[arg(long, value_name = "TIME")]
    pub(crate) expires_in: Option<String>,
    #[command(flatten)]
    pub(crate) signing: SigningArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key pair, or a secret for HS*
    Generate(GenerateArgs),
}

#[derive(Debug, Default, Args)]
pub(crate) struct GenerateArgs {
    /// HS256 … HS512, RS256 … RS512, PS256 … PS512, ES256, ES384, ES512 or EdDSA [default: ES512]
    #[arg(long, value_name = "ALG")]
    pub(crate) alg: Option<String>,
    /// Write NAME.key (mode 0600) and NAME.pub instead of printing both
    #[arg(long, value_name = "NAME")]
    pub(crate) out: Option<String>,
}

/// How to reach the control plane.
#[derive(Debug, Default, Args)]
pub(crate) struct ServerArgs {
    /// The gRPC address [default: http://127.0.0.1:7070]
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Operator token; for a server on this machine DATA_DIR/operator.token serves where none is given
    #[arg(long, visible_alias = "token", value_name = "TOKEN")]
    pub(crate) operator_token: Option<String>,
    /// Where `serve` keeps its data [default: ./realtime-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// Print JSON
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) json: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AppsCommand {
    /// List the applications
    List(ServerArgs),
    /// Print an application's configuration
    Get {
        /// The application's id
        app: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Create or replace applications as a file says, showing what changes
    Apply(ApplyArgs),
    /// Delete an application and close its sessions
    Delete {
        /// The application's id
        app: String,
        #[command(flatten)]
        server: ServerArgs,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SettingsCommand {
    /// Print the settings
    Get(ServerArgs),
    /// Replace the settings as a file says, showing what changes
    Apply(ApplyArgs),
}

#[derive(Debug, Default, Args)]
pub(crate) struct ApplyArgs {
    /// The JSON file; "-": standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<String>,
    /// Only show what would change
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) dry_run: Option<String>,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodesCommand {
    /// List the live nodes
    List(ServerArgs),
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// The node's id, as `realtime nodes list` prints it
    pub(crate) node: String,
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

/// How to connect as a client.
#[derive(Debug, Default, Args)]
pub(crate) struct ClientArgs {
    /// The public address [default: ws://127.0.0.1:8080]
    #[arg(long, visible_alias = "server", value_name = "URL")]
    pub(crate) public_server: Option<String>,
    /// The client's token
    #[arg(long, value_name = "JWT")]
    pub(crate) app_token: Option<String>,
    /// Subject of the tokens that --key signs [default: random]
    #[arg(long = "sub", value_name = "SUBJECT")]
    pub(crate) sub: Option<String>,
    #[command(flatten)]
    pub(crate) signing: SigningArgs,
    /// Print JSON
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) json: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PubArgs {
    /// The application's id
    pub(crate) app: String,
    /// The topic
    pub(crate) topic: String,
    /// A JSON object, array or string; anything else is sent as a string
    pub(crate) message: String,
    /// The message type that receivers see [default: broadcast]
    #[arg(long, value_name = "TYPE")]
    pub(crate) message_type: Option<String>,
    /// The message's id [default: random]
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Send it compressed
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) compress: Option<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SubArgs {
    /// The application's id
    pub(crate) app: String,
    /// The topics
    #[arg(required = true, value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    /// End after this many messages [default: never]
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

/// Reads the command line. Arguments that no command knows are taken out and returned, so that they can be
/// reported together with all other problems.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<(Cli, Vec<String>), Failure> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let mut unknown = Vec::new();
    loop {
        let error = match Cli::try_parse_from(&args) {
            Ok(cli) => return Ok((cli, unknown)),
            Err(error) => error,
        };
        let Some(at) = position_of_unknown(&error, &args) else {
            return Err(error.into());
        };
        unknown.push(args.remove(at).to_string_lossy().into_owned());
    }
}

fn position_of_unknown(error: &clap::Error, args: &[OsString]) -> Option<usize> {
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidArg) else { return None };
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let is_it = |arg: &OsString| {
        let arg = arg.to_string_lossy();
        *arg == **name || arg.split_once('=').is_some_and(|(flag, _)| flag == name)
    };
    args.iter().skip(1).position(is_it).map(|i| i + 1)
}

/// Every long flag of every command: what the environment and the file may name.
pub(crate) fn flag_names() -> BTreeSet<String> {
    fn collect(command: &clap::Command, names: &mut BTreeSet<String>) {
        names.extend(command.get_arguments().filter_map(|a| a.get_long()).map(str::to_owned));
        command.get_subcommands().for_each(|c| collect(c, names));
    }
    let mut names = BTreeSet::new();
    collect(&Cli::command(), &mut names);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(line: &str) -> Result<(Cli, Vec<String>), Failure> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn clap_accepts_the_definition() {
        Cli::command().debug_assert();
    }

    #[test]
    fn unknown_arguments_are_collected() {
        let (cli, unknown) = parse_words("realtime serve --bogus --listen 1:2 --other=3").unwrap();
        assert_eq!(unknown, ["--bogus", "--other=3"]);
        assert!(matches!(cli.command, Command::Serve(a) if a.listen.as_deref() == Some("1:2")));
    }

    #[test]
    fn what_cannot_be_read_is_claps_to_say() {
        for line in ["realtime nonsense", "realtime serve --listen", "realtime pub app", "realtime --help"] {
            assert!(matches!(parse_words(line), Err(Failure::CommandLine(_))), "{line}");
        }
    }

    #[test]
    fn flags_for_trials_have_short_other_names() {
        let (cli, unknown) = parse_words("realtime apps list --token T --server http://h:1").unwrap();
        assert!(unknown.is_empty());
        assert!(
            matches!(cli.command, Command::Apps(AppsCommand::List(s)) if s.operator_token.as_deref() == Some("T"))
        );
        let (cli, _) = parse_words("realtime sub demo a b --server ws://h").unwrap();
        assert!(
            matches!(cli.command, Command::Sub(s) if s.topics == ["a", "b"] && s.client.public_server.is_some())
        );
    }

    #[test]
    fn no_flag_may_be_named_as_kubernetes_names_variables() {
        assert!(flag_names().iter().all(|f| !f.starts_with("port") && !f.starts_with("service")));
    }
}
