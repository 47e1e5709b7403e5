//! Disputes over real models, played to their end: rounds, bytes, the last step, and how long a
//! party computes.
//!
//! A flipped bit at a step of the last position and in the row that follows: the deepest trees of
//! the run. Both parties play through the ledger's own player over the fast engine; the referee is
//! the ledger with the validators' port. Needs the catalogue's models; fetches them when they are
//! not there. Prints a table and writes the figures to `target/bench/verification.json`.

mod lie;
#[path = "../../../engine/benches/report/mod.rs"]
mod report;
mod table;

use engine::{
    Engine, Options,
    store::{Loaded, Store},
};
use ledger::{
    disputes::{
        Party, Tx,
        moves::Move,
        player::{Run as _, next_move},
    },
    payments::messages::{RequestBody, Sampling},
};
use lie::Lie;
use model::{
    Output,
    step::{CoarseLeaf, Plan, TraceShape},
};
use operator::{Execution, Order, Side};
use report::{Figure, Report};
use std::{
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};
use table::{CHALLENGER, OWNER, SALT, Table, challenge};

/// Most rounds: a round is a move of each side.
const ROUNDS: f64 = 12.0;
/// Most bytes of all moves.
const BYTES: f64 = 48.0 * 1024.0;
/// Most bytes of the last move.
const STEP_BYTES: f64 = 16.0 * 1024.0;

fn main() {
    let mut report = Report::new("verification");
    let ids: Vec<u32> = (0..128).map(|at| 1_000 + at * 37 % 20_000).collect();
    let greedy = Sampling { temperature_milli: 0, top_p_milli: 1_000, top_k: 0 };
    let minilm = Bench::new("all-minilm-l6-v2");
    let boundary = CoarseLeaf::Boundary { position: 127, boundary: 6 };
    let case = Case { ids: &ids, sampling: greedy, max_tokens: 0 };
    minilm.dispute(&mut report, "minilm.128.row", &case, boundary);
    minilm.dispute(&mut report, "minilm.128.output", &case, CoarseLeaf::Row);
    drop(minilm);

    let smollm = Bench::new("smollm2-135m-instruct");
    let sampling = Sampling { temperature_milli: 800, top_p_milli: 950, top_k: 40 };
    for max_tokens in [64, 512] {
        let case = Case { ids: &ids[..32], sampling, max_tokens };
        let (position, output) = (31 + max_tokens - 1, max_tokens - 1);
        let boundary = CoarseLeaf::Boundary { position, boundary: 30 };
        let name = format!("smollm2.{max_tokens}");
        smollm.dispute(&mut report, &format!("{name}.row"), &case, boundary);
        smollm.dispute(&mut report, &format!("{name}.token"), &case, CoarseLeaf::Token { output });
    }
    report.finish();
}

/// What is asked.
struct Case<'a> {
    ids: &'a [u32],
    sampling: Sampling,
    /// Tokens that the run gives; 0 for an embedding.
    max_tokens: u32,
}

struct Bench {
    loaded: Loaded,
    engine: Arc<Engine>,
}

impl Bench {
    fn new(name: &str) -> Self {
        let store = Store::open(Store::default_dir()).expect("the catalogue is built in");
        let loaded = store.pull(name, &mut |_| {}).expect("the model can be fetched");
        let engine = Engine::load(Arc::clone(&loaded.model), Options::default());
        Self { engine: Arc::new(engine.expect("it loads")), loaded }
    }

    /// The request of a case, and what the model answers: as many tokens as were asked for.
    fn served(&self, table: &Table, case: &Case<'_>) -> (RequestBody, Vec<u32>) {
        let model = &self.loaded.model;
        for seed in 0..200 {
            let body = table.body(model, case.ids, case.sampling, seed, case.max_tokens);
            if case.max_tokens == 0 {
                return (body, Vec::new());
            }
            let Sampling { temperature_milli, top_p_milli, top_k } = case.sampling;
            let sampling = model::Sampling { temperature_milli, top_p_milli, top_k };
            let (ids, max_tokens) = (case.ids, case.max_tokens);
            let job = model::Job { ids, sampling, seed, max_tokens, stop: &[] };
            let run = self.engine.generate(&job, &mut |_| ControlFlow::Continue(()));
            let run = run.expect("a short prompt");
            match run.output {
                Output::Tokens(tokens) if run.n_out == max_tokens => return (body, tokens),
                _ => {}
            }
        }
        panic!("no seed of 200 goes on for so long");
    }

    /// Plays a dispute over a flipped bit in the middle of the fine tree of `at`.
    fn dispute(&self, report: &mut Report, name: &str, case: &Case<'_>, at: CoarseLeaf) {
        let model = &self.loaded.model;
        let mut table = Table::new(model);
        let (body, tokens) = self.served(&table, case);
        let n_in = u32::try_from(case.ids.len()).expect("short");
        // The salt of a receipt's trace commitment is checked against the lie, not the right run.
        let execute = |side| {
            let placeholder = table.receipt(model, body.clone(), n_in, &self.nothing(case));
            let receipt = &placeholder.receipt.message;
            let (ids, guess) = (case.ids, tokens.as_slice());
            let order = Order { body: &body, receipt, ids, salt: SALT, guess };
            Execution::new(Arc::clone(&self.engine), &order, side).expect("a run that was")
        };
        let start = Instant::now();
        let mut right = execute(Side::Challenger);
        let again = start.elapsed();
        let (coarse, leaves) = self.place(case, at);
        let start = Instant::now();
        right.fine(coarse).expect("a leaf of the run");
        let tree = start.elapsed();
        let mut lie = Lie { right: execute(Side::Challenger), coarse, leaf: leaves / 2 };
        let finding = lie.finding().expect("a leaf of the run");
        let subject = table.receipt(model, body.clone(), n_in, &finding);
        let id = subject.receipt.message.hash();
        table.send(CHALLENGER, challenge(&subject, &right));

        let (mut moves, mut bytes, mut last) = (0_u32, 0, (0, Duration::ZERO));
        while let Some(line) = table.line(&id) {
            let record = table.dispute(&id);
            let party = line.phase.turn();
            let play = match party {
                Party::Defender => next_move(&record, &line, party, &mut lie),
                Party::Challenger => next_move(&record, &line, party, &mut right),
            };
            let play = play.expect("both have something to show");
            let step = matches!(play, Move::Execute { .. });
            let mover = if party == Party::Defender { OWNER } else { CHALLENGER };
            let sent = table.send(mover, Tx::Play { receipt: id, line: 0, play });
            (moves, bytes) = (moves + 1, bytes + sent.0);
            if step {
                last = sent;
            }
        }
        assert!(table.is_proven(&id), "the false receipt is proven wrong");
        let figure = |what: &str, value, unit| Figure::new(&format!("{name}.{what}"), value, unit);
        report.add(figure("fine_leaves", leaves as f64, ""));
        report.add(figure("rounds", f64::from(moves.div_ceil(2)), "").at_most(ROUNDS));
        report.add(figure("bytes", bytes as f64, "B").at_most(BYTES));
        report.add(figure("last_step.bytes", last.0 as f64, "B").at_most(STEP_BYTES));
        report.add(figure("last_step", last.1.as_secs_f64() * 1e3, "ms").at_most(1.0));
        report.add(figure("execute_again", again.as_secs_f64(), "s"));
        report.add(figure("fine_tree", tree.as_secs_f64(), "s"));
    }

    /// A finding that only says how long the run is.
    fn nothing(&self, case: &Case<'_>) -> ledger::disputes::moves::Finding {
        ledger::disputes::moves::Finding {
            trace_root: crypto::Digest::ZERO,
            output_commit: crypto::Digest::ZERO,
            n_out: case.max_tokens.max(1),
            finish: ledger::payments::messages::Finish::Stop,
        }
    }

    /// Index of a coarse leaf, and how many leaves its fine tree has.
    fn place(&self, case: &Case<'_>, at: CoarseLeaf) -> (u64, u64) {
        let plan = Plan::of(&self.loaded.model).expect("a model that exists");
        let Sampling { temperature_milli, top_p_milli, top_k } = case.sampling;
        let run = model::step::RunShape {
            n_in: u32::try_from(case.ids.len()).expect("short"),
            n_out: case.max_tokens.max(1),
            sampling: model::Sampling { temperature_milli, top_p_milli, top_k },
            seed: 0,
        };
        let shape = TraceShape::new(&plan, run).expect("a legal run");
        let index = shape.index(at).expect("a leaf of the run");
        (index, shape.fine(index).expect("a leaf of the run").leaves())
    }
}
