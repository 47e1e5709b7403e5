//! What steps need to know of a model, computed once from manifest and graph: shapes, where each
//! op's weights stand under the weight root, and which ops make keys and values.

use std::ops::Range;

use crate::blocks::key_path;
use crate::error::ModelError;
use crate::graph::{Graph, Op, Reach, ValueId};
use crate::inspect::{Kind, Shape, check_graph, inspect};
use crate::layout::{ChannelShape, TABLE_PIECES, Tensors, size, table_leaves, weight_leaves};
use crate::manifest::Manifest;
use crate::model::{Model, all_tensors};

/// A model as steps see it. No weights: those are opened.
#[derive(Clone, Debug)]
pub struct Plan {
    graph: Graph,
    shapes: Vec<Shape>,
    positions: u32,
    tensors: Vec<Tensors>,
    /// First leaf of each op under the weight root, and their number at the end.
    weight_starts: Vec<u64>,
    key_path: Vec<bool>,
}

impl Plan {
    /// The plan of a model that the gate accepts.
    ///
    /// # Errors
    /// What makes it no model.
    pub fn new(manifest: &Manifest, graph: &Graph) -> Result<Self, ModelError> {
        inspect(manifest, graph)?;
        Self::of_graph(graph, manifest.max_positions)
    }

    fn of_graph(graph: &Graph, positions: u32) -> Result<Self, ModelError> {
        let shapes = check_graph(graph)?;
        let tensors = all_tensors(graph, &shapes, positions);
        let mut weight_starts = vec![0];
        let mut next = 0_u64;
        for tensors in &tensors {
            next = next.saturating_add(weight_leaves(tensors));
            weight_starts.push(next);
        }
        let key_path = key_path(graph)?;
        Ok(Self { graph: graph.clone(), shapes, positions, tensors, weight_starts, key_path })
    }

    /// The plan of a model at hand.
    ///
    /// # Errors
    /// Never for a model that exists.
    pub fn of(model: &Model) -> Result<Self, ModelError> {
        Self::of_graph(model.graph(), model.manifest().max_positions)
    }

    /// The graph.
    pub const fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Shape of each value.
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// Most positions of a run.
    pub const fn positions(&self) -> u32 {
        self.positions
    }

    /// Tensors of each op.
    pub fn tensors(&self) -> &[Tensors] {
        &self.tensors
    }

    /// Leaves under the weight root.
    pub fn weight_leaves(&self) -> u64 {
        self.weight_starts.last().copied().unwrap_or(0)
    }

    /// Leaves under the table root.
    pub fn table_leaves(&self) -> u64 {
        table_leaves(&self.graph, self.positions)
    }

    pub(super) fn op(&self, op: u32) -> Option<&Op> {
        self.graph.ops.get(size(op))
    }

    pub(super) fn width(&self, value: ValueId) -> u32 {
        self.shapes.get(size(value)).map_or(0, |shape| shape.width)
    }

    pub(super) fn kind(&self, value: ValueId) -> Option<Kind> {
        self.shapes.get(size(value)).map(|shape| shape.kind)
    }

    pub(super) fn boundary(&self, index: u32) -> Option<ValueId> {
        self.graph.boundaries.get(size(index)).copied()
    }

    pub(super) fn is_key_path(&self, op: u32) -> bool {
        self.key_path.get(size(op)).copied().unwrap_or(false)
    }

    /// Output channels of a linear op; tied logits have those of the embedding.
    pub(super) fn channels(&self, op: u32) -> Option<ChannelShape> {
        match self.tensors.get(size(self.weights_of(op))) {
            Some(Tensors::Channels(shape)) => Some(*shape),
            _ => None,
        }
    }

    fn weights_of(&self, op: u32) -> u32 {
        match self.op(op) {
            Some(Op::Logits { tied: true, .. }) => 0,
            _ => op,
        }
    }

    /// Index under the weight root of the op's own leaf `leaf`.
    pub fn weight_leaf(&self, op: u32, leaf: u64) -> Option<u64> {
        let op = size(self.weights_of(op));
        let (start, end) =
            (self.weight_starts.get(op)?, self.weight_starts.get(op.checked_add(1)?)?);
        let index = start.checked_add(leaf)?;
        (index < *end).then_some(index)
    }

    /// Op and leaf of the op of a leaf of the weight root.
    pub(super) fn weight_op(&self, leaf: u64) -> Option<(usize, u64)> {
        let after = self.weight_starts.partition_point(|start| *start <= leaf);
        let op = after.checked_sub(1).filter(|op| *op < self.tensors.len())?;
        Some((op, leaf.checked_sub(*self.weight_starts.get(op)?)?))
    }

    /// Leaf of the table root with the row that belongs to table `table`'s row `row`.
    pub(super) fn table_leaf(table: u32, row: usize) -> u64 {
        let piece = row.checked_div(crate::constants::PIECE).unwrap_or(0);
        let leaf = size(table).saturating_mul(TABLE_PIECES).saturating_add(piece);
        u64::try_from(leaf.saturating_add(1)).unwrap_or(u64::MAX)
    }

    /// Leaf of the table root with the rotation of `position`.
    pub(super) fn rotation_leaf(&self, position: u32) -> u64 {
        Self::table_leaf(self.graph.tables, 0).saturating_add(u64::from(position))
    }

    /// Ops after the boundary before `boundary`, up to and with `boundary` itself.
    pub(super) fn block(&self, boundary: u32) -> Range<u32> {
        let after = |value: Option<ValueId>| value.map_or(0, |value| value.saturating_add(1));
        let before = boundary.checked_sub(1).and_then(|before| self.boundary(before));
        after(before)..after(self.boundary(boundary))
    }

    /// Ops after the last boundary.
    pub(super) fn head(&self) -> Range<u32> {
        let after = self.graph.boundaries.last().map_or(0, |value| value.saturating_add(1));
        after..u32::try_from(self.graph.ops.len()).unwrap_or(u32::MAX)
    }

    /// Values that the attentions among `ops` average.
    pub(super) fn averaged(&self, ops: Range<u32>) -> Vec<(u32, ValueId)> {
        ops.filter_map(|index| match self.op(index) {
            Some(Op::Attention { values, .. }) => Some((index, *values)),
            _ => None,
        })
        .collect()
    }

    pub(super) fn is_full(&self) -> bool {
        self.graph.reach == Reach::Full
    }
}
