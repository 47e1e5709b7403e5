//! Float tensors by name, from a safetensors file.

use safetensors::{Dtype, SafeTensors};

use super::ImportError;

/// An open safetensors file.
#[derive(Debug)]
pub struct Source<'a> {
    tensors: SafeTensors<'a>,
}

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
    /// Opens a file.
    ///
    /// # Errors
    /// Bytes that are no safetensors file.
    pub fn read(bytes: &'a [u8]) -> Result<Self, ImportError> {
        let tensors = SafeTensors::deserialize(bytes);
        let tensors = tensors.map_err(|error| ImportError::Source { reason: error.to_string() })?;
        Ok(Self { tensors })
    }

    /// Whether there is a tensor of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
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

    /// Shape and elements of any tensor of 32-bit floats.
    ///
    /// # Errors
    /// A tensor that is missing, of another type, or not finite.
    pub fn floats(&self, name: &str) -> Result<(Vec<usize>, Vec<f64>), ImportError> {
        let shape = self.tensors.tensor(name).map(|view| vec![None; view.shape().len()]);
        self.shaped(name, &shape.unwrap_or_default())
    }

    fn shaped(
        &self,
        name: &str,
        expected: &[Option<usize>],
    ) -> Result<(Vec<usize>, Vec<f64>), ImportError> {
        let missing = |_| ImportError::MissingTensor { name: name.to_owned() };
        let view = self.tensors.tensor(name).map_err(missing)?;
        let shape = view.shape().to_vec();
        let fits = shape.len() == expected.len()
            && shape
                .iter()
                .zip(expected)
                .all(|(is, must)| *is > 0 && must.is_none_or(|n| n == *is));
        if view.dtype() != Dtype::F32 || !fits {
            return Err(ImportError::Tensor {
                name: name.to_owned(),
                found: format!("{:?} {shape:?}", view.dtype()),
                expected: format!("F32 {expected:?}"),
            });
        }
        let (values, _) = view.data().as_chunks();
        let data: Vec<f64> =
            values.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect();
        if data.iter().all(|value| value.is_finite()) {
            Ok((shape, data))
        } else {
            Err(ImportError::NotFinite { name: name.to_owned() })
        }
    }
}
