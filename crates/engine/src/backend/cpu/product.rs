//! One matrix product by itself, as the linear ops compute it.

use std::sync::Arc;

use model::Channels;

use super::kernels::{InputBits, Kernels};
use super::linear::{Inputs, Workers};
use super::matrix::{Matrices, Source};
use crate::backend::BackendKind;
use crate::error::EngineError;
use crate::pool::Pool;

/// A packed matrix that multiplies rows: what benches hold against float products.
pub struct Product {
    kernels: &'static dyn Kernels,
    pool: Arc<Pool>,
    matrices: Matrices,
    inputs: usize,
}

impl std::fmt::Debug for Product {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Product").finish_non_exhaustive()
    }
}

impl Product {
    /// Packs the weights of a linear op whose inputs never exceed `most` in magnitude.
    ///
    /// # Errors
    /// As `Engine::load`.
    pub fn new(
        kind: BackendKind,
        threads: usize,
        channels: &Channels,
        most: u16,
    ) -> Result<Self, EngineError> {
        let Some(kernels) = super::kernels(kind) else {
            return Err(EngineError::BackendMissing { backend: kind.name() });
        };
        let pool = Arc::new(Pool::new(threads)?);
        let (inputs, bits) = (channels.weights.width(), InputBits::of(most.into()));
        let matrices = Matrices::new(&[Some(Source { channels, bits })], kernels.layout(), &pool)?;
        Ok(Self { kernels, pool, matrices, inputs })
    }

    /// Products of all rows of `input`, requantised into the rows of `out` without a clamp: right
    /// where nothing leaves 32 bits, as behind a certificate.
    pub fn run(&self, input: &[i16], out: &mut [i16]) {
        let matrix = self.matrices.get(0);
        let input = Inputs { data: input, width: self.inputs };
        let (kernels, pool, matrices) = (self.kernels, &*self.pool, &self.matrices);
        Workers { kernels, pool, matrices }.linear_narrow(&[matrix], input, &mut [out]);
    }
}
