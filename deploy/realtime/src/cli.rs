//! The command line: commands and flags, as clap reads them. Values stay text here: `config` joins them with
//! the environment and the file, so that every problem is reported at once and names all three. The defaults
//! stand here for the help alone; the parser does not fill them in.

pub(crate) mod defaults;
mod guide;
mod help;
mod read;
mod servers;
#[cfg(test)]
mod table;

use std::collections::BTreeSet;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

pub(crate) use guide::{EXIT_STATUS, Guide, guide};
pub(crate) use help::{documented, has_status};
pub(crate) use read::{asks_for_json, parse};
pub(crate) use servers::{
    ClusterArgs, ControlPlaneArgs, DataPlaneArgs, EtcdArgs, ForwardingArgs, GatewayArgs, PublicArgs,
    RoleCommand, ServeArgs,
};

/// Self-hosted publish/subscribe over WebSocket
///
/// `realtime serve` runs a server, and `control-plane`, `data-plane` and `gateway` the parts of a cluster; every other
/// command manages one, or is a client of one.
///
/// Every flag --some-flag can also be given as the environment variable REALTIME_SOME_FLAG and as the key some-flag
/// of a TOML file named by --config. The command line comes first, then the environment, then the file, then the
/// default. An empty variable counts as absent. Words such as APP can only be given on the command line.
#[derive(Debug, Parser)]
#[command(name = "realtime", version = env!("VERSION_AND_COMMIT"), arg_required_else_help = true)]
#[command(max_term_width = 100, subcommand_required = true)]
pub(crate) struct Cli {
    /// TOML file with flags as keys; one file may serve all commands
    #[arg(long, global = true, display_order = 1000, value_name = "FILE")]
    pub(crate) config: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Role(RoleCommand),
    /// Sign an access token for tests and trials
    ///
    /// The token is signed on this machine with the private key of the application; no server is asked. In production
    /// your backend signs tokens with a JWT library.
    Token(TokenArgs),
    /// Make keys for applications
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Make the certificates of a cluster's processes
    #[command(subcommand)]
    Certs(CertsCommand),
    /// Manage applications
    #[command(subcommand)]
    Apps(AppsCommand),
    /// Read and change the server's settings
    #[command(subcommand)]
    Settings(SettingsCommand),
    /// Look at the nodes
    #[command(subcommand)]
    Nodes(NodesCommand),
    /// Drain a node without stopping it
    ///
    /// The node closes its sessions, spread over its --drain-seconds, and takes no new ones until it is undrained or
    /// restarted. The command does not wait for it.
    Drain(NodeArgs),
    /// Let a drained node take sessions again
    Undrain(NodeArgs),
    /// Publish a message as a WebSocket client
    ///
    /// Connects as a client, publishes, and ends when the server has processed the message.
    Pub(PubArgs),
    /// Follow topics as a WebSocket client
    ///
    /// Prints one line per message to standard output: topic and data, with the message type between them unless it is
    /// "broadcast". What else happens is told on standard error. A connection that is lost is made again; what is
    /// published meanwhile is missed. Ctrl-C ends it, with exit status 0. The client's own priv/ topics come by
    /// themselves; others cannot be followed.
    Sub(SubArgs),
    /// Print a script that completes commands and flags in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print a manual page, or write all of them
    ///
    /// Without --dir the page goes to standard output, in roff, as `man -l -` reads it.
    Man(ManArgs),
}

/// Shells that completions are made for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Fish,
    Zsh,
}

#[derive(Debug, Default, Args)]
pub(crate) struct ManArgs {
    /// The command that the page is about, such as `apps apply` [default: realtime itself]
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub(crate) command: Vec<String>,
    /// Write the pages of all commands into this directory, which is made if it is missing
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<String>,
}

/// A key to sign with.
#[derive(Debug, Default, Args)]
pub(crate) struct SigningArgs {
    /// File with the application's private key (PEM) or secret; without any, DATA_DIR/keys/APP.pem, which
    /// `realtime serve --demo` makes
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<String>,
    /// The secret of an HS* key; other users of this machine see it, so prefer --key or the variable
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Option<String>,
    /// Algorithm, such as ES512 [default: the one that fits the key; HS256 for a secret]
    #[arg(long, value_name = "ALG")]
    pub(crate) alg: Option<String>,
    /// The claim "iss"
    #[arg(long, value_name = "ISSUER")]
    pub(crate) issuer: Option<String>,
    /// The claim "aud"
    #[arg(long, value_name = "AUDIENCE")]
    pub(crate) audience: Option<String>,
    /// Where `realtime serve` on this machine keeps its data
    #[arg(default_value = defaults::DATA_DIR, long, value_name = "DIR")]
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
    /// Lifetime: seconds, or with a unit as in 15m, 12h, 30d; "never"
    #[arg(default_value = defaults::EXPIRES_IN, long, value_name = "TIME")]
    pub(crate) expires_in: Option<String>,
    #[command(flatten)]
    pub(crate) signing: SigningArgs,
    /// Print JSON; errors, too
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) json: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a key pair, or a secret for HS*
    ///
    /// Prints the private key and then the public one, or writes them to two files with --out. Keep the private key:
    /// it signs tokens. The public key goes into the application's authKey and adminKey.
    Generate(GenerateArgs),
}

#[derive(Debug, Default, Args)]
pub(crate) struct GenerateArgs {
    /// Algorithm: HS256 to HS512, RS256 to RS512, PS256 to PS512, ES256, ES384, ES512 or EdDSA
    #[arg(default_value = defaults::KEY_ALG, long, value_name = "ALG")]
    pub(crate) alg: Option<String>,
    /// Write NAME.key (mode 0600) and NAME.pub instead of printing both
    #[arg(long, value_name = "NAME")]
    pub(crate) out: Option<String>,
    /// Print JSON; errors, too
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) json: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertsCommand {
    /// Make a CA for a cluster
    ///
    /// Writes ca.pem, which all processes get as --cluster-ca, and its private key ca.key (mode 0600), which stays here:
    /// whoever has it can join the cluster. A CA that is there is never overwritten.
    Init(CertsInitArgs),
    /// Certify a process of the cluster
    ///
    /// Writes NAME.pem and its private key NAME.key (mode 0600), for --cluster-cert and --cluster-key of one process, or
    /// replaces them: processes notice changed files, so the same command renews a certificate.
    Issue(CertsIssueArgs),
}

#[derive(Debug, Default, Args)]
pub(crate) struct CertsInitArgs {
    /// Directory of the CA and the certificates; made if it is missing
    #[arg(default_value = defaults::CERTS_DIR, long, value_name = "DIR")]
    pub(crate) dir: Option<String>,
    /// The CA's name, which stands in the certificates
    #[arg(default_value = defaults::CA_NAME, long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// How many days the CA is valid
    #[arg(default_value = defaults::CA_DAYS, long, value_name = "DAYS")]
    pub(crate) days: Option<String>,
    /// Print JSON; errors, too
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) json: Option<String>,
}

#[derive(Debug, Default, Args)]
pub(crate) struct CertsIssueArgs {
    /// Directory of the CA and the certificates
    #[arg(default_value = defaults::CERTS_DIR, long, value_name = "DIR")]
    pub(crate) dir: Option<String>,
    /// The process's name, such as its node id
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Names and IP addresses by which the other processes reach this one; may be repeated
    #[arg(long, num_args = 1.., value_name = "HOST")]
    pub(crate) host: Vec<String>,
    /// How many days the certificate is valid, at most as long as the CA
    #[arg(default_value = defaults::CERT_DAYS, long, value_name = "DAYS")]
    pub(crate) days: Option<String>,
    /// Print JSON; errors, too
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) json: Option<String>,
}

/// How to reach the control plane.
#[derive(Debug, Default, Args)]
pub(crate) struct ServerArgs {
    /// The server's gRPC address; https:// for TLS
    #[arg(default_value = defaults::SERVER, long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Certificate of the CA (PEM) that a TLS server's certificate must come from, in place of those that browsers
    /// trust
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<String>,
    /// The operator's token; other users of this machine see it, so prefer the variable. Without any, the one in
    /// DATA_DIR/operator.token is sent, to a server on this machine only
    #[arg(long, visible_alias = "token", value_name = "TOKEN")]
    pub(crate) operator_token: Option<String>,
    /// Where `realtime serve` on this machine keeps its data
    #[arg(default_value = defaults::DATA_DIR, long, value_name = "DIR")]
    pub(crate) data_dir: Option<String>,
    /// Seconds to wait for the server's answer
    #[arg(default_value = defaults::TIMEOUT, long, value_name = "SECONDS")]
    pub(crate) timeout: Option<String>,
    /// Print JSON; errors, too
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) json: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AppsCommand {
    /// List the applications
    List(ServerArgs),
    /// Print an application's configuration, as JSON
    ///
    /// What it prints can be edited and given to `realtime apps apply`. Secrets are left out; "secretSet": true stands
    /// in their place.
    Get {
        /// The application's id
        app: String,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Create or replace applications as a file says
    ///
    /// The file holds one application, or a list of them: JSON, or TOML if its name ends in ".toml" (several
    /// applications as `[[apps]]`). It is checked on this machine first, then the differences from what the server has
    /// are shown, without secrets, and then they are applied, each only if nobody else has changed the application
    /// meanwhile. Applying the same file again changes nothing. Applications that the file does not name stay.
    ///
    /// An application is found by its appId, else by its name. Absent attributes get their defaults; an absent secret
    /// of a key that is there stays as it is.
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
    /// Print the settings, as JSON
    Get(ServerArgs),
    /// Replace the settings as a file says
    ///
    /// The file is JSON, or TOML if its name ends in ".toml". It is checked on this machine first, then the difference
    /// is shown, and then it is applied if nobody else has changed the settings meanwhile. Absent keys get their
    /// defaults.
    Apply(ApplyArgs),
}

#[derive(Debug, Default, Args)]
pub(crate) struct ApplyArgs {
    /// The file; "-": JSON from standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<String>,
    /// Only show what would change; exit status 3 if something would
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
    /// The server's public address: ws, wss, http or https
    #[arg(default_value = defaults::PUBLIC_SERVER, long, visible_alias = "server", value_name = "URL")]
    pub(crate) public_server: Option<String>,
    /// Certificate of the CA (PEM) that a TLS server's certificate must come from, in place of those that browsers
    /// trust
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<String>,
    /// The client's token. Without it one is signed with --key for each connection, for 60 s, with just the
    /// permissions that the command needs
    #[arg(long, value_name = "JWT")]
    pub(crate) app_token: Option<String>,
    /// Subject of the tokens that --key signs [default: random]
    #[arg(long = "sub", value_name = "SUBJECT")]
    pub(crate) sub: Option<String>,
    #[command(flatten)]
    pub(crate) signing: SigningArgs,
    /// Print JSON; errors, too
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) json: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PubArgs {
    /// The application's id
    pub(crate) app: String,
    /// The topic, such as news
    pub(crate) topic: String,
    /// A JSON object, array or string; anything else is sent as a string
    pub(crate) message: String,
    /// The message type that receivers see
    #[arg(default_value = defaults::MESSAGE_TYPE, long, value_name = "TYPE")]
    pub(crate) message_type: Option<String>,
    /// The message's id [default: random]
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Send it compressed
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) compress: Option<String>,
    /// Seconds to wait until the server has processed the message
    #[arg(default_value = defaults::TIMEOUT, long, value_name = "SECONDS")]
    pub(crate) timeout: Option<String>,
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

/// Keys themselves in the place of the file of `--secrets-key`: a variable and a key of the file only, because other
/// users of the machine see the command line.
pub(crate) const SECRETS_KEY_TEXT: &str = "secrets-key-text";

/// Every long flag of every command, and what is no flag: what the environment and the file may name.
pub(crate) fn flag_names() -> BTreeSet<String> {
    fn collect(command: &clap::Command, names: &mut BTreeSet<String>) {
        names.extend(command.get_arguments().filter_map(|a| a.get_long()).map(str::to_owned));
        command.get_subcommands().for_each(|c| collect(c, names));
    }
    let mut names = BTreeSet::from([SECRETS_KEY_TEXT.to_owned()]);
    collect(&Cli::command(), &mut names);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_accepts_the_definition() {
        Cli::command().debug_assert();
        documented().debug_assert();
    }
}
