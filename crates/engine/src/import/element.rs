//! Stored numbers of source files, and their exact floats.
//!
//! Blocks of 32 weights with a 16-bit scale (and offset) are what GGUF calls `Q8_0`, `Q4_0` and
//! `Q4_1`; every value they stand for is exact in a 64-bit float.

use half::{bf16, f16};

/// Weights in one block.
const BLOCK: usize = 32;

/// How a tensor's elements are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4_1,
}

impl Element {
    /// Elements and bytes of the smallest piece.
    pub(super) const fn piece(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q8_0 => (BLOCK, 2 + BLOCK),
            Self::Q4_0 => (BLOCK, 2 + BLOCK / 2),
            Self::Q4_1 => (BLOCK, 4 + BLOCK / 2),
        }
    }

    /// Bytes of `count` elements; none for a part of a block, or past 64 bits.
    pub(super) fn bytes(self, count: usize) -> Option<usize> {
        let (elements, bytes) = self.piece();
        if count.is_multiple_of(elements) { (count / elements).checked_mul(bytes) } else { None }
    }

    /// The floats in whole pieces of `data`, appended to `out`.
    pub(super) fn decode(self, data: &[u8], out: &mut Vec<f64>) {
        let half = |bytes: &[u8]| f16::from_le_bytes([bytes[0], bytes[1]]).to_f64();
        let pieces = data.chunks_exact(self.piece().1);
        match self {
            Self::F32 => {
                let float = |b: &[u8]| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                out.extend(pieces.map(float));
            }
            Self::F16 => out.extend(pieces.map(half)),
            Self::Bf16 => {
                out.extend(pieces.map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f64()));
            }
            Self::Q8_0 => {
                for block in pieces {
                    let scale = half(block);
                    let steps = block[2..].iter().map(|byte| i8::from_le_bytes([*byte]));
                    out.extend(steps.map(|step| scale * f64::from(step)));
                }
            }
            Self::Q4_0 => {
                for block in pieces {
                    let scale = half(block);
                    out.extend(nibbles(&block[2..]).map(|step| scale * (step - 8.0)));
                }
            }
            Self::Q4_1 => {
                for block in pieces {
                    let (scale, offset) = (half(block), half(&block[2..]));
                    out.extend(nibbles(&block[4..]).map(|step| scale * step + offset));
                }
            }
        }
    }
}

/// All low halves of the bytes, then all high ones.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = f64> {
    let low = bytes.iter().map(|byte| f64::from(byte & 15));
    low.chain(bytes.iter().map(|byte| f64::from(byte >> 4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(element: Element, data: &[u8]) -> Vec<f64> {
        let mut out = Vec::new();
        element.decode(data, &mut out);
        out
    }

    #[test]
    fn blocks_of_four_bits_keep_low_halves_first() {
        let mut block = f16::from_f64(0.5).to_le_bytes().to_vec();
        block.extend([0x91_u8; 16]);
        let signed = decoded(Element::Q4_0, &block);
        assert_eq!(signed[..16], [-3.5; 16]);
        assert_eq!(signed[16..], [0.5; 16]);
        block.splice(2..2, f16::from_f64(-2.0).to_le_bytes());
        let offset = decoded(Element::Q4_1, &block);
        assert_eq!(offset[..16], [-1.5; 16]);
        assert_eq!(offset[16..], [2.5; 16]);
    }

    #[test]
    fn blocks_of_eight_bits_are_signed() {
        let mut block = f16::from_f64(0.25).to_le_bytes().to_vec();
        block.extend((0..32_u8).map(|step| step.wrapping_sub(16)));
        let values = decoded(Element::Q8_0, &block);
        assert_eq!(values, (-16..16).map(|step| f64::from(step) / 4.0).collect::<Vec<_>>());
    }

    #[test]
    fn plain_numbers_are_exact() {
        assert_eq!(decoded(Element::F32, &1.5_f32.to_le_bytes()), [1.5]);
        assert_eq!(decoded(Element::F16, &[0x00, 0x3e]), [1.5]);
        assert_eq!(decoded(Element::Bf16, &[0xc0, 0x3f]), [1.5]);
        assert_eq!(Element::Q4_1.bytes(64), Some(40));
        assert_eq!(Element::Q4_1.bytes(65), None);
        assert_eq!(Element::F32.bytes(usize::MAX), None);
    }
}
