//! Float tensors by name, whatever file they come from.
//!
//! Names are those of the published checkpoints (`model.layers.0.self_attn.q_proj.weight`); what
//! another file calls them, and how it orders their rows, is settled here. So the same floats make
//! the same model, whichever file carries them.

use std::cell::RefCell;
use std::collections::BTreeSet;

use safetensors::{Dtype, SafeTensors};

use super::ImportError;
use super::element::Element;
use super::gguf::{Gguf, Stored, is_gguf};
use super::names::{RowOrder, llama_name};
use super::onnx::{Onnx, is_onnx};
use super::tokenizer::tokenizer;

/// An open weight file.
#[derive(Debug)]
pub struct Source<'a> {
    file: File<'a>,
    /// Names that were read, in the writing of the checkpoints.
    used: RefCell<BTreeSet<String>>,
}

#[derive(Debug)]
enum File<'a> {
    Safetensors(SafeTensors<'a>),
    Gguf(Gguf<'a>),
    Onnx(Onnx<'a>),
}

/// The most blocks that are looked for.
pub(super) const BLOCKS_MAX: usize = 256;

/// A matrix, row after row.
#[derive(Clone, Debug)]
pub(super) struct Matrix {
    pub(super) columns: usize,
    pub(super) data: Vec<f64>,
}

impl Matrix {
    pub(super) fn rows(&self) -> impl Iterator<Item = &[f64]> {
        self.data.chunks_exact(self.columns)
    }

    pub(super) fn count(&self) -> usize {
        self.data.len() / self.columns
    }
}

impl<'a> Source<'a> {
    /// Opens a safetensors, GGUF or ONNX file.
    ///
    /// # Errors
    /// Bytes that are none of them, or an ONNX graph that is no known architecture.
    pub fn read(bytes: &'a [u8]) -> Result<Self, ImportError> {
        let file = if is_gguf(bytes) {
            File::Gguf(Gguf::read(bytes)?)
        } else if is_onnx(bytes) {
            File::Onnx(Onnx::read(bytes)?)
        } else {
            let unreadable = |error: safetensors::SafeTensorError| ImportError::Source {
                reason: error.to_string(),
            };
            File::Safetensors(SafeTensors::deserialize(bytes).map_err(unreadable)?)
        };
        Ok(Self { file, used: RefCell::default() })
    }

    /// How many blocks there are, at most [`BLOCKS_MAX`]: as many as have a tensor of the name that
    /// `tensor` gives.
    pub(super) fn blocks(&self, tensor: impl Fn(usize) -> String) -> usize {
        (0..BLOCKS_MAX).take_while(|block| self.has(&tensor(*block))).count()
    }

    /// The GGUF file, if it is one.
    pub(super) const fn gguf(&self) -> Option<&Gguf<'a>> {
        match &self.file {
            File::Gguf(file) => Some(file),
            _ => None,
        }
    }

    /// The ONNX file, if it is one.
    pub(super) const fn onnx(&self) -> Option<&Onnx<'a>> {
        match &self.file {
            File::Onnx(file) => Some(file),
            _ => None,
        }
    }

    /// The `tokenizer.json` that the file itself stands for.
    ///
    /// # Errors
    /// A file without a tokenizer, or with one of another kind.
    pub fn tokenizer(&self) -> Result<Vec<u8>, ImportError> {
        self.gguf().map_or(Err(ImportError::NoTokenizer), tokenizer)
    }

    /// Whether there is a tensor of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.stored(name).is_ok_and(|found| found.is_some())
    }

    /// Tensors that nothing has read.
    #[must_use]
    pub fn unused(&self) -> Vec<String> {
        let used = self.used.borrow();
        match &self.file {
            File::Safetensors(file) => {
                let names = file.names().into_iter().map(str::to_owned);
                names.filter(|name| !used.contains(name)).collect()
            }
            File::Gguf(file) => {
                let stored = used.iter().filter_map(|name| Some(llama_name(name)?.0));
                let used: BTreeSet<String> = stored.collect();
                let names = file.names().map(str::to_owned);
                names.filter(|name| !used.contains(name)).collect()
            }
            File::Onnx(file) => file.unused.clone(),
        }
    }

    /// A vector of `length` floats.
    pub(super) fn vector(&self, name: &str, length: usize) -> Result<Vec<f64>, ImportError> {
        self.shaped(name, &[Some(length)]).map(|(_, data)| data)
    }

    /// A matrix, of a given number of rows and columns where they are known.
    pub(super) fn matrix(
        &self,
        name: &str,
        rows: Option<usize>,
        columns: Option<usize>,
    ) -> Result<Matrix, ImportError> {
        let (shape, data) = self.shaped(name, &[rows, columns])?;
        Ok(Matrix { columns: shape[1], data })
    }

    /// How many rows a matrix has.
    ///
    /// # Errors
    /// A tensor that is missing, or of another type.
    pub fn rows(&self, name: &str) -> Result<u32, ImportError> {
        let missing = || ImportError::MissingTensor { name: name.to_owned() };
        let (stored, _) = self.stored(name)?.ok_or_else(missing)?;
        Ok(stored.shape.first().and_then(|rows| u32::try_from(*rows).ok()).unwrap_or(0))
    }

    /// Shape and elements of any tensor of floats.
    ///
    /// # Errors
    /// A tensor that is missing, of another type, or not finite.
    pub fn floats(&self, name: &str) -> Result<(Vec<usize>, Vec<f64>), ImportError> {
        let shape = self.stored(name)?.map(|(stored, _)| vec![None; stored.shape.len()]);
        self.shaped(name, &shape.unwrap_or_default())
    }

    fn stored(&self, name: &str) -> Result<Option<(Stored<'a>, RowOrder)>, ImportError> {
        match &self.file {
            File::Safetensors(file) => {
                let Ok(view) = file.tensor(name) else { return Ok(None) };
                let element = match view.dtype() {
                    Dtype::F32 => Element::F32,
                    Dtype::F16 => Element::F16,
                    Dtype::BF16 => Element::Bf16,
                    other => {
                        return Err(ImportError::Tensor {
                            name: name.to_owned(),
                            found: format!("of type {other:?}"),
                            expected: "F32, F16 or BF16".to_owned(),
                        });
                    }
                };
                let (shape, data) = (view.shape().to_vec(), view.data());
                Ok(Some((Stored { shape, element, data }, RowOrder::Plain)))
            }
            File::Gguf(file) => {
                let Some((name, order)) = llama_name(name) else { return Ok(None) };
                Ok(file.tensor(&name)?.map(|stored| (stored, order)))
            }
            File::Onnx(file) => Ok(file.tensor(name)),
        }
    }

    fn shaped(
        &self,
        name: &str,
        expected: &[Option<usize>],
    ) -> Result<(Vec<usize>, Vec<f64>), ImportError> {
        let missing = || ImportError::MissingTensor { name: name.to_owned() };
        let (stored, order) = self.stored(name)?.ok_or_else(missing)?;
        self.used.borrow_mut().insert(name.to_owned());
        let shape = stored.shape;
        let fits = shape.len() == expected.len()
            && shape
                .iter()
                .zip(expected)
                .all(|(is, must)| *is > 0 && must.is_none_or(|n| n == *is));
        if !fits {
            return Err(ImportError::Tensor {
                name: name.to_owned(),
                found: format!("{shape:?}"),
                expected: expected_shape(expected),
            });
        }
        // The file holds the data, so this is a small multiple of what was read already.
        let mut data = Vec::with_capacity(shape.iter().product());
        stored.element.decode(stored.data, &mut data);
        if !data.iter().all(|value| value.is_finite()) {
            return Err(ImportError::NotFinite { name: name.to_owned() });
        }
        Ok((shape.clone(), self.reorder(name, order, &shape, data)?))
    }

    /// Puts rows in the order of the published checkpoints.
    fn reorder(
        &self,
        name: &str,
        order: RowOrder,
        shape: &[usize],
        data: Vec<f64>,
    ) -> Result<Vec<f64>, ImportError> {
        if let RowOrder::Columns { first, of } = order {
            let (rows, columns) = (shape[0], shape.get(1).copied().unwrap_or(1));
            let element = |at: usize| data[at % columns * of + first + at / columns];
            return Ok((0..rows * columns).map(element).collect());
        }
        let (RowOrder::Pairs { heads }, Some(file)) = (order, self.gguf()) else {
            return Ok(data);
        };
        let heads = file.integer(heads)? as usize;
        let columns = shape.get(1).copied().unwrap_or(1);
        let pairs = shape[0] / (2 * heads.max(1));
        if heads == 0 || pairs * 2 * heads != shape[0] {
            return Err(ImportError::Tensor {
                name: name.to_owned(),
                found: format!("{shape:?}"),
                expected: format!("{heads} heads of an even number of rows each"),
            });
        }
        // A head's rows come as (first, second) of each pair; wanted are all firsts, then seconds.
        let mut out = Vec::with_capacity(data.len());
        for head in data.chunks_exact(2 * pairs * columns) {
            for half in 0..2 {
                for pair in 0..pairs {
                    out.extend_from_slice(&head[(2 * pair + half) * columns..][..columns]);
                }
            }
        }
        Ok(out)
    }
}

fn expected_shape(expected: &[Option<usize>]) -> String {
    let size = |size: &Option<usize>| size.map_or_else(|| "any".to_owned(), |n| n.to_string());
    format!("[{}]", expected.iter().map(size).collect::<Vec<_>>().join(", "))
}
