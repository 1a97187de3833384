//! The command line as the help, the manual pages and the completions show it: with variables, examples and exit
//! statuses. It is never what reads the arguments: clap would read the environment past `config`.

use std::fmt::Write as _;

use clap::builder::StyledStr;
use clap::{Command, CommandFactory};

use super::{Cli, EXIT_STATUS, Guide, guide};
use crate::config::variable;

/// The whole command with its documentation.
pub(crate) fn documented() -> Command {
    with_variables(brief())
}

/// The same without the variables.
pub(super) fn brief() -> Command {
    with_guides(Cli::command(), "")
}

fn with_variables(command: Command) -> Command {
    let named = command.mut_args(|arg| match arg.get_long().map(variable) {
        Some(variable) => arg.env(variable).hide_env_values(true),
        None => arg,
    });
    named.mut_subcommands(with_variables)
}

fn with_guides(mut command: Command, words: &str) -> Command {
    if let Some(guide) = guide(words) {
        let styles = command.get_styles().clone();
        let (header, literal) = (styles.get_header(), styles.get_literal());
        let examples = examples(guide, &format!("{header}"), &format!("{header:#}"));
        let mut statuses = format!("{examples}\n\n{header}Exit status:{header:#}");
        for (status, meaning) in EXIT_STATUS.iter().filter(|(status, _)| has_status(words, status)) {
            let _ = write!(statuses, "\n  {literal}{status}{literal:#}  {meaning}");
        }
        command = command.after_help(StyledStr::from(examples)).after_long_help(StyledStr::from(statuses));
    }
    command.mut_subcommands(|sub| {
        let words = format!("{words} {}", sub.get_name());
        with_guides(sub, words.trim_start())
    })
}

/// Whether a command can end with this status.
pub(crate) fn has_status(words: &str, status: &str) -> bool {
    status != "3" || words.ends_with("apply")
}

fn examples(guide: &Guide, on: &str, off: &str) -> String {
    let mut text = format!("{on}Examples:{off}");
    for (what, line) in guide.examples {
        if !what.is_empty() {
            let _ = write!(text, "\n  # {what}");
        }
        for part in line.lines() {
            let _ = write!(text, "\n  {part}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(command: &Command, words: &str, found: &mut Vec<String>) {
        for sub in command.get_subcommands() {
            let words = format!("{words} {}", sub.get_name());
            if sub.has_subcommands() {
                leaves(sub, words.trim(), found);
            } else {
                found.push(words.trim().to_owned());
            }
        }
    }

    #[test]
    fn every_command_has_a_sentence_and_examples() {
        let mut found = Vec::new();
        leaves(&documented(), "", &mut found);
        assert!(found.len() > 15, "{found:?}");
        for words in found {
            let guide = guide(&words);
            assert!(guide.is_some_and(|guide| !guide.examples.is_empty()), "{words}");
        }
    }

    #[test]
    fn every_flag_and_word_says_what_it_is() {
        fn check(command: &Command) {
            for arg in command.get_arguments() {
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(!help.is_empty(), "{} {}", command.get_name(), arg.get_id());
                assert!(!help.ends_with('.'), "{} {}: {help}", command.get_name(), arg.get_id());
            }
            assert!(command.get_about().is_some(), "{}", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&documented());
    }
}
