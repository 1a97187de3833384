//! A server process, `realtime serve` or a role of a cluster: started in a directory of its own, killed on drop.

use std::ffi::{OsStr, OsString};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, LazyLock, OnceLock};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::app::TestAppBuilder;
use crate::http::Request;
use crate::route::{self, Route};
use crate::tls::{Authority, Certificate};
use crate::wait::eventually;

/// The operator token that every test server gets.
pub const OPERATOR_TOKEN: &str = "operator-token-of-the-test-kit";

/// The binary under test: `REALTIME_BIN`, or the one of the workspace, which cargo makes sure is fresh once
/// per test program.
///
/// # Panics
/// When it cannot be built.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("REALTIME_BIN") {
        Some(path) => path.into(),
        None => build(),
    })
}

/// Builds the binary into the directory that this test program was built into. The whole workspace is
/// named, because a single package would be built with other features, and so everything twice.
fn build() -> PathBuf {
    let program = std::env::current_exe().expect("the path of this program");
    let profile_dir = program
        .ancestors()
        .find(|dir| dir.file_name().is_some_and(|name| name == "debug" || name == "release"))
        .expect("a test program below target/debug or target/release");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["build", "--quiet", "--workspace", "--bin", "realtime", "--target-dir"]);
    cargo.arg(profile_dir.parent().expect("a target directory"));
    if profile_dir.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo starts");
    assert!(status.success(), "cargo build of the binary under test: {status}");
    profile_dir.join("realtime")
}

/// How to start a server.
#[derive(Debug)]
pub struct ServerBuilder {
    role: Role,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    certificate: Option<Certificate>,
    ca: String,
    route: Route,
    place: Place,
}

/// Where a process runs.
#[derive(Debug, Clone)]
struct Place {
    /// Its ports are bound to this address.
    host: String,
    /// What stands before the program's name.
    prefix: Vec<String>,
}

impl ServerBuilder {
    /// Binds its ports to another address than loopback's, and starts it by way of these words.
    #[must_use]
    pub(crate) fn at(mut self, host: &str, prefix: Vec<String>) -> Self {
        self.place = Place { host: host.into(), prefix };
        self
    }

    /// Adds command-line arguments.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(OsString::from));
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Speaks TLS with a certificate of this authority; the kit's clients do, too. Its files are
    /// [`Server::certificate_files`].
    #[must_use]
    pub fn tls(mut self, authority: &Authority) -> Self {
        self.certificate = Some(authority.issue());
        self.ca = authority.pem().to_owned();
        self.route.tls = Some(authority.client(&["http/1.1"]));
        self
    }

    /// The kit's clients reach it in this way; its arguments say the same.
    #[must_use]
    pub fn over(mut self, route: Route) -> Self {
        self.certificate = None;
        self.route = route;
        self
    }

    /// Demands the PROXY protocol from this machine; the kit's clients name `source` in it.
    #[must_use]
    pub fn proxied_from(mut self, source: IpAddr) -> Self {
        self.route.proxied_from = Some(source);
        self.args(&["--proxy-protocol", "127.0.0.1"])
    }

    /// Gives no operator token: the server makes one.
    #[must_use]
    pub fn without_operator_token(mut self) -> Self {
        self.env.retain(|(name, _)| name != "REALTIME_OPERATOR_TOKEN");
        self
    }

    /// Starts the process and waits until it serves.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(self) -> Server {
        let mut server = self.spawn();
        server.ready().await;
        server
    }

    /// Starts the process and does not wait; [`Server::ready`] does.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn spawn(self) -> Server {
        let Self { role, args: given, env, certificate, ca, route, place } = self;
        let home = Arc::new(tempfile::tempdir().expect("a temporary directory"));
        let mut args = role.args(home.path(), &place.host, &given);
        args.extend(given);
        if let Some(certificate) = certificate {
            let [chain, key] = certificate_files(home.path());
            std::fs::write(&chain, certificate.chain).expect("the certificate's file");
            std::fs::write(&key, certificate.key).expect("the key's file");
            std::fs::write(home.path().join(CA_FILE), ca).expect("the CA's file");
            args.extend(["--tls-cert".into(), chain.into(), "--tls-key".into(), key.into()]);
        }
        Server::launch(args, env, route, place.prefix, home)
    }
}

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything in one.
    Serve,
    /// A replica of the control plane.
    ControlPlane,
    /// A node.
    DataPlane,
    /// A gateway.
    Gateway,
}

impl Role {
    /// The command and the ports that it has: free ones, unless others are given.
    fn args(self, home: &Path, host: &str, given: &[OsString]) -> Vec<OsString> {
        let (command, ports): (_, &[&str]) = match self {
            Self::Serve => ("serve", &["--listen", "--grpc-listen", "--admin-listen"]),
            Self::ControlPlane => ("control-plane", &["--admin-listen"]),
            Self::DataPlane => ("data-plane", &["--peer-listen", "--grpc-listen", "--admin-listen"]),
            Self::Gateway => ("gateway", &["--admin-listen"]),
        };
        let mut args = vec![OsString::from(command)];
        let free = ports.iter().map(OsString::from).filter(|flag| !given.contains(flag));
        args.extend(free.flat_map(|flag| [flag, format!("{host}:0").into()]));
        if self == Self::Serve {
            args.extend(["--data-dir".into(), home.join("data").into()]);
        }
        args
    }
}

const CA_FILE: &str = "ca.pem";

fn certificate_files(home: &Path) -> [PathBuf; 2] {
    [home.join("chain.pem"), home.join("key.pem")]
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    route: Route,
    prefix: Vec<String>,
    /// Shared with the server started after this one on the same directory.
    home: Arc<TempDir>,
    addresses: Value,
}

impl Server {
    /// A server with the contract's defaults.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// A server with other arguments. With the variable `REALTIME_TEST_TLS`, every server speaks TLS: what holds over
    /// plain connections holds there.
    #[must_use]
    pub fn builder() -> ServerBuilder {
        static AUTHORITY: LazyLock<Authority> = LazyLock::new(Authority::new);
        let plain = Self::plain_builder();
        if std::env::var_os("REALTIME_TEST_TLS").is_some() { plain.tls(&AUTHORITY) } else { plain }
    }

    /// A process of this role. The arguments name what it has no port or address for: `--listen`, and whom it needs.
    #[must_use]
    pub fn of(role: Role) -> ServerBuilder {
        ServerBuilder { role, ..Self::plain_builder() }
    }

    fn plain_builder() -> ServerBuilder {
        ServerBuilder {
            role: Role::Serve,
            args: Vec::new(),
            env: vec![("REALTIME_OPERATOR_TOKEN".into(), OPERATOR_TOKEN.into())],
            certificate: None,
            ca: String::new(),
            route: Route::default(),
            place: Place { host: "127.0.0.1".into(), prefix: Vec::new() },
        }
    }

    fn launch(
        args: Vec<OsString>,
        env: Vec<(OsString, OsString)>,
        route: Route,
        prefix: Vec<String>,
        home: Arc<TempDir>,
    ) -> Self {
        let child = spawn(&prefix, &args, &env, home.path());
        Self { child, args, env, route, prefix, home, addresses: Value::Null }
    }

    /// Waits until it serves.
    ///
    /// # Panics
    /// When it ends instead.
    pub async fn ready(&mut self) {
        if let Err(status) = self.served().await {
            panic!("the server ended before it was ready: {status}\n{}", self.log());
        }
    }

    /// Waits until it serves, or until its end.
    pub(crate) async fn served(&mut self) -> Result<(), ExitStatus> {
        let ready = ready_file(self.home.path());
        let child = &mut self.child;
        self.addresses = eventually("the server's ready file", || {
            let ended = child.try_wait().expect("the server's status");
            let text = std::fs::read_to_string(&ready).unwrap_or_default();
            async move { ended.map(Err).or_else(|| serde_json::from_str(&text).ok().map(Ok)) }
        })
        .await?;
        route::set(self.listen(), self.route.clone());
        Ok(())
    }

    /// Starts a server with the same arguments on the same data directory; this one must have ended.
    pub async fn restart(self) -> Self {
        let (args, env, home) = (self.args.clone(), self.env.clone(), Arc::clone(&self.home));
        let (route, prefix) = (self.route.clone(), self.prefix.clone());
        drop(self);
        let mut next = Self::launch(args, env, route, prefix, home);
        next.ready().await;
        next
    }

    /// Kills it (SIGKILL) if it runs, and starts it again in its place.
    pub async fn start_again(&mut self) {
        self.spawn_again();
        self.ready().await;
    }

    /// The same without waiting until it serves.
    ///
    /// # Panics
    /// When it cannot be killed or started.
    pub fn spawn_again(&mut self) {
        self.kill();
        self.child = spawn(&self.prefix, &self.args, &self.env, self.home.path());
    }

    /// The public address, `host:port`.
    ///
    /// # Panics
    /// When the ready file does not name it.
    #[must_use]
    pub fn listen(&self) -> &str {
        self.addresses["listen"].as_str().expect("`listen` in the ready file")
    }

    /// The gRPC address, `host:port`.
    ///
    /// # Panics
    /// When the ready file does not name it.
    #[must_use]
    pub fn grpc_listen(&self) -> &str {
        self.addresses["grpcListen"].as_str().expect("`grpcListen` in the ready file")
    }

    /// The address for peers and gateways of a node, `host:port`.
    ///
    /// # Panics
    /// When the ready file does not name it.
    #[must_use]
    pub fn peer_listen(&self) -> &str {
        self.addresses["peerListen"].as_str().expect("`peerListen` in the ready file")
    }

    /// The address of metrics and probes, `host:port`.
    ///
    /// # Panics
    /// When the ready file does not name it.
    #[must_use]
    pub fn admin_listen(&self) -> &str {
        self.addresses["adminListen"].as_str().expect("`adminListen` in the ready file")
    }

    /// The directory with the server's data directory (`data`), log and ready file.
    #[must_use]
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// A directory that is gone with the value, for files that a server is told of.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn directory() -> TempDir {
        tempfile::tempdir().expect("a temporary directory")
    }

    /// The files of a TLS server's certificate chain and key.
    #[must_use]
    pub fn certificate_files(&self) -> [PathBuf; 2] {
        certificate_files(self.home())
    }

    /// The certificate of a TLS server's authority, and its file.
    #[must_use]
    pub fn ca(&self) -> Option<(String, PathBuf)> {
        let path = self.home().join(CA_FILE);
        std::fs::read_to_string(&path).ok().map(|pem| (pem, path))
    }

    /// What the server has logged since the first start.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    /// A request to the public port.
    #[must_use]
    pub fn request(&self, method: &str, path: &str) -> Request {
        Request::new(self.listen(), method, path)
    }

    /// A request with the operator's token.
    #[must_use]
    pub fn operator(&self, method: &str, path: &str) -> Request {
        self.request(method, path).token(OPERATOR_TOKEN)
    }

    /// An application to be created on this server.
    #[must_use]
    pub fn app(&self) -> TestAppBuilder {
        TestAppBuilder::new(self.listen(), vec![self.listen().to_owned()])
    }

    /// Merges `change` into the settings.
    ///
    /// # Panics
    /// When the server refuses.
    pub async fn change_settings(&self, change: impl FnOnce(&mut Value)) {
        let got = self.operator("GET", "/api/settings").send().await;
        assert_eq!(got.status, 200, "{}", got.text());
        let mut settings = got.json();
        change(&mut settings);
        let put = self.operator("PUT", "/api/settings").json(&settings).send().await;
        assert_eq!(put.status, 200, "{}", put.text());
    }

    pub(crate) fn child(&self) -> &Child {
        &self.child
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGKILL and waits for the end.
    ///
    /// # Panics
    /// When the process cannot be waited for.
    pub fn kill(&mut self) {
        self.child.kill().expect("SIGKILL is delivered");
        self.child.wait().expect("the killed server's status");
    }

    /// Sends any signal.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the signal is delivered");
    }

    /// Waits for the end of the process.
    pub async fn exit_status(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("the server's end", || {
            let status = child.try_wait().expect("the server's status");
            async move { status }
        })
        .await
    }
}

fn ready_file(home: &Path) -> PathBuf {
    home.join("ready.json")
}

fn spawn(prefix: &[String], args: &[OsString], env: &[(OsString, OsString)], home: &Path) -> Child {
    let ready = ready_file(home);
    // A server killed before had written one.
    let _ = std::fs::remove_file(&ready);
    let log =
        std::fs::File::options().create(true).append(true).open(home.join("log")).expect("the server's log");
    let mut words = prefix.iter().map(OsStr::new).chain([binary().as_os_str()]);
    let mut command = Command::new(words.next().expect("the program itself"));
    command.args(words).args(args).arg("--ready-file").arg(&ready);
    command.env_remove("REALTIME_OPERATOR_TOKEN").envs(env.iter().cloned());
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("the log, twice")).stderr(log);
    command.spawn().unwrap_or_else(|e| panic!("{}: {e}", binary().display()))
}

impl Drop for Server {
    fn drop(&mut self) {
        // While the port is still its own.
        if let Some(address) = self.addresses["listen"].as_str() {
            route::forget(address);
        }
        // Either fails only when the process has ended already, which is all that is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
