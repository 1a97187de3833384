//! Merge patches (RFC 7396). They are applied to the public form, without secrets, so that the rules for
//! keeping a secret are the same for PUT and PATCH.

use serde_json::{Map, Value};

use super::AppConfig;
use super::forwarder::Kind;

/// The public document with the patch applied. A `null` for a forwarder's secret stays in it: there it is
/// an order to drop the secret, where an absence would keep it.
pub(super) fn patched(current: &AppConfig, patch: &Value) -> Value {
    let mut document = current.to_public(0);
    merge(&mut document, patch);
    for kind in [Kind::Sns, Kind::Sqs] {
        let name = kind.attribute();
        let drops = patch.get(name).and_then(|f| f.get("secretAccessKey")).is_some_and(Value::is_null);
        if let Some(Value::Object(forwarder)) = document.get_mut(name).filter(|_| drops) {
            forwarder.insert("secretAccessKey".to_owned(), Value::Null);
        }
    }
    document
}

/// RFC 7396. Recursion is as deep as the patch, which `serde_json` has bounded when it was parsed.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn merging_follows_the_examples_of_rfc_7396() {
        let cases = [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"a":"foo"}), json!("bar"), json!("bar")),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ];
        for (mut target, patch, expected) in cases {
            let before = target.clone();
            merge(&mut target, &patch);
            assert_eq!(target, expected, "{before} with {patch}");
        }
    }
}
