//! ONNX graphs written here, node by node.

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 127 {
        out.push(value as u8 | 128);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend(value);
}

pub(crate) fn integer(out: &mut Vec<u8>, field: u64, value: i64) {
    varint(out, field << 3);
    varint(out, value.cast_unsigned());
}

/// A graph under way.
pub(crate) struct Graph {
    pub(crate) bytes: Vec<u8>,
    pub(crate) made: usize,
}

impl Graph {
    pub(crate) const fn new() -> Self {
        Self { bytes: Vec::new(), made: 0 }
    }

    pub(crate) fn tensor(name: &str, shape: &[usize], kind: i64, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        shape.iter().for_each(|size| integer(&mut out, 1, *size as i64));
        integer(&mut out, 2, kind);
        bytes(&mut out, 8, name.as_bytes());
        bytes(&mut out, 9, data);
        out
    }

    /// A constant of 32-bit floats.
    pub(crate) fn constant(&mut self, name: &str, shape: &[usize], data: &[f32]) -> String {
        let data: Vec<u8> = data.iter().flat_map(|x| x.to_le_bytes()).collect();
        bytes(&mut self.bytes, 5, &Self::tensor(name, shape, 1, &data));
        name.to_owned()
    }

    pub(crate) fn number(&mut self, value: f32) -> String {
        self.made += 1;
        self.constant(&format!("number_{}", self.made), &[], &[value])
    }

    pub(crate) fn integers(&mut self, values: &[i64]) -> String {
        self.whole(&[values.len()], values)
    }

    /// A constant of whole numbers.
    pub(crate) fn whole(&mut self, shape: &[usize], values: &[i64]) -> String {
        self.made += 1;
        let name = format!("integers_{}", self.made);
        let data: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        bytes(&mut self.bytes, 5, &Self::tensor(&name, shape, 7, &data));
        name
    }

    pub(crate) fn node(&mut self, op: &str, inputs: &[&str], attributes: &[Vec<u8>]) -> String {
        self.made += 1;
        let output = format!("{op}_{}", self.made);
        self.write("", op, inputs, &[&output], attributes);
        output
    }

    /// A node of any domain with these outputs.
    pub(crate) fn write(
        &mut self,
        domain: &str,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[Vec<u8>],
    ) {
        let mut node = Vec::new();
        inputs.iter().for_each(|input| bytes(&mut node, 1, input.as_bytes()));
        outputs.iter().for_each(|output| bytes(&mut node, 2, output.as_bytes()));
        bytes(&mut node, 3, format!("node_{}", outputs[0]).as_bytes());
        bytes(&mut node, 4, op.as_bytes());
        attributes.iter().for_each(|attribute| bytes(&mut node, 5, attribute));
        bytes(&mut node, 7, domain.as_bytes());
        bytes(&mut self.bytes, 1, &node);
    }

    pub(crate) fn transpose(&mut self, input: &str, perm: &[i64]) -> String {
        self.node("Transpose", &[input], &[list("perm", perm)])
    }

    /// The file, with inputs and outputs of these names.
    pub(crate) fn finish(mut self, inputs: &[&str], outputs: &[&str]) -> Vec<u8> {
        let named = |name: &str| {
            let mut out = Vec::new();
            bytes(&mut out, 1, name.as_bytes());
            out
        };
        inputs.iter().for_each(|name| bytes(&mut self.bytes, 11, &named(name)));
        outputs.iter().for_each(|name| bytes(&mut self.bytes, 12, &named(name)));
        model(&self.bytes, 17)
    }
}

fn attribute(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, 1, name.as_bytes());
    out
}

/// An attribute that is a list.
fn list(name: &str, values: &[i64]) -> Vec<u8> {
    let mut out = attribute(name);
    values.iter().for_each(|value| integer(&mut out, 8, *value));
    out
}

/// An attribute that is a whole number.
pub(crate) fn whole(name: &str, value: i64) -> Vec<u8> {
    let mut out = attribute(name);
    integer(&mut out, 3, value);
    out
}

/// An attribute that is a float.
pub(crate) fn float(name: &str, value: f32) -> Vec<u8> {
    let mut out = attribute(name);
    varint(&mut out, 2 << 3 | 5);
    out.extend(value.to_le_bytes());
    out
}

/// A model file of a graph's bytes.
pub(crate) fn model(graph: &[u8], opset: i64) -> Vec<u8> {
    let mut out = Vec::new();
    integer(&mut out, 1, 8);
    bytes(&mut out, 7, graph);
    let mut version = Vec::new();
    integer(&mut version, 2, opset);
    bytes(&mut out, 8, &version);
    out
}
