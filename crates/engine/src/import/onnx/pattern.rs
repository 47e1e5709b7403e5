//! Pieces of patterns: sums, products by constants, linear ops, norms, GELU.
//!
//! Each takes a value and gives the values that it is made from, or names the op that stands where
//! another should.

use super::graph::{Attribute, Graph, Node, decimal};
use crate::import::ImportError;

/// Most ops without effect that follow each other.
const PASSED_MAX: usize = 16;
/// Types of numbers: floats, and the whole ones of indexes and shapes.
const FLOATS: [i64; 4] = [1, 10, 11, 16];
const WHOLE: [i64; 2] = [6, 7];
/// Most factors or terms of a product or sum.
const PARTS_MAX: usize = 16;
/// By what share a constant may differ from what it stands for: 32-bit floats.
const TOLERANCE: f64 = 1e-5;

/// A graph that is searched.
#[derive(Clone, Copy)]
pub(super) struct Search<'g, 'a> {
    pub(super) graph: &'g Graph<'a>,
}

/// `input · weightᵀ + bias`, or without bias.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linear<'a> {
    /// What it gives.
    pub(super) output: &'a str,
    pub(super) input: &'a str,
    pub(super) weight: &'a str,
    /// Whether the constant holds one column per output.
    pub(super) transposed: bool,
    pub(super) bias: Option<&'a str>,
}

/// A norm over the last axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Norm<'a> {
    pub(super) input: &'a str,
    pub(super) gamma: &'a str,
    pub(super) beta: &'a str,
    pub(super) epsilon: f64,
}

/// Whether a transposition is this one.
pub(super) fn perm_is(node: &Node<'_>, expected: &[i64]) -> bool {
    matches!(node.attribute("perm"), Some(Attribute::Integers(perm)) if perm == expected)
}

pub(super) fn close(value: f64, expected: f64) -> bool {
    (value - expected).abs() <= expected.abs() * TOLERANCE
}

/// Whether a node casts to one of these types.
fn is_cast(node: &Node<'_>, types: &[i64]) -> bool {
    let to = node.attribute("to").filter(|_| node.op == "Cast");
    matches!(to, Some(Attribute::Integer(to)) if types.contains(to))
}

impl<'g, 'a> Search<'g, 'a> {
    /// The refusal of whatever makes `value`.
    pub(super) fn refuse<T>(&self, value: &str, expected: &'static str) -> Result<T, ImportError> {
        let (op, node) = match self.graph.maker(value) {
            Some(node) => (node.title.to_owned(), node.name.to_owned()),
            None => ("an input or constant".to_owned(), value.to_owned()),
        };
        Err(ImportError::Op { op, node, expected })
    }

    /// The value behind ops without effect.
    pub(super) fn plain(&self, value: &'a str) -> &'a str {
        self.behind(value, &["Identity", "Dropout"], &FLOATS)
    }

    /// The value behind ops that keep rows as they are: the last axis stays, and with it all rows.
    pub(super) fn rows(&self, value: &'a str) -> &'a str {
        const OPS: [&str; 5] = ["Identity", "Dropout", "Reshape", "Unsqueeze", "Squeeze"];
        self.behind(value, &OPS, &FLOATS)
    }

    /// The whole numbers, indexes or a shape, behind ops that keep them as they are.
    pub(super) fn indexes(&self, value: &'a str) -> &'a str {
        self.behind(value, &["Identity", "Reshape", "Unsqueeze", "Squeeze"], &WHOLE)
    }

    /// The value behind these ops and behind casts to these types: others cut numbers off.
    fn behind(&self, mut value: &'a str, ops: &[&str], types: &[i64]) -> &'a str {
        for _ in 0..PASSED_MAX {
            match self.graph.maker(value) {
                Some(node)
                    if (ops.contains(&node.op) || is_cast(node, types))
                        && node.outputs.first() == Some(&value) =>
                {
                    value = node.input(0);
                }
                _ => break,
            }
        }
        value
    }

    /// The node of this op that makes `value`.
    pub(super) fn node(
        &self,
        value: &'a str,
        op: &str,
        expected: &'static str,
    ) -> Result<&'g Node<'a>, ImportError> {
        match self.graph.maker(self.plain(value)) {
            Some(node) if node.op == op => Ok(node),
            _ => self.refuse(self.plain(value), expected),
        }
    }

    pub(super) fn is(&self, value: &'a str, op: &str) -> bool {
        self.graph.maker(self.plain(value)).is_some_and(|node| node.op == op)
    }

    /// Both operands, the constant tensor second.
    pub(super) fn with_constant(
        &self,
        node: &Node<'a>,
        expected: &'static str,
    ) -> Result<(&'a str, &'a str), ImportError> {
        let (a, b) = (node.input(0), self.plain(node.input(1)));
        if self.graph.constant(b).is_some() {
            return Ok((a, b));
        }
        let a = self.plain(a);
        if self.graph.constant(a).is_some() { Ok((b, a)) } else { self.refuse(a, expected) }
    }

    /// A value behind products and quotients by numbers, and their product.
    pub(super) fn scaled(&self, value: &'a str) -> (&'a str, f64) {
        let (mut value, mut scale) = (self.plain(value), 1.0);
        for _ in 0..PARTS_MAX {
            let Some(node) = self.graph.maker(value) else { break };
            let number = |index| self.graph.scalar(self.plain(node.input(index)));
            (value, scale) = match (node.op, number(0), number(1)) {
                ("Mul", _, Some(number)) => (self.plain(node.input(0)), scale * number),
                ("Mul", Some(number), _) => (self.plain(node.input(1)), scale * number),
                ("Div", _, Some(number)) => (self.plain(node.input(0)), scale / number),
                _ => break,
            };
        }
        (value, scale)
    }

    /// A linear op that may lack its bias.
    pub(super) fn linear(&self, value: &'a str) -> Result<Linear<'a>, ImportError> {
        let output = self.rows(value);
        if self.is(output, "Gemm") {
            return self.gemm(output);
        }
        if self.is(output, "MatMul") {
            return self.product(output);
        }
        let sum = self.node(output, "Add", "a linear op")?;
        let (product, bias) = self.with_constant(sum, "the bias of a linear op")?;
        Ok(Linear { output, bias: Some(bias), ..self.product(product)? })
    }

    fn product(&self, value: &'a str) -> Result<Linear<'a>, ImportError> {
        let output = self.rows(value);
        let product = self.node(output, "MatMul", "the product of a linear op")?;
        let weight = self.plain(product.input(1));
        let input = product.input(0);
        if self.graph.constant(weight).is_some() {
            return Ok(Linear { output, input, weight, transposed: true, bias: None });
        }
        let turned = self.node(weight, "Transpose", "the weights of a linear op")?;
        let weight = self.plain(turned.input(0));
        // Without an order the axes are reversed.
        let reversed = turned.attribute("perm").is_none() || perm_is(turned, &[1, 0]);
        if !reversed || self.graph.constant(weight).is_none() {
            return self.refuse(weight, "the weights of a linear op");
        }
        Ok(Linear { output, input, weight, transposed: false, bias: None })
    }

    fn gemm(&self, value: &'a str) -> Result<Linear<'a>, ImportError> {
        let node = self.node(value, "Gemm", "a linear op")?;
        let whole = |name: &str| match node.attribute(name) {
            None => Some(false),
            Some(Attribute::Integer(value @ 0..=1)) => Some(*value == 1),
            Some(_) => None,
        };
        let one = |name: &str| match node.attribute(name) {
            None => true,
            Some(attribute) => matches!(attribute, Attribute::Float(value) if *value == 1.0),
        };
        let bias = Some(self.plain(node.input(2))).filter(|bias| !bias.is_empty());
        let weight = self.plain(node.input(1));
        let constant = |value: &str| self.graph.constant(value).is_some();
        let plain = one("alpha") && one("beta") && whole("transA") == Some(false);
        match (whole("transB"), plain && constant(weight) && bias.is_none_or(constant)) {
            (Some(by_rows), true) => {
                let (output, input) = (value, node.input(0));
                Ok(Linear { output, input, weight, transposed: !by_rows, bias })
            }
            _ => self.refuse(value, "a Gemm of rows, constant weights and bias, without factors"),
        }
    }

    pub(super) fn norm(&self, value: &'a str) -> Result<Norm<'a>, ImportError> {
        if self.is(value, "LayerNormalization") {
            let node = self.node(value, "LayerNormalization", "a norm")?;
            let last = match node.attribute("axis") {
                None => true,
                Some(attribute) => matches!(attribute, Attribute::Integer(-1 | 2)),
            };
            let epsilon = match node.attribute("epsilon") {
                None => 1e-5,
                Some(Attribute::Float(value)) => decimal(*value),
                Some(_) => f64::NAN,
            };
            if !last || node.inputs.len() < 3 {
                return self.refuse(value, "a norm over the last axis with scale and bias");
            }
            let (gamma, beta) = (self.plain(node.input(1)), self.plain(node.input(2)));
            return Ok(Norm { input: node.input(0), gamma, beta, epsilon });
        }
        let (scaled, beta) =
            self.with_constant(self.node(value, "Add", "a norm's bias")?, "a norm's bias")?;
        let scaled = self.node(scaled, "Mul", "a norm's scale")?;
        let (quotient, gamma) = self.with_constant(scaled, "a norm's scale")?;
        let quotient = self.node(quotient, "Div", "a norm's quotient")?;
        let input = self.centred(quotient.input(0))?;
        let root = self.node(quotient.input(1), "Sqrt", "the root of a norm's variance")?;
        let sum = self.node(root.input(0), "Add", "a norm's epsilon")?;
        let (variance, epsilon) = self.with_constant(sum, "a norm's epsilon")?;
        let epsilon = self.graph.scalar(epsilon);
        let variance = self.mean(variance)?;
        let base = self.squared(variance)?;
        match epsilon {
            Some(epsilon) if self.plain(self.centred(base)?) == self.plain(input) => {
                Ok(Norm { input, gamma, beta, epsilon })
            }
            _ => self.refuse(value, "a norm of one value"),
        }
    }

    /// x of `x²`.
    pub(super) fn squared(&self, value: &'a str) -> Result<&'a str, ImportError> {
        match self.graph.maker(value) {
            Some(node)
                if node.op == "Pow"
                    && self.graph.scalar(self.plain(node.input(1))) == Some(2.0) =>
            {
                Ok(node.input(0))
            }
            Some(node) if node.op == "Mul" && node.input(0) == node.input(1) => Ok(node.input(0)),
            _ => self.refuse(value, "the square in a norm's variance"),
        }
    }

    /// x of `x − mean(x)`.
    fn centred(&self, value: &'a str) -> Result<&'a str, ImportError> {
        let node = self.node(value, "Sub", "a norm's distance from the mean")?;
        let mean = self.mean(node.input(1))?;
        if mean == self.plain(node.input(0)) {
            Ok(node.input(0))
        } else {
            self.refuse(value, "the distance from a value's own mean")
        }
    }

    /// What the mean over the last axis is taken of.
    pub(super) fn mean(&self, value: &'a str) -> Result<&'a str, ImportError> {
        let node = self.node(value, "ReduceMean", "a mean over the last axis")?;
        let axes = match node.attribute("axes") {
            Some(Attribute::Integers(axes)) => Some(axes.clone()),
            _ => self.graph.integers(self.indexes(node.input(1))),
        };
        let kept = !matches!(node.attribute("keepdims"), Some(Attribute::Integer(0)));
        if kept && matches!(axes.as_deref(), Some([-1 | 2])) {
            Ok(self.plain(node.input(0)))
        } else {
            self.refuse(value, "a mean over the last axis")
        }
    }

    /// x of `x·(1 + erf(x / √2)) / 2`, factors in any order.
    pub(super) fn gelu(&self, value: &'a str) -> Result<&'a str, ImportError> {
        const EXPECTED: &str = "GELU by the error function";
        if self.is(value, "Gelu") {
            let node = self.node(value, "Gelu", EXPECTED)?;
            return match node.attribute("approximate") {
                None | Some(Attribute::Text("none")) => Ok(node.input(0)),
                Some(_) => self.refuse(value, EXPECTED),
            };
        }
        let (mut factors, mut open, mut number) = (Vec::new(), vec![self.plain(value)], 1.0);
        while let Some(value) = open.pop() {
            let (value, scale) = self.scaled(value);
            number *= scale;
            match self.graph.maker(value) {
                Some(node) if node.op == "Mul" && factors.len() + open.len() < PARTS_MAX => {
                    open.extend([node.input(0), node.input(1)]);
                }
                _ => factors.push(value),
            }
        }
        let is_sum = |value: &&str| self.is_error_sum(value);
        let (sums, others): (Vec<&'a str>, Vec<&'a str>) = factors.into_iter().partition(is_sum);
        let ([sum], [x]) = (&sums[..], &others[..]) else {
            return self.refuse(self.plain(value), EXPECTED);
        };
        let node = self.node(sum, "Add", EXPECTED)?;
        let (erf, one) = self.with_constant(node, EXPECTED)?;
        let erf = self.node(erf, "Erf", EXPECTED)?;
        let (inner, scale) = self.scaled(erf.input(0));
        let fits = self.graph.scalar(one) == Some(1.0)
            && close(scale, std::f64::consts::FRAC_1_SQRT_2)
            && close(number, 0.5);
        if fits && self.rows(inner) == self.rows(x) { Ok(x) } else { self.refuse(sum, EXPECTED) }
    }

    fn is_error_sum(&self, value: &'a str) -> bool {
        let Some(node) = self.graph.maker(value).filter(|node| node.op == "Add") else {
            return false;
        };
        node.inputs.iter().any(|input| self.is(input, "Erf"))
    }

    /// The terms of a sum of sums.
    pub(super) fn terms(&self, value: &'a str) -> Vec<&'a str> {
        let (mut terms, mut open) = (Vec::new(), vec![value]);
        while let Some(value) = open.pop() {
            let value = self.plain(value);
            match self.graph.maker(value) {
                Some(node) if node.op == "Add" && terms.len() + open.len() < PARTS_MAX => {
                    open.extend([node.input(0), node.input(1)]);
                }
                _ => terms.push(value),
            }
        }
        terms
    }
}
