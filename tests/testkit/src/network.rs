//! Machines of a test's own: network namespaces on a bridge, between which it cuts the wire. Nothing outside is
//! touched: the bridge is in a namespace, too, in which the test runs again.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::wait::eventually;

/// Set where a test runs in its own namespace.
const INSIDE: &str = "REALTIME_TEST_NETWORK";
/// Where the test itself is, and everything that it starts on no machine.
const HUB: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// An address of nobody's network card: what is sent there is lost without a word.
const NOBODY: &str = "02:00:00:00:de:ad";

/// Runs a test in a network of its own: this program starts again, by itself or, without the rights to it, as the
/// root of a user namespace.
///
/// # Panics
/// When the machine does not allow namespaces, or the test fails.
pub fn in_own_network<T: Future<Output = ()>>(test: &str, run: impl FnOnce() -> T) {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        return runtime.block_on(run());
    }
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--net", "--"]).arg(std::env::current_exe().expect("this program"));
    command.args([test, "--exact", "--nocapture"]).env(INSIDE, "1");
    let output = command.output().expect("unshare (Debian's package util-linux)");
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success() && text[0].contains("1 passed"), "{}\n{}", text[0], text[1]);
}

/// A machine with a network card.
#[derive(Debug)]
struct Machine {
    /// Keeps the namespace.
    holder: Child,
    address: Ipv4Addr,
}

impl Machine {
    fn namespace(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.holder.id()).into()
    }

    /// A command that runs on it.
    fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace().display())).arg("--");
        command
    }

    fn ip(&self, arguments: &str) {
        run(self.command().arg("ip").args(arguments.split(' ')));
    }
}

/// Machines that reach each other and the test.
#[derive(Debug)]
pub struct Network {
    machines: Vec<Machine>,
}

impl Network {
    /// So many machines; to be called in [`in_own_network`].
    ///
    /// # Panics
    /// When the machine lacks `ip` (Debian's package iproute2), or does not allow it.
    pub async fn new(machines: u8) -> Self {
        ip("link set lo up");
        ip("link add hub type bridge");
        ip(&format!("addr add {HUB}/24 dev hub"));
        ip("link set hub up");
        let mut network = Self { machines: Vec::new() };
        for number in 0..machines {
            network.machines.push(machine(number).await);
        }
        network
    }

    /// The address of the test.
    #[must_use]
    pub fn hub(&self) -> Ipv4Addr {
        HUB
    }

    /// The address of a machine.
    #[must_use]
    pub fn address(&self, machine: usize) -> Ipv4Addr {
        self.machines[machine].address
    }

    /// What to put before a program's name so that it runs on a machine.
    #[must_use]
    pub fn prefix(&self, machine: usize) -> Vec<String> {
        vec!["nsenter".into(), format!("--net={}", self.machines[machine].namespace().display()), "--".into()]
    }

    /// Cuts the wire between two machines: what one sends to the other is lost from now on, on connections that are
    /// open, too, and nobody is told.
    pub fn cut(&self, one: usize, other: usize) {
        for (from, to) in [(one, other), (other, one)] {
            let to = self.address(to);
            self.machines[from].ip(&format!("neigh replace {to} lladdr {NOBODY} dev eth0 nud permanent"));
        }
    }

    /// Mends it.
    pub fn mend(&self, one: usize, other: usize) {
        for (from, to) in [(one, other), (other, one)] {
            self.machines[from].ip(&format!("neigh del {} dev eth0", self.address(to)));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Either fails only when it has ended already, which is all that is wanted.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

async fn machine(number: u8) -> Machine {
    let holder = Command::new("unshare").args(["--net", "sleep", "infinity"]).stdin(Stdio::null()).spawn();
    let holder = holder.expect("unshare (Debian's package util-linux)");
    let machine = Machine { holder, address: Ipv4Addr::new(10, 0, 0, 10 + number) };
    let ours = std::fs::read_link("/proc/self/ns/net").expect("this namespace");
    eventually("a namespace", async || {
        let theirs = std::fs::read_link(machine.namespace()).ok()?;
        (theirs != ours).then_some(())
    })
    .await;
    let (name, pid) = (format!("machine{number}"), machine.holder.id());
    ip(&format!("link add {name} type veth peer name eth0 netns {pid}"));
    ip(&format!("link set {name} master hub up"));
    machine.ip("link set lo up");
    machine.ip(&format!("addr add {}/24 dev eth0", machine.address));
    machine.ip("link set eth0 up");
    machine
}

fn ip(arguments: &str) {
    run(Command::new("ip").args(arguments.split(' ')));
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
