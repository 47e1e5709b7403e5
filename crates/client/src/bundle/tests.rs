//! What a check of a bundle promises: each forgery fails, and with its own name.

use super::{Bundle, Check, Level, Output, Source, SourceMessage, Standing, VerifyError, verify};
use crypto::{AccountId, ChainId, Digest, Domain, ModelId, OperatorId, Salt, SecretKey, Signed};
use engine::{Engine, Job, Options};
use ledger::payments::schema::{
    AuditMode, Finish, Receipt, Request, RequestBody, Sampling, Tier, fee,
};
use light::{ChainAnchor, GroupKey};
use model::{Model, commit, work_units};
use preprocess::{Message, Preprocess, Role};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};
use units::{Credit, List, Millis, Price, Round, Text};

const PAYER: u8 = 1;
const SESSION: u8 = 2;
const BOX: u8 = 3;
const QUESTION: &str = "What holds a cloth together?";

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

/// An honest task, as gateway and operator would leave it.
struct Task {
    model: Arc<Model>,
    preprocess: Preprocess,
    bundle: Bundle,
    input: Value,
    answer: String,
}

static CHAT: LazyLock<Task> = LazyLock::new(chat);
static EMBEDDING: LazyLock<Task> = LazyLock::new(embedding);

fn anchor() -> ChainAnchor {
    ChainAnchor {
        name: Text::new("test").unwrap(),
        group_key: GroupKey::new([7; 96]),
        genesis: Digest::new([9; 32]),
    }
}

/// Signs a run of the model as the bundle of one request.
fn sealed(
    model: &Model,
    ids: &[u32],
    body: RequestBody,
    run: engine::Run,
    source: Source,
) -> Bundle {
    let salt = Salt::new([5; 32]);
    let operator = OperatorId::derive(&AccountId::new(key(BOX).public()), 0);
    let request = Request {
        body,
        payer: AccountId::new(key(PAYER).public()),
        session_key: key(SESSION).public(),
        operator,
        lane: 0,
        sequence: 1,
        price: Price::new(10),
        deadline: Millis::new(10_000),
        tier: Tier::Audit,
        audit_mode: AuditMode::Open,
        freshness: Round::new(3),
    };
    let work_units = work_units(model.facts(), run.n_in, run.n_out);
    let receipt = Receipt {
        operator,
        key_epoch: 0,
        request: request.hash(),
        output_commit: commit::output_commit(&salt, &run.output),
        trace_commit: commit::trace_commit(&run.trace_root, &salt),
        n_in: run.n_in,
        n_out: run.n_out,
        finish: Finish::Stop,
        work_units,
        fee: fee(request.price, work_units).unwrap(),
        sequence: 1,
        previous: Digest::ZERO,
        t_received: Millis::new(100),
        t_first: Millis::new(110),
        t_done: Millis::new(120),
    };
    let output = match run.output {
        engine::Output::Tokens(ids) => Output::Tokens(List::new(ids).unwrap()),
        engine::Output::Row(row) => Output::Row(List::new(row).unwrap()),
    };
    Bundle {
        version: super::BUNDLE_VERSION,
        anchor: anchor(),
        request: request.sign(&key(SESSION)),
        receipt: receipt.sign(&key(BOX)),
        box_key: key(BOX).public(),
        salt,
        source,
        item: 0,
        input: List::new(ids.to_vec()).unwrap(),
        output,
        stop: List::empty(),
        margin: Credit::ZERO,
        settlement: None,
    }
}

fn body(model: &Model, ids: &[u32], temperature_milli: u16, max_tokens: u32) -> RequestBody {
    RequestBody {
        chain: anchor().chain_id(),
        model: model.id(),
        semantics: model.manifest().semantics,
        input_commit: commit::input_commit(&Salt::new([5; 32]), ids),
        sampling: Sampling { temperature_milli, top_p_milli: 1_000, top_k: 0 },
        seed: 7,
        max_tokens,
        stop: List::empty(),
    }
}

fn chat() -> Task {
    let model = Arc::new(engine::tiny::chat().unwrap());
    let preprocess = Preprocess::from_bytes(model.preprocess()).unwrap();
    let message = Message { role: Role::User, content: QUESTION.to_owned() };
    let ids = preprocess.chat(std::slice::from_ref(&message)).unwrap();
    let sampling = engine::Sampling { temperature_milli: 800, top_p_milli: 1_000, top_k: 0 };
    let job = Job { ids: &ids, sampling, seed: 7, max_tokens: 9, stop: &[] };
    let engine = Engine::load(Arc::clone(&model), Options::default()).unwrap();
    let run = engine.generate(&job, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
    let engine::Output::Tokens(tokens) = &run.output else { unreachable!() };
    let answer = preprocess.decode(tokens);
    let source = Source::Chat(List::new(vec![SourceMessage::from(&message)]).unwrap());
    let bundle = sealed(&model, &ids, body(&model, &ids, 800, 9), run, source);
    let input = json!({
        "model": "tiny-test-chat", "messages": [{ "role": "user", "content": QUESTION }],
        "temperature": 0.8, "seed": 7, "max_tokens": 9, "stream": true,
    });
    Task { model, preprocess, bundle, input, answer }
}

fn embedding() -> Task {
    let model = Arc::new(engine::tiny::embed().unwrap());
    let preprocess = Preprocess::from_bytes(model.preprocess()).unwrap();
    let ids = preprocess.encode(QUESTION).unwrap();
    let engine = Engine::load(Arc::clone(&model), Options::default()).unwrap();
    let run =
        engine.generate(&Job::embed(&ids), &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
    let engine::Output::Row(row) = &run.output else { unreachable!() };
    let numbers: Vec<f32> = row.iter().map(|q| *q as f32 / 16_777_216.0).collect();
    let answer = json!({ "data": [{ "embedding": numbers }] }).to_string();
    let source = Source::Text(QUESTION.to_owned());
    let bundle = sealed(&model, &ids, body(&model, &ids, 0, 0), run, source);
    let input = json!({ "model": "tiny-test-embed", "input": [QUESTION] });
    Task { model, preprocess, bundle, input, answer }
}

/// Checks a bundle against the user's own files.
fn checked(task: &Task, bundle: &Bundle) -> Result<super::Report, VerifyError> {
    let input = task.input.to_string();
    check_with(task, bundle, Some(input.as_bytes()), Some(task.answer.as_bytes()))
}

fn check_with(
    task: &Task,
    bundle: &Bundle,
    input: Option<&[u8]>,
    output: Option<&[u8]>,
) -> Result<super::Report, VerifyError> {
    let Task { model, preprocess, .. } = task;
    verify(bundle, &Check { model, preprocess, trusted: None, input, output })
}

fn forged(task: &Task, forge: impl FnOnce(&mut Bundle)) -> VerifyError {
    let mut bundle = task.bundle.clone();
    forge(&mut bundle);
    checked(task, &bundle).unwrap_err()
}

fn signed_anew(bundle: &mut Bundle) {
    bundle.request = bundle.request.message.clone().sign(&key(SESSION));
    bundle.receipt.message.request = bundle.request.message.hash();
    bundle.receipt = bundle.receipt.message.clone().sign(&key(BOX));
}

#[test]
fn an_honest_bundle_reaches_the_level_signed() {
    for task in [&*CHAT, &*EMBEDDING] {
        let report = checked(task, &task.bundle).unwrap();
        assert_eq!(report.level, Level::Signed);
        assert_eq!(report.assurance, "single validator");
        let standing = |subject| {
            report.findings.iter().find(|finding| finding.subject == subject).unwrap().standing
        };
        assert_eq!(standing("prompt"), Standing::Proven);
        assert_eq!(standing("answer"), Standing::Proven);
        assert_eq!(standing("computation"), Standing::Replayable);
        assert_eq!(standing("operator"), Standing::Claimed);
        assert_eq!(standing("chain"), Standing::Claimed);
    }
}

#[test]
fn what_is_not_given_is_unknown_and_not_proven() {
    let report = check_with(&CHAT, &CHAT.bundle, None, None).unwrap();
    let unknown: Vec<_> =
        report.findings.iter().filter(|f| f.standing == Standing::Unknown).collect();
    assert_eq!(unknown.iter().map(|f| f.subject).collect::<Vec<_>>(), ["prompt", "answer"]);
}

#[test]
fn another_prompt_answer_or_parameter_is_called_so() {
    let mut input = CHAT.input.clone();
    input["messages"][0]["content"] = json!("What tears a cloth apart?");
    let answer = Some(CHAT.answer.as_bytes());
    let text = input.to_string();
    let error = check_with(&CHAT, &CHAT.bundle, Some(text.as_bytes()), answer).unwrap_err();
    assert!(matches!(error, VerifyError::OtherPrompt { .. }), "{error}");

    let error = check_with(&CHAT, &CHAT.bundle, None, Some(b"something else")).unwrap_err();
    assert_eq!(error, VerifyError::OtherAnswer);

    for (field, value) in [("seed", json!(8)), ("max_tokens", json!(10)), ("stop", json!(["x"]))] {
        let mut input = CHAT.input.clone();
        input[field] = value;
        let text = input.to_string();
        let error = check_with(&CHAT, &CHAT.bundle, Some(text.as_bytes()), answer).unwrap_err();
        assert_eq!(error, VerifyError::OtherParameter { field });
    }
}

#[test]
fn an_embedding_that_was_rounded_is_refused() {
    let numbers = vec![json!(0.123_456_789); 8];
    let rounded = json!({ "data": [{ "embedding": numbers }] }).to_string();
    let error = check_with(&EMBEDDING, &EMBEDDING.bundle, None, Some(rounded.as_bytes()));
    assert!(matches!(error.unwrap_err(), VerifyError::Own(_)));
}

#[test]
fn each_forgery_fails_with_its_own_name() {
    let other = |n: u8| Digest::new([n; 32]);
    let task = &*CHAT;
    let named =
        |error: VerifyError| format!("{error:?}").split([' ', '(']).next().unwrap().to_owned();
    let cases: Vec<(&str, VerifyError)> = vec![
        ("OtherChain", forged(task, |b| b.anchor.genesis = other(1))),
        (
            "OtherModel",
            forged(task, |b| {
                b.request.message.body.model = ModelId::new(other(1));
            }),
        ),
        ("OtherSemantics", forged(task, |b| b.request.message.body.semantics += 1)),
        (
            "OtherPrompt",
            forged(task, |b| {
                let mut ids = b.input.to_vec();
                ids[0] += 1;
                b.input = List::new(ids).unwrap();
            }),
        ),
        ("InputCommit", forged(task, |b| b.salt = Salt::new([6; 32]))),
        ("OutputCommit", forged(task, |b| b.receipt.message.output_commit = other(2))),
        (
            "OtherOperator",
            forged(task, |b| {
                b.receipt.message.operator = OperatorId::new(other(3));
            }),
        ),
        ("Length", forged(task, |b| b.receipt.message.n_in += 1)),
        (
            "Work",
            forged(task, |b| {
                let work = b.receipt.message.work_units.get();
                b.receipt.message.work_units = units::WorkUnits::new(work + 1);
            }),
        ),
        ("Fee", forged(task, |b| b.request.message.price = Price::new(11))),
        ("Sequence", forged(task, |b| b.receipt.message.sequence = 2)),
        ("OtherRequest", forged(task, |b| b.request.message.deadline = Millis::new(1))),
        (
            "RequestSignature",
            forged(task, |b| {
                b.request.message.deadline = Millis::new(1);
                b.receipt.message.request = b.request.message.hash();
            }),
        ),
        ("ReceiptSignature", forged(task, |b| b.receipt.message.t_done = Millis::new(1))),
        ("ReceiptSignature", forged(task, |b| b.box_key = key(PAYER).public())),
    ];
    for (name, error) in cases {
        assert_eq!(named(error), name);
    }
}

#[test]
fn a_receipt_of_another_task_is_refused_though_honestly_signed() {
    let mut bundle = CHAT.bundle.clone();
    let mut other = CHAT.bundle.clone();
    other.request.message.sequence = 1;
    other.request.message.freshness = Round::new(4);
    signed_anew(&mut other);
    bundle.receipt = other.receipt;
    assert_eq!(checked(&CHAT, &bundle).unwrap_err(), VerifyError::OtherRequest);
}

#[test]
fn a_chain_that_the_user_does_not_trust_is_refused() {
    let Task { model, preprocess, bundle, .. } = &*CHAT;
    let trusted = Some(ChainId::new(Digest::new([1; 32])));
    let check = Check { model, preprocess, trusted, input: None, output: None };
    let error = verify(bundle, &check).unwrap_err();
    assert!(matches!(error, VerifyError::UntrustedChain { .. }));
}

#[test]
fn a_bundle_survives_its_json() {
    for task in [&*CHAT, &*EMBEDDING] {
        let json = serde_json::to_vec(&task.bundle).unwrap();
        assert_eq!(Bundle::parse(&json).unwrap(), task.bundle);
    }
}

#[test]
fn another_version_is_refused_and_not_guessed_at() {
    let mut value = serde_json::to_value(&CHAT.bundle).unwrap();
    value["version"] = json!(2);
    let error = Bundle::parse(value.to_string().as_bytes()).unwrap_err();
    assert!(matches!(error, super::ParseError::Version { found: 2 }));
}

#[test]
fn signing_for_another_purpose_does_not_count() {
    let mut bundle = CHAT.bundle.clone();
    let message = bundle.receipt.message.clone();
    let signature = key(BOX).sign(Domain::Voucher, &message);
    bundle.receipt = Signed { message, signature };
    assert_eq!(checked(&CHAT, &bundle).unwrap_err(), VerifyError::ReceiptSignature);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_changed_character_never_verifies(at: prop::sample::Index, to in "[0-9a-f]") {
        let mut json = serde_json::to_string(&CHAT.bundle).unwrap();
        let at = at.index(json.len());
        if json.is_char_boundary(at) && json.is_char_boundary(at + 1) {
            json.replace_range(at..=at, &to);
        }
        if let Ok(bundle) = Bundle::parse(json.as_bytes())
            && let Ok(report) = checked(&CHAT, &bundle)
        {
            // What is left to vary is what nobody signed for: who takes which margin, and how
            // the source was written down, which the user's own prompt overrides.
            let same = Bundle {
                margin: CHAT.bundle.margin,
                source: CHAT.bundle.source.clone(),
                item: CHAT.bundle.item,
                ..bundle
            };
            prop_assert_eq!(same, CHAT.bundle.clone());
            prop_assert_eq!(report.level, Level::Signed);
        }
    }
}
