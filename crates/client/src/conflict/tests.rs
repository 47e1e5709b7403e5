//! Which pairs of answers make a certificate, and that its openings hold.

use super::{Answer, certificate};
use crypto::{
    AccountId, ChainId, Digest, Domain, ModelId, OperatorId, Salt, SecretKey, Signed, hash,
};
use ledger::{
    payments::messages::{AuditMode, Finish, Receipt, Request, RequestBody, Sampling, Tier},
    verification::Contradiction,
};
use model::{Output, commit};
use units::{Credit, List, Millis, Price, Round, WorkUnits};

const SALT: Salt = Salt::new([4; 32]);

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed([number; 32])
}

/// An answer of operator `number` to the request with `seed`.
fn answer(
    number: u8,
    seed: u64,
    output: Output,
    finish: Finish,
) -> (Signed<Request>, Signed<Receipt>, Output) {
    let payer = AccountId::new(key(1).public());
    let operator = OperatorId::derive(&AccountId::new(key(number).public()), 0);
    let body = RequestBody {
        chain: ChainId::new(Digest::ZERO),
        model: ModelId::new(Digest::ZERO),
        semantics: 1,
        input_commit: commit::input_commit(&SALT, &[1, 2]),
        sampling: Sampling { temperature_milli: 0, top_p_milli: 1_000, top_k: 0 },
        seed,
        max_tokens: 8,
        stop: List::empty(),
    };
    let request = Request {
        body,
        payer,
        session_key: key(1).public(),
        operator,
        lane: 0,
        sequence: 1,
        price: Price::new(1),
        deadline: Millis::new(1_000),
        tier: Tier::Audit,
        audit_mode: AuditMode::Open,
        freshness: Round::ZERO,
    };
    let n_out = match &output {
        Output::Tokens(tokens) => u32::try_from(tokens.len()).unwrap(),
        Output::Row(_) => 1,
    };
    let receipt = Receipt {
        operator,
        key_epoch: 0,
        request: request.hash(),
        output_commit: commit::output_commit(&SALT, &output),
        trace_commit: Digest::ZERO,
        n_in: 2,
        n_out,
        finish,
        work_units: WorkUnits::new(1),
        fee: Credit::new(1),
        sequence: 1,
        previous: Digest::ZERO,
        t_received: Millis::ZERO,
        t_first: Millis::ZERO,
        t_done: Millis::ZERO,
    };
    (request.sign(&key(1)), receipt.sign(&key(number)), output)
}

fn tokens(number: u8, ids: &[u32], finish: Finish) -> (Signed<Request>, Signed<Receipt>, Output) {
    answer(number, 7, Output::Tokens(ids.to_vec()), finish)
}

fn found(
    first: &(Signed<Request>, Signed<Receipt>, Output),
    second: &(Signed<Request>, Signed<Receipt>, Output),
) -> Option<Contradiction> {
    let of = |it| {
        let (request, receipt, output): &(_, _, _) = it;
        Answer { request, receipt, output }
    };
    let made = certificate(&SALT, of(first), of(second))?;
    assert_eq!((&made.first.receipt, &made.second.receipt), (&first.1, &second.1));
    Some(made.contradiction)
}

#[test]
fn equal_answers_contradict_each_other_in_nothing() {
    let (one, other) = (tokens(2, &[5, 6], Finish::Stop), tokens(3, &[5, 6], Finish::Stop));
    assert_eq!(found(&one, &other), None);
}

#[test]
fn the_first_token_that_differs_is_opened_in_both_under_its_own_salt() {
    let one = tokens(2, &[5, 6, 7], Finish::Stop);
    let other = tokens(3, &[5, 9, 7, 8], Finish::Length);
    let Some(Contradiction::Output { index: 1, first, second }) = found(&one, &other) else {
        panic!("a token differs")
    };
    for (answer, leaf, count) in [(&one, first, 3), (&other, second, 4)] {
        let digest = hash(Domain::SaltedLeaf, &[leaf.salt.as_bytes(), &leaf.data]);
        let root = &answer.1.message.output_commit;
        leaf.path.verify(root, count, 1, &[digest]).unwrap();
    }
}

#[test]
fn an_answer_that_was_broken_off_contradicts_by_a_token_and_never_by_its_length() {
    let whole = tokens(2, &[5, 6, 7], Finish::Stop);
    assert_eq!(found(&whole, &tokens(3, &[5, 6], Finish::Cancelled)), None);
    assert_eq!(found(&whole, &tokens(3, &[], Finish::Cancelled)), None);
    let wrong = found(&whole, &tokens(3, &[4], Finish::Cancelled));
    assert!(matches!(wrong, Some(Contradiction::Output { index: 0, .. })));
}

#[test]
fn an_answer_that_says_it_is_complete_contradicts_a_longer_one() {
    let (short, long) = (tokens(2, &[5], Finish::Stop), tokens(3, &[5, 6], Finish::Stop));
    assert_eq!(found(&short, &long), Some(Contradiction::End));
    assert_eq!(found(&long, &short), Some(Contradiction::End));
}

#[test]
fn rows_contradict_in_the_piece_that_differs() {
    let row = |last| {
        let row = (0..1_030).map(|k| if k == 1_029 { last } else { k }).collect();
        Output::Row(row)
    };
    let one = answer(2, 7, row(1), Finish::Stop);
    let other = answer(3, 7, row(2), Finish::Stop);
    assert!(matches!(found(&one, &other), Some(Contradiction::Output { index: 1, .. })));
}

#[test]
fn answers_to_two_bodies_make_no_certificate() {
    let one = answer(2, 7, Output::Tokens(vec![5]), Finish::Stop);
    let other = answer(3, 8, Output::Tokens(vec![6]), Finish::Stop);
    assert_eq!(found(&one, &other), None);
}
