//! What an audit and a dispute cost: a run done again from its claimed output, and the fine tree of
//! one leaf, which both parties build at most once a dispute.

use std::ops::ControlFlow;
use std::sync::Arc;

use engine::{Engine, Job, Options, Output, Rerun, Sampling};
use model::step::{CoarseLeaf, FineTree, Plan, TraceShape};

use crate::clock::took;
use crate::peers::pull;
use crate::report::{Figure, Report};

/// A party has minutes; the bar keeps it far from them.
const TREE: f64 = 3.0;

pub(crate) fn run(report: &mut Report) {
    let model = pull("all-minilm-l6-v2").model;
    let engine = Engine::load(model, Options::default()).expect("it loads");
    let ids: Vec<u32> = (0..128).map(|at| 1_000 + at * 37 % 20_000).collect();
    let rerun = engine.rerun(&Job::embed(&ids), &[]).expect("a short input");
    let leaves = [CoarseLeaf::Boundary { position: 127, boundary: 3 }, CoarseLeaf::Row];
    trees(report, "minilm.128", &engine, &rerun, &leaves);
    drop(engine);

    let model = pull("smollm2-135m-instruct").model;
    let engine = Engine::load(Arc::clone(&model), Options::default()).expect("it loads");
    let sampling = Sampling { temperature_milli: 800, top_p_milli: 950, top_k: 40 };
    for given in [64, 512] {
        // Without stop ids of its own the model would end where it likes: other seeds are tried.
        let runs = (0..200).map(|seed| {
            let job = Job { ids: &ids[..32], sampling, seed, max_tokens: given, stop: &[] };
            let mut run = None;
            let took = took(|| {
                run = engine.generate(&job, &mut |_| ControlFlow::Continue(())).ok();
            });
            (job, run.expect("a short prompt"), took)
        });
        let (job, run, first) =
            runs.into_iter().find(|(_, run, _)| run.n_out == given).expect("some seed goes on");
        let Output::Tokens(tokens) = &run.output else { panic!("a decoder gives tokens") };
        let mut rerun = None;
        let again = took(|| rerun = engine.rerun(&job, tokens).ok());
        let rerun = rerun.expect("a run that was");
        assert_eq!(rerun.run(), &run);
        let name = format!("smollm2.{given}");
        report.add(Figure::new(&format!("{name}.first_run"), first.wall, "s"));
        report.add(Figure::new(&format!("{name}.again"), again.wall, "s"));
        let ratio = Figure::new(&format!("{name}.again.ratio"), again.wall / first.wall, "x");
        report.add(ratio.at_most(1.0));
        let (position, output) = (31 + given - 1, given - 1);
        let leaves =
            [CoarseLeaf::Boundary { position, boundary: 15 }, CoarseLeaf::Token { output }];
        trees(report, &name, &engine, &rerun, &leaves);
    }
}

/// Rows and fine tree of each of these leaves.
fn trees(report: &mut Report, name: &str, engine: &Engine, rerun: &Rerun, leaves: &[CoarseLeaf]) {
    let plan = Plan::of(engine.model()).expect("a model that exists");
    let shape = TraceShape::new(&plan, rerun.shape()).expect("a run that was");
    for leaf in leaves {
        let index = shape.index(*leaf).expect("the run has it");
        let fine = shape.fine(index).expect("as above");
        let (mut rows, mut tree) = (None, None);
        let making = took(|| rows = engine.rows(rerun, index).ok());
        let rows = rows.expect("a run that was");
        let building = took(|| tree = FineTree::new(&fine, engine.model(), &rows).ok());
        let tree = tree.expect("rows are all there");
        let output = fine.output().start as usize..fine.output().end as usize;
        let digest = crypto::merkle::root(&tree.digests()[output]);
        assert_eq!(digest, rerun.leaves()[index as usize], "the tree is that of the leaf");
        let kind = match leaf {
            CoarseLeaf::Boundary { .. } => "block",
            CoarseLeaf::Token { .. } => "token",
            CoarseLeaf::Row => "row",
        };
        report.add(Figure::new(&format!("{name}.{kind}.rows"), making.wall, "s"));
        let tree = Figure::new(&format!("{name}.{kind}.tree"), building.wall, "s").at_most(TREE);
        report.add(tree);
    }
}
