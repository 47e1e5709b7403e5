//! The text form of everything that is so many bytes: lower-case hexadecimal digits.
//!
//! Rules: one spelling for each value, the same in JSON. Never here: what the bytes are.

/// A text that is not the hexadecimal form of the expected number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {bytes} bytes as {} lower-case hexadecimal digits", .bytes.saturating_mul(2))]
pub struct BadHex {
    /// How many bytes were expected.
    pub bytes: usize,
}

/// Reads exactly `N` bytes from lower-case hexadecimal digits, the only accepted spelling.
pub(crate) fn bytes_from_hex<const N: usize>(text: &str) -> Result<[u8; N], BadHex> {
    let mut bytes = [0; N];
    let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    if lower && hex::decode_to_slice(text, &mut bytes).is_ok() {
        Ok(bytes)
    } else {
        Err(BadHex { bytes: N })
    }
}

/// Reads and writes a type of bytes as text where it is named as such, and prints it nowhere else.
macro_rules! hex_serde {
    ($name:ident) => {
        impl core::str::FromStr for $name {
            type Err = $crate::BadHex;

            fn from_str(text: &str) -> Result<Self, $crate::BadHex> {
                $crate::text::bytes_from_hex(text).map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&hex::encode(self.0))
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use hex_serde;

/// The same for what anybody may see: it is also printed so.
macro_rules! hex_text {
    ($name:ident) => {
        $crate::text::hex_serde!($name);

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(self, f)
            }
        }
    };
}
pub(crate) use hex_text;
