//! A model made ready to run: weights in panels, certificates, and when each value is last used.

use model::certificate::{Certificate, certify};
use model::layout::size;
use model::{Channels, Model, Op, OpWeights, inspect};

use crate::backend::{LANES, Lanes, slot};

/// Inputs that a kernel may add up in 32 bits whatever their values: 512·127·2^15 < 2^31.
pub(crate) const SAFE_DEPTH: usize = 512;

/// Linear weights in panels. Channels past the last are zero.
pub(crate) struct Panels {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    data: Vec<i8>,
    multipliers: Vec<i32>,
    biases: Vec<i64>,
    streams: Vec<i64>,
    /// Biases modulo 2^32, for the narrow path.
    narrow_biases: Vec<i32>,
}

impl Panels {
    fn new(channels: &Channels) -> Self {
        let (inputs, outputs) = (channels.weights.width(), channels.multipliers.len());
        let padded = outputs.next_multiple_of(LANES);
        let mut data = vec![0_i8; padded * inputs];
        for (channel, row) in channels.weights.iter().enumerate() {
            let panel = &mut data[channel / LANES * LANES * inputs..][..LANES * inputs];
            for (k, weight) in row.iter().enumerate() {
                panel[slot(channel % LANES, k)] = *weight;
            }
        }
        let pad = |values: &[i64]| {
            let mut values = values.to_vec();
            values.resize(padded, 0);
            values
        };
        let mut multipliers = channels.multipliers.clone();
        multipliers.resize(padded, 0);
        let biases = pad(&channels.biases);
        Self {
            inputs,
            outputs,
            data,
            multipliers,
            narrow_biases: biases.iter().map(|bias| *bias as i32).collect(),
            biases,
            streams: pad(&channels.streams),
        }
    }

    /// The weights of panel `index` for inputs `from..to`, both even.
    pub(crate) fn panel(&self, index: usize, from: usize, to: usize) -> &[i8] {
        &self.data[index * LANES * self.inputs..][from * LANES..to * LANES]
    }

    pub(crate) fn multipliers(&self, panel: usize) -> &Lanes {
        lanes(&self.multipliers, panel)
    }

    pub(crate) fn narrow_biases(&self, panel: usize) -> &Lanes {
        lanes(&self.narrow_biases, panel)
    }

    pub(crate) fn biases(&self, panel: usize) -> &[i64; LANES] {
        lanes(&self.biases, panel)
    }

    pub(crate) fn streams(&self, panel: usize) -> &[i64; LANES] {
        lanes(&self.streams, panel)
    }
}

fn lanes<T>(values: &[T], panel: usize) -> &[T; LANES] {
    values[panel * LANES..].first_chunk().expect("panels are padded to whole lanes")
}

/// One op, ready to run.
pub(crate) struct Step {
    index: usize,
    pub(crate) op: Op,
    pub(crate) width: usize,
    pub(crate) certificate: Certificate,
    panels: Option<Panels>,
    /// Values that no later op reads.
    pub(crate) frees: Vec<usize>,
    /// Which boundary this op's value is.
    pub(crate) boundary: Option<usize>,
}

impl Step {
    pub(crate) fn panels(&self) -> &Panels {
        self.panels.as_ref().expect("linear ops have panels: `Plan::new` made them")
    }

    pub(crate) fn weights<'a>(&self, model: &'a Model) -> &'a OpWeights {
        &model.weights().ops[self.index]
    }
}

/// A model, ready to run.
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// Index of the first op behind the last boundary: from here on only rows that give an output
    /// are computed.
    pub(crate) head: usize,
    /// Key heads and head width of each attention op, in order.
    pub(crate) attentions: Vec<(usize, usize)>,
    /// Step multiplier of the logits.
    pub(crate) temperature: u32,
}

impl Plan {
    pub(crate) fn new(model: &Model) -> Self {
        let graph = model.graph();
        let certificates = certify(model);
        let last_boundary = graph.boundaries.last().copied().map_or(0, size);
        let mut last_use: Vec<usize> = (0..graph.ops.len()).collect();
        for (index, op) in graph.ops.iter().enumerate() {
            for value in inspect::inputs(op) {
                last_use[size(value)] = index;
            }
        }
        let mut frees = vec![Vec::new(); graph.ops.len()];
        for (value, index) in last_use.into_iter().enumerate() {
            frees[index].push(value);
        }
        let mut steps = Vec::with_capacity(graph.ops.len());
        let mut attentions = Vec::new();
        for (index, (op, weights)) in graph.ops.iter().zip(&model.weights().ops).enumerate() {
            let width = size(model.shapes()[index].width);
            if let Op::Attention { heads, key_heads, .. } = op {
                attentions.push((size(*key_heads), width / size(*heads)));
            }
            steps.push(Step {
                index,
                op: op.clone(),
                width,
                certificate: certificates[index],
                panels: Self::panels(model, op, weights),
                frees: std::mem::take(&mut frees[index]),
                boundary: graph.boundaries.iter().position(|value| size(*value) == index),
            });
        }
        let temperature = match graph.ops.last() {
            Some(Op::Logits { multiplier, .. }) => *multiplier,
            _ => 1,
        };
        Self { steps, head: last_boundary + 1, attentions, temperature }
    }

    fn panels(model: &Model, op: &Op, weights: &OpWeights) -> Option<Panels> {
        match (op, weights, model.weights().ops.first()) {
            (Op::EmbeddingScaled { .. }, _, _) => None,
            (Op::Logits { tied: true, .. }, _, Some(OpWeights::Channels(embedding))) => {
                Some(Panels::new(embedding))
            }
            (_, OpWeights::Channels(channels), _) => Some(Panels::new(channels)),
            _ => None,
        }
    }
}
