//! Keys of tables, in an encoding whose byte order is the order of the values.
//!
//! Rules: fixed widths, numbers big-endian, so that a queue is read from its front and all keys
//! of one owner lie together. Never here: borsh, whose numbers are little-endian.

use borsh::BorshDeserialize;
use crypto::{AccountId, Digest, ModelId, OperatorId, PublicKey};
use units::{Epoch, Height, Millis, Round, Text};

/// Part of a key, in an encoding whose byte order is the order of the values.
pub trait Key: Sized {
    /// Appends the encoding.
    fn write(&self, out: &mut Vec<u8>);
    /// Takes the encoding off the front.
    fn read(bytes: &mut &[u8]) -> Option<Self>;
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = bytes.split_first_chunk::<N>()?;
    *bytes = tail;
    Some(*head)
}

impl Key for () {
    fn write(&self, _: &mut Vec<u8>) {}

    fn read(_: &mut &[u8]) -> Option<Self> {
        Some(())
    }
}

macro_rules! integer_key {
    ($($name:ty),*) => {$(
        impl Key for $name {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }

            fn read(bytes: &mut &[u8]) -> Option<Self> {
                take(bytes).map(Self::from_be_bytes)
            }
        }
    )*};
}
integer_key!(u8, u32, u64);

macro_rules! count_key {
    ($($name:ty),*) => {$(
        impl Key for $name {
            fn write(&self, out: &mut Vec<u8>) {
                self.get().write(out);
            }

            fn read(bytes: &mut &[u8]) -> Option<Self> {
                u64::read(bytes).map(Self::new)
            }
        }
    )*};
}
count_key!(Epoch, Height, Millis, Round);

/// Types of a fixed borsh width whose bytes carry no numbers, so that any order will do.
macro_rules! opaque_key {
    ($($name:ty),*) => {$(
        impl Key for $name {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.as_bytes());
            }

            fn read(bytes: &mut &[u8]) -> Option<Self> {
                let raw: [u8; 32] = take(bytes)?;
                Self::try_from_slice(&raw).ok()
            }
        }
    )*};
}
opaque_key!(AccountId, Digest, ModelId, OperatorId, PublicKey);

/// A text may only end a key: nothing marks where it stops.
impl<const MAX: usize> Key for Text<MAX> {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let text = core::str::from_utf8(bytes).ok()?;
        *bytes = &[];
        Self::new(text).ok()
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::read(bytes)?, B::read(bytes)?))
    }
}

impl<A: Key, B: Key, C: Key> Key for (A, B, C) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
        self.2.write(out);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::read(bytes)?, B::read(bytes)?, C::read(bytes)?))
    }
}
