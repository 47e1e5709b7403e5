//! Small tensors of numbers, and how one is laid over the shape of another.

use super::graph::Tensor;

/// Most elements of a value: a mask or a few rows of heads take thousands.
pub(super) const ELEMENTS_MAX: usize = 1 << 22;

/// A tensor. Whole numbers and truths are exact in 64-bit floats as far as shapes go.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Value {
    pub(super) shape: Vec<usize>,
    pub(super) data: Vec<f64>,
    /// Whether quotients are cut to whole numbers.
    pub(super) whole: bool,
}

/// Most axes of a value.
pub(super) const AXES_MAX: usize = 16;

/// How many elements a shape has. None where they, or the sizes beside an empty axis, are too many.
pub(super) fn elements(shape: &[usize]) -> Option<usize> {
    let grown = |count: usize, size: &usize| count.checked_mul((*size).max(1));
    let count = shape.iter().try_fold(1_usize, grown)?;
    let empty = shape.contains(&0);
    (count <= ELEMENTS_MAX && shape.len() <= AXES_MAX).then_some(if empty { 0 } else { count })
}

/// An axis counted from either end.
pub(super) fn axis(axis: i64, rank: usize) -> Option<usize> {
    let signed = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis.checked_add(signed)? } else { axis };
    usize::try_from(axis).ok().filter(|axis| *axis < rank)
}

/// Elements between neighbours on each axis.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for at in (1..shape.len()).rev() {
        strides[at - 1] = strides[at] * shape[at].max(1);
    }
    strides
}

/// The shape that two shapes are laid over.
pub(super) fn common(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let rank = a.len().max(b.len());
    let size =
        |shape: &[usize], at: usize| (at + shape.len()).checked_sub(rank).map(|at| shape[at]);
    let sizes = (0..rank).map(|at| match (size(a, at).unwrap_or(1), size(b, at).unwrap_or(1)) {
        (a, b) if a == b => Some(a),
        (a, 1) => Some(a),
        (1, b) => Some(b),
        _ => None,
    });
    sizes.collect()
}

impl Value {
    pub(super) fn new(shape: &[usize], data: Vec<f64>) -> Self {
        Self { shape: shape.to_vec(), data, whole: false }
    }

    /// Whole numbers.
    pub(super) fn of_whole(shape: &[usize], data: Vec<f64>) -> Self {
        Self { shape: shape.to_vec(), data, whole: true }
    }

    /// The numbers of a constant.
    pub(super) fn of(tensor: &Tensor<'_>) -> Option<Self> {
        let count = elements(&tensor.shape)?;
        let (mut data, mut whole) = (Vec::new(), true);
        if let Some(element) = tensor.element() {
            if element.bytes(count) != Some(tensor.data.len()) {
                return None;
            }
            element.decode(tensor.data, &mut data);
            whole = false;
        } else {
            data = tensor.integers()?.into_iter().map(|value| value as f64).collect();
        }
        (data.len() == count).then_some(Self { shape: tensor.shape.clone(), data, whole })
    }

    /// The elements at these distances, as a tensor of a shape: `start` is that of the first one.
    /// None where one lies outside.
    pub(super) fn picked(&self, shape: &[usize], steps: &[usize], start: usize) -> Option<Self> {
        if elements(shape)? == 0 {
            return Some(Self { shape: shape.to_vec(), data: Vec::new(), whole: self.whole });
        }
        // Where the last element lies, all others do.
        let mut last = start;
        for (size, step) in shape.iter().zip(steps) {
            last = size.saturating_sub(1).checked_mul(*step)?.checked_add(last)?;
        }
        if last >= self.data.len() {
            return None;
        }
        let mut places = vec![start];
        for (size, step) in shape.iter().zip(steps) {
            let along = |at: usize| (0..*size).map(move |index| at + index * step);
            places = places.into_iter().flat_map(along).collect();
        }
        let data =
            places.into_iter().map(|at| self.data.get(at).copied()).collect::<Option<_>>()?;
        Some(Self { shape: shape.to_vec(), data, whole: self.whole })
    }

    /// The value repeated to fill a larger shape.
    pub(super) fn spread(&self, shape: &[usize]) -> Option<Self> {
        if common(&self.shape, shape)? != shape {
            return None;
        }
        let mut steps = vec![0; shape.len() - self.shape.len()];
        let own = self.shape.iter().zip(strides(&self.shape));
        steps.extend(own.map(|(size, step)| if *size == 1 { 0 } else { step }));
        self.picked(shape, &steps, 0)
    }

    /// Both values laid over each other.
    pub(super) fn with(&self, other: &Self, op: impl Fn(f64, f64) -> f64) -> Option<Self> {
        let shape = common(&self.shape, &other.shape)?;
        let (a, b) = (self.spread(&shape)?, other.spread(&shape)?);
        let data = a.data.iter().zip(&b.data).map(|(a, b)| op(*a, *b)).collect();
        Some(Self { shape, data, whole: self.whole && other.whole })
    }

    pub(super) fn map(&self, op: impl Fn(f64) -> f64) -> Self {
        let data = self.data.iter().map(|value| op(*value)).collect();
        Self { shape: self.shape.clone(), data, whole: self.whole }
    }

    pub(super) fn transposed(&self, perm: &[usize]) -> Option<Self> {
        let own = strides(&self.shape);
        let mut seen = perm.to_vec();
        seen.sort_unstable();
        if !seen.into_iter().eq(0..own.len()) {
            return None;
        }
        let shape: Vec<usize> = perm.iter().map(|axis| self.shape[*axis]).collect();
        let steps: Vec<usize> = perm.iter().map(|axis| own[*axis]).collect();
        self.picked(&shape, &steps, 0)
    }

    /// The numbers as whole ones.
    pub(super) fn integers(&self) -> Vec<i64> {
        self.data.iter().map(|value| *value as i64).collect()
    }

    /// The only element.
    pub(super) fn single(&self) -> Option<f64> {
        match self.data[..] {
            [value] => Some(value),
            _ => None,
        }
    }

    /// How many rows of an axis lie before, on, and after it.
    pub(super) fn around(&self, axis: usize) -> (usize, usize, usize) {
        let product = |sizes: &[usize]| sizes.iter().product::<usize>();
        (product(&self.shape[..axis]), self.shape[axis], product(&self.shape[axis + 1..]))
    }
}
