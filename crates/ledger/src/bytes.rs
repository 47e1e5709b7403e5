//! Raw bytes of bounded length that read as hexadecimal in JSON.
//!
//! Rules: canonical bytes are a length and the bytes; a length above the bound is refused before
//! anything is allocated. Never here: a meaning of the bytes.

use borsh::{BorshDeserialize, BorshSerialize, io};
use core::{
    fmt,
    ops::{Deref, DerefMut},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use units::TooLong;

/// At most `MAX` bytes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Bytes<const MAX: usize>(Vec<u8>);

impl<const MAX: usize> Bytes<MAX> {
    /// From bytes.
    ///
    /// # Errors
    /// [`TooLong`] above `MAX`.
    pub fn new(bytes: Vec<u8>) -> Result<Self, TooLong> {
        let length = bytes.len();
        if length > MAX { Err(TooLong { length, max: MAX }) } else { Ok(Self(bytes)) }
    }
}

impl<const MAX: usize> Deref for Bytes<MAX> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Of the bytes, never of their number.
impl<const MAX: usize> DerefMut for Bytes<MAX> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl<const MAX: usize> fmt::Debug for Bytes<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl<const MAX: usize> BorshSerialize for Bytes<MAX> {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        BorshSerialize::serialize(&self.0, writer)
    }
}

impl<const MAX: usize> BorshDeserialize for Bytes<MAX> {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let invalid = |error: TooLong| io::Error::new(io::ErrorKind::InvalidData, error);
        let length = usize::try_from(u32::deserialize_reader(reader)?).unwrap_or(usize::MAX);
        if length > MAX {
            return Err(invalid(TooLong { length, max: MAX }));
        }
        let mut bytes = vec![0; length];
        reader.read_exact(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl<const MAX: usize> Serialize for Bytes<MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Bytes<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String as Deserialize>::deserialize(deserializer)?;
        Self::new(hex::decode(text).map_err(de::Error::custom)?).map_err(de::Error::custom)
    }
}
