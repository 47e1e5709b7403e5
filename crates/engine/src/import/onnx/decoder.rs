//! Pieces of decoders: streams, RMS norms, gated SiLU, heads of their attention.

use super::graph::{Attribute, Node, RUNTIME, decimal};
use super::pattern::Search;
use crate::import::ImportError;

/// The rows that blocks add to: a value, or the sum that makes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stream<'a> {
    Value(&'a str),
    Sum(&'a str, &'a str),
}

/// `x / √(mean(x²) + ε) · gamma` over the last axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rms<'a> {
    /// What it gives.
    pub(super) output: &'a str,
    pub(super) input: Stream<'a>,
    pub(super) gamma: &'a str,
    pub(super) epsilon: f64,
}

impl<'g, 'a> Search<'g, 'a> {
    /// The stream that a value is: fused norms give the sum that they take as well.
    pub(super) fn stream(&self, value: &'a str) -> Stream<'a> {
        let value = self.rows(value);
        match self.graph.maker(value) {
            Some(node) if node.op == "Add" => self.sum(node),
            Some(node) if is_skip(node) && node.outputs.get(3) == Some(&value) => self.sum(node),
            _ => Stream::Value(value),
        }
    }

    /// A value to name where a stream is not what it should be.
    pub(super) const fn value_of(&self, stream: Stream<'a>) -> &'a str {
        match stream {
            Stream::Value(value) | Stream::Sum(value, _) => value,
        }
    }

    fn sum(&self, node: &Node<'a>) -> Stream<'a> {
        Stream::Sum(self.rows(node.input(0)), self.rows(node.input(1)))
    }

    pub(super) fn rms(&self, value: &'a str) -> Result<Rms<'a>, ImportError> {
        let output = self.rows(value);
        let fused = |node: &&Node<'a>| node.outputs.first() == Some(&output);
        match self.graph.maker(output).filter(fused) {
            Some(node) if node.op == "SimplifiedLayerNormalization" => {
                self.fused_norm(output, node, self.stream(node.input(0)), 1)
            }
            Some(node) if is_skip(node) => self.fused_norm(output, node, self.sum(node), 2),
            _ => self.spread_norm(output),
        }
    }

    fn fused_norm(
        &self,
        output: &'a str,
        node: &Node<'a>,
        input: Stream<'a>,
        gamma: usize,
    ) -> Result<Rms<'a>, ImportError> {
        let last = match node.attribute("axis") {
            None => true,
            Some(axis) => matches!(axis, Attribute::Integer(-1 | 2)),
        };
        let gamma = self.plain(node.input(gamma));
        match node.attribute("epsilon") {
            Some(Attribute::Float(epsilon)) if last && self.graph.constant(gamma).is_some() => {
                Ok(Rms { output, input, gamma, epsilon: decimal(*epsilon) })
            }
            _ => self.refuse(output, "an RMS norm over the last axis with epsilon and scale"),
        }
    }

    /// A norm of single ops.
    fn spread_norm(&self, output: &'a str) -> Result<Rms<'a>, ImportError> {
        const EXPECTED: &str = "an RMS norm";
        let scaled = self.node(output, "Mul", EXPECTED)?;
        let (quotient, gamma) = self.with_constant(scaled, "an RMS norm's scale")?;
        let (input, root) = self.quotient(self.plain(quotient))?;
        let root = self.node(root, "Sqrt", "the root of a norm's mean square")?;
        let sum = self.node(root.input(0), "Add", "a norm's epsilon")?;
        let (mean, epsilon) = self.with_constant(sum, "a norm's epsilon")?;
        let square = self.mean(mean)?;
        let base = self.squared(square)?;
        match self.graph.scalar(epsilon) {
            Some(epsilon) if self.rows(base) == self.rows(input) => {
                Ok(Rms { output, input: self.stream(input), gamma, epsilon })
            }
            _ => self.refuse(output, "a norm of one value"),
        }
    }

    /// x and r of `x / r`, also written `x · (1 / r)`.
    fn quotient(&self, value: &'a str) -> Result<(&'a str, &'a str), ImportError> {
        const EXPECTED: &str = "a norm's quotient";
        if self.is(value, "Div") {
            let node = self.node(value, "Div", EXPECTED)?;
            return Ok((node.input(0), node.input(1)));
        }
        let product = self.node(value, "Mul", EXPECTED)?;
        for (x, inverse) in [(0, 1), (1, 0)].map(|(a, b)| (product.input(a), product.input(b))) {
            let inverse = self.plain(inverse);
            let Some(node) = self.graph.maker(inverse) else { continue };
            match node.op {
                "Reciprocal" => return Ok((x, node.input(0))),
                "Div" if self.graph.scalar(self.plain(node.input(0))) == Some(1.0) => {
                    return Ok((x, node.input(1)));
                }
                _ => {}
            }
        }
        self.refuse(value, EXPECTED)
    }

    /// The gate's and the other operand of `silu(gate) · up`, factors in any order.
    pub(super) fn gated(&self, value: &'a str) -> Result<(&'a str, &'a str), ImportError> {
        const EXPECTED: &str = "a product with a gate's SiLU";
        let product = self.node(self.rows(value), "Mul", EXPECTED)?;
        let mut factors = Vec::new();
        for factor in [product.input(0), product.input(1)].map(|factor| self.plain(factor)) {
            match self.graph.maker(factor) {
                Some(node) if node.op == "Mul" => factors.extend([node.input(0), node.input(1)]),
                _ => factors.push(factor),
            }
        }
        let (sigmoids, others): (Vec<&str>, Vec<&str>) =
            factors.into_iter().partition(|factor| self.is(factor, "Sigmoid"));
        let ([sigmoid], [a, b]) = (&sigmoids[..], &others[..]) else {
            return self.refuse(product.outputs.first().copied().unwrap_or(""), EXPECTED);
        };
        let gate = self.rows(self.node(sigmoid, "Sigmoid", EXPECTED)?.input(0));
        let (a, b) = (self.rows(a), self.rows(b));
        match (a == gate, b == gate) {
            (true, false) => Ok((a, b)),
            (false, true) => Ok((b, a)),
            _ => self.refuse(sigmoid, "the sigmoid of one of the product's factors"),
        }
    }
}

/// Whether a node is ONNX Runtime's norm of a sum, without a bias in it.
fn is_skip(node: &Node<'_>) -> bool {
    node.op == "SkipSimplifiedLayerNormalization"
        && node.domain == RUNTIME
        && node.input(3).is_empty()
}
