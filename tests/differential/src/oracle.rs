//! An oracle is a process that answers questions, one JSON text a line each way. It lives as long as the test
//! program: the end of its input ends it.
//!
//! Where its runtime or packages are missing there is no oracle, and the tests that need it say on standard error
//! that they have not run; with `CI` set to anything that is a failure.

use std::env;
use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use realtime_testkit::python::python as python_path;
use serde_json::{Value, json};

/// Longest wait for an answer. The longest take 2 s; a machine may be busy, but a hang must be seen as one.
const DEADLINE: Duration = Duration::from_secs(60);

/// A running oracle.
pub struct Oracle {
    name: &'static str,
    line: Mutex<Line>,
    versions: Value,
}

/// The process and its two ends.
struct Line {
    process: Child,
    questions: ChildStdin,
    answers: Receiver<String>,
}

/// The Node oracle: `matcher`, `jsonwebtoken`, `ws`, zlib and OpenSSL. `None`: not here, which has been said.
///
/// # Panics
/// With `CI` set when it is not here.
pub fn node() -> Option<&'static Oracle> {
    static NODE: OnceLock<Option<Oracle>> = OnceLock::new();
    NODE.get_or_init(|| available("node", start("node", Path::new("node"), "oracle.js"))).as_ref()
}

/// The Python oracle: PyJWT, zlib, and the arithmetic that forges signatures. `None` as for [`node`].
///
/// # Panics
/// With `CI` set when it is not here.
pub fn python() -> Option<&'static Oracle> {
    static PYTHON: OnceLock<Option<Oracle>> = OnceLock::new();
    PYTHON.get_or_init(|| available("python", start("python", &python_path(), "oracle.py"))).as_ref()
}

impl Oracle {
    /// What the oracle answers to `question`, an object without `op`.
    ///
    /// # Panics
    /// When there is no answer in time, or the oracle says that the question is wrong.
    #[must_use]
    pub fn ask(&self, op: &str, mut question: Value) -> Value {
        question["op"] = json!(op);
        let mut line = self.line.lock().expect("an oracle that has not failed");
        let answer = line.ask(&question);
        drop(line);
        answer.unwrap_or_else(|problem| panic!("{} oracle, {op}: {problem}", self.name))
    }

    /// The versions of its libraries by name.
    #[must_use]
    pub fn versions(&self) -> &Value {
        &self.versions
    }
}

impl Line {
    fn ask(&mut self, question: &Value) -> Result<Value, String> {
        // Answers are read by a thread of their own, so neither side can wait for the other's full pipe.
        writeln!(self.questions, "{question}").map_err(|e| format!("does not listen: {e}"))?;
        let answer = self.answers.recv_timeout(DEADLINE).map_err(|e| {
            let _ = self.process.kill();
            format!("no answer within {DEADLINE:?}: {e}")
        })?;
        let mut answer: Value = serde_json::from_str(&answer).map_err(|e| format!("{e}: {answer}"))?;
        match answer.get_mut("ok") {
            Some(value) => Ok(value.take()),
            None => Err(answer["error"].as_str().unwrap_or("an answer of another form").to_owned()),
        }
    }
}

impl fmt::Debug for Oracle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Oracle({}, {})", self.name, self.versions)
    }
}

/// Says what is missing. Written to standard error itself, which the test harness does not capture.
fn available(name: &str, started: Result<Oracle, String>) -> Option<Oracle> {
    match started {
        Ok(oracle) => Some(oracle),
        Err(problem) => {
            let missing = format!("the {name} oracle is not here ({problem}); tests/run installs it");
            assert!(env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{missing}");
            let _ = writeln!(io::stderr(), "NOT RUN: differential tests against {name}: {missing}");
            None
        }
    }
}

fn start(name: &'static str, program: &Path, script: &str) -> Result<Oracle, String> {
    let mut process = Command::new(program)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{}: {e}", program.display()))?;
    let (Some(questions), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
        return Err("no pipes".into());
    };
    let (sender, answers) = mpsc::channel();
    // Ends with the process.
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let mut line = Line { process, questions, answers };
    let versions = line.ask(&json!({"op": "versions"})).inspect_err(|_| {
        let _ = line.process.kill();
        let _ = line.process.wait();
    })?;
    Ok(Oracle { name, line: Mutex::new(line), versions })
}
