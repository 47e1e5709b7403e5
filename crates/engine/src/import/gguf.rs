//! GGUF files: key–value metadata, then tensors, in one file.
//!
//! A file is hostile: nothing is allocated for a count before the bytes for it are there, so memory
//! stays within a small multiple of the file; every range is checked; names are unique.

use std::collections::BTreeMap;

use super::ImportError;
use super::element::Element;

const MAGIC: &[u8; 4] = b"GGUF";
/// Most metadata keys and most tensors of a file.
const ENTRIES_MAX: usize = 1 << 16;
/// Most dimensions of a tensor.
const DIMENSIONS_MAX: usize = 4;
/// Where tensors start, unless the file says otherwise.
const ALIGNMENT: u64 = 32;
/// Largest alignment that makes sense.
const ALIGNMENT_MAX: u64 = 1 << 16;

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// Any whole number, and truth as 0 or 1.
    Integer(i128),
    Float(f64),
    Text(&'a str),
    Texts(Vec<&'a str>),
    Integers(Vec<i64>),
    /// An array that no architecture here reads.
    Other,
}

/// A tensor, as the file describes it.
#[derive(Clone, Debug)]
pub(super) struct Stored<'a> {
    /// Outermost dimension first.
    pub(super) shape: Vec<usize>,
    pub(super) element: Element,
    pub(super) data: &'a [u8],
}

/// An open file.
#[derive(Debug)]
pub(super) struct Gguf<'a> {
    values: BTreeMap<&'a str, Value<'a>>,
    tensors: BTreeMap<&'a str, Described>,
    /// Everything from where tensors start.
    data: &'a [u8],
}

#[derive(Debug)]
struct Described {
    shape: Vec<usize>,
    kind: u32,
    offset: u64,
}

fn broken(reason: impl Into<String>) -> ImportError {
    ImportError::Source { reason: reason.into() }
}

/// Whether these bytes begin like a GGUF file.
pub(super) fn is_gguf(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

impl<'a> Gguf<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, ImportError> {
        let mut reader = Reader { bytes, at: MAGIC.len() };
        let version = reader.u32()?;
        if !(2..=3).contains(&version) {
            return Err(broken(format!("GGUF version {version}; versions 2 and 3 are read")));
        }
        let (tensors, keys) = (reader.count("tensors", 24)?, reader.count("keys", 13)?);
        for (what, count) in [("tensors", tensors), ("keys", keys)] {
            if count > ENTRIES_MAX {
                return Err(broken(format!("{count} {what}, the limit is {ENTRIES_MAX}")));
            }
        }
        let mut values = BTreeMap::new();
        for _ in 0..keys {
            let key = reader.text()?;
            let kind = reader.u32()?;
            let value = reader.value(kind)?;
            if values.insert(key, value).is_some() {
                return Err(broken(format!("the key {key} stands there twice")));
            }
        }
        let mut described = BTreeMap::new();
        for _ in 0..tensors {
            let (name, tensor) = reader.tensor()?;
            if described.insert(name, tensor).is_some() {
                return Err(broken(format!("the tensor {name} stands there twice")));
            }
        }
        let alignment = match values.get("general.alignment") {
            None => ALIGNMENT,
            Some(Value::Integer(value)) => u64::try_from(*value).unwrap_or(0),
            Some(_) => 0,
        };
        if !alignment.is_power_of_two() || alignment > ALIGNMENT_MAX {
            return Err(broken("general.alignment is no small power of two"));
        }
        let start = (reader.at as u64).next_multiple_of(alignment);
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let data = bytes.get(start..).unwrap_or(&[]);
        Ok(Self { values, tensors: described, data })
    }

    /// A metadata value.
    pub(super) fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.values.get(key)
    }

    /// A text that must be there.
    pub(super) fn text(&self, key: &'static str) -> Result<&'a str, ImportError> {
        match self.get(key) {
            Some(Value::Text(text)) => Ok(text),
            other => Err(missing(key, "a text", other)),
        }
    }

    /// A whole number that must be there.
    pub(super) fn integer(&self, key: &'static str) -> Result<u32, ImportError> {
        match self.get(key) {
            Some(Value::Integer(value)) => u32::try_from(*value)
                .map_err(|_| broken(format!("{key} is {value}, out of its range"))),
            other => Err(missing(key, "a whole number", other)),
        }
    }

    /// Names of all tensors.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().copied()
    }

    /// A tensor by its name in the file.
    pub(super) fn tensor(&self, name: &str) -> Result<Option<Stored<'a>>, ImportError> {
        let Some(described) = self.tensors.get(name) else { return Ok(None) };
        let element = match described.kind {
            0 => Element::F32,
            1 => Element::F16,
            2 => Element::Q4_0,
            3 => Element::Q4_1,
            8 => Element::Q8_0,
            30 => Element::Bf16,
            kind => {
                return Err(ImportError::Tensor {
                    name: name.to_owned(),
                    found: format!("of GGUF type {kind}"),
                    expected: "F32, F16, BF16, Q8_0, Q4_0 or Q4_1".to_owned(),
                });
            }
        };
        let shape = described.shape.clone();
        let count = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size));
        let whole = shape.last().is_none_or(|row| row.is_multiple_of(element.piece().0));
        let bytes = count.filter(|_| whole).and_then(|count| element.bytes(count));
        let start = usize::try_from(described.offset).ok();
        let range = start.zip(bytes).and_then(|(at, bytes)| Some(at..at.checked_add(bytes)?));
        let data = range.and_then(|range| self.data.get(range));
        let data = data.ok_or_else(|| ImportError::Tensor {
            name: name.to_owned(),
            found: format!("{element:?} {shape:?} at byte {}", described.offset),
            expected: "a tensor of whole blocks that lies inside the file".to_owned(),
        })?;
        Ok(Some(Stored { shape, element, data }))
    }
}

/// A key that should be there and hold `expected`.
pub(super) fn missing(key: &str, expected: &str, found: Option<&Value<'_>>) -> ImportError {
    let found = if found.is_some() { "holds something else" } else { "is not there" };
    broken(format!("{key} should be {expected}, but {found}"))
}

/// Reads forward; never past the end.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], ImportError> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| broken(format!("it ends early, at byte {}", self.at)))?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ImportError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32, ImportError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ImportError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A count of things that take at least `least` bytes each, all of which must be to come.
    fn count(&mut self, what: &str, least: usize) -> Result<usize, ImportError> {
        let count = self.u64()?;
        let room = (self.bytes.len() - self.at) / least.max(1);
        let fits = usize::try_from(count).ok().filter(|count| *count <= room);
        fits.ok_or_else(|| {
            broken(format!("{count} {what} are announced, {room} at most can follow"))
        })
    }

    fn text(&mut self) -> Result<&'a str, ImportError> {
        let length = self.count("bytes of a text", 1)?;
        let at = self.at;
        std::str::from_utf8(self.take(length)?)
            .map_err(|_| broken(format!("the text at byte {at} is not UTF-8")))
    }

    fn value(&mut self, kind: u32) -> Result<Value<'a>, ImportError> {
        Ok(match kind {
            0 | 7 => Value::Integer(u8::from_le_bytes(self.array()?).into()),
            1 => Value::Integer(i8::from_le_bytes(self.array()?).into()),
            2 => Value::Integer(u16::from_le_bytes(self.array()?).into()),
            3 => Value::Integer(i16::from_le_bytes(self.array()?).into()),
            4 => Value::Integer(self.u32()?.into()),
            5 => Value::Integer(i32::from_le_bytes(self.array()?).into()),
            // The shortest decimal is what was meant: 1e-5, not 9.999999747378752e-6.
            6 => {
                let short = f32::from_le_bytes(self.array()?).to_string();
                Value::Float(short.parse().unwrap_or(f64::NAN))
            }
            8 => Value::Text(self.text()?),
            9 => self.values()?,
            10 => Value::Integer(self.u64()?.into()),
            11 => Value::Integer(i64::from_le_bytes(self.array()?).into()),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            _ => return Err(broken(format!("metadata of unknown type {kind}"))),
        })
    }

    fn values(&mut self) -> Result<Value<'a>, ImportError> {
        let kind = self.u32()?;
        let size = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 => {
                let count = self.count("texts", 8)?;
                return (0..count).map(|_| self.text()).collect::<Result<_, _>>().map(Value::Texts);
            }
            _ => return Err(broken(format!("an array of type {kind}, which is not read"))),
        };
        let count = self.count("array elements", size)?;
        let (at, end) = (self.at, self.at + count * size);
        if kind == 5 {
            let numbers = (0..count).map(|_| self.array().map(|b| i32::from_le_bytes(b).into()));
            return numbers.collect::<Result<_, _>>().map(Value::Integers);
        }
        self.take(end - at)?;
        Ok(Value::Other)
    }

    fn tensor(&mut self) -> Result<(&'a str, Described), ImportError> {
        let name = self.text()?;
        let dimensions = self.u32()? as usize;
        if dimensions > DIMENSIONS_MAX {
            return Err(broken(format!(
                "tensor {name} has {dimensions} dimensions, the limit is {DIMENSIONS_MAX}"
            )));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let size = self.u64()?;
            shape.push(usize::try_from(size).map_err(|_| broken("a dimension past 64 bits"))?);
        }
        shape.reverse();
        Ok((name, Described { shape, kind: self.u32()?, offset: self.u64()? }))
    }
}
