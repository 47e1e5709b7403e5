//! One matrix product by itself, as the linear ops compute it.

use std::sync::Arc;

use model::{Channels, Op, OpWeights, WeightType};

use super::kernels::Kernels;
use super::linear::{Inputs, Workers};
use super::matrix::Matrices;
use crate::backend::BackendKind;
use crate::error::EngineError;
use crate::pool::Pool;

/// A packed matrix that multiplies rows: what benches hold against float products.
pub struct Product {
    kernels: &'static dyn Kernels,
    pool: Arc<Pool>,
    matrices: Matrices,
}

impl std::fmt::Debug for Product {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Product").finish_non_exhaustive()
    }
}

impl Product {
    /// Packs the weights of a linear op.
    ///
    /// # Errors
    /// As `Engine::load`.
    pub fn new(kind: BackendKind, threads: usize, channels: Channels) -> Result<Self, EngineError> {
        let Some(kernels) = super::kernels(kind) else {
            return Err(EngineError::BackendMissing { backend: kind.name() });
        };
        let pool = Arc::new(Pool::new(threads)?);
        let op = Op::Linear { input: 0, outputs: 0, weights: WeightType::W8 };
        let matrices = Matrices::new(&[op], &[OpWeights::Channels(channels)], &pool)?;
        Ok(Self { kernels, pool, matrices })
    }

    /// Products of all rows of `input`, requantised into the rows of `out` without a clamp: right
    /// where nothing leaves 32 bits, as behind a certificate.
    pub fn run(&self, input: &[i16], out: &mut [i16]) {
        let matrix = self.matrices.get(0);
        let input = Inputs { data: input, width: matrix.inputs };
        let (kernels, pool, matrices) = (self.kernels, &*self.pool, &self.matrices);
        Workers { kernels, pool, matrices }.linear_narrow(&[matrix], input, &mut [out]);
    }
}
