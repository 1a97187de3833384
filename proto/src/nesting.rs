//! How deep a message may nest. Whoever receives it parses it, and many parsers give up, or crash, at a depth of
//! their own: one message must not cut a topic's subscribers off.

/// Arrays and objects within each other. The frame around a message adds two levels: it stays below the 127 that
/// `serde_json` takes, the 512 of PHP, and the 1,000 of Python and Jackson.
pub const MAX_NESTING: usize = 100;

/// Whether a JSON text nests deeper than [`MAX_NESTING`].
#[must_use]
pub fn nests_too_deep(json: &[u8]) -> bool {
    // Each level takes two brackets. Of longer texts nearly all have fewer brackets than levels are allowed; counting
    // them costs next to nothing.
    json.len() > 2 * MAX_NESTING && json.iter().filter(|byte| opens(**byte)).count() > MAX_NESTING && {
        deepest(json) > MAX_NESTING
    }
}

#[inline]
const fn opens(byte: u8) -> bool {
    // `[` and `{` differ in this one bit.
    byte | 0x20 == b'{'
}

/// The depth of a text that is known to be JSON.
fn deepest(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = json.iter();
    while let Some(&byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    deepest
}

/// Takes the rest of a string, its closing quote included.
fn skip_string(bytes: &mut std::slice::Iter<'_, u8>) {
    while let Some(&byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn nested(depth: usize) -> String {
        format!("{}{}", "[".repeat(depth), "]".repeat(depth))
    }

    #[test]
    fn the_bound_is_on_depth_alone() {
        for (json, too_deep) in [
            (nested(MAX_NESTING), false),
            (nested(MAX_NESTING + 1), true),
            (nested(100_000), true),
            (format!("[{}0]", "[],{},".repeat(1000)), false),
            (format!("{}{}", "{\"a\":[".repeat(51), "]}".repeat(51)), true),
            (format!("{}{}", "{\"a\":[".repeat(50), "]}".repeat(50)), false),
            (format!("[\"{}\"]", "[".repeat(1000)), false),
            (format!("[\"\\\"{}\\\\\",{}]", "{".repeat(1000), nested(MAX_NESTING)), true),
        ] {
            assert_eq!(nests_too_deep(json.as_bytes()), too_deep, "{json:.60}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), "[\\[\\]{}\"\\\\a]*".prop_map(Value::from)];
        leaf.prop_recursive(6, 60, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::hash_map("[\\[{\"a]*", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
            Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    proptest! {
        #[test]
        fn the_depth_is_that_of_the_tree(value in json()) {
            prop_assert_eq!(deepest(value.to_string().as_bytes()), depth(&value));
        }
    }
}
