//! JSON from strangers: parsed once, strictly, with the place of what is wrong.
//!
//! Rules: nesting at most [`MAX_DEPTH`]; a key stands once in an object; no text after the
//! value. `serde_json` alone takes the last of two equal keys, so that two readers of one body
//! may see two requests.
//! Never here: what the fields mean.

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::{cell::RefCell, fmt};

/// Deepest nesting of arrays and objects.
pub(crate) const MAX_DEPTH: usize = 64;

/// What is wrong with a JSON text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JsonError {
    /// Path of the value that is wrong, for instance `messages[0].role`; empty for the whole.
    pub(crate) path: String,
    /// What is wrong.
    pub(crate) reason: String,
}

/// Parses a whole JSON text.
pub(crate) fn parse(text: &[u8]) -> Result<Value, JsonError> {
    let path = RefCell::new(Vec::new());
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    // Our own bound below is tighter than the library's and names the place.
    let seed = Strict { path: &path };
    let result = seed.deserialize(&mut deserializer).and_then(|value| {
        path.borrow_mut().clear();
        deserializer.end().map(|()| value)
    });
    result.map_err(|error| JsonError { path: render(&path.borrow()), reason: error.to_string() })
}

enum Step {
    Key(String),
    Index(usize),
}

fn render(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.extend([".", key]),
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// Builds a [`Value`]. The path is left standing where an error arose.
#[derive(Clone, Copy)]
struct Strict<'a> {
    path: &'a RefCell<Vec<Step>>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Strict<'_> {
    fn enter<E: serde::de::Error>(self, step: Step) -> Result<(), E> {
        let mut path = self.path.borrow_mut();
        if path.len() >= MAX_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH} levels")));
        }
        path.push(step);
        Ok(())
    }

    fn leave(self) {
        self.path.borrow_mut().pop();
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        loop {
            self.enter(Step::Index(array.len()))?;
            let Some(element) = elements.next_element_seed(self)? else { break };
            self.leave();
            array.push(element);
        }
        self.leave();
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.enter(Step::Key(key.clone()))?;
            if object.contains_key(&key) {
                return Err(A::Error::custom("the key stands twice in its object"));
            }
            let value = entries.next_value_seed(self)?;
            self.leave();
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> JsonError {
        parse(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let text = r#"{"a":[null,true,-1,18446744073709551615,1.5,"é\u0000"],"b":{}}"#;
        let expected: Value = serde_json::from_str(text).unwrap();
        assert_eq!(parse(text.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn a_key_that_stands_twice_is_refused_and_named() {
        let error = error(r#"{"messages":[{"role":"user","role":"system"}]}"#);
        assert_eq!(error.path, "messages[0].role");
        assert!(error.reason.contains("twice"), "{}", error.reason);
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert!(parse(&nested(MAX_DEPTH)).is_ok());
        let error = parse(&nested(MAX_DEPTH + 1)).unwrap_err();
        assert!(error.reason.contains("nested deeper"), "{}", error.reason);
        assert!(parse(&nested(100_000)).is_err());
    }

    #[test]
    fn a_number_out_of_range_names_its_field() {
        assert_eq!(error(r#"{"temperature":1e309}"#).path, "temperature");
        assert_eq!(error(r#"{"temperature":NaN}"#).path, "temperature");
    }

    #[test]
    fn text_after_the_value_is_refused() {
        assert_eq!(error("{} {}").path, "");
    }

    #[test]
    fn no_bytes_make_it_panic() {
        use proptest::prelude::*;
        proptest!(|(bytes in proptest::collection::vec(any::<u8>(), 0..200))| {
            let strict = parse(&bytes);
            if let Ok(value) = &strict {
                let lax: Value = serde_json::from_slice(&bytes).unwrap();
                prop_assert_eq!(value, &lax);
            }
        });
    }
}
