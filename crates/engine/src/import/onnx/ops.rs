//! What the small ops of a graph give: as much of ONNX as stands between the rows of queries, keys
//! and values and the mixed rows in exporters' files.
//!
//! Rules: an op gives its value or nothing, never a guess; no value is larger than `ELEMENTS_MAX`.

use std::rc::Rc;

use super::graph::{Attribute, Node};
use super::value::{AXES_MAX, Value, axis, common, elements, strides};

/// Most products of a matrix product.
const PRODUCTS_MAX: usize = 1 << 26;

/// The inputs of a node; none for those that are left out.
pub(super) type Inputs = [Option<Rc<Value>>];

/// How many inputs an op reads; none where it is not known.
pub(super) fn inputs(node: &Node<'_>) -> Option<usize> {
    Some(match node.op {
        "Identity" | "Cast" | "Shape" | "Flatten" | "Transpose" | "ConstantOfShape" | "Not"
        | "IsNaN" | "Neg" | "Sqrt" | "Cos" | "Sin" | "Softmax" => 1,
        "Reshape" | "Unsqueeze" | "Squeeze" | "Expand" | "Gather" | "GatherND" | "CumSum"
        | "Trilu" | "Add" | "Sub" | "Mul" | "Div" | "Pow" | "Max" | "Equal" | "LessOrEqual"
        | "Greater" | "And" | "MatMul" => 2,
        "ScatterND" | "Range" | "Where" | "Dropout" => 3,
        "Slice" => 5,
        "Concat" => usize::MAX,
        _ => return None,
    })
}

/// Steps of an op besides those for what it reads and gives.
pub(super) fn work(node: &Node<'_>, inputs: &Inputs) -> usize {
    let of = |index: usize| inputs.get(index).and_then(Option::as_deref);
    let count = of(0).map_or(0, |x| x.data.len());
    match (node.op, of(0), of(1)) {
        ("MatMul", Some(a), Some(b)) => products(a, b).map_or(0, |(_, count)| count),
        ("Pow" | "Sqrt" | "Cos" | "Sin" | "Softmax", ..) => count.saturating_mul(16),
        _ => 0,
    }
}

/// An op on its inputs.
struct Call<'c, 'a> {
    node: &'c Node<'a>,
    inputs: &'c Inputs,
}

/// The value of a node's output.
pub(super) fn value(node: &Node<'_>, inputs: &Inputs, output: usize) -> Option<Value> {
    let call = Call { node, inputs };
    if output == 0 { call.shaping().or_else(|| call.arithmetic()) } else { None }
}

impl Call<'_, '_> {
    fn input(&self, index: usize) -> Option<&Value> {
        self.inputs.get(index)?.as_deref()
    }

    fn number(&self, name: &str, default: i64) -> Option<i64> {
        match self.node.attribute(name) {
            None => Some(default),
            Some(Attribute::Integer(value)) => Some(*value),
            Some(_) => None,
        }
    }

    /// Axes from an attribute or an input.
    fn axes(&self, index: usize, rank: usize) -> Option<Vec<usize>> {
        let axes = match self.node.attribute("axes") {
            Some(Attribute::Integers(axes)) => axes.clone(),
            _ => self.input(index)?.integers(),
        };
        if axes.len() > AXES_MAX {
            return None;
        }
        axes.into_iter().map(|at| axis(at, rank)).collect()
    }

    /// Ops that move numbers.
    fn shaping(&self) -> Option<Value> {
        let x = self.input(0)?;
        match self.node.op {
            "Identity" => Some(x.clone()),
            // Nothing is dropped but in training.
            "Dropout" => {
                let training = self.input(2).is_some_and(|on| on.data.iter().any(|on| *on != 0.0));
                (!training).then(|| x.clone())
            }
            "Cast" => self.cast(x),
            "Shape" => self.shape(x),
            "Reshape" => self.reshape(x),
            "Flatten" => self.flatten(x),
            "Unsqueeze" => self.unsqueeze(x),
            "Squeeze" => self.squeeze(x),
            "Expand" => self.expand(x),
            "Concat" => self.concat(x),
            "Slice" => self.slice(x),
            "Transpose" => self.transpose(x),
            "Gather" => self.gather(x),
            "GatherND" => self.gather_nd(x),
            "ScatterND" => self.scatter_nd(x),
            "ConstantOfShape" => self.filled(x),
            "Range" => self.range(),
            "CumSum" => self.sums(x),
            "Trilu" => self.triangle(x),
            "Where" => self.choice(x),
            _ => None,
        }
    }

    /// Ops that compute.
    fn arithmetic(&self) -> Option<Value> {
        let x = self.input(0)?;
        let truth = |value: bool| f64::from(u8::from(value));
        let both = |op: &dyn Fn(f64, f64) -> f64| x.with(self.input(1)?, op);
        let judged = |op: &dyn Fn(f64, f64) -> bool| {
            let value = x.with(self.input(1)?, |a, b| truth(op(a, b)))?;
            Some(Value { whole: true, ..value })
        };
        match self.node.op {
            "Add" => both(&|a, b| a + b),
            "Sub" => both(&|a, b| a - b),
            "Mul" => both(&|a, b| a * b),
            "Div" => {
                let value = both(&|a, b| a / b)?;
                Some(if value.whole { value.map(f64::trunc) } else { value })
            }
            "Pow" => both(&f64::powf),
            "Max" if self.node.inputs.len() == 2 => both(&f64::max),
            "Equal" => judged(&|a, b| a == b),
            "LessOrEqual" => judged(&|a, b| a <= b),
            "Greater" => judged(&|a, b| a > b),
            "And" => judged(&|a, b| a != 0.0 && b != 0.0),
            "Not" => Some(x.map(|x| truth(x == 0.0))),
            "IsNaN" => Some(Value { whole: true, ..x.map(|x| truth(x.is_nan())) }),
            "Neg" => Some(x.map(|x| -x)),
            "Sqrt" => Some(x.map(f64::sqrt)),
            "Cos" => Some(x.map(f64::cos)),
            "Sin" => Some(x.map(f64::sin)),
            "MatMul" => product(x, self.input(1)?),
            "Softmax" => self.softmax(x),
            _ => None,
        }
    }

    fn cast(&self, x: &Value) -> Option<Value> {
        match self.number("to", 0)? {
            1 | 10 | 11 | 16 => Some(Value { whole: false, ..x.clone() }),
            6 | 7 => Some(Value { whole: true, ..x.map(f64::trunc) }),
            9 => Some(Value { whole: true, ..x.map(|x| f64::from(u8::from(x != 0.0))) }),
            _ => None,
        }
    }

    fn shape(&self, x: &Value) -> Option<Value> {
        let rank = i64::try_from(x.shape.len()).ok()?;
        let place = |at: i64| (if at < 0 { at + rank } else { at }).clamp(0, rank) as usize;
        let (start, end) = (place(self.number("start", 0)?), place(self.number("end", rank)?));
        let sizes: Vec<f64> = x.shape.get(start..end)?.iter().map(|size| *size as f64).collect();
        Some(Value::of_whole(&[sizes.len()], sizes))
    }

    fn reshape(&self, x: &Value) -> Option<Value> {
        let zero_is_size = self.number("allowzero", 0)? != 0;
        let wanted = self.input(1)?.integers();
        let mut shape = Vec::new();
        for (at, size) in wanted.iter().enumerate() {
            shape.push(match size {
                0 if !zero_is_size => *x.shape.get(at)?,
                -1 => 1,
                size => usize::try_from(*size).ok()?,
            });
        }
        if let Some(open) = wanted.iter().position(|size| *size == -1) {
            shape[open] = x.data.len().checked_div(elements(&shape)?)?;
        }
        (elements(&shape)? == x.data.len()).then(|| Value { shape, ..x.clone() })
    }

    fn flatten(&self, x: &Value) -> Option<Value> {
        let at = self.number("axis", 1)?;
        let at = usize::try_from(at).ok().filter(|at| *at <= x.shape.len())?;
        let (rows, columns) = x.shape.split_at(at);
        Some(Value { shape: vec![elements(rows)?, elements(columns)?], ..x.clone() })
    }

    fn unsqueeze(&self, x: &Value) -> Option<Value> {
        let count = self.input(1)?.data.len().min(AXES_MAX + 1);
        let axes = self.axes(1, x.shape.len().checked_add(count)?)?;
        let mut sizes = x.shape.iter().copied();
        let size = |at| if axes.contains(&at) { Some(1) } else { sizes.next() };
        let shape: Option<Vec<usize>> = (0..x.shape.len() + count).map(size).collect();
        Some(Value { shape: shape?, ..x.clone() })
            .filter(|value| elements(&value.shape) == Some(x.data.len()))
    }

    fn squeeze(&self, x: &Value) -> Option<Value> {
        let axes = match self.inputs.get(1) {
            Some(Some(_)) => self.axes(1, x.shape.len())?,
            _ => (0..x.shape.len()).filter(|at| x.shape[*at] == 1).collect(),
        };
        if axes.iter().any(|at| x.shape[*at] != 1) {
            return None;
        }
        let kept = (0..x.shape.len()).filter(|at| !axes.contains(at));
        Some(Value { shape: kept.map(|at| x.shape[at]).collect(), ..x.clone() })
    }

    fn expand(&self, x: &Value) -> Option<Value> {
        let wanted = self.input(1)?.integers();
        let wanted: Vec<usize> =
            wanted.iter().map(|size| usize::try_from(*size).ok()).collect::<Option<_>>()?;
        x.spread(&common(&x.shape, &wanted)?)
    }

    /// Parts without elements are left out, whatever their shape: a cache that is still empty.
    fn concat(&self, first: &Value) -> Option<Value> {
        let parts = (0..self.inputs.len()).map(|at| self.input(at)).collect::<Option<Vec<_>>>()?;
        let parts: Vec<&Value> = parts.into_iter().filter(|part| !part.data.is_empty()).collect();
        let Some(model) = parts.first() else { return Some(first.clone()) };
        let at = axis(self.number("axis", 0)?, model.shape.len())?;
        let mut shape = model.shape.clone();
        shape[at] = 0;
        for part in &parts {
            let others = |other: usize| other == at || part.shape[other] == shape[other];
            if part.shape.len() != shape.len() || !(0..shape.len()).all(others) {
                return None;
            }
            shape[at] = shape[at].checked_add(part.shape[at])?;
        }
        let mut data = Vec::with_capacity(elements(&shape)?);
        for row in 0..model.around(at).0 {
            for part in &parts {
                let (_, size, after) = part.around(at);
                data.extend_from_slice(part.data.get(row * size * after..)?.get(..size * after)?);
            }
        }
        Some(Value { shape, data, whole: model.whole })
    }

    fn slice(&self, x: &Value) -> Option<Value> {
        let (starts, ends) = (self.input(1)?.integers(), self.input(2)?.integers());
        let axes = match self.input(3) {
            Some(axes) => axes.integers(),
            None => (0..starts.len() as i64).collect(),
        };
        let every = self.input(4).map_or_else(|| vec![1; starts.len()], Value::integers);
        let (mut shape, mut steps, mut first) = (x.shape.clone(), strides(&x.shape), 0_usize);
        let mut cut = vec![false; shape.len()];
        for (index, at) in axes.into_iter().enumerate() {
            let at = axis(at, shape.len())?;
            // An axis that is named twice would be cut twice.
            if std::mem::replace(&mut cut[at], true) {
                return None;
            }
            let size = i64::try_from(x.shape[at]).ok()?;
            let place =
                |at: i64| (if at < 0 { at.saturating_add(size) } else { at }).clamp(0, size);
            let (start, end) = (place(*starts.get(index)?), place(*ends.get(index)?));
            let step = usize::try_from(*every.get(index)?).ok().filter(|step| *step > 0)?;
            first = steps[at].checked_mul(start as usize)?.checked_add(first)?;
            shape[at] = (end.max(start) - start).unsigned_abs() as usize;
            shape[at] = shape[at].div_ceil(step);
            steps[at] = steps[at].checked_mul(step)?;
        }
        x.picked(&shape, &steps, first)
    }

    fn transpose(&self, x: &Value) -> Option<Value> {
        let Some(Attribute::Integers(perm)) = self.node.attribute("perm") else { return None };
        let perm = perm.iter().map(|at| axis(*at, x.shape.len())).collect::<Option<Vec<_>>>()?;
        x.transposed(&perm)
    }

    fn gather(&self, x: &Value) -> Option<Value> {
        let at = axis(self.number("axis", 0)?, x.shape.len())?;
        let (before, size, after) = x.around(at);
        let indexes = self.input(1)?;
        let mut shape = x.shape[..at].to_vec();
        shape.extend(&indexes.shape);
        shape.extend(&x.shape[at + 1..]);
        let mut data = Vec::with_capacity(elements(&shape)?);
        let indexes = indexes.integers().into_iter().map(|index| axis(index, size));
        let indexes = indexes.collect::<Option<Vec<_>>>()?;
        if elements(&shape) == Some(0) {
            return Some(Value { shape, data, whole: x.whole });
        }
        for row in 0..before {
            for index in &indexes {
                data.extend_from_slice(x.data.get((row * size + index) * after..)?.get(..after)?);
            }
        }
        Some(Value { shape, data, whole: x.whole })
    }

    /// The start of the rows that each row of indexes names, and how long they are.
    fn places(x: &Value, indexes: &Value) -> Option<(Vec<usize>, usize)> {
        let (depth, own) = (*indexes.shape.last().filter(|depth| **depth > 0)?, strides(&x.shape));
        let length = elements(x.shape.get(depth..)?)?;
        let place = |row: &[i64]| {
            let places = row.iter().enumerate();
            places.map(|(at, index)| Some(axis(*index, x.shape[at])? * own[at])).sum()
        };
        let numbers = indexes.integers();
        Some((numbers.chunks_exact(depth).map(place).collect::<Option<_>>()?, length))
    }

    fn gather_nd(&self, x: &Value) -> Option<Value> {
        let indexes = self.input(1)?;
        let (places, length) = Self::places(x, indexes)?;
        let (depth, rows) = indexes.shape.split_last()?;
        let shape = [rows, x.shape.get(*depth..)?].concat();
        if self.number("batch_dims", 0)? != 0 {
            return None;
        }
        let mut data = Vec::with_capacity(elements(&shape)?);
        for place in places {
            data.extend_from_slice(x.data.get(place..)?.get(..length)?);
        }
        Some(Value { shape, data, whole: x.whole })
    }

    fn scatter_nd(&self, x: &Value) -> Option<Value> {
        let (indexes, rows) = (self.input(1)?, self.input(2)?);
        if self.node.attribute("reduction").is_some() {
            return None;
        }
        let (places, length) = Self::places(x, indexes)?;
        let mut out = x.clone();
        for (at, place) in places.into_iter().enumerate() {
            let row = rows.data.get(at * length..)?.get(..length)?;
            out.data.get_mut(place..)?.get_mut(..length)?.copy_from_slice(row);
        }
        Some(out)
    }

    fn filled(&self, x: &Value) -> Option<Value> {
        let sizes = x.integers();
        let shape: Vec<usize> =
            sizes.iter().map(|size| usize::try_from(*size).ok()).collect::<Option<_>>()?;
        let filling = match self.node.attribute("value") {
            None => Value::new(&[1], vec![0.0]),
            Some(Attribute::Tensor(tensor)) => Value::of(tensor)?,
            Some(_) => return None,
        };
        let data = vec![filling.single()?; elements(&shape)?];
        Some(Value { shape, data, whole: filling.whole })
    }

    fn range(&self) -> Option<Value> {
        let number = |index: usize| self.input(index)?.single();
        let (start, end, step) = (number(0)?, number(1)?, number(2)?);
        let count = ((end - start) / step).ceil().max(0.0);
        if step == 0.0 || !count.is_finite() {
            return None;
        }
        let count = elements(&[count as usize])?;
        let data = (0..count).map(|index| start + index as f64 * step).collect();
        Some(Value { shape: vec![count], data, whole: self.input(0)?.whole })
    }

    fn sums(&self, x: &Value) -> Option<Value> {
        let at = axis(*self.input(1)?.integers().first()?, x.shape.len())?;
        if self.number("exclusive", 0)? != 0 || self.number("reverse", 0)? != 0 {
            return None;
        }
        let (_, size, after) = x.around(at);
        let mut out = x.clone();
        for place in after..out.data.len() {
            if !(place / after).is_multiple_of(size) {
                out.data[place] += out.data[place - after];
            }
        }
        Some(out)
    }

    fn triangle(&self, x: &Value) -> Option<Value> {
        let [.., rows, columns] = x.shape[..] else { return None };
        let shift = match self.inputs.get(1) {
            Some(Some(shift)) => *shift.integers().first()?,
            _ => 0,
        };
        let upper = self.number("upper", 1)? != 0;
        let mut out = x.clone();
        for (at, value) in out.data.iter_mut().enumerate() {
            let (row, column) = ((at / columns % rows) as i64, (at % columns) as i64);
            let beyond = (column - row).cmp(&shift);
            if (upper && beyond.is_lt()) || (!upper && beyond.is_gt()) {
                *value = 0.0;
            }
        }
        Some(out)
    }

    fn choice(&self, condition: &Value) -> Option<Value> {
        let (yes, no) = (self.input(1)?, self.input(2)?);
        let shape = common(&common(&condition.shape, &yes.shape)?, &no.shape)?;
        let (yes, no) = (yes.spread(&shape)?, no.spread(&shape)?);
        let chosen = condition.spread(&shape)?.data.into_iter().zip(yes.data.iter().zip(&no.data));
        let data = chosen.map(|(is, (yes, no))| if is != 0.0 { *yes } else { *no }).collect();
        Some(Value { shape, data, whole: yes.whole })
    }

    fn softmax(&self, x: &Value) -> Option<Value> {
        let at = axis(self.number("axis", -1)?, x.shape.len())?;
        let size = x.shape[at];
        if at + 1 != x.shape.len() || size == 0 {
            return None;
        }
        let mut out = x.clone();
        for row in out.data.chunks_exact_mut(size) {
            softmax(row);
        }
        Some(out)
    }
}

/// Shares of a row, after exponentials.
pub(super) fn softmax(row: &mut [f64]) {
    let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    row.iter_mut().for_each(|value| *value = (*value - most).exp());
    let total: f64 = row.iter().sum();
    row.iter_mut().for_each(|value| *value /= total);
}

/// The shape of a product of matrices, for each pair of them, and how many products it takes.
fn products(a: &Value, b: &Value) -> Option<(Vec<usize>, usize)> {
    let ([outer_a @ .., rows, depth], [outer_b @ .., depth_b, columns]) =
        (&a.shape[..], &b.shape[..])
    else {
        return None;
    };
    let outer = common(outer_a, outer_b)?;
    let shape = [&outer[..], &[*rows, *columns]].concat();
    let count = elements(&shape)?.checked_mul(*depth)?;
    (depth == depth_b && count <= PRODUCTS_MAX).then_some((shape, count))
}

fn product(a: &Value, b: &Value) -> Option<Value> {
    let (shape, products) = products(a, b)?;
    let ([outer @ .., rows, columns], Some(depth)) = (&shape[..], a.shape.last()) else {
        return None;
    };
    // Nothing to sum up, or nothing to sum it into.
    if products == 0 {
        let data = vec![0.0; elements(&shape)?];
        return Some(Value { shape, data, whole: a.whole && b.whole });
    }
    let a = a.spread(&[outer, &[*rows, *depth]].concat())?;
    let b = b.spread(&[outer, &[*depth, *columns]].concat())?;
    let mut data = vec![0.0; elements(&shape)?];
    for (at, sum) in data.iter_mut().enumerate() {
        let (matrix, row, column) = (at / columns / rows, at / columns % rows, at % columns);
        let left = a.data.get((matrix * rows + row) * depth..)?.get(..*depth)?;
        let right = b.data.get(matrix * depth * columns..)?;
        let terms = left.iter().zip(right.iter().skip(column).step_by(*columns));
        *sum = terms.map(|(a, b)| a * b).sum();
    }
    Some(Value::new(&shape, data))
}
