//! One command's values out of the layers.

use toml::Value;

use super::layers::{Layers, Problem, variable};
use crate::failure::Failure;

/// A value was not to be had; the problem is noted in the resolver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Noted;

impl From<Noted> for Failure {
    /// Only reached when [`Resolver::finish`] was not asked first.
    fn from(Noted: Noted) -> Self {
        Self::Usage(Vec::new())
    }
}

/// Reads values and collects what is wrong with them.
#[derive(Debug)]
pub(crate) struct Resolver<'a> {
    layers: &'a Layers,
    problems: Vec<Problem>,
}

/// Where a value came from, for messages.
struct Raw {
    text: String,
    origin: &'static str,
}

impl<'a> Resolver<'a> {
    /// Starts with the problems of the layers.
    pub(crate) fn new(layers: &'a Layers) -> Self {
        Self { layers, problems: layers.problems().to_vec() }
    }

    /// The value of a flag, or the default, which must parse.
    pub(crate) fn value<T>(
        &mut self,
        flag: &str,
        given: Option<&String>,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Noted> {
        match self.optional(flag, given, &parse)? {
            Some(value) => Ok(value),
            None => parse(default).map_err(|why| self.note(flag, &why)),
        }
    }

    /// The value of a flag that may be absent.
    pub(crate) fn optional<T>(
        &mut self,
        flag: &str,
        given: Option<&String>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Noted> {
        let Some(raw) = self.raw(flag, given)? else { return Ok(None) };
        match parse(&raw.text) {
            Ok(value) => Ok(Some(value)),
            Err(why) => Err(self.note(flag, &format!("{:?} {}: {why}", raw.text, raw.origin))),
        }
    }

    /// The URL of a server, or the default. One with a user's name or password is refused and not repeated: neither
    /// protocol would send them, and the URL stands in messages.
    pub(crate) fn server(
        &mut self,
        flag: &str,
        given: Option<&String>,
        default: &str,
        parse: impl Fn(&str) -> Result<String, String>,
    ) -> Result<String, Noted> {
        if let Some(raw) = self.raw(flag, given)?
            && raw.text.contains('@')
        {
            let why = format!("the URL {} must not have a user name or password (no \"@\")", raw.origin);
            return Err(self.note(flag, &why));
        }
        self.value(flag, given, default, parse)
    }

    /// A token, which is never repeated in a message.
    pub(crate) fn token(&mut self, flag: &str, given: Option<&String>) -> Result<Option<String>, Noted> {
        let Some(token) = self.secret(flag, given)? else { return Ok(None) };
        super::parse::token(token).map(Some).map_err(|why| self.note(flag, &why))
    }

    /// A text that is never repeated in a message.
    pub(crate) fn secret(&mut self, flag: &str, given: Option<&String>) -> Result<Option<String>, Noted> {
        Ok(self.raw(flag, given)?.map(|raw| raw.text))
    }

    /// A text. An empty one is what a shell makes of `--out "$UNSET"`, and would name a file `.key`.
    pub(crate) fn text(&mut self, flag: &str, given: Option<&String>) -> Result<Option<String>, Noted> {
        self.optional(flag, given, |text| match text {
            "" => Err("must not be empty".into()),
            text => Ok(text.to_owned()),
        })
    }

    /// A switch; off by default.
    pub(crate) fn switch(&mut self, flag: &str, given: Option<&String>) -> Result<bool, Noted> {
        self.value(flag, given, "false", super::parse::boolean)
    }

    /// A flag that may be repeated: an array in the file, commas in the environment.
    pub(crate) fn list(&mut self, flag: &str, given: &[String]) -> Result<Vec<String>, Noted> {
        if !given.is_empty() {
            return Ok(given.to_vec());
        }
        if let Some(text) = self.layers.env(flag) {
            return Ok(text.split(',').map(|item| item.trim().to_owned()).collect());
        }
        let strings =
            |items: &Vec<Value>| items.iter().map(|i| i.as_str().map(str::to_owned)).collect::<Option<_>>();
        match self.layers.file(flag) {
            None => Ok(Vec::new()),
            Some(Value::String(one)) => Ok(vec![one.clone()]),
            Some(Value::Array(items)) => {
                strings(items).ok_or_else(|| self.note(flag, "the file's value must be an array of strings"))
            }
            Some(_) => Err(self.note(flag, "the file's value must be an array of strings")),
        }
    }

    fn raw(&mut self, flag: &str, given: Option<&String>) -> Result<Option<Raw>, Noted> {
        if let Some(text) = given {
            return Ok(Some(Raw { text: text.clone(), origin: "on the command line" }));
        }
        if let Some(text) = self.layers.env(flag) {
            return Ok(Some(Raw { text: text.to_owned(), origin: "in the environment" }));
        }
        let text = match self.layers.file(flag) {
            None => return Ok(None),
            Some(Value::String(text)) => text.clone(),
            Some(Value::Integer(number)) => number.to_string(),
            Some(Value::Boolean(on)) => on.to_string(),
            Some(_) => {
                return Err(self.note(flag, "the file's value must be a string, a whole number or a boolean"));
            }
        };
        Ok(Some(Raw { text, origin: "in the file" }))
    }

    /// Notes a problem with a flag's value.
    pub(crate) fn note(&mut self, flag: &str, why: &str) -> Noted {
        self.problems.push(Problem(format!("--{flag} ({}, key {flag}): {why}", variable(flag))));
        Noted
    }

    /// Every problem at once, if there is one.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        if self.problems.is_empty() { Ok(()) } else { Err(Failure::Usage(self.problems)) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::parse;
    use super::*;

    const FILE: &str = "listen = \"file:1\"\ndrain-seconds = 7\ndemo = true\npermission = [\"a\", \"b\"]\n";

    fn layers(env: &[(&str, &str)], file: &str) -> Layers {
        let known: BTreeSet<String> =
            ["listen", "drain-seconds", "demo", "permission", "config", "operator-token"]
                .map(String::from)
                .into();
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Layers::from_parts(Some("f.toml"), &known, Vec::new(), env, |_| Ok(file.to_owned()))
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_repeated() {
        let (layers, given) = (layers(&[], ""), "http://user:s3cret@host:1".to_owned());
        let mut resolver = Resolver::new(&layers);
        assert!(resolver.server("listen", Some(&given), "", parse::grpc_url).is_err());
        let said = said(resolver);
        assert!(said[0].contains("password") && !said[0].contains("s3cret"), "{said:?}");
    }

    fn text(text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }

    fn said(resolver: Resolver<'_>) -> Vec<String> {
        match resolver.finish() {
            Err(Failure::Usage(problems)) => problems.into_iter().map(|p| p.0).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn the_command_line_comes_before_the_environment_before_the_file_before_the_default() {
        let given = "flag:1".to_owned();
        let env = [("REALTIME_LISTEN", "env:1")];
        let with_env = layers(&env, FILE);
        let mut r = Resolver::new(&with_env);
        assert_eq!(r.value("listen", Some(&given), "default:1", text), Ok(given.clone()));
        assert_eq!(r.value("listen", None, "default:1", text), Ok("env:1".into()));
        let with_file = layers(&[("REALTIME_LISTEN", "")], FILE);
        let mut r = Resolver::new(&with_file);
        assert_eq!(r.value("listen", None, "default:1", text), Ok("file:1".into()));
        let bare = layers(&[], "");
        let mut r = Resolver::new(&bare);
        assert_eq!(r.value("listen", None, "default:1", text), Ok("default:1".into()));
    }

    #[test]
    fn numbers_switches_and_lists_have_their_toml_types() {
        let layers = layers(&[], FILE);
        let mut r = Resolver::new(&layers);
        assert_eq!(r.value("drain-seconds", None, "30", parse::number), Ok(7));
        assert_eq!(r.switch("demo", None), Ok(true));
        assert_eq!(r.list("permission", &[]), Ok(vec!["a".into(), "b".into()]));
        assert_eq!(r.list("permission", &["c".into()]), Ok(vec!["c".into()]));
        assert!(r.finish().is_ok());
    }

    #[test]
    fn every_problem_is_told_at_once_and_names_flag_variable_and_key() {
        let layers = layers(&[("REALTIME_DEMO", "perhaps")], "drain-seconds = 1.5\nbogus = 1\nother = 2\n");
        let mut r = Resolver::new(&layers);
        assert_eq!(
            r.value("listen", Some(&"x".to_owned()), "h:1", |_| Err::<(), _>("bad".into())),
            Err(Noted)
        );
        assert_eq!(r.value("drain-seconds", None, "30", parse::number), Err(Noted));
        assert_eq!(r.switch("demo", None), Err(Noted));
        assert_eq!(
            said(r),
            [
                "f.toml: no such key: bogus",
                "f.toml: no such key: other",
                "--listen (REALTIME_LISTEN, key listen): \"x\" on the command line: bad",
                "--drain-seconds (REALTIME_DRAIN_SECONDS, key drain-seconds): \
                 the file's value must be a string, a whole number or a boolean",
                "--demo (REALTIME_DEMO, key demo): \"perhaps\" in the environment: must be true or false",
            ]
        );
    }

    #[test]
    fn a_broken_file_is_told_by_its_line_without_its_content() {
        let layers = layers(&[], "listen = \"a\"\noperator-token = hush-hush");
        let problems = said(Resolver::new(&layers));
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with("f.toml, line 2: not TOML"), "{problems:?}");
        assert!(!problems[0].contains("hush"), "{problems:?}");
    }

    #[test]
    fn unknown_variables_are_no_problem_but_remembered() {
        let layers = layers(&[("REALTIME_SERVICE_HOST", "1"), ("PATH", "x")], "");
        assert_eq!(layers.unknown_variables(), ["REALTIME_SERVICE_HOST"]);
        assert!(Resolver::new(&layers).finish().is_ok());
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_problem() {
        let known = BTreeSet::from(["config".to_owned()]);
        let env = [("REALTIME_CONFIG".to_owned(), "gone.toml".to_owned())];
        let layers = Layers::from_parts(
            None,
            &known,
            vec![Problem("--x: no such argument".into())],
            env.into_iter(),
            |_| Err("gone".into()),
        );
        let problems = said(Resolver::new(&layers));
        assert_eq!(problems, ["--x: no such argument", "--config: cannot read gone.toml: gone"]);
    }
}
