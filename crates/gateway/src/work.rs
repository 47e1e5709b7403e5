//! From what a caller asks to requests for the network, and from what the network gives to a
//! finished, billed task with its bundles.
//!
//! Rules: input is never cut: what is too long is refused; what a task may cost is reserved
//! before it starts; it is billed once, with its answer and bundles, in one write.
//! Never here: HTTP, who waits.

use crate::{
    config::KnownModel,
    duplicates::Duplicates,
    error::{ApiError, Code},
    keys::{Keys, Reservation},
    now,
    run::{Ran, Runner, Work},
    store::{Answer, Records, TaskRecord},
    tasks::{End, Task},
};
use client::{
    bundle::{self, BUNDLE_VERSION, Bundle, Source},
    keystore::random_bytes,
    openai::{ChatRequest, EmbeddingsRequest, Item},
};
use crypto::Salt;
use ledger::payments::schema::{AuditMode, Finish, Sampling};
use light::ChainAnchor;
use model::{Output, inspect::Task as Kind};
use preprocess::{Preprocess, PreprocessError, StopMatcher, StreamDecoder};
use std::{ops::ControlFlow, sync::Arc};
use tokio::{sync::Semaphore, task::JoinSet};
use units::{BasisPoints, Credit, List, Rounding};

/// Tokens of an answer when the caller names no bound.
const DEFAULT_MAX_TOKENS: u32 = 256;
/// Items of one embeddings call that are on their way at once.
const ITEMS_AT_ONCE: usize = 16;

/// What is asked of the network for one call, ready to run.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) model: Arc<KnownModel>,
    pub(crate) works: Vec<(Work, Source)>,
    pub(crate) stop: Vec<String>,
}

/// Runs prepared calls.
#[derive(Debug)]
pub(crate) struct Shop {
    pub(crate) anchor: ChainAnchor,
    pub(crate) margin: BasisPoints,
    pub(crate) runner: Arc<Runner>,
    pub(crate) duplicates: Arc<Duplicates>,
    pub(crate) records: Records,
    pub(crate) keys: Arc<Keys>,
}

/// A chat, tokenised. Takes as long as its text is long: not for the async threads.
pub(crate) fn prepare_chat(
    model: Arc<KnownModel>,
    request: &ChatRequest,
    audit_mode: AuditMode,
) -> Result<Prepared, ApiError> {
    if model.facts.task != Kind::Generate {
        return Err(wrong_kind(&model, "chat completions"));
    }
    let ids =
        model.preprocess.chat(&request.messages).map_err(|error| refused(&error, "messages"))?;
    let n_in = check_length(&model, &ids, "messages")?;
    let room = model.facts.max_positions.saturating_sub(n_in).saturating_add(1);
    let max_tokens = match request.max_tokens {
        Some(asked) if asked > room => {
            let most = model.facts.max_positions;
            let message = format!(
                "{n_in} tokens of input and {asked} of output exceed the model's {most} positions"
            );
            let hint = format!("lower max_tokens to at most {room}");
            return Err(
                ApiError::new(Code::ContextLengthExceeded, message, hint).of_field("max_tokens")
            );
        }
        asked => asked.unwrap_or(DEFAULT_MAX_TOKENS.min(room)),
    };
    let seed = match request.seed {
        Some(seed) => seed,
        None => random_seed()?,
    };
    let source = request.messages.iter().map(Into::into).collect();
    let source = Source::Chat(List::new(source).map_err(ApiError::internal)?);
    let sampling = request.sampling;
    let work = Work {
        model: Arc::clone(&model),
        ids,
        salt: salt()?,
        sampling,
        seed,
        max_tokens,
        audit_mode,
    };
    Ok(Prepared { model, works: vec![(work, source)], stop: request.stop.clone() })
}

/// Items to embed, tokenised.
pub(crate) fn prepare_embeddings(
    model: Arc<KnownModel>,
    request: EmbeddingsRequest,
    audit_mode: AuditMode,
) -> Result<Prepared, ApiError> {
    if model.facts.task != Kind::Embed {
        return Err(wrong_kind(&model, "embeddings"));
    }
    let width = model.facts.width;
    if request.dimensions.is_some_and(|asked| asked != u64::from(width)) {
        let message = format!("{} has {width} dimensions and no others", model.name);
        return Err(ApiError::new(Code::InvalidValue, message, "leave out dimensions")
            .of_field("dimensions"));
    }
    let sampling = Sampling { temperature_milli: 0, top_p_milli: 1_000, top_k: 0 };
    let mut works = Vec::with_capacity(request.items.len());
    for (index, item) in request.items.into_iter().enumerate() {
        let field = format!("input[{index}]");
        let (ids, source) = match item {
            Item::Text(text) => {
                let ids =
                    model.preprocess.encode(&text).map_err(|error| refused(&error, &field))?;
                (ids, Source::Text(text))
            }
            Item::Ids(ids) => (ids, Source::Ids),
        };
        check_length(&model, &ids, &field)?;
        check_range(&model, &ids, &field)?;
        let work = Work {
            model: Arc::clone(&model),
            ids,
            salt: salt()?,
            sampling,
            seed: 0,
            max_tokens: 0,
            audit_mode,
        };
        works.push((work, source));
    }
    Ok(Prepared { model, works, stop: Vec::new() })
}

impl Shop {
    /// Holds back what a call may cost.
    pub(crate) fn reserve(
        &self,
        key: crypto::Digest,
        prepared: &Prepared,
    ) -> Result<Reservation, ApiError> {
        let mut most = 0_u128;
        for (work, _) in &prepared.works {
            let fee = self.runner.most(work)?;
            most = most.saturating_add(fee.get()).saturating_add(self.margin_on(fee)?.get());
        }
        self.keys.reserve(key, Credit::new(most))
    }

    /// What the gateway takes on top of a fee; rounds up, for it is stated.
    fn margin_on(&self, fee: Credit) -> Result<Credit, ApiError> {
        let margin = self.margin.of(fee.get(), Rounding::Up);
        margin.map(Credit::new).map_err(ApiError::internal)
    }

    /// Runs a call to its end and tells who waits.
    pub(crate) async fn run(
        self: Arc<Self>,
        task: Arc<Task>,
        prepared: Prepared,
        reservation: Reservation,
    ) {
        let result = match prepared.model.facts.task {
            Kind::Generate => self.chat(&task, &prepared).await,
            Kind::Embed => self.embed(&task, &prepared).await,
        };
        let end = match result {
            Ok((answer, rans)) => self.finish(&task, prepared, reservation, answer, rans).await,
            Err(error) => Err(error),
        };
        task.end(end.unwrap_or_else(End::Failed), now().get());
    }

    async fn chat(&self, task: &Task, prepared: &Prepared) -> Result<(Answer, Vec<Ran>), ApiError> {
        let (work, _) = prepared.works.first().ok_or_else(|| ApiError::internal("no work"))?;
        let mut text = ChatText::new(&prepared.model.preprocess, &prepared.stop)?;
        let mut on_tokens = |ids: &[u32]| text.take(ids, task);
        let ran = self.runner.run(work, task.cancel.subscribe(), &mut on_tokens).await?;
        let stopped = text.finish(task);
        let receipt = &ran.receipt.message;
        let finish = match receipt.finish {
            _ if stopped.by_string => "stop",
            Finish::Stop => "stop",
            // A deadline that passes leaves less than was asked for, as a bound does.
            Finish::Length | Finish::Cancelled => "length",
        };
        let answer = Answer::Chat {
            text: stopped.text,
            finish: finish.to_owned(),
            tokens_in: receipt.n_in.into(),
            tokens_out: receipt.n_out.into(),
        };
        Ok((answer, vec![ran]))
    }

    async fn embed(
        self: &Arc<Self>,
        task: &Task,
        prepared: &Prepared,
    ) -> Result<(Answer, Vec<Ran>), ApiError> {
        let places = Arc::new(Semaphore::new(ITEMS_AT_ONCE));
        let mut running = JoinSet::new();
        for (index, (work, _)) in prepared.works.iter().cloned().enumerate() {
            let (shop, places) = (Arc::clone(self), Arc::clone(&places));
            let cancel = task.cancel.subscribe();
            running.spawn(async move {
                let _place = places.acquire_owned().await;
                let mut no_tokens = |_: &[u32]| ControlFlow::Continue(());
                (index, shop.runner.run(&work, cancel, &mut no_tokens).await)
            });
        }
        let mut rans: Vec<Option<Ran>> = vec![None; prepared.works.len()];
        // The first failure ends the call: dropping the set stops the others.
        while let Some(joined) = running.join_next().await {
            let (index, ran) = joined.map_err(ApiError::internal)?;
            if let Some(slot) = rans.get_mut(index) {
                *slot = Some(ran?);
            }
        }
        let rans: Vec<Ran> = rans.into_iter().flatten().collect();
        let rows = rans.iter().filter_map(|ran| match &ran.output {
            Output::Row(row) => Some(row.clone()),
            Output::Tokens(_) => None,
        });
        let tokens_in = rans.iter().map(|ran| u64::from(ran.receipt.message.n_in)).sum();
        Ok((Answer::Rows { rows: rows.collect(), tokens_in }, rans))
    }

    /// Writes answer, bundles and charge in one go.
    async fn finish(
        &self,
        task: &Task,
        prepared: Prepared,
        reservation: Reservation,
        answer: Answer,
        rans: Vec<Ran>,
    ) -> Result<End, ApiError> {
        let mut cost = 0_u128;
        let mut bundles = Vec::with_capacity(rans.len());
        for (item, ((work, source), ran)) in (0..).zip(prepared.works.into_iter().zip(rans)) {
            let fee = ran.receipt.message.fee;
            let margin = self.margin_on(fee)?;
            cost = cost.saturating_add(fee.get()).saturating_add(margin.get());
            self.duplicates.consider(&work, &ran);
            bundles.push(self.bundle(work, source, ran, item, &prepared.stop, margin)?);
        }
        let cost = Credit::new(cost);
        let record = TaskRecord {
            id: task.id.clone(),
            key: task.ask.key,
            body: task.ask.body,
            idempotency: task.ask.idempotency,
            created: task.created_ms,
            model: prepared.model.name.clone(),
            cost,
            bundles: u32::try_from(bundles.len()).unwrap_or(u32::MAX),
            answer: answer.clone(),
        };
        self.records.finish_task(&record, &bundles).await.map_err(ApiError::internal)?;
        reservation.charge(cost);
        Ok(End::Done { answer: Arc::new(answer), cost })
    }

    fn bundle(
        &self,
        work: Work,
        source: Source,
        ran: Ran,
        item: u32,
        stop: &[String],
        margin: Credit,
    ) -> Result<Bundle, ApiError> {
        let output = match ran.output {
            Output::Tokens(ids) => List::new(ids).map(bundle::Output::Tokens),
            Output::Row(row) => List::new(row).map(bundle::Output::Row),
        };
        Ok(Bundle {
            version: BUNDLE_VERSION,
            anchor: self.anchor.clone(),
            request: ran.request,
            receipt: ran.receipt,
            box_key: ran.box_key,
            salt: work.salt,
            source,
            item,
            input: List::new(work.ids).map_err(ApiError::internal)?,
            output: output.map_err(ApiError::internal)?,
            stop: List::new(stop.to_vec()).map_err(ApiError::internal)?,
            margin,
            settlement: None,
        })
    }
}

/// An answer's text as its tokens come.
struct ChatText {
    decoder: Option<StreamDecoder>,
    matcher: Option<StopMatcher>,
    text: String,
    stopped: bool,
}

/// A whole answer.
struct Stopped {
    text: String,
    /// Whether a stop string ended it.
    by_string: bool,
}

impl ChatText {
    fn new(preprocess: &Arc<Preprocess>, stop: &[String]) -> Result<Self, ApiError> {
        let matcher = StopMatcher::new(stop.to_vec()).map_err(|error| refused(&error, "stop"))?;
        let decoder = StreamDecoder::new(Arc::clone(preprocess));
        Ok(Self {
            decoder: Some(decoder),
            matcher: Some(matcher),
            text: String::new(),
            stopped: false,
        })
    }

    /// Shows what the tokens say, and asks for no more after a stop string.
    fn take(&mut self, ids: &[u32], task: &Task) -> ControlFlow<()> {
        let (Some(decoder), Some(matcher)) = (&mut self.decoder, &mut self.matcher) else {
            return ControlFlow::Break(());
        };
        for id in ids {
            if self.stopped {
                break;
            }
            let matched = matcher.push(&decoder.push(*id));
            self.stopped = matched.stop.is_some();
            show(&mut self.text, matched.text, task);
        }
        if self.stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Shows what was held back.
    fn finish(mut self, task: &Task) -> Stopped {
        if let (Some(decoder), Some(mut matcher), false) =
            (self.decoder.take(), self.matcher.take(), self.stopped)
        {
            let matched = matcher.push(&decoder.finish());
            self.stopped = matched.stop.is_some();
            show(&mut self.text, matched.text, task);
            if !self.stopped {
                let matched = matcher.finish();
                self.stopped = matched.stop.is_some();
                show(&mut self.text, matched.text, task);
            }
        }
        Stopped { text: self.text, by_string: self.stopped }
    }
}

fn show(all: &mut String, piece: String, task: &Task) {
    if !piece.is_empty() {
        all.push_str(&piece);
        task.push(piece);
    }
}

/// The number of tokens, if the model takes that many.
fn check_length(model: &KnownModel, ids: &[u32], field: &str) -> Result<u32, ApiError> {
    let limit = model.facts.max_input;
    let tokens = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    if tokens > limit {
        let message = format!("{field} has {tokens} tokens, {} takes {limit}", model.name);
        let hint = "shorten the input; it is never cut silently";
        return Err(ApiError::new(Code::ContextLengthExceeded, message, hint).of_field(field));
    }
    if tokens == 0 {
        let message = format!("{field} has no tokens");
        return Err(ApiError::new(Code::InvalidValue, message, "send some text").of_field(field));
    }
    Ok(tokens)
}

fn check_range(model: &KnownModel, ids: &[u32], field: &str) -> Result<(), ApiError> {
    let vocabulary = model.facts.vocabulary;
    match ids.iter().position(|id| *id >= vocabulary) {
        None => Ok(()),
        Some(index) => {
            let message = format!("a token id of {} is below {vocabulary}", model.name);
            let hint = "use ids of this model's own tokenizer";
            let field = format!("{field}[{index}]");
            Err(ApiError::new(Code::InvalidValue, message, hint).of_field(field))
        }
    }
}

fn wrong_kind(model: &KnownModel, wanted: &str) -> ApiError {
    let message = format!("{} does not serve {wanted}", model.name);
    ApiError::new(Code::InvalidValue, message, "see GET /v1/models").of_field("model")
}

fn refused(error: &PreprocessError, field: &str) -> ApiError {
    ApiError::new(Code::InvalidValue, error.to_string(), "change the input").of_field(field)
}

fn salt() -> Result<Salt, ApiError> {
    Ok(Salt::new(*random_bytes().map_err(ApiError::internal)?))
}

fn random_seed() -> Result<u64, ApiError> {
    let bytes = random_bytes().map_err(ApiError::internal)?;
    let first = bytes.first_chunk::<8>().copied().unwrap_or_default();
    Ok(u64::from_le_bytes(first))
}
