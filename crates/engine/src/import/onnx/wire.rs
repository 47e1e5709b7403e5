//! Protobuf fields of a message, one after the other, without copies.
//!
//! Our own sixty lines, because a decoder that builds whole messages lets a file of empty nodes
//! take a hundred times its size; here whoever reads a field decides whether it may grow.

use crate::import::ImportError;

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed32([u8; 4]),
    /// 64 bits that nothing here reads.
    Fixed64,
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], ImportError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(broken("a field is no message or text")),
        }
    }

    pub(super) fn text(self) -> Result<&'a str, ImportError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| broken("a name is not UTF-8"))
    }

    /// A whole number; negative ones are two's complement.
    pub(super) fn integer(self) -> Result<i64, ImportError> {
        match self {
            Self::Varint(value) => Ok(value.cast_signed()),
            _ => Err(broken("a field is no whole number")),
        }
    }

    /// Adds the whole numbers of a repeated field, packed or single, up to `limit` in all.
    pub(super) fn integers(self, out: &mut Vec<i64>, limit: usize) -> Result<(), ImportError> {
        match self {
            Self::Bytes(mut packed) => {
                while !packed.is_empty() {
                    push(out, varint(&mut packed)?.cast_signed(), limit, "numbers in a list")?;
                }
                Ok(())
            }
            field => push(out, field.integer()?, limit, "numbers in a list"),
        }
    }
}

pub(super) fn broken(reason: impl Into<String>) -> ImportError {
    ImportError::Source { reason: format!("no ONNX file: {}", reason.into()) }
}

/// Adds to a list of at most `limit`.
pub(super) fn push<T>(
    out: &mut Vec<T>,
    value: T,
    limit: usize,
    what: &str,
) -> Result<(), ImportError> {
    if out.len() >= limit {
        return Err(broken(format!("more than {limit} {what}")));
    }
    out.push(value);
    Ok(())
}

/// Calls `read` with number and value of each field.
pub(super) fn fields<'a>(
    mut message: &'a [u8],
    read: &mut dyn FnMut(u64, Field<'a>) -> Result<(), ImportError>,
) -> Result<(), ImportError> {
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let field = match tag & 7 {
            0 => Field::Varint(varint(&mut message)?),
            1 => {
                take(&mut message, 8)?;
                Field::Fixed64
            }
            2 => {
                let length = usize::try_from(varint(&mut message)?).unwrap_or(usize::MAX);
                Field::Bytes(take(&mut message, length)?)
            }
            5 => {
                let mut bytes = [0; 4];
                bytes.copy_from_slice(take(&mut message, 4)?);
                Field::Fixed32(bytes)
            }
            kind => return Err(broken(format!("a field of wire type {kind}"))),
        };
        read(tag >> 3, field)?;
    }
    Ok(())
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Result<&'a [u8], ImportError> {
    let (taken, rest) =
        message.split_at_checked(length).ok_or_else(|| broken("a field ends past the file"))?;
    *message = rest;
    Ok(taken)
}

fn varint(message: &mut &[u8]) -> Result<u64, ImportError> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)?[0];
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Ok(value);
        }
    }
    Err(broken("a number longer than 64 bits"))
}
