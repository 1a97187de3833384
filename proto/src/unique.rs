//! Reads JSON whose objects give each name once.
//!
//! A plain reader keeps the last of two members of one name. In a configuration the two may be an address list
//! and its empty copy further down: what counts would depend on the reader. So such a document fits nothing.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Characters of a name that go into a path; the rest of a longer one is noise.
const MAX_NAME_CHARS: usize = 64;

/// Why a document was not read.
#[derive(Debug)]
pub enum NotUnique {
    /// It is not JSON.
    Syntax(serde_json::Error),
    /// The member at this path is given twice.
    Twice(String),
}

/// The document; names that stand for the same text are the same name.
///
/// # Errors
/// Where it is no JSON, or an object gives a name twice.
pub fn from_slice(text: &[u8]) -> Result<Value, NotUnique> {
    let twice = Cell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(text);
    let place = Place { path: String::new(), twice: &twice };
    let value = place.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| twice.take().map_or(NotUnique::Syntax(error), NotUnique::Twice))
}

/// Where a value stands, and where to note a repeated name.
struct Place<'a> {
    path: String,
    twice: &'a Cell<Option<String>>,
}

impl Place<'_> {
    fn member(&self, name: &str) -> Self {
        let name: String = name.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect();
        let path = if self.path.is_empty() { name } else { format!("{}.{name}", self.path) };
        Self { path, twice: self.twice }
    }

    fn item(&self, index: usize) -> Self {
        Self { path: format!("{}[{index}]", self.path), twice: self.twice }
    }
}

impl<'de> DeserializeSeed<'de> for Place<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Place<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.item(list.len()))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let place = self.member(&name);
            if object.contains_key(&name) {
                self.twice.set(Some(place.path));
                return Err(A::Error::custom("a name is given twice"));
            }
            let value = members.next_value_seed(place)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_with_unique_names_are_read_as_ever() {
        for text in [r#" {"a":[1,-2,3.5,true,null,"\u00e4",{"a":{"a":1}}],"b":{}} "#, "[]", "1", "\"x\""] {
            assert_eq!(from_slice(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        }
    }

    #[test]
    fn a_name_given_twice_is_told_with_its_place() {
        for (text, path) in [
            (r#"{"a":1,"a":1}"#, "a"),
            (r#"{"a":1,"\u0061":2}"#, "a"),
            (r#"{"adminKey":{"key":"s","key":"t"}}"#, "adminKey.key"),
            (r#"{"a":[0,{"b":1,"c":2,"b":3}]}"#, "a[1].b"),
        ] {
            let Err(NotUnique::Twice(found)) = from_slice(text.as_bytes()) else { panic!("{text}") };
            assert_eq!(found, path);
        }
    }

    #[test]
    fn what_is_no_json_is_told_apart() {
        for text in ["", "{", r#"{"a":1} x"#, r#"{"a":1,}"#, &"[".repeat(100_000)] {
            assert!(matches!(from_slice(text.as_bytes()), Err(NotUnique::Syntax(_))));
        }
    }
}
