//! Pinned commitments and traces: these bytes stand in receipts.

use std::ops::ControlFlow;

use crypto::Salt;
use expect_test::expect;
use model::commit::{input_commit, output_commit, output_commit_row, trace_commit};
use model::{Finish, Job, Output, RunError, Sampling, reference};

use crate::support::{chat, embed};

fn go_on(_: u32) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn job(ids: &[u32], max_tokens: u32) -> Job<'_> {
    let sampling = Sampling { temperature_milli: 800, top_p_milli: 950, top_k: 20 };
    Job { ids, sampling, seed: 42, max_tokens, stop: &[] }
}

#[test]
fn commitments_are_pinned() {
    let salt = Salt::new([7; 32]);
    let row: Vec<i32> = (0..1_500).collect();
    let lines = [
        input_commit(&salt, &[1, 2, 3]),
        output_commit(&salt, &Output::Tokens(vec![1, 2, 3])),
        output_commit_row(&salt, &row),
        trace_commit(&crypto::Digest::new([9; 32]), &salt),
    ];
    let text: Vec<String> = lines.iter().map(ToString::to_string).collect();
    expect![[r#"
        60208d3c6e8278314a323d4f15267a5b96af31280d3311a377edb6310d8545f5
        9059d8b77065727bd9d7a3232aa02a52353cce6b56a3699fc9a27982c0f15e68
        63c65d5339280a03e308b416c56749b5d7f3ea17b097b53ee533d03f6c30090b
        96b9a855b278116d84108544b68f9f44342f699e2a1b1815399953fac80ad5cd"#]]
    .assert_eq(&text.join("\n"));
}

#[test]
fn runs_are_pinned() {
    let run = reference::run(&chat(), &job(&[3, 17, 40], 6), &mut go_on).unwrap();
    expect![[r#"
        Tokens([40, 40, 65, 65, 65, 65])
        Length
        4768b51e3fb89afc9293b4c118b90614ac12f867dfb9f16f99d3fe59fba28ed7"#]]
    .assert_eq(&format!("{:?}\n{:?}\n{}", run.output, run.finish, run.trace_root));
    let run = reference::run(&embed(), &Job::embed(&[3, 17, 40]), &mut go_on).unwrap();
    let Output::Row(row) = run.output else { panic!("an embedding gives a row") };
    expect![[r#"
        [681307, 2277333, -615551, 965672]
        d4ea605e798203b0ca506be95cbb34e25d5c26990ee762f3ff497724fa9c52a8"#]]
    .assert_eq(&format!("{:?}\n{}", &row[..4], run.trace_root));
}

#[test]
fn a_cancelled_run_is_the_start_of_the_whole_one() {
    let model = chat();
    let whole = reference::run(&model, &job(&[3, 17, 40], 6), &mut go_on).unwrap();
    let mut left = 2;
    let mut stop_soon = |_| {
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let cut = reference::run(&model, &job(&[3, 17, 40], 6), &mut stop_soon).unwrap();
    assert_eq!(cut.finish, Finish::Cancelled);
    let (Output::Tokens(cut_ids), Output::Tokens(whole_ids)) = (&cut.output, &whole.output) else {
        panic!("a decoder gives tokens")
    };
    assert_eq!(cut_ids[..], whole_ids[..2]);
    // Two tokens end where a run of at most two tokens ends: same leaves, same root.
    let short = reference::run(&model, &job(&[3, 17, 40], 2), &mut go_on).unwrap();
    assert_eq!((cut.trace_root, cut.n_out), (short.trace_root, 2));
    assert_ne!(cut.trace_root, whole.trace_root);
}

#[test]
fn a_stop_id_ends_the_run_and_is_part_of_it() {
    let model = chat();
    let whole = reference::run(&model, &job(&[3, 17, 40], 6), &mut go_on).unwrap();
    let Output::Tokens(ids) = &whole.output else { panic!("a decoder gives tokens") };
    let stop = [ids[0]];
    let stopped = Job { stop: &stop, ..job(&[3, 17, 40], 6) };
    let run = reference::run(&model, &stopped, &mut go_on).unwrap();
    assert_eq!((run.output, run.finish), (Output::Tokens(stop.to_vec()), Finish::Stop));
}

#[test]
fn positions_end_a_run() {
    let model = chat();
    let ids: Vec<u32> = (0..1_536).map(|at| at % 90).collect();
    let long = Job { ids: &ids, ..job(&ids, u32::MAX) };
    assert_eq!(long.check(model.facts()), Ok(()));
    let facts = model.facts();
    // The 513th token would stand at position 2,048 if it were fed back.
    assert_eq!(model::finish(facts, &long, &[], 512, 1), None);
    assert_eq!(model::finish(facts, &long, &[], 513, 1), Some(Finish::Length));
}

#[test]
fn jobs_out_of_range_are_refused() {
    let model = chat();
    let check = |job: Job<'_>| job.check(model.facts()).unwrap_err();
    let long = vec![1; 1_537];
    let stop = [1; 9];
    let sampling = Sampling { top_p_milli: 1_001, ..Sampling::GREEDY };
    assert_eq!(check(job(&[], 1)), RunError::EmptyInput);
    assert_eq!(check(job(&long, 1)), RunError::InputTooLong { tokens: 1_537, limit: 1_536 });
    let outside = RunError::TokenOutOfRange { id: 96, position: 1, vocabulary: 96 };
    assert_eq!(check(job(&[1, 96], 1)), outside);
    assert_eq!(check(job(&[1], 0)), RunError::NoTokens);
    let many = RunError::TooManyStopIds { given: 9, limit: 8 };
    assert_eq!(check(Job { stop: &stop, ..job(&[1], 1) }), many);
    let field = RunError::Sampling { field: "top_p_milli", value: 1_001, limit: 1_000 };
    assert_eq!(check(Job { sampling, ..job(&[1], 1) }), field);
}
