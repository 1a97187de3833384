//! `realtime token`.

use realtime_proto::AppId;
use realtime_proto::topic::is_valid_subject;
use serde_json::json;

use super::print;
use crate::cli::{TokenArgs, defaults};
use crate::config::{Layers, Resolver, parse};
use crate::credentials::{Claims, SigningConfig};
use crate::failure::Failure;

/// Signs a token and prints it.
pub(super) fn run(args: &TokenArgs, layers: &Layers) -> Result<(), Failure> {
    let mut r = Resolver::new(layers);
    let app = r.optional("app", args.app.as_ref(), |id| AppId::parse(id).map_err(|e| e.to_string()));
    let subject = r.optional("sub", args.sub.as_ref(), subject);
    let permissions = r.list("permission", &args.permission);
    let lifetime = r.value("expires-in", args.expires_in.as_ref(), defaults::EXPIRES_IN, parse::lifetime);
    let signing = SigningConfig::resolve(&mut r, &args.signing);
    let json = r.switch("json", args.json.as_ref());
    r.finish()?;
    let claims = Claims { subject: subject?, permissions: permissions?, lifetime: lifetime? };
    let signer = signing?.signer(app?.as_ref())?;
    let token = signer.sign(&claims).map_err(Failure::new)?;
    print::either(json?, || json!({ "token": token }), &token)
}

/// A subject that the server will take.
pub(super) fn subject(text: &str) -> Result<String, String> {
    if is_valid_subject(text) {
        Ok(text.to_owned())
    } else {
        Err("must have 1 to 250 bytes, no control characters, and not be acks or errors".into())
    }
}
