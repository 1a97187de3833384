//! Reads the command line. What clap says in paragraphs becomes one line; flags that no command has are taken out
//! and told together with all other problems.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory, FromArgMatches};

use super::Cli;
use super::help::{brief, documented};
use crate::config::Problem;
use crate::config::parse::boolean;
use crate::failure::Failure;

/// The command with its flags, and what is wrong with flags that it does not know.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<(Cli, Vec<Problem>), Failure> {
    let original: Vec<OsString> = args.into_iter().collect();
    let (mut args, mut problems) = (original.clone(), Vec::new());
    loop {
        let error = match without_defaults(Cli::command()).try_get_matches_from(&args) {
            Ok(matches) => match Cli::from_arg_matches(&matches) {
                Ok(cli) => return Ok((cli, problems)),
                Err(error) => error,
            },
            Err(error) => error,
        };
        let Some(at) = position_of_unknown(&error, &args) else {
            return Err(failure(&error, &original, problems));
        };
        let unknown = args.remove(at).to_string_lossy().into_owned();
        // What follows an unknown flag is most likely its value, unless it is a command.
        let is_flag = unknown.starts_with('-') && !unknown.contains('=');
        let (_, command) = named(&args[..at]);
        let is_value = |next: &OsString| {
            let next = next.to_string_lossy();
            !next.starts_with('-') && command.find_subcommand(&*next).is_none()
        };
        while is_flag && args.get(at).is_some_and(is_value) {
            args.remove(at);
        }
        problems.push(Problem(unknown_argument(&unknown, &error, &original)));
    }
}

/// What the command line says about JSON, read before anything else: what is wrong with it is told that way, too.
pub(crate) fn asks_for_json(args: &[OsString]) -> Option<bool> {
    let before_words = args.iter().skip(1).take_while(|arg| *arg != "--");
    let said = before_words.filter_map(|arg| match arg.to_str()?.strip_prefix("--json")? {
        "" => Some(true),
        value => value.strip_prefix('=').map(|value| boolean(value) == Ok(true)),
    });
    said.last()
}

/// The same without the defaults, which would look like what somebody has given. A negative number is a value: what is
/// wrong with it is said where values are read.
fn without_defaults(command: Command) -> Command {
    let as_given = |arg: Arg| {
        let takes_values = arg.get_action().takes_values();
        arg.default_value(None).allow_negative_numbers(takes_values)
    };
    command.mut_args(as_given).mut_subcommands(without_defaults)
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

fn unknown_argument(argument: &str, error: &clap::Error, args: &[OsString]) -> String {
    let (path, command) = named(args);
    let name = argument.split('=').next().and_then(|flag| flag.strip_prefix("--"));
    let is_its = |arg: &Arg| {
        let aliases = arg.get_all_aliases().unwrap_or_default();
        name.is_some_and(|name| arg.get_long() == Some(name) || aliases.contains(&name))
    };
    if command.get_arguments().any(is_its) {
        return format!("{argument}: belongs behind `{path}`; see `{path} --help`");
    }
    let similar = match error.get(ContextKind::SuggestedArg) {
        Some(ContextValue::String(name)) => format!("; is {name} meant?"),
        _ => String::new(),
    };
    format!("{argument}: no such argument{similar}{}", see(args))
}

/// The help was asked for, or the arguments make no command.
fn failure(error: &clap::Error, args: &[OsString], mut problems: Vec<Problem>) -> Failure {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Failure::Shown(shown(args)),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand if problems.is_empty() => {
            let asked: Vec<OsString> = args.iter().cloned().chain(["--help".into()]).collect();
            Failure::Incomplete(shown(&asked).map(|help| help.render().to_string()).unwrap_or_default())
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Failure::Usage(problems),
        _ => {
            problems.push(Problem(format!("{}{}", sentence(&error.render().to_string()), see(args))));
            Failure::Usage(problems)
        }
    }
}

/// What the documented command answers to these arguments, which ask for help.
fn shown(args: &[OsString]) -> Option<clap::Error> {
    let short = args.iter().any(|arg| arg == "-h");
    let command = if short { brief() } else { documented() };
    command.try_get_matches_from(args).err()
}

/// What clap says, as one line without its usage.
fn sentence(text: &str) -> String {
    let paragraphs =
        text.split("\n\n").take_while(|p| !p.starts_with("Usage:") && !p.starts_with("For more"));
    let joined: Vec<String> = paragraphs
        .map(|p| p.split_whitespace().collect::<Vec<_>>().join(" ").replace(" tip: ", "; "))
        .map(|p| p.trim_start_matches("error: ").trim_start_matches("tip: ").to_owned())
        .collect();
    joined.join("; ")
}

/// Where the command's help is.
fn see(args: &[OsString]) -> String {
    format!("; see `{} --help`", named(args).0)
}

/// The command that these words name, and how it is called.
fn named(args: &[OsString]) -> (String, Command) {
    let mut command = Cli::command();
    let mut path = "realtime".to_owned();
    for word in args.iter().skip(1).filter_map(|arg| arg.to_str()) {
        if let Some(sub) = command.find_subcommand(word) {
            path = format!("{path} {word}");
            command = sub.clone();
        }
    }
    (path, command)
}

#[cfg(test)]
mod tests {
    use super::super::{AppsCommand, Command, RoleCommand, flag_names};
    use super::*;

    fn read(line: &str) -> Result<(Cli, Vec<Problem>), Failure> {
        parse(line.split(' ').map(OsString::from))
    }

    fn problems(line: &str) -> Vec<String> {
        match read(line) {
            Ok((_, problems)) | Err(Failure::Usage(problems)) => problems.into_iter().map(|p| p.0).collect(),
            Err(other) => vec![format!("{other:?}")],
        }
    }

    #[test]
    fn unknown_arguments_are_collected_and_told_with_what_may_be_meant() {
        let (cli, problems) = read("realtime serve --bogus 7 --listen 1:2 --lisen=3 --wild").unwrap();
        let problems: Vec<_> = problems.into_iter().map(|p| p.0).collect();
        assert_eq!(
            problems,
            [
                "--bogus: no such argument; see `realtime serve --help`",
                "--lisen=3: no such argument; is --listen meant?; see `realtime serve --help`",
                "--wild: no such argument; see `realtime serve --help`",
            ]
        );
        assert!(
            matches!(cli.command, Command::Role(RoleCommand::Serve(a)) if a.listen.as_deref() == Some("1:2"))
        );
    }

    #[test]
    fn what_makes_no_command_is_one_line() {
        for (line, said) in [
            ("realtime nonsense", "unrecognized subcommand 'nonsense'; see `realtime --help`"),
            (
                "realtime apps lst",
                "unrecognized subcommand 'lst'; a similar subcommand exists: 'list'; see `realtime apps --help`",
            ),
            (
                "realtime serve --listen",
                "a value is required for '--listen <HOST:PORT>' but none was supplied; see `realtime serve --help`",
            ),
            (
                "realtime pub app",
                "the following required arguments were not provided: <TOPIC> <MESSAGE>; see `realtime pub --help`",
            ),
            (
                "realtime serve --listen 1:1 --listen 2:2",
                "the argument '--listen <HOST:PORT>' cannot be used multiple times; see `realtime serve --help`",
            ),
            (
                "realtime completions word",
                "invalid value 'word' for '<SHELL>' [possible values: bash, fish, zsh]; see `realtime completions --help`",
            ),
        ] {
            assert_eq!(problems(line), [said], "{line}");
        }
        assert_eq!(problems("realtime pub --bogus app").len(), 2);
    }

    #[test]
    fn a_flag_before_its_command_is_told_where_it_belongs() {
        for flag in ["--json", "--json=true", "--token", "--server=http://h:1"] {
            let said =
                format!("{flag}: belongs behind `realtime apps list`; see `realtime apps list --help`");
            for line in [format!("realtime {flag} apps list"), format!("realtime apps {flag} list")] {
                assert_eq!(problems(&line), [&*said], "{line}");
            }
        }
        let unknown = "--bogus: no such argument; see `realtime --help`";
        assert_eq!(problems("realtime --bogus"), [unknown]);
        assert_eq!(problems("realtime --bogus 7"), [unknown]);
    }

    #[test]
    fn a_negative_number_is_a_value() {
        let (cli, problems) = read("realtime serve --drain-seconds -1 --shards=-2").unwrap();
        assert!(problems.is_empty());
        assert!(matches!(cli.command, Command::Role(RoleCommand::Serve(a))
            if a.drain_seconds.as_deref() == Some("-1") && a.shards.as_deref() == Some("-2")));
        let (cli, _) = read("realtime pub demo news -5").unwrap();
        assert!(matches!(cli.command, Command::Pub(p) if p.message == "-5"));
    }

    #[test]
    fn help_is_no_problem() {
        for line in ["realtime --help", "realtime help apps list", "realtime pub -h", "realtime --version"] {
            assert!(matches!(read(line), Err(Failure::Shown(Some(_)))), "{line}");
        }
        for line in ["realtime", "realtime apps"] {
            assert!(
                matches!(read(line), Err(Failure::Incomplete(text)) if text.contains("Usage:")),
                "{line}"
            );
        }
    }

    #[test]
    fn json_is_asked_for_on_the_command_line() {
        let asks = |line: &str| asks_for_json(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(asks("realtime apps list --json"), Some(true));
        assert_eq!(asks("realtime apps list --json=false"), Some(false));
        assert_eq!(asks("realtime apps list --jsonx"), None);
        assert_eq!(asks("realtime pub demo news -- --json"), None);
    }

    #[test]
    fn defaults_are_for_the_help_alone() {
        let (cli, _) = read("realtime serve").unwrap();
        assert!(
            matches!(cli.command, Command::Role(RoleCommand::Serve(a)) if a.listen.is_none() && a.drain_seconds.is_none())
        );
    }

    #[test]
    fn flags_for_trials_have_short_other_names() {
        let (cli, problems) = read("realtime apps list --token T --server http://h:1").unwrap();
        assert!(problems.is_empty());
        assert!(
            matches!(cli.command, Command::Apps(AppsCommand::List(s)) if s.operator_token.as_deref() == Some("T"))
        );
        let (cli, _) = read("realtime sub demo a b --server ws://h").unwrap();
        assert!(
            matches!(cli.command, Command::Sub(s) if s.topics == ["a", "b"] && s.client.public_server.is_some())
        );
    }

    #[test]
    fn no_flag_may_be_named_as_kubernetes_names_variables() {
        assert!(flag_names().iter().all(|f| !f.starts_with("port") && !f.starts_with("service")));
    }
}
