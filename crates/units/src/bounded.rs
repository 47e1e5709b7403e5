//! Lists and texts with a bound that is part of their type.
//!
//! Rules: the length is checked before anything is allocated, so that four bytes from a
//! stranger never reserve more than `MAX` elements; a value that exists is within its bound.
//! Never here: a way to exceed the bound.

use borsh::{BorshDeserialize, BorshSerialize, io};
use core::{fmt, ops::Deref};
use serde::{Deserialize, Deserializer, Serialize, de};

/// More elements or bytes than the type allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("length {length} exceeds the limit of {max}")]
pub struct TooLong {
    /// What was given.
    pub length: usize,
    /// The bound of the type.
    pub max: usize,
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Reads the length prefix and holds it against the bound.
fn read_length<R: io::Read>(reader: &mut R, max: usize) -> io::Result<usize> {
    let length = usize::try_from(u32::deserialize_reader(reader)?).map_err(invalid)?;
    if length > max { Err(invalid(TooLong { length, max })) } else { Ok(length) }
}

/// At most `MAX` elements, in order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct List<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> List<T, MAX> {
    /// From elements.
    ///
    /// # Errors
    /// [`TooLong`] above `MAX` elements.
    pub fn new(elements: Vec<T>) -> Result<Self, TooLong> {
        let length = elements.len();
        if length > MAX { Err(TooLong { length, max: MAX }) } else { Ok(Self(elements)) }
    }

    /// No elements.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Vec::new())
    }

    /// The elements.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self::empty()
    }
}

impl<T, const MAX: usize> Deref for List<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: fmt::Debug, const MAX: usize> fmt::Debug for List<T, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: BorshSerialize, const MAX: usize> BorshSerialize for List<T, MAX> {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        BorshSerialize::serialize(&self.0, writer)
    }
}

/// Elements reserved ahead while decoding; the rest grows as bytes really arrive.
const RESERVED: usize = 256;

impl<T: BorshDeserialize, const MAX: usize> BorshDeserialize for List<T, MAX> {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let length = read_length(reader, MAX)?;
        let mut elements = Vec::with_capacity(length.min(RESERVED));
        for _ in 0..length {
            elements.push(T::deserialize_reader(reader)?);
        }
        Ok(Self(elements))
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for List<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(<Vec<T> as Deserialize>::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// UTF-8 text of at most `MAX` bytes.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// From a string.
    ///
    /// # Errors
    /// [`TooLong`] above `MAX` bytes.
    pub fn new(text: impl Into<String>) -> Result<Self, TooLong> {
        let text = text.into();
        let length = text.len();
        if length > MAX { Err(TooLong { length, max: MAX }) } else { Ok(Self(text)) }
    }
}

impl<const MAX: usize> Deref for Text<MAX> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Debug for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MAX: usize> BorshSerialize for Text<MAX> {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        BorshSerialize::serialize(&self.0, writer)
    }
}

impl<const MAX: usize> BorshDeserialize for Text<MAX> {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let length = read_length(reader, MAX)?;
        let mut bytes = vec![0; length];
        reader.read_exact(&mut bytes)?;
        String::from_utf8(bytes).map(Self).map_err(invalid)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(<String as Deserialize>::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
