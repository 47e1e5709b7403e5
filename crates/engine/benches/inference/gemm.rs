//! Matrix products on one core beside float ones held to the same instruction set.

use engine::{BackendKind, Product};
use model::Channels;
use model::rows::Rows;

use crate::clock::in_turn;
use crate::report::{Figure, Report};

/// Rows, inputs, outputs: the usual cube, then the shapes of MiniLM and SmolLM2.
const SHAPES: [(usize, usize, usize); 6] = [
    (512, 512, 512),
    (128, 384, 384),
    (128, 384, 1_536),
    (128, 1_536, 384),
    (256, 576, 1_536),
    (256, 1_536, 576),
];

/// Largest input where inputs have 16 bits.
const MOST: u16 = 9_000;

const ROUNDS: usize = 15;

pub(crate) fn run(report: &mut Report) {
    for kind in BackendKind::available() {
        if kind == BackendKind::Scalar {
            continue;
        }
        for shape in SHAPES {
            one(report, kind, shape, MOST);
        }
        // Inputs of 8 bits go another way there.
        if kind == BackendKind::Avx512Vnni {
            one(report, kind, SHAPES[0], 127);
        }
    }
}

fn one(
    report: &mut Report,
    kind: BackendKind,
    (rows, inputs, outputs): (usize, usize, usize),
    most: u16,
) {
    let mut state = 1_u64;
    let mut next = |most: i64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        i64::try_from(state >> 33).unwrap() % (2 * most + 1) - most
    };
    let weights: Vec<i8> =
        (0..inputs * outputs).map(|_| i8::try_from(next(127)).unwrap()).collect();
    let input: Vec<i16> =
        (0..rows * inputs).map(|_| i16::try_from(next(most.into())).unwrap()).collect();
    let channels = Channels {
        weights: Rows::from_data(inputs, weights.clone()),
        multipliers: vec![3; outputs],
        biases: vec![1 << 15; outputs],
        streams: Vec::new(),
    };
    let product = Product::new(kind, 1, &channels, most).expect("the backend is there");
    let mut out = vec![0_i16; rows * outputs];
    let float = |value: f32| value / 128.0;
    let left: Vec<f32> = input.iter().map(|a| float(f32::from(*a))).collect();
    let right: Vec<f32> = weights.iter().map(|w| float(f32::from(*w))).collect();
    let (mut first, mut second) = (vec![0_f32; rows * outputs], vec![0_f32; rows * outputs]);
    let floats = Floats { rows, inputs, outputs, left: &left, right: &right };
    let repeats = (60_000_000 / (rows * inputs * outputs)).max(1);
    let times = in_turn(
        ROUNDS,
        [
            &mut || (0..repeats).for_each(|_| product.run(&input, &mut out)),
            &mut || (0..repeats).for_each(|_| floats.by_gemm(&mut first)),
            &mut || (0..repeats).for_each(|_| floats.by_matrixmultiply(&mut second)),
        ],
    );
    let operations = 2.0 * (rows * inputs * outputs * repeats) as f64 / 1e9;
    let [ours, gemm, other] = times.map(|time| operations / time);
    let bytes = if most < MOST { ".i8" } else { "" };
    let name = format!("gemm.{}{bytes}.{rows}x{inputs}x{outputs}", kind.name());
    report.add(Figure::new(&name, ours, "GOPS"));
    report.add(Figure::new(&format!("{name}.gemm_f32"), gemm, "GOPS"));
    report.add(Figure::new(&format!("{name}.matrixmultiply_f32"), other, "GOPS"));
    let (peer, bar) = match kind {
        // `gemm` takes 512-bit vectors where there are any; `matrixmultiply` never does.
        BackendKind::Avx2 if BackendKind::available().contains(&BackendKind::Avx512Vnni) => {
            (other, 0.9)
        }
        BackendKind::Avx512Vnni if most < MOST => (gemm.max(other), 3.5),
        BackendKind::Avx512Vnni => (gemm.max(other), 1.8),
        _ => (gemm.max(other), 0.9),
    };
    report.add(Figure::new(&format!("{name}.ratio"), ours / peer, "x").at_least(bar));
}

/// Float operands of `out = left · rightᵀ`, weights by output channel as in a model.
struct Floats<'a> {
    rows: usize,
    inputs: usize,
    outputs: usize,
    left: &'a [f32],
    right: &'a [f32],
}

impl Floats<'_> {
    /// Holds the lengths of all three against the shapes.
    fn check(&self, out: &[f32]) {
        let Self { rows, inputs, outputs, left, right } = *self;
        assert!(left.len() == rows * inputs && right.len() == inputs * outputs);
        assert!(out.len() == rows * outputs);
    }

    fn by_gemm(&self, out: &mut [f32]) {
        self.check(out);
        let Self { rows, inputs, outputs, left, right } = *self;
        // SAFETY: the lengths were checked against the shapes and strides.
        unsafe {
            gemm::gemm(
                rows,
                outputs,
                inputs,
                out.as_mut_ptr(),
                1,
                signed(outputs),
                false,
                left.as_ptr(),
                1,
                signed(inputs),
                right.as_ptr(),
                signed(inputs),
                1,
                0.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
    }

    fn by_matrixmultiply(&self, out: &mut [f32]) {
        self.check(out);
        let Self { rows, inputs, outputs, left, right } = *self;
        // SAFETY: the lengths were checked against the shapes and strides.
        unsafe {
            matrixmultiply::sgemm(
                rows,
                inputs,
                outputs,
                1.0,
                left.as_ptr(),
                signed(inputs),
                1,
                right.as_ptr(),
                1,
                signed(inputs),
                0.0,
                out.as_mut_ptr(),
                signed(outputs),
                1,
            );
        }
    }
}

fn signed(value: usize) -> isize {
    isize::try_from(value).unwrap()
}
