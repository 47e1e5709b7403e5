//! Fine trees and steps of the test models: composed steps give the run, openings are checked, and
//! a wrong element is found out.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use crypto::{Digest, Salt, merkle};
use model::constants::{STEP_BYTES_MAX, STEP_RANGES_MAX};
use model::reference::{Evaluated, evaluate, run};
use model::step::{
    Claim, Evidence, Executed, Fine, FineTree, Opening, Plan, Roots, RunShape, StepError,
    TraceShape, Verdict, check_step, open,
};
use model::tiny::{Vocabulary, decoder};
use model::{Job, Model, Output, Sampling, ValueId};
use proptest::prelude::*;

use crate::support::{chat, embed, vocabulary, with_ops};

const SAMPLED: Sampling = Sampling { temperature_milli: 900, top_p_milli: 900, top_k: 30 };

/// One run with all that a dispute over it needs.
struct Disputed {
    model: Model,
    plan: Plan,
    shape: RunShape,
    run: Evaluated,
    weights: Vec<Digest>,
    tables: Vec<Digest>,
    salt: Salt,
    roots: Roots,
}

impl Disputed {
    fn new(model: Model, ids: &[u32], max_tokens: u32, sampling: Sampling) -> Self {
        let job = Job { ids, sampling, seed: 9, max_tokens, stop: &[] };
        let given = run(&model, &job, &mut |_| ControlFlow::Continue(())).unwrap();
        let tokens = match &given.output {
            Output::Tokens(tokens) => tokens.clone(),
            Output::Row(_) => Vec::new(),
        };
        let evaluated = evaluate(&model, ids, &tokens);
        assert_eq!(merkle::root(evaluated.trace()), given.trace_root);
        let plan = Plan::of(&model).unwrap();
        let weights = model.weights().leaves(plan.tensors());
        let tables = model.weights().table_leaves();
        let salt = Salt::new([5; 32]);
        let roots = Roots {
            input: model::commit::input_commit(&salt, ids),
            trace: given.trace_root,
            fine: Digest::ZERO,
            weights: model.manifest().weight_root,
            tables: model.manifest().table_root,
        };
        let shape = RunShape { n_in: given.n_in, n_out: given.n_out, sampling, seed: 9 };
        Self { model, plan, shape, run: evaluated, weights, tables, salt, roots }
    }

    fn trace_shape(&self) -> TraceShape<'_> {
        TraceShape::new(&self.plan, self.shape).unwrap()
    }

    fn evidence<'a>(&'a self, tree: &'a FineTree) -> Evidence<'a> {
        Evidence {
            model: &self.model,
            run: &self.run,
            tree,
            trace: self.run.trace(),
            weights: &self.weights,
            tables: &self.tables,
            salt: &self.salt,
        }
    }

    fn tree(&self, fine: &Fine<'_>) -> FineTree {
        FineTree::new(fine, &self.model, &self.run).unwrap()
    }

    fn roots(&self, tree: &FineTree) -> Roots {
        Roots { fine: tree.root(), ..self.roots }
    }
}

fn all() -> &'static [Disputed] {
    static ALL: LazyLock<[Disputed; 3]> = LazyLock::new(|| {
        [
            Disputed::new(chat(), &[3, 17, 40, 22], 3, Sampling::GREEDY),
            Disputed::new(chat(), &[3, 17], 4, SAMPLED),
            Disputed::new(embed(), &[3, 17, 40, 5, 6], 1, Sampling::GREEDY),
        ]
    });
    &*ALL
}

/// A run of which only boundary rows are at hand: everything else is left to steps.
pub(crate) struct Bare<'a>(pub(crate) &'a Evaluated, pub(crate) &'a Model);

impl Executed for Bare<'_> {
    fn input(&self, position: u32) -> Option<u32> {
        self.0.input(position)
    }
    fn token(&self, output: u32) -> Option<u32> {
        self.0.token(output)
    }
    fn row(&self, value: ValueId, position: u32) -> Option<Vec<u8>> {
        self.1.graph().boundaries.contains(&value).then(|| self.0.row(value, position))?
    }
}

#[test]
fn composed_steps_give_the_rows_of_the_run() {
    for disputed in all() {
        let shape = disputed.trace_shape();
        assert_eq!(shape.leaves(), disputed.run.trace().len() as u64);
        for (index, leaf) in (0..).zip(disputed.run.trace()) {
            let fine = shape.fine(index).unwrap();
            let tree = disputed.tree(&fine);
            let bare = Bare(&disputed.run, &disputed.model);
            let stepped = FineTree::new(&fine, &disputed.model, &bare).unwrap();
            assert_eq!(tree, stepped, "{:?}", fine.leaf());
            let output = fine.output();
            let digests = &tree.digests()[output.start as usize..output.end as usize];
            assert_eq!(merkle::root(digests), *leaf, "{:?}", fine.leaf());
        }
    }
}

/// Two pieces of keys, three of entries: sums over pieces, columns and histograms are longer than
/// one leaf.
#[test]
fn contexts_and_vocabularies_of_several_pieces_compose_too() {
    let large = || {
        let vocabulary = Vocabulary { size: 2_500, ..vocabulary(vec![0]) };
        decoder(vocabulary).unwrap()
    };
    let ids: Vec<u32> = (0..1_030).map(|k| (k * 193 + 7) % 2_500).collect();
    for sampling in [SAMPLED, Sampling::GREEDY] {
        let disputed = Disputed::new(large(), &ids, 2, sampling);
        let shape = disputed.trace_shape();
        for index in [shape.leaves() - 2, shape.leaves() - 1] {
            let fine = shape.fine(index).unwrap();
            let tree = disputed.tree(&fine);
            let output = fine.output();
            let digests = &tree.digests()[output.start as usize..output.end as usize];
            assert_eq!(merkle::root(digests), disputed.run.trace()[index as usize]);
            for leaf in (0..fine.leaves()).rev().step_by(131) {
                decide(&disputed, &fine, &tree, leaf, leaf * 7);
            }
        }
    }
}

#[test]
fn indices_and_addresses_name_each_other() {
    for disputed in all() {
        let shape = disputed.trace_shape();
        let mut seen = BTreeSet::new();
        for index in 0..shape.leaves() {
            let leaf = shape.leaf(index).unwrap();
            assert_eq!(shape.index(leaf), Some(index));
            assert!(seen.insert(format!("{leaf:?}")));
            let fine = shape.fine(index).unwrap();
            for leaf in 0..fine.leaves() {
                assert_eq!(fine.index(&fine.address(leaf).unwrap()), Some(leaf));
            }
            assert_eq!(
                fine.address(fine.leaves()),
                Err(StepError::NoLeaf { index: fine.leaves(), leaves: fine.leaves() })
            );
        }
        assert!(matches!(shape.fine(shape.leaves()), Err(StepError::NoCoarseLeaf { .. })));
    }
}

/// The leaf's bytes with element `element` one larger.
fn wrong(leaf: &[u8], element: u64, bytes: usize) -> Vec<u8> {
    let mut changed = leaf.to_vec();
    let at = element as usize * bytes;
    changed[at] = changed[at].wrapping_add(1);
    changed
}

/// The step of one element finds it right, and wrong once it is changed.
fn decide(disputed: &Disputed, fine: &Fine<'_>, tree: &FineTree, leaf: u64, element: u64) {
    let roots = disputed.roots(tree);
    let address = fine.address(leaf).unwrap();
    let geometry = fine.geometry(&address).unwrap();
    let element = element % geometry.elements(address.leaf);
    let openings = open(fine, &disputed.evidence(tree), leaf, element).unwrap();
    assert!(openings.len() <= STEP_RANGES_MAX);
    let opened = openings.iter().fold(0, |sum, opening| sum + opening.bytes.len());
    assert!(opened <= STEP_BYTES_MAX);
    let claim = Claim { leaf, bytes: tree.leaf(leaf), element };
    assert_eq!(check_step(fine, &roots, &claim, &openings), Ok(Verdict::Right), "{address:?}");
    let changed = wrong(tree.leaf(leaf), element, geometry.bytes as usize);
    let claim = Claim { leaf, bytes: &changed, element };
    assert_eq!(check_step(fine, &roots, &claim, &openings), Ok(Verdict::Wrong), "{address:?}");
    let shorter = Claim { bytes: &changed[1..], ..claim };
    assert_eq!(check_step(fine, &roots, &shorter, &openings), Ok(Verdict::Wrong));
}

#[test]
fn every_leaf_of_a_run_is_decided_by_one_step() {
    for disputed in all() {
        let shape = disputed.trace_shape();
        for index in [0, 1, shape.leaves() / 2, shape.leaves() - 2, shape.leaves() - 1] {
            let fine = shape.fine(index).unwrap();
            let tree = disputed.tree(&fine);
            for leaf in 0..fine.leaves() {
                decide(disputed, &fine, &tree, leaf, leaf * 7);
            }
        }
    }
}

#[test]
fn openings_that_are_missing_left_over_or_too_late_are_no_move() {
    let disputed = &all()[0];
    let shape = disputed.trace_shape();
    let fine = shape.fine(shape.leaves() - 2).unwrap();
    let tree = disputed.tree(&fine);
    let roots = disputed.roots(&tree);
    let leaf = fine.output().start;
    let openings = open(&fine, &disputed.evidence(&tree), leaf, 0).unwrap();
    let claim = Claim { leaf, bytes: tree.leaf(leaf), element: 0 };
    let check =
        |claim: &Claim<'_>, openings: &[Opening]| check_step(&fine, &roots, claim, openings);
    assert!(matches!(check(&claim, &openings[1..]), Err(StepError::Missing { .. })));
    assert!(matches!(check(&claim, &[]), Err(StepError::Missing { .. })));
    let mut more = openings.clone();
    more.push(openings[0].clone());
    assert_eq!(check(&claim, &more), Err(StepError::Unused { left: 1 }));
    let elements = 64;
    let beyond = Claim { element: elements, ..claim };
    assert_eq!(
        check(&beyond, &openings),
        Err(StepError::NoElement { element: elements, elements })
    );
}

#[test]
fn the_leaves_of_the_output_are_leaves_of_the_trace() {
    for disputed in all() {
        let shape = disputed.trace_shape();
        let tokens = (0..).map_while(|output| disputed.run.token(output));
        for (index, token) in (0..).zip(tokens) {
            let found = shape.output_leaf(index).unwrap();
            assert_eq!((found.piece, found.pieces), (0, 1));
            let leaf = disputed.run.trace()[usize::try_from(found.leaf).unwrap()];
            assert_eq!(leaf, model::trace::token_leaf(token));
        }
        let outputs = u64::from(disputed.shape.n_out);
        assert!(shape.output_leaf(outputs - 1).is_some());
        assert_eq!(shape.output_leaf(outputs), None);
    }
}

#[test]
fn another_run_than_the_graph_admits_has_no_shape() {
    let plan = Plan::of(&chat()).unwrap();
    let run = RunShape { n_in: 2_000, n_out: 49, sampling: Sampling::GREEDY, seed: 0 };
    assert!(TraceShape::new(&plan, run).is_ok());
    assert!(TraceShape::new(&plan, RunShape { n_out: 50, ..run }).is_err());
    assert!(TraceShape::new(&plan, RunShape { n_in: 0, ..run }).is_err());
    let plan = Plan::of(&embed()).unwrap();
    assert!(TraceShape::new(&plan, RunShape { n_out: 2, ..run }).is_err());
}

#[test]
fn a_plan_from_manifest_and_graph_is_that_of_the_model() {
    let model = chat();
    let (manifest, graph) = with_ops(&model, |_| ());
    let plan = Plan::new(&manifest, &graph).unwrap();
    assert_eq!(plan.weight_leaves(), model.weights().leaves(plan.tensors()).len() as u64);
    assert_eq!(plan.table_leaves(), model.weights().table_leaves().len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_changed_byte_anywhere_in_an_opening_is_no_move(
        which in 0_usize..3, pick: u64, element: u64, byte: usize, bit in 0_u8..8,
    ) {
        let disputed = &all()[which];
        let shape = disputed.trace_shape();
        let fine = shape.fine(pick % shape.leaves()).unwrap();
        let tree = disputed.tree(&fine);
        let roots = disputed.roots(&tree);
        let leaf = pick % fine.leaves();
        let address = fine.address(leaf).unwrap();
        let element = element % fine.geometry(&address).unwrap().elements(address.leaf);
        let openings = open(&fine, &disputed.evidence(&tree), leaf, element).unwrap();
        let claim = Claim { leaf, bytes: tree.leaf(leaf), element };
        let mut bytes = borsh::to_vec(&openings).unwrap();
        let at = byte % bytes.len();
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = borsh::from_slice::<Vec<Opening>>(&bytes) {
            prop_assert!(check_step(&fine, &roots, &claim, &changed).is_err());
        }
    }
}
