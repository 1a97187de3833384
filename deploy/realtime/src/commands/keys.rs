//! `realtime keys generate`.

use std::io::ErrorKind;
use std::path::Path;

use realtime_auth::issue;
use serde_json::json;

use super::print;
use crate::cli::{GenerateArgs, defaults};
use crate::config::{Layers, Resolver, parse};
use crate::failure::Failure;
use crate::private_file;

/// Makes a key pair: two files, or both on standard output, the private key first.
pub(super) fn generate(args: &GenerateArgs, layers: &Layers) -> Result<(), Failure> {
    let mut r = Resolver::new(layers);
    let algorithm = r.value("alg", args.alg.as_ref(), defaults::KEY_ALG, parse::algorithm);
    let out = r.text("out", args.out.as_ref());
    let json = r.switch("json", args.json.as_ref());
    r.finish()?;
    let (algorithm, json) = (algorithm?, json?);
    let pair = issue::generate(algorithm);
    let symmetric = pair.private_pem == pair.public_pem;
    let Some(name) = out? else {
        if json {
            let public = (!symmetric).then_some(&pair.public_pem);
            return print::document(&json!({"alg": algorithm, "key": pair.private_pem, "publicKey": public}));
        }
        print::line(pair.private_pem.trim_end())?;
        return if symmetric { Ok(()) } else { print::line(pair.public_pem.trim_end()) };
    };
    let write = |suffix: &str, text: &str| {
        let path = format!("{name}.{suffix}");
        let written = match suffix {
            "pub" => private_file::replace_public(Path::new(&path), text),
            _ => private_file::create(Path::new(&path), text),
        };
        written
            .map_err(|e| match e.kind() {
                ErrorKind::AlreadyExists => {
                    Failure::new(format!("{path} exists, and keys are never overwritten"))
                }
                _ => Failure::new(format!("cannot write {path}: {e}")),
            })
            .map(|()| path)
    };
    let mut files = vec![write("key", &pair.private_pem)?];
    if !symmetric {
        files.push(write("pub", &pair.public_pem)?);
    }
    print::either(json, || json!({"alg": algorithm, "files": files}), &files.join("\n"))
}
