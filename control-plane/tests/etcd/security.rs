//! Users and certificates.

use etcd_client::{Client, Permission, PermissionType};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use realtime_control_plane::store::{
    EtcdError, EtcdOptions, EtcdPassword, EtcdStore, EtcdTls, EtcdUser, Store, StoreError,
};
use realtime_testkit::{Etcd, eventually};
use tempfile::TempDir;

use crate::watching::{next_keys, put};

const PASSWORD: &str = "a-password-of-the-tests";

/// An etcd with users: `root`, `realtime`, who may do everything under our prefix, and `stranger`.
async fn locked() -> Etcd {
    let etcd = Etcd::start().await;
    let mut admin = Client::connect([etcd.url()], None).await.unwrap();
    for user in ["root", "realtime", "stranger"] {
        admin.user_add(user, PASSWORD, None).await.unwrap();
    }
    for role in ["root", "ours"] {
        admin.role_add(role).await.unwrap();
    }
    let ours = Permission::new(PermissionType::Readwrite, "/realtime").with_prefix();
    admin.role_grant_permission("ours", ours).await.unwrap();
    admin.user_grant_role("root", "root").await.unwrap();
    admin.user_grant_role("realtime", "ours").await.unwrap();
    admin.auth_enable().await.unwrap();
    etcd
}

fn options(etcd: &Etcd, name: &str, password: EtcdPassword) -> EtcdOptions {
    let user = Some(EtcdUser { name: name.into(), password });
    EtcdOptions { user, ..EtcdOptions::new([etcd.url()]) }
}

fn text(password: &str) -> EtcdPassword {
    EtcdPassword::Text(password.into())
}

async fn refusal(options: EtcdOptions) -> String {
    let error = EtcdStore::connect(options).await.unwrap_err();
    assert!(matches!(error, EtcdError::Refused(_)) && !error.may_pass(), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn users_are_let_in_with_their_password_and_refusals_name_the_option_and_no_secret() {
    let etcd = locked().await;
    let store = EtcdStore::connect(options(&etcd, "realtime", text(PASSWORD))).await.unwrap();
    put(&store, "a", "1").await;
    store.keep_alive(store.grant_lease(std::time::Duration::from_secs(60)).await.unwrap()).await.unwrap();
    store.compact(store.list("").await.unwrap().revision).await.unwrap();

    let wrong = refusal(options(&etcd, "realtime", text("a-wrong-secret"))).await;
    assert!(wrong.contains("etcd-password") && !wrong.contains("a-wrong-secret"), "{wrong}");
    let nobody = refusal(EtcdOptions::new([etcd.url()])).await;
    assert!(nobody.contains("etcd-user"), "{nobody}");
    let stranger = refusal(options(&etcd, "stranger", text(PASSWORD))).await;
    assert!(stranger.contains("etcd-user") && stranger.contains("etcd-prefix"), "{stranger}");
    let open = Etcd::start().await;
    let needless = refusal(options(&open, "realtime", text(PASSWORD))).await;
    assert!(needless.contains("etcd-user"), "{needless}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_a_restart_has_made_worthless_are_renewed() {
    let mut etcd = locked().await;
    let store = EtcdStore::connect(options(&etcd, "realtime", text(PASSWORD))).await.unwrap();
    let from = put(&store, "a", "1").await;
    etcd.restart().await;
    // The watch first: etcd refuses it differently from calls.
    let mut watch = store.watch("", from).await.unwrap();
    assert_eq!(next_keys(&mut watch).await, ["a"]);
    etcd.restart().await;
    put(&store, "b", "1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_password_in_the_file_counts_without_a_restart() {
    let mut etcd = locked().await;
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let store =
        EtcdStore::connect(options(&etcd, "realtime", EtcdPassword::File(file.clone()))).await.unwrap();
    let root = etcd_client::ConnectOptions::new().with_user("root", PASSWORD);
    let mut admin = Client::connect([etcd.url()], Some(root)).await.unwrap();
    admin.user_change_password("realtime", "a-new-password").await.unwrap();
    etcd.restart().await;
    let refused = store.get("a").await.unwrap_err();
    assert!(matches!(&refused, StoreError::Failed(why) if why.contains("etcd-password")), "{refused}");
    std::fs::write(&file, "a-new-password").unwrap();
    put(&store, "a", "1").await;
}

/// A certificate authority's files, and those of certificates that it has issued.
struct Authority {
    directory: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { directory, issuer }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn issue(&self, name: &str) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    async fn etcd(&self) -> Etcd {
        self.issue("server");
        let path = |name| self.path(name).display().to_string();
        let (ca, cert, key) = (path("ca.pem"), path("server.pem"), path("server.key"));
        let arguments =
            ["--client-cert-auth", "--trusted-ca-file", &ca, "--cert-file", &cert, "--key-file", &key];
        Etcd::start_tls(&arguments).await
    }

    fn tls(&self, name: &str) -> EtcdTls {
        let identity = Some((self.path(&format!("{name}.pem")), self.path(&format!("{name}.key"))));
        EtcdTls { ca: self.path("ca.pem"), identity }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_and_clients_know_each_other_by_their_certificates() {
    let (ours, others) = (Authority::new(), Authority::new());
    let mut etcd = ours.etcd().await;
    ours.issue("client");
    others.issue("client");
    let with = |tls| EtcdOptions {
        tls: Some(tls),
        call_limit: std::time::Duration::from_secs(2),
        ..EtcdOptions::new([etcd.url()])
    };
    let store = EtcdStore::connect(with(ours.tls("client"))).await.unwrap();
    put(&store, "a", "1").await;

    let unknown = EtcdTls { ca: others.path("ca.pem"), ..ours.tls("client") };
    let error = EtcdStore::connect(with(unknown)).await.unwrap_err().to_string();
    assert!(error.contains("certificate"), "{error}");
    for stranger in [
        EtcdTls { ca: ours.path("ca.pem"), ..others.tls("client") },
        EtcdTls { identity: None, ..ours.tls("client") },
    ] {
        EtcdStore::connect(with(stranger)).await.unwrap_err();
    }
    let no_certificate = EtcdTls { ca: ours.path("client.key"), identity: None };
    let error = EtcdStore::connect(with(no_certificate)).await.unwrap_err().to_string();
    assert!(error.contains("etcd-ca"), "{error}");

    // Certificates that are renewed in place count for the next connection.
    ours.issue("client");
    etcd.restart().await;
    eventually("a new connection", async || store.get("a").await.ok().flatten()).await;
}
