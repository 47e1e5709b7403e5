//! A false run: the right one with a flipped bit in a leaf of one fine tree, told consistently.

use crypto::{Digest, Domain, hash_bytes, merkle};
use ledger::disputes::{
    moves::{Finding, OutputProof},
    player::Run,
};
use operator::{Execution, ExecutionError};

/// A right run whose teller has flipped a bit at one step and in the row that follows from it.
pub(crate) struct Lie {
    pub(crate) right: Execution,
    pub(crate) coarse: u64,
    pub(crate) leaf: u64,
}

impl Lie {
    /// What the receipt is made from.
    pub(crate) fn finding(&mut self) -> Result<Finding, ExecutionError> {
        let trace_root = merkle::root(&self.trace()?);
        Ok(Finding { trace_root, ..self.right.finding() })
    }

    fn flips(&self, leaf: u64, leaves: u64) -> bool {
        leaf == self.leaf || leaf.saturating_add(1) == leaves
    }
}

impl Run for Lie {
    type Error = ExecutionError;

    fn trace(&mut self) -> Result<Vec<Digest>, ExecutionError> {
        let mut trace = self.right.trace()?;
        let (leaves, pieces) = self.fine(self.coarse)?;
        let first = leaves.len().saturating_sub(usize::try_from(pieces).unwrap_or(0));
        let row = merkle::root(leaves.get(first..).unwrap_or_default());
        if let Some(leaf) = trace.get_mut(usize::try_from(self.coarse).unwrap_or(usize::MAX)) {
            *leaf = row;
        }
        Ok(trace)
    }

    fn outputs(&mut self) -> Result<Vec<Digest>, ExecutionError> {
        self.right.outputs()
    }

    fn trace_salt(&mut self) -> Result<Digest, ExecutionError> {
        self.right.trace_salt()
    }

    fn fine(&mut self, coarse: u64) -> Result<(Vec<Digest>, u64), ExecutionError> {
        let (mut leaves, pieces) = self.right.fine(coarse)?;
        if coarse == self.coarse {
            let count = leaves.len() as u64;
            for leaf in [self.leaf, count.saturating_sub(1)] {
                let bytes = self.leaf(coarse, leaf)?;
                if let Some(digest) = leaves.get_mut(usize::try_from(leaf).unwrap_or(usize::MAX)) {
                    *digest = hash_bytes(Domain::TraceLeaf, &bytes);
                }
            }
        }
        Ok((leaves, pieces))
    }

    fn leaf(&mut self, coarse: u64, leaf: u64) -> Result<Vec<u8>, ExecutionError> {
        let mut bytes = self.right.leaf(coarse, leaf)?;
        let leaves = self.right.fine(coarse)?.0.len() as u64;
        if coarse == self.coarse
            && self.flips(leaf, leaves)
            && let Some(byte) = bytes.first_mut()
        {
            *byte ^= 1;
        }
        Ok(bytes)
    }

    fn refute(
        &mut self,
        coarse: u64,
        leaf: u64,
        bytes: &[u8],
    ) -> Result<Option<(u64, Vec<u8>)>, ExecutionError> {
        self.right.refute(coarse, leaf, bytes)
    }

    fn token(&mut self, output: u32) -> Result<(u32, u64), ExecutionError> {
        self.right.token(output)
    }

    fn output(&mut self, index: u64) -> Result<OutputProof, ExecutionError> {
        self.right.output(index)
    }
}
