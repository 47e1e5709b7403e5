//! The fine tree of one coarse leaf: its leaves in order, and each of their elements.
//!
//! Of a row at a boundary: first, position by position, the ops on which keys and values depend;
//! then the value columns of each attention; then all other ops of the position in graph order. Of
//! a token: the ops behind the last boundary, down to the choice. Of an output row: position by
//! position the ops behind the last boundary and the sums so far; then the unit row. Every leaf
//! depends on earlier coarse leaves and on earlier leaves of its own tree alone.

use std::ops::Range;

use super::part::{Geometry, Part, columns, element_bytes, parts};
use super::plan::Plan;
use super::shape::{CoarseLeaf, TraceShape};
use super::{Address, Operand, Source, StepError};
use crate::constants::{EMBEDDING_BLOCK, NORM_BLOCK, PIECE};
use crate::graph::{Op, ValueId};
use crate::layout::{Tensors, size};
use crate::rows::head;

/// The fine tree of one coarse leaf, as a shape; see the module.
#[derive(Clone, Debug)]
pub struct Fine<'a> {
    shape: TraceShape<'a>,
    leaf: CoarseLeaf,
    /// The position of the coarse leaf.
    position: u32,
    /// Positions that an attention reaches.
    reach: u32,
    /// Boundary whose rows stand for what lies before.
    input: Option<u32>,
    /// Once for each of `repeats` positions.
    repeated: Section,
    repeats: u64,
    once: Section,
}

#[derive(Clone, Debug, Default)]
struct Section {
    entries: Vec<Entry>,
    leaves: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    op: u32,
    part: Part,
    geometry: Geometry,
    start: u64,
}

impl Section {
    fn push(&mut self, op: u32, (part, geometry): (Part, Geometry)) {
        self.entries.push(Entry { op, part, geometry, start: self.leaves });
        self.leaves = self.leaves.saturating_add(geometry.leaves());
    }

    fn find(&self, op: u32, part: Part) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.op == op && entry.part == part)
    }

    /// The entry in which leaf `index` of the section lies, and the index in it.
    fn at(&self, index: u64) -> Option<(&Entry, u64)> {
        let after = self.entries.partition_point(|entry| entry.start <= index);
        let entry = self.entries.get(after.checked_sub(1)?)?;
        Some((entry, index.checked_sub(entry.start)?))
    }
}

impl<'a> Fine<'a> {
    pub(super) fn new(shape: TraceShape<'a>, leaf: CoarseLeaf) -> Result<Self, StepError> {
        let plan = shape.plan();
        let n_in = shape.run().n_in;
        let last = u32::try_from(plan.graph().boundaries.len()).ok().and_then(|n| n.checked_sub(1));
        let (position, input, ops) = match leaf {
            CoarseLeaf::Boundary { position, boundary } => {
                (position, boundary.checked_sub(1), plan.block(boundary))
            }
            CoarseLeaf::Token { output } => {
                (n_in.saturating_sub(1).saturating_add(output), last, plan.head())
            }
            CoarseLeaf::Row => (n_in.saturating_sub(1), last, plan.head()),
        };
        let reach = if plan.is_full() { n_in } else { position.saturating_add(1) };
        let greedy = shape.run().sampling.temperature_milli == 0;
        let is_repeated = |op: u32| match leaf {
            CoarseLeaf::Row => !matches!(plan.op(op), Some(Op::Unit { .. })),
            _ => plan.is_key_path(op),
        };
        let (mut repeated, mut once) = (Section::default(), Section::default());
        for op in ops.clone().filter(|op| is_repeated(*op)) {
            parts(plan, op, reach, greedy).into_iter().for_each(|part| repeated.push(op, part));
        }
        for (op, values) in plan.averaged(ops.clone()) {
            once.push(op, columns(plan.width(values), reach));
        }
        for op in ops.filter(|op| !is_repeated(*op)) {
            parts(plan, op, reach, greedy).into_iter().for_each(|part| once.push(op, part));
        }
        let repeats = if repeated.entries.is_empty() { 0 } else { u64::from(reach) };
        Ok(Self { shape, leaf, position, reach, input, repeated, repeats, once })
    }

    /// The coarse leaf.
    pub const fn leaf(&self) -> CoarseLeaf {
        self.leaf
    }

    /// The coarse tree to which it belongs.
    pub const fn shape(&self) -> &TraceShape<'a> {
        &self.shape
    }

    pub(super) const fn plan(&self) -> &'a Plan {
        self.shape.plan()
    }

    pub(super) const fn reach(&self) -> u32 {
        self.reach
    }

    fn before_once(&self) -> u64 {
        self.repeats.saturating_mul(self.repeated.leaves)
    }

    /// Leaves of the fine tree.
    pub fn leaves(&self) -> u64 {
        self.before_once().saturating_add(self.once.leaves)
    }

    /// The leaves whose digests make the coarse leaf: their Merkle root is its digest.
    pub fn output(&self) -> Range<u64> {
        let leaves = self.leaves();
        leaves.saturating_sub(self.shape.pieces(self.leaf))..leaves
    }

    /// What leaf `index` is.
    ///
    /// # Errors
    /// An index past the end.
    pub fn address(&self, index: u64) -> Result<Address, StepError> {
        let missing = StepError::NoLeaf { index, leaves: self.leaves() };
        if index >= self.leaves() {
            return Err(missing);
        }
        let (section, index, position) = match index.checked_sub(self.before_once()) {
            Some(index) => (&self.once, index, u64::from(self.position)),
            None => {
                let span = self.repeated.leaves;
                let position = index.checked_div(span).ok_or(missing)?;
                (&self.repeated, index.checked_rem(span).ok_or(missing)?, position)
            }
        };
        let (entry, index) = section.at(index).ok_or(missing)?;
        let of_group = entry.geometry.leaves_of_group();
        Ok(Address {
            op: entry.op,
            part: entry.part,
            position: u32::try_from(position).map_err(|_| missing)?,
            group: index.checked_div(of_group).ok_or(missing)?,
            leaf: index.checked_rem(of_group).ok_or(missing)?,
        })
    }

    /// Index of the leaf at `address`; an address that the tree does not have gets none.
    pub fn index(&self, address: &Address) -> Option<u64> {
        let (entry, start) = self.find(address.op, address.part, address.position)?;
        let of_group = entry.geometry.leaves_of_group();
        let inside = address.group < entry.geometry.groups && address.leaf < of_group;
        let offset = address.group.checked_mul(of_group)?.checked_add(address.leaf)?;
        inside.then_some(start.checked_add(offset)?)
    }

    /// How the elements of a leaf lie.
    pub fn geometry(&self, address: &Address) -> Option<Geometry> {
        self.find(address.op, address.part, address.position).map(|(entry, _)| entry.geometry)
    }

    /// The values whose rows at `position` are leaves of the tree or are read by its steps, in
    /// graph order.
    pub fn values(&self, position: u32) -> Vec<ValueId> {
        let is_read = position == self.position || u64::from(position) < self.repeats;
        let input = self.input.and_then(|index| self.plan().boundary(index));
        let mut values: Vec<ValueId> = input.filter(|_| is_read).into_iter().collect();
        let ops = u32::try_from(self.plan().graph().ops.len()).unwrap_or(u32::MAX);
        values.extend((0..ops).filter(|op| self.find(*op, Part::Row, position).is_some()));
        values
    }

    fn find(&self, op: u32, part: Part, position: u32) -> Option<(&Entry, u64)> {
        if let Some(entry) = self.repeated.find(op, part) {
            let offset = u64::from(position).checked_mul(self.repeated.leaves)?;
            let inside = u64::from(position) < self.repeats;
            return inside.then_some((entry, offset.checked_add(entry.start)?));
        }
        let entry = self.once.find(op, part).filter(|_| position == self.position)?;
        Some((entry, self.before_once().checked_add(entry.start)?))
    }

    /// The operand with some elements of a part, and the element at which it starts.
    pub(super) fn operand(
        &self,
        address: &Address,
        elements: &Range<usize>,
    ) -> Option<(Operand, usize, u64)> {
        let geometry = self.geometry(address)?;
        let piece = usize::try_from(geometry.piece).ok()?;
        let (first, count) = pieces(elements, piece)?;
        let start = self.index(&Address { leaf: first, ..*address })?;
        let offset = usize::try_from(first).ok()?.checked_mul(piece)?;
        Some((Operand::Fine { first: start, count }, offset, geometry.bytes))
    }

    /// The operand with some elements of a value's row, the element at which it starts, and the
    /// bytes of one.
    pub(super) fn row_operand(
        &self,
        value: ValueId,
        position: u32,
        elements: &Range<usize>,
    ) -> Option<(Operand, usize, u64)> {
        let boundary = self.input.filter(|index| self.plan().boundary(*index) == Some(value));
        let Some(boundary) = boundary else {
            let address = Address { op: value, part: Part::Row, position, group: 0, leaf: 0 };
            return self.operand(&address, elements);
        };
        let leaf = self.shape.index(CoarseLeaf::Boundary { position, boundary })?;
        let (first, count) = pieces(elements, PIECE)?;
        let offset = usize::try_from(first).ok()?.checked_mul(PIECE)?;
        let bytes = element_bytes(self.plan().kind(value));
        Some((Operand::Trace { leaf, first, count }, offset, bytes))
    }

    /// Bytes of each leaf of an operand; none for an operand that does not exist.
    pub fn lengths(&self, operand: &Operand) -> Option<Vec<u64>> {
        match *operand {
            Operand::Input { .. } => Some(vec![4]),
            Operand::Trace { leaf, first, count } => {
                let (width, bytes) = self.coarse_row(self.shape.leaf(leaf).ok()?)?;
                let geometry = Geometry { groups: 1, length: width, piece: 1_024, bytes };
                let end = first.checked_add(count)?;
                let inside = count > 0 && end <= geometry.leaves();
                let length = |piece| geometry.elements(piece).saturating_mul(bytes);
                inside.then(|| (first..end).map(length).collect())
            }
            Operand::Fine { first, count } => {
                let end = first.checked_add(count)?;
                let inside = count > 0 && end <= self.leaves();
                let length = |index| {
                    let address = self.address(index).ok()?;
                    let geometry = self.geometry(&address)?;
                    Some(geometry.elements(address.leaf).saturating_mul(geometry.bytes))
                };
                if inside { (first..end).map(length).collect() } else { None }
            }
            Operand::Weights { leaf } => self.weight_bytes(leaf).map(|length| vec![length]),
            Operand::Table { leaf } => {
                let rotations = self.plan().rotation_leaf(0);
                let pairs = u64::from(self.plan().graph().rope_pairs);
                let inside = leaf < self.plan().table_leaves();
                let length = match leaf {
                    0 => 8,
                    _ if leaf < rotations => 2_048,
                    _ => pairs.saturating_mul(8),
                };
                inside.then(|| vec![length])
            }
        }
    }

    /// Width of a coarse leaf's row and bytes of one element.
    fn coarse_row(&self, leaf: CoarseLeaf) -> Option<(u64, u64)> {
        let plan = self.plan();
        let value = match leaf {
            CoarseLeaf::Token { .. } => return Some((1, 4)),
            CoarseLeaf::Row => u32::try_from(plan.shapes().len()).ok()?.checked_sub(1)?,
            CoarseLeaf::Boundary { boundary, .. } => plan.boundary(boundary)?,
        };
        Some((u64::from(plan.width(value)), element_bytes(plan.kind(value))))
    }

    fn weight_bytes(&self, leaf: u64) -> Option<u64> {
        let (op, leaf) = self.plan().weight_op(leaf)?;
        let leaf = usize::try_from(leaf).ok()?;
        // What remains of a row of `width` in its part `leaf mod parts`.
        let rest = |width: usize, block: usize| {
            let parts = width.div_ceil(block.max(1));
            let part = leaf.checked_rem(parts)?;
            Some(width.saturating_sub(part.saturating_mul(block)).min(block))
        };
        let bytes = match *self.plan().tensors().get(op)? {
            Tensors::Nothing => return None,
            Tensors::Rows { width, .. } => rest(width, EMBEDDING_BLOCK)?.saturating_mul(2),
            Tensors::Norm { width } => rest(width, NORM_BLOCK)?.saturating_mul(12),
            Tensors::Channels(shape) => rest(shape.inputs, shape.block)?.saturating_add(20),
        };
        u64::try_from(bytes).ok()
    }

    /// Recomputes one element of a leaf from its operands: the step itself.
    ///
    /// # Errors
    /// An element that does not exist, or operands that are not there.
    pub fn element(
        &self,
        address: &Address,
        element: u64,
        source: &mut dyn Source,
    ) -> Result<i128, StepError> {
        let geometry = self.geometry(address).ok_or(StepError::Graph)?;
        let elements = geometry.elements(address.leaf);
        if element >= elements {
            return Err(StepError::NoElement { element, elements });
        }
        let index = address.leaf.saturating_mul(geometry.piece).saturating_add(element);
        let index = usize::try_from(index).map_err(|_| StepError::Graph)?;
        Step { fine: self, address: *address, index, source }.compute()
    }

    /// Computes a whole leaf, element by element.
    ///
    /// # Errors
    /// Operands that are not there.
    pub fn leaf_bytes(
        &self,
        address: &Address,
        source: &mut dyn Source,
    ) -> Result<Vec<u8>, StepError> {
        let geometry = self.geometry(address).ok_or(StepError::Graph)?;
        let mut out = Vec::new();
        for element in 0..geometry.elements(address.leaf) {
            let value = self.element(address, element, source)?.to_le_bytes();
            out.extend_from_slice(head(
                &value,
                0,
                size(u32::try_from(geometry.bytes).unwrap_or(0)),
            ));
        }
        Ok(out)
    }
}

/// First leaf and number of leaves that hold `elements` of a row cut into leaves of `piece`.
fn pieces(elements: &Range<usize>, piece: usize) -> Option<(u64, u64)> {
    let first = elements.start.checked_div(piece)?;
    let count = elements.end.div_ceil(piece.max(1)).checked_sub(first)?;
    Some((u64::try_from(first).ok()?, u64::try_from(count).ok()?))
}

/// One element that is being recomputed.
pub(super) struct Step<'f, 's> {
    pub(super) fine: &'f Fine<'f>,
    pub(super) address: Address,
    /// Index of the element in its group.
    pub(super) index: usize,
    pub(super) source: &'s mut dyn Source,
}

impl Step<'_, '_> {
    fn compute(&mut self) -> Result<i128, StepError> {
        let op = self.fine.plan().op(self.address.op).ok_or(StepError::Graph)?.clone();
        match op {
            Op::EmbeddingSum { .. } | Op::EmbeddingScaled { .. } => self.embedding(&op),
            Op::Norm { input, centred, offset } => self.norm(input, centred, offset),
            Op::Linear { .. } | Op::LinearResidual { .. } | Op::GateResidual { .. } => {
                self.product(&op)
            }
            Op::Logits { multiplier, .. } => match self.address.part {
                Part::Sums | Part::Row => self.product(&op),
                _ => self.choice(multiplier),
            },
            Op::Table { input, table } => self.table(input, table),
            Op::Rope { input, .. } => self.rope(input),
            Op::Attention { .. } => self.attention(&op),
            Op::SumPool { input } => self.pool(input),
            Op::Unit { input } => self.unit(input),
        }
    }

    /// Opens an operand; its length is what the shape says.
    pub(super) fn open(&mut self, operand: Operand) -> Result<Vec<u8>, StepError> {
        let lengths = self.fine.lengths(&operand).ok_or(StepError::Graph)?;
        let expected = lengths.iter().fold(0_u64, |sum, length| sum.saturating_add(*length));
        let bytes = self.source.open(operand)?;
        let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if found == expected {
            Ok(bytes)
        } else {
            Err(StepError::Length { operand, expected, found })
        }
    }

    /// Some elements of another part of the same op at the same position.
    pub(super) fn part(
        &mut self,
        part: Part,
        group: u64,
        elements: Range<usize>,
    ) -> Result<Vec<i128>, StepError> {
        let address = Address { part, group, leaf: 0, ..self.address };
        self.elements(&address, &elements)
    }

    /// Some elements of the group at `address`.
    pub(super) fn elements(
        &mut self,
        address: &Address,
        elements: &Range<usize>,
    ) -> Result<Vec<i128>, StepError> {
        let found = self.fine.operand(address, elements).ok_or(StepError::Graph)?;
        self.integers(found, elements)
    }

    /// Some elements of a value's row.
    pub(super) fn row(
        &mut self,
        value: ValueId,
        position: u32,
        elements: Range<usize>,
    ) -> Result<Vec<i128>, StepError> {
        let found = self.fine.row_operand(value, position, &elements).ok_or(StepError::Graph)?;
        self.integers(found, &elements)
    }

    fn integers(
        &mut self,
        (operand, offset, bytes): (Operand, usize, u64),
        elements: &Range<usize>,
    ) -> Result<Vec<i128>, StepError> {
        let opened = self.open(operand)?;
        let width = usize::try_from(bytes).map_err(|_| StepError::Graph)?;
        let skip = elements.start.saturating_sub(offset).saturating_mul(width);
        let end = skip.saturating_add(elements.len().saturating_mul(width));
        Ok(integers(opened.get(skip..end).ok_or(StepError::Graph)?, width))
    }
}

/// Little-endian signed integers of `width` bytes each, one after the other.
fn integers(bytes: &[u8], width: usize) -> Vec<i128> {
    match width {
        2 => bytes.as_chunks().0.iter().map(|b| i128::from(i16::from_le_bytes(*b))).collect(),
        4 => bytes.as_chunks().0.iter().map(|b| i128::from(i32::from_le_bytes(*b))).collect(),
        8 => bytes.as_chunks().0.iter().map(|b| i128::from(i64::from_le_bytes(*b))).collect(),
        _ => bytes.as_chunks().0.iter().map(|b| i128::from_le_bytes(*b)).collect(),
    }
}

/// A little-endian signed integer of at most 16 bytes.
pub(super) fn integer(bytes: &[u8]) -> i128 {
    let negative = bytes.last().is_some_and(|byte| *byte >= 0x80);
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    wide.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    i128::from_le_bytes(wide)
}
