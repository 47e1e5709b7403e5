//! Byte strings that travel as they are in borsh and as lower-case hex in JSON.
//!
//! Rules: the length is known or bounded before anything is allocated.
//! Never here: other spellings (upper case, `0x`, base64).

use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Decodes the only spelling of a byte string: lower-case hex, two digits a byte.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if lower { hex::decode(text).ok() } else { None }
}

/// Serde as hex text of an array.
pub(crate) mod array {
    use super::{Deserialize, Deserializer, Error, Serializer, from_hex};

    pub(crate) fn serialize<S: Serializer, const N: usize>(
        bytes: &[u8; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error> {
        let text = String::deserialize(deserializer)?;
        from_hex(&text)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| D::Error::custom(format_args!("expected {N} bytes of lower-case hex")))
    }
}

/// Serde as hex text of a byte string.
pub(crate) mod string {
    use super::{Deserialize, Deserializer, Error, Serializer, from_hex};

    pub(crate) fn serialize<S: Serializer, B: AsRef<[u8]>>(
        bytes: &B,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes.as_ref()))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, B: From<Vec<u8>>>(
        deserializer: D,
    ) -> Result<B, D::Error> {
        let text = String::deserialize(deserializer)?;
        from_hex(&text).map(B::from).ok_or_else(|| D::Error::custom("expected lower-case hex"))
    }
}
