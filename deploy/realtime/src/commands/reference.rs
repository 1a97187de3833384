//! `realtime completions` and `realtime man`: what packages install beside the program.

use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::aot::{Bash, Fish, Zsh, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::print;
use crate::cli::{self, EXIT_STATUS, ManArgs, Shell};
use crate::config::{Layers, Resolver};
use crate::failure::Failure;

/// `completions`
pub(super) fn completions(shell: Shell) -> Result<(), Failure> {
    let (mut command, mut script) = (cli::documented(), Vec::new());
    match shell {
        Shell::Bash => generate(Bash, &mut command, "realtime", &mut script),
        Shell::Fish => generate(Fish, &mut command, "realtime", &mut script),
        Shell::Zsh => generate(Zsh, &mut command, "realtime", &mut script),
    }
    print::raw(&script)
}

/// `man`: one page on standard output, or all of them in a directory.
pub(super) fn man(args: &ManArgs, layers: &Layers) -> Result<(), Failure> {
    let mut r = Resolver::new(layers);
    let dir = r.text("dir", args.dir.as_ref());
    r.finish()?;
    let mut root = cli::documented().disable_help_subcommand(true);
    root.build();
    match dir? {
        Some(dir) => write_all(&root, Path::new(&dir)),
        None => {
            let found = args.command.iter().try_fold(&root, |command, word| command.find_subcommand(word));
            let words = args.command.join(" ");
            let found =
                found.ok_or_else(|| Failure::input(format!("there is no command `realtime {words}`")))?;
            print::raw(&page(found, &words)?)
        }
    }
}

fn write_all(root: &Command, dir: &Path) -> Result<(), Failure> {
    let cannot = |path: &Path, e: io::Error| Failure::new(format!("cannot write {}: {e}", path.display()));
    std::fs::create_dir_all(dir).map_err(|e| cannot(dir, e))?;
    for (command, words) in pages(root) {
        let path = dir.join(file_name(&words));
        std::fs::write(&path, page(command, &words)?).map_err(|e| cannot(&path, e))?;
        print::line(&path.display().to_string())?;
    }
    Ok(())
}

/// Every command with its words, the program itself first.
fn pages(root: &Command) -> Vec<(&Command, String)> {
    fn collect<'a>(command: &'a Command, words: &str, found: &mut Vec<(&'a Command, String)>) {
        found.push((command, words.to_owned()));
        for sub in command.get_subcommands() {
            collect(sub, format!("{words} {}", sub.get_name()).trim_start(), found);
        }
    }
    let mut found = Vec::new();
    collect(root, "", &mut found);
    found
}

/// `apps apply` → `realtime-apps-apply`
fn page_name(words: &str) -> String {
    format!("realtime {words}").trim_end().replace(' ', "-")
}

fn file_name(words: &str) -> String {
    format!("{}.1", page_name(words))
}

/// The page of one command: what the help says, in a manual page's order.
fn page(command: &Command, words: &str) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone())
        .title(page_name(words).to_uppercase())
        .source(concat!("realtime ", env!("CARGO_PKG_VERSION")))
        .manual("Realtime Pub/Sub");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    guide_sections(words).to_writer(&mut text)?;
    see_also(words).to_writer(&mut text)?;
    Ok(text)
}

fn guide_sections(words: &str) -> Roff {
    let mut roff = Roff::new();
    let Some(guide) = cli::guide(words) else { return roff };
    roff.control("SH", ["EXAMPLES"]);
    for (what, line) in guide.examples {
        roff.control("PP", []);
        if !what.is_empty() {
            roff.text([roman(format!("{what}:"))]);
        }
        roff.control("PP", []).control("RS", ["4"]).control("nf", []);
        for part in line.lines() {
            roff.text([bold(part)]);
        }
        roff.control("fi", []).control("RE", []);
    }
    roff.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in EXIT_STATUS.iter().filter(|(status, _)| cli::has_status(words, status)) {
        roff.control("TP", []);
        roff.text([bold(*status)]);
        roff.text([roman(*meaning)]);
    }
    roff
}

fn see_also(words: &str) -> Roff {
    let mut roff = Roff::new();
    let parent = words.rsplit_once(' ').map_or("", |(parent, _)| parent);
    roff.control("SH", ["SEE ALSO"]);
    if words.is_empty() {
        roff.text([roman("docs/cli.md, docs/configuration.md and docs/operate.md of the project")]);
    } else {
        roff.text([bold(page_name(parent)), roman("(1)")]);
    }
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built() -> Command {
        let mut root = cli::documented().disable_help_subcommand(true);
        root.build();
        root
    }

    #[test]
    fn every_flag_variable_and_default_of_the_help_is_in_the_page() {
        let root = built();
        for (command, words) in pages(&root) {
            let text = String::from_utf8(page(command, &words).unwrap()).unwrap().replace("\\-", "-");
            for arg in command.get_arguments() {
                let id = format!("{words} {}", arg.get_id());
                if let Some(long) = arg.get_long() {
                    assert!(text.contains(&format!("--{long}")), "{id}\n{text}");
                }
                if let Some(variable) = arg.get_env().and_then(|name| name.to_str()) {
                    assert!(text.contains(variable), "{id}");
                }
                for default in arg.get_default_values().iter().filter_map(|value| value.to_str()) {
                    assert!(text.contains(default), "{id}");
                }
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                // Up to what roff writes in its own way.
                let first = help.split(['\'', '`', '-', '(']).next().unwrap_or_default();
                assert!(text.contains(first), "{id}: {first}");
            }
            for sub in command.get_subcommands() {
                assert!(
                    text.contains(&page_name(format!("{words} {}", sub.get_name()).trim_start())),
                    "{words}"
                );
            }
        }
    }

    #[test]
    fn pages_have_the_names_that_man_looks_for() {
        assert_eq!(file_name(""), "realtime.1");
        assert_eq!(file_name("apps apply"), "realtime-apps-apply.1");
    }
}
