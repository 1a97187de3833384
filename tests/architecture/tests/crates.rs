//! The arrows between the crates (ARCHITECTURE.md), from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Every crate of the product, and the crates of the product that it may depend on, in any role.
/// Tests and the binary may depend on all of them and are not listed.
const MAY_DEPEND_ON: [(&str, &[&str]); 10] = [
    ("realtime-proto", &[]),
    ("realtime-session", &["realtime-proto"]),
    ("realtime-auth", &["realtime-proto"]),
    ("realtime-discovery", &["realtime-proto", "realtime-auth"]),
    ("realtime-mesh", &["realtime-proto"]),
    ("realtime-forwarders", &["realtime-proto"]),
    (
        "realtime-data-plane",
        &[
            "realtime-proto",
            "realtime-session",
            "realtime-auth",
            "realtime-discovery",
            "realtime-mesh",
            "realtime-forwarders",
        ],
    ),
    ("realtime-control-plane", &["realtime-proto", "realtime-auth"]),
    ("realtime-gateway", &["realtime-proto", "realtime-auth", "realtime-discovery"]),
    ("realtime-client", &["realtime-proto"]),
];

/// What would bring sockets, threads or a clock into a sans-IO crate.
const IO_CRATES: [&str; 12] = [
    "tokio",
    "mio",
    "rustix",
    "libc",
    "socket2",
    "hyper",
    "async-std",
    "smol",
    "polling",
    "futures-util",
    "tokio-util",
    "parking_lot",
];

struct Package {
    folder: String,
    /// Normal and build dependencies by name.
    dependencies: BTreeSet<String>,
    /// The same for tests.
    dev_dependencies: BTreeSet<String>,
}

/// The workspace's members by name.
fn packages() -> BTreeMap<String, Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let root = metadata["workspace_root"].as_str().expect("a root");
    let packages = metadata["packages"].as_array().expect("packages");
    packages.iter().map(|package| (text(package, "name"), read(package, root))).collect()
}

fn read(package: &Value, root: &str) -> Package {
    let named = |dev: bool| {
        let all = package["dependencies"].as_array().expect("dependencies").iter();
        all.filter(|d| (d["kind"] == "dev") == dev).map(|d| text(d, "name")).collect()
    };
    let manifest = text(package, "manifest_path");
    let folder = manifest.strip_prefix(root).and_then(|m| m.strip_suffix("/Cargo.toml"));
    Package {
        folder: folder.expect("a package below the root").trim_start_matches('/').to_owned(),
        dependencies: named(false),
        dev_dependencies: named(true),
    }
}

fn text(value: &Value, member: &str) -> String {
    value[member].as_str().unwrap_or_else(|| panic!("`{member}` of {value}")).to_owned()
}

fn is_test(package: &Package) -> bool {
    package.folder.starts_with("tests/")
}

#[test]
fn every_crate_has_its_place() {
    for (name, package) in packages() {
        let known = MAY_DEPEND_ON.iter().any(|(known, _)| *known == name);
        assert!(known || name == "realtime" || is_test(&package), "{name} has no place in the layering");
    }
}

#[test]
fn arrows_point_downward_only() {
    let packages = packages();
    for (name, allowed) in MAY_DEPEND_ON {
        let package = packages.get(name).unwrap_or_else(|| panic!("{name} is missing"));
        for dependency in package.dependencies.iter().filter(|d| packages.contains_key(*d)) {
            assert!(allowed.contains(&dependency.as_str()), "{name} must not depend on {dependency}");
        }
    }
}

/// A role's tests may use the test kit and the crates that its code may use, not another role.
#[test]
fn tests_inside_a_crate_keep_to_its_arrows() {
    let packages = packages();
    for (name, allowed) in MAY_DEPEND_ON {
        for dependency in packages[name].dev_dependencies.iter().filter(|d| packages.contains_key(*d)) {
            let fine = allowed.contains(&dependency.as_str()) || is_test(&packages[dependency]);
            assert!(fine || dependency == name, "the tests of {name} must not depend on {dependency}");
        }
    }
}

#[test]
fn roles_never_depend_on_each_other() {
    let packages = packages();
    let roles = ["realtime-data-plane", "realtime-control-plane", "realtime-gateway"];
    for role in roles {
        let mut below = BTreeSet::from([role.to_owned()]);
        let mut open = vec![role.to_owned()];
        while let Some(name) = open.pop() {
            for dependency in packages.get(&name).map(|p| &p.dependencies).into_iter().flatten() {
                if packages.contains_key(dependency) && below.insert(dependency.clone()) {
                    open.push(dependency.clone());
                }
            }
        }
        for other in roles.into_iter().filter(|other| *other != role) {
            assert!(!below.contains(other), "{role} reaches {other}");
        }
    }
}

#[test]
fn only_the_binary_and_tests_join_the_roles() {
    for (name, package) in packages() {
        let roles = ["realtime-data-plane", "realtime-control-plane", "realtime-gateway"];
        let used = roles.iter().filter(|role| package.dependencies.contains(**role)).count();
        assert!(used == 0 || name == "realtime" || is_test(&package), "{name} depends on a role");
    }
}

#[test]
fn the_cores_have_no_io() {
    let packages = packages();
    for core in ["realtime-session", "realtime-mesh"] {
        for name in IO_CRATES {
            assert!(!packages[core].dependencies.contains(name), "{core} must not depend on {name}");
        }
    }
}

#[test]
fn nothing_depends_on_the_binary_or_on_tests() {
    let packages = packages();
    for (name, package) in packages.iter().filter(|(_, package)| !is_test(package)) {
        for dependency in &package.dependencies {
            let fine = packages.get(dependency).is_none_or(|d| !is_test(d)) && dependency != "realtime";
            assert!(fine, "{name} depends on {dependency}");
        }
    }
}
