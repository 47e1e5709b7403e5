//! An ONNX graph: nodes, constants, and who makes which value.
//!
//! Bounds: nodes, constants, names and lists are limited; tensors stay where they lie in the file.
//! Data in other files is refused, whatever path it names: nothing but the given file is read.

use std::collections::{BTreeMap, BTreeSet};

use super::wire::{Field, broken, fields, push};
use crate::import::ImportError;
use crate::import::element::Element;

/// Most nodes, and most constants, of a graph.
const NODES_MAX: usize = 1 << 16;
/// Most inputs or outputs of a node or graph.
const NAMES_MAX: usize = 1 << 10;
/// Most attributes of a node.
const ATTRIBUTES_MAX: usize = 64;
/// Most attributes of all nodes.
const ALL_ATTRIBUTES_MAX: usize = 1 << 18;
/// Most numbers of a list in a node, or dimensions of a tensor.
const NUMBERS_MAX: usize = 64;
/// Most whole numbers of a constant.
const INTEGERS_MAX: usize = 1 << 20;
/// Opsets whose ops mean what is read here.
const OPSETS: std::ops::RangeInclusive<i64> = 13..=21;

/// ONNX Runtime's own ops.
pub(super) const RUNTIME: &str = "com.microsoft";
/// Those of them that are read here. Others may have the name of an op of ONNX that does not do
/// the same.
const RUNTIME_OPS: [&str; 3] =
    ["GroupQueryAttention", "RotaryEmbedding", "SkipSimplifiedLayerNormalization"];

/// A tensor, where it lies in the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Tensor<'a> {
    pub(super) shape: Vec<usize>,
    pub(super) kind: i64,
    pub(super) data: &'a [u8],
    /// Whole numbers of which each takes as few bytes as it needs; none where they lie in `data`.
    packed: &'a [u8],
}

/// An attribute of a node.
#[derive(Clone, Debug)]
pub(super) enum Attribute<'a> {
    Float(f32),
    Integer(i64),
    Integers(Vec<i64>),
    Text(&'a str),
    Tensor(Tensor<'a>),
    /// A graph, or a list of anything but whole numbers.
    Other,
}

/// A node.
#[derive(Clone, Debug, Default)]
pub(super) struct Node<'a> {
    /// The op; none where the domain has it and it is not read here.
    pub(super) op: &'a str,
    /// The op in the file's writing.
    pub(super) title: &'a str,
    pub(super) name: &'a str,
    pub(super) domain: &'a str,
    pub(super) inputs: Vec<&'a str>,
    pub(super) outputs: Vec<&'a str>,
    attributes: Vec<(&'a str, Attribute<'a>)>,
}

/// A graph.
#[derive(Debug, Default)]
pub(super) struct Graph<'a> {
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) tensors: BTreeMap<&'a str, Tensor<'a>>,
    pub(super) inputs: Vec<&'a str>,
    pub(super) outputs: Vec<&'a str>,
    makers: BTreeMap<&'a str, usize>,
}

impl<'a> Node<'a> {
    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute<'a>> {
        self.attributes.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Whether it has no attributes but these.
    pub(super) fn has_only(&self, names: &[&str]) -> bool {
        self.attributes.iter().all(|(name, _)| names.contains(name))
    }

    pub(super) fn input(&self, index: usize) -> &'a str {
        self.inputs.get(index).copied().unwrap_or("")
    }
}

impl<'a> Graph<'a> {
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, ImportError> {
        let (mut graph, mut opset) = (None, None);
        fields(bytes, &mut |number, field| {
            match number {
                7 => graph = Some(field.bytes()?),
                25 => return Err(broken("ops that the file itself defines are not read")),
                8 => {
                    let (mut domain, mut version) = ("", 0);
                    fields(field.bytes()?, &mut |number, field| {
                        match number {
                            1 => domain = field.text()?,
                            2 => version = field.integer()?,
                            _ => {}
                        }
                        Ok(())
                    })?;
                    if domain.is_empty() || domain == "ai.onnx" {
                        opset = Some(version);
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        let opset = opset.ok_or_else(|| broken("it names no opset"))?;
        if !OPSETS.contains(&opset) {
            let (first, last) = (OPSETS.start(), OPSETS.end());
            return Err(broken(format!("opset {opset}; {first} to {last} are read")));
        }
        Self::read_graph(graph.ok_or_else(|| broken("it holds no graph"))?)
    }

    fn read_graph(bytes: &'a [u8]) -> Result<Self, ImportError> {
        let (mut graph, mut attributes) = (Self::default(), 0_usize);
        fields(bytes, &mut |number, field| {
            match number {
                1 => {
                    let node = node(field.bytes()?)?;
                    attributes = attributes.saturating_add(node.attributes.len());
                    if attributes > ALL_ATTRIBUTES_MAX {
                        return Err(broken(format!("more than {ALL_ATTRIBUTES_MAX} attributes")));
                    }
                    push(&mut graph.nodes, node, NODES_MAX, "nodes")?;
                }
                5 => {
                    let (name, tensor) = tensor(field.bytes()?)?;
                    if graph.tensors.len() >= NODES_MAX {
                        return Err(broken(format!("more than {NODES_MAX} constants")));
                    }
                    if graph.tensors.insert(name, tensor).is_some() {
                        return Err(broken(format!("the constant {name} stands there twice")));
                    }
                }
                11 => push(&mut graph.inputs, value_name(field)?, NAMES_MAX, "inputs")?,
                12 => push(&mut graph.outputs, value_name(field)?, NAMES_MAX, "outputs")?,
                15 => return Err(broken("sparse constants are not read")),
                _ => {}
            }
            Ok(())
        })?;
        // Older files list constants among the inputs too.
        let tensors = &graph.tensors;
        graph.inputs.retain(|input| !tensors.contains_key(input));
        let mut seen = BTreeSet::new();
        graph.outputs.retain(|output| seen.insert(*output));
        for (index, node) in graph.nodes.iter().enumerate() {
            for output in node.outputs.iter().filter(|output| !output.is_empty()) {
                if graph.makers.insert(output, index).is_some() {
                    return Err(broken(format!("two nodes make {output}")));
                }
            }
        }
        Ok(graph)
    }

    /// The node that makes a value.
    pub(super) fn maker(&self, value: &str) -> Option<&Node<'a>> {
        self.makers.get(value).and_then(|index| self.nodes.get(*index))
    }

    /// The constant behind a value, whether the graph or a node holds it.
    pub(super) fn constant(&self, value: &str) -> Option<&Tensor<'a>> {
        self.tensors.get(value).or_else(|| {
            let node = self.maker(value).filter(|node| node.op == "Constant")?;
            match node.attribute("value") {
                Some(Attribute::Tensor(tensor)) => Some(tensor),
                _ => None,
            }
        })
    }

    /// The whole numbers of a small constant.
    pub(super) fn integers(&self, value: &str) -> Option<Vec<i64>> {
        if let Some(tensor) = self.constant(value) {
            return tensor.integers();
        }
        let node = self.maker(value).filter(|node| node.op == "Constant")?;
        match (node.attribute("value_int"), node.attribute("value_ints")) {
            (Some(Attribute::Integer(value)), _) => Some(vec![*value]),
            (_, Some(Attribute::Integers(values))) => Some(values.clone()),
            _ => None,
        }
    }

    /// A constant of one element.
    pub(super) fn scalar(&self, value: &str) -> Option<f64> {
        if let Some(tensor) = self.constant(value) {
            return tensor.scalar();
        }
        let node = self.maker(value).filter(|node| node.op == "Constant")?;
        match node.attribute("value_float") {
            Some(Attribute::Float(value)) => Some(decimal(*value)),
            _ => None,
        }
    }
}

impl Tensor<'_> {
    pub(super) const fn element(&self) -> Option<Element> {
        match self.kind {
            1 => Some(Element::F32),
            10 => Some(Element::F16),
            16 => Some(Element::Bf16),
            _ => None,
        }
    }

    /// Whether it has one element: longer ones are not decoded to find that out.
    pub(super) fn is_single(&self) -> bool {
        self.shape.iter().all(|size| *size == 1)
    }

    /// The type of floats that lie in as many bytes as the shape needs, or what lies there instead.
    pub(super) fn floats(&self) -> Result<Element, String> {
        let element = self.element().ok_or_else(|| format!("of ONNX type {}", self.kind))?;
        let count = self.shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size));
        match count.and_then(|count| element.bytes(count)) {
            Some(bytes) if bytes == self.data.len() => Ok(element),
            _ => Err(format!("{element:?} {:?} in {} bytes", self.shape, self.data.len())),
        }
    }

    /// All elements of a tensor of whole numbers or truths.
    pub(super) fn integers(&self) -> Option<Vec<i64>> {
        let mut values = Vec::new();
        let bytes = match self.kind {
            6 => 4,
            7 => 8,
            9 => 1,
            _ => return None,
        };
        let count = self.shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size))?;
        // What is longer than its shape is not decoded to find that out.
        if self.packed.is_empty() && count.checked_mul(bytes) != Some(self.data.len()) {
            return None;
        }
        match self.kind {
            _ if !self.packed.is_empty() => {
                Field::Bytes(self.packed).integers(&mut values, count.min(INTEGERS_MAX)).ok()?;
            }
            6 => values
                .extend(self.data.as_chunks().0.iter().map(|b| i64::from(i32::from_le_bytes(*b)))),
            7 => values.extend(self.data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b))),
            _ => values.extend(self.data.iter().map(|byte| i64::from(*byte))),
        }
        (count == values.len()).then_some(values)
    }

    fn scalar(&self) -> Option<f64> {
        if !self.is_single() {
            return None;
        }
        if let Some(values) = self.integers() {
            return values.first().map(|value| *value as f64);
        }
        let (mut out, element) = (Vec::new(), self.element()?);
        element.decode(self.data.get(..element.piece().1)?, &mut out);
        out.first().map(|value| decimal(*value as f32))
    }
}

/// The shortest decimal is what was meant: 1e-12, not its nearest 32-bit float.
pub(super) fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::NAN)
}

fn value_name<'a>(field: Field<'a>) -> Result<&'a str, ImportError> {
    let mut name = "";
    fields(field.bytes()?, &mut |number, field| {
        if number == 1 {
            name = field.text()?;
        }
        Ok(())
    })?;
    Ok(name)
}

fn node(bytes: &[u8]) -> Result<Node<'_>, ImportError> {
    let mut node = Node::default();
    fields(bytes, &mut |number, field| {
        match number {
            1 => push(&mut node.inputs, field.text()?, NAMES_MAX, "inputs of a node")?,
            2 => push(&mut node.outputs, field.text()?, NAMES_MAX, "outputs of a node")?,
            3 => node.name = field.text()?,
            4 => node.title = field.text()?,
            5 => {
                let attribute = attribute(field.bytes()?)?;
                push(&mut node.attributes, attribute, ATTRIBUTES_MAX, "attributes of a node")?;
            }
            7 => node.domain = field.text()?,
            _ => {}
        }
        Ok(())
    })?;
    node.op = match node.domain {
        "" | "ai.onnx" => node.title,
        RUNTIME if RUNTIME_OPS.contains(&node.title) => node.title,
        RUNTIME => "",
        other => {
            let (op, name) = (node.title, node.name);
            return Err(broken(format!("{op} ({name}) is an op of {other}, which is not read")));
        }
    };
    Ok(node)
}

fn attribute(bytes: &[u8]) -> Result<(&str, Attribute<'_>), ImportError> {
    let (mut name, mut value, mut numbers) = ("", None, Vec::new());
    let mut kind = 0;
    fields(bytes, &mut |number, field| {
        match (number, field) {
            (1, field) => name = field.text()?,
            (2, Field::Fixed32(bytes)) => value = Some(Attribute::Float(f32::from_le_bytes(bytes))),
            (3, field) => value = Some(Attribute::Integer(field.integer()?)),
            // A text need not be UTF-8; what is not, is nothing that is read here.
            (4, field) => value = Some(field.text().map_or(Attribute::Other, Attribute::Text)),
            (5, field) => value = Some(Attribute::Tensor(tensor(field.bytes()?)?.1)),
            (8, field) => field.integers(&mut numbers, NUMBERS_MAX)?,
            (20, field) => kind = field.integer()?,
            (6 | 7 | 9..=11, _) => value = Some(Attribute::Other),
            _ => {}
        }
        Ok(())
    })?;
    let integers = !numbers.is_empty() || kind == 7;
    let value =
        if integers { Attribute::Integers(numbers) } else { value.unwrap_or(Attribute::Other) };
    Ok((name, value))
}

fn tensor(bytes: &[u8]) -> Result<(&str, Tensor<'_>), ImportError> {
    let (mut name, mut tensor, mut shape) = ("", Tensor::default(), Vec::new());
    let mut outside = false;
    fields(bytes, &mut |number, field| {
        match number {
            1 => field.integers(&mut shape, NUMBERS_MAX)?,
            2 => tensor.kind = field.integer()?,
            // Packed 32-bit floats have the bytes of raw data. Packed whole numbers do not.
            5 | 7 => tensor.packed = field.bytes()?,
            4 | 9 => tensor.data = field.bytes()?,
            8 => name = field.text()?,
            13 => outside = true,
            14 => outside |= field.integer()? != 0,
            _ => {}
        }
        Ok(())
    })?;
    if outside {
        return Err(ImportError::ExternalData { name: name.to_owned() });
    }
    let size = |size: i64| usize::try_from(size).map_err(|_| broken("a negative dimension"));
    tensor.shape = shape.into_iter().map(size).collect::<Result<_, _>>()?;
    Ok((name, tensor))
}
