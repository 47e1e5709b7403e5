//! `u64` values as decimal strings in JSON, where a number would lose digits above 2^53.
//!
//! Rules: digits in their only spelling, no sign, no leading zero. Never here: other widths.

use serde::{Deserialize, Deserializer, Serializer, de};

/// For `#[serde(with = "crate::decimal")]`.
///
/// # Errors
/// Those of the serializer.
pub(crate) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// For `#[serde(with = "crate::decimal")]`.
///
/// # Errors
/// A text that is not the decimal spelling of a `u64`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = <String as Deserialize>::deserialize(deserializer)?;
    let value = text.parse::<u64>().map_err(de::Error::custom)?;
    if value.to_string() == text {
        Ok(value)
    } else {
        Err(de::Error::custom(format_args!("{text:?} is not a decimal number")))
    }
}
