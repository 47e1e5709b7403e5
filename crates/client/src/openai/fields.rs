//! Reading a body's fields: each is taken by name and type, and what is left over is refused.
//!
//! Rules: `null` is the same as absent, as OpenAI's clients send it; a wrong field is named; a
//! field that would have to be ignored is refused, because an answer that silently lacks what
//! was asked for is worse than none.
//! Never here: defaults.

use super::{BodyError, Problem};
use serde_json::{Map, Value};

/// An object from a body, and where it stands in it.
pub(crate) struct Fields {
    place: String,
    object: Map<String, Value>,
}

impl Fields {
    /// The object at `place`, which is empty for the body itself.
    pub(crate) fn of(value: Value, place: impl Into<String>) -> Result<Self, BodyError> {
        let place = place.into();
        match value {
            Value::Object(object) => Ok(Self { place, object }),
            other => {
                let error = wrong(&place, "an object", &other);
                Err(if place.is_empty() { error } else { error.of_field(place) })
            }
        }
    }

    /// Full path of a field.
    pub(crate) fn path(&self, name: &str) -> String {
        if self.place.is_empty() { name.to_owned() } else { format!("{}.{name}", self.place) }
    }

    /// A field that may be absent.
    pub(crate) fn optional(&mut self, name: &str) -> Option<Value> {
        self.object.remove(name).filter(|value| !value.is_null())
    }

    /// A field that must stand.
    pub(crate) fn required(&mut self, name: &str) -> Result<Value, BodyError> {
        let path = self.path(name);
        self.optional(name).ok_or_else(|| {
            let message = format!("the field {path} is missing");
            BodyError::new(Problem::MissingField, message, format!("add {path}")).of_field(path)
        })
    }

    /// A text that must stand.
    pub(crate) fn text(&mut self, name: &str) -> Result<String, BodyError> {
        let value = self.required(name)?;
        text(value, &self.path(name))
    }

    /// A text that may be absent.
    pub(crate) fn optional_text(&mut self, name: &str) -> Result<Option<String>, BodyError> {
        let path = self.path(name);
        self.optional(name).map(|value| text(value, &path)).transpose()
    }

    /// `true` or `false`, else `false`.
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, BodyError> {
        match self.optional(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(self.wrong(name, "true or false", &other)),
        }
    }

    /// A whole number within `least..=most`.
    pub(crate) fn count(
        &mut self,
        name: &str,
        least: u64,
        most: u64,
    ) -> Result<Option<u64>, BodyError> {
        let Some(value) = self.optional(name) else { return Ok(None) };
        match value.as_u64() {
            Some(count) if (least..=most).contains(&count) => Ok(Some(count)),
            _ => Err(self.wrong(name, &format!("a whole number from {least} to {most}"), &value)),
        }
    }

    /// A number within `0..=most`, in thousandths; finer digits are rounded to the nearest
    /// thousandth, ties away from zero.
    pub(crate) fn thousandths(&mut self, name: &str, most: u16) -> Result<Option<u16>, BodyError> {
        let Some(value) = self.optional(name) else { return Ok(None) };
        let milli = value.as_f64().map(|number| (number * 1_000.0).round());
        match milli {
            // The range is checked, so the conversion is exact.
            Some(milli) if (0.0..=f64::from(most)).contains(&milli) => Ok(Some(milli as u16)),
            _ => {
                let most = f64::from(most) / 1_000.0;
                Err(self.wrong(name, &format!("a number from 0 to {most}"), &value))
            }
        }
    }

    /// Takes a field of no effect: it may stand only with one of the values `same`, for which
    /// the answer would be the same without it.
    pub(crate) fn without_effect(&mut self, name: &str, same: &[Value]) -> Result<(), BodyError> {
        match self.optional(name) {
            Some(value) if !same.iter().any(|same| equal(same, &value)) => {
                Err(unsupported(self.path(name)))
            }
            _ => Ok(()),
        }
    }

    /// Refuses what has not been taken.
    pub(crate) fn finish(self) -> Result<(), BodyError> {
        let left = self.object.iter().find(|(_, value)| !value.is_null());
        match left {
            None => Ok(()),
            Some((name, _)) => Err(unsupported(self.path(name))),
        }
    }

    /// The error for a field of the wrong type or out of range.
    pub(crate) fn wrong(&self, name: &str, expected: &str, found: &Value) -> BodyError {
        let path = self.path(name);
        wrong(&path, expected, found).of_field(path)
    }
}

/// Equal as JSON numbers too: `0` and `0.0` ask for the same.
fn equal(left: &Value, right: &Value) -> bool {
    match (left.as_f64(), right.as_f64()) {
        (Some(left), Some(right)) => left == right,
        _ => left == right,
    }
}

/// A text at `path`.
pub(crate) fn text(value: Value, path: &str) -> Result<String, BodyError> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(wrong(path, "a text", &other).of_field(path)),
    }
}

/// The error for a value of the wrong type or out of range.
pub(crate) fn wrong(path: &str, expected: &str, found: &Value) -> BodyError {
    let place = if path.is_empty() { "the body" } else { path };
    let message = format!("{place} must be {expected}, not {}", shown(found));
    BodyError::new(Problem::InvalidValue, message, format!("send {expected}"))
}

fn unsupported(path: String) -> BodyError {
    let message = format!("the field {path} is not supported with this value");
    BodyError::new(Problem::UnsupportedField, message, format!("leave out {path}")).of_field(path)
}

/// Longest piece of a caller's value that an error repeats.
const SHOWN_CHARS: usize = 40;

fn shown(value: &Value) -> String {
    match value {
        Value::Array(elements) => format!("an array of {}", elements.len()),
        Value::Object(_) => "an object".to_owned(),
        plain => {
            let text = plain.to_string();
            match text.char_indices().nth(SHOWN_CHARS) {
                None => text,
                Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
            }
        }
    }
}
