//! The checks, in an order in which each failure has its own name.
//!
//! Rules: first what the user kept against what the bundle opens, then the numbers against each
//! other, then the signatures, then the chain: so that a foreign prompt is called a foreign
//! prompt and not a bad signature. Never here: a check that is skipped silently; what was not
//! checked stands in the report as unknown.

use super::{
    Bundle, Level, Output, Settlement, Source, level,
    own::{Answer, OwnError, Prompt},
};
use crypto::{BadSignature, ChainId, Digest, Domain, ModelId, OperatorId, merkle_sum};
use ledger::payments::schema::fee;
use ledger::tables::CLAIMS;
use light::{CertificateError, StateError, verify_certificate, verify_state};
use model::{Model, commit, work_units};
use preprocess::{Message, Preprocess, StopMatcher};
use serde::Serialize;
use units::{Coin, Credit, WorkUnits};

/// What a check goes by.
#[derive(Clone, Copy, Debug)]
pub struct Check<'a> {
    /// The model that the request names.
    pub model: &'a Model,
    /// Its tokenizer.
    pub preprocess: &'a Preprocess,
    /// The chain id from a source that the user trusts.
    pub trusted: Option<ChainId>,
    /// The body of the user's own HTTP call.
    pub input: Option<&'a [u8]>,
    /// The answer that the user got.
    pub output: Option<&'a [u8]>,
}

/// How well a statement stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It follows from signatures, hashes and arithmetic that were checked here.
    Proven,
    /// Whoever has the model can find out by running it again.
    Replayable,
    /// Somebody says so.
    Claimed,
    /// Nothing was given to check it against.
    Unknown,
}

/// One statement of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub subject: &'static str,
    /// How well it stands.
    pub standing: Standing,
    /// In words.
    pub statement: String,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How far the receipt has come.
    pub level: Level,
    /// Who ordered the chain's blocks.
    pub assurance: &'static str,
    /// The receipt's hash.
    pub receipt: Digest,
    /// The model that ran.
    pub model: ModelId,
    /// Who ran it.
    pub operator: OperatorId,
    /// What the operator charged.
    pub fee: Credit,
    /// What the operator had bonded when it filed the claim.
    pub bond: Option<Coin>,
    /// Statement by statement.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Notes that running the model again gave the same output and trace.
    pub fn replayed(&mut self) {
        for finding in self.findings.iter_mut().filter(|f| f.subject == "computation") {
            finding.standing = Standing::Proven;
            finding.statement = "run again here: the same output and the same trace".to_owned();
        }
    }
}

/// Why a bundle proves nothing. Each forgery has its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The chain is not the one that the user trusts.
    #[error("the bundle is of chain {found}, not of {trusted}")]
    UntrustedChain {
        /// The bundle's.
        found: ChainId,
        /// The user's.
        trusted: ChainId,
    },
    /// The anchor is not that of the request's chain.
    #[error("the bundle's anchor is of chain {anchor}, its request of chain {request}")]
    OtherChain {
        /// From the anchor.
        anchor: ChainId,
        /// From the request.
        request: ChainId,
    },
    /// The model at hand is another one.
    #[error("the request names model {request}, the one at hand is {given}")]
    OtherModel {
        /// From the request.
        request: ModelId,
        /// From the caller.
        given: ModelId,
    },
    /// The arithmetic is of another version.
    #[error("the request names semantics version {request}, the model at hand has {given}")]
    OtherSemantics {
        /// From the request.
        request: u16,
        /// From the model.
        given: u16,
    },
    /// The user's files cannot be compared.
    #[error(transparent)]
    Own(#[from] OwnError),
    /// The prompt is not the user's.
    #[error("the receipt is for another prompt: yours differs from token {position} on")]
    OtherPrompt {
        /// The first token that differs.
        position: usize,
    },
    /// A parameter is not the user's.
    #[error("the receipt is for another {field} than yours")]
    OtherParameter {
        /// Which.
        field: &'static str,
    },
    /// The bundle's own source does not give its ids.
    #[error("the bundle's source does not give the token ids beside it")]
    Source,
    /// The ids are not those that the payer committed to.
    #[error("the token ids and salt do not open the request's input commitment")]
    InputCommit,
    /// The answer is not what the user got.
    #[error("the receipt is for another answer than yours")]
    OtherAnswer,
    /// The output is not what the operator committed to.
    #[error("the output and salt do not open the receipt's output commitment")]
    OutputCommit,
    /// The receipt counts otherwise.
    #[error("the receipt counts {found} tokens {side}, the bundle holds {expected}")]
    Length {
        /// In or out.
        side: &'static str,
        /// In the receipt.
        found: u32,
        /// In the bundle.
        expected: usize,
    },
    /// The receipt is for another request.
    #[error("the receipt names another request than the one beside it")]
    OtherRequest,
    /// Another operator signed than was asked.
    #[error("the request asks operator {asked}, the receipt is of {signed}")]
    OtherOperator {
        /// In the request.
        asked: OperatorId,
        /// In the receipt.
        signed: OperatorId,
    },
    /// The places in the lane differ.
    #[error("request {request} and receipt {receipt} stand at different places of their lane")]
    Sequence {
        /// In the request.
        request: u64,
        /// In the receipt.
        receipt: u64,
    },
    /// The work is not what model and lengths give.
    #[error("the receipt counts {found} work units, model and lengths give {expected}")]
    Work {
        /// In the receipt.
        found: WorkUnits,
        /// Computed.
        expected: WorkUnits,
    },
    /// The fee is not price times work.
    #[error("the receipt charges {found}, price times work is {expected}")]
    Fee {
        /// In the receipt.
        found: Credit,
        /// Computed.
        expected: Credit,
    },
    /// The payer did not sign this.
    #[error("the payer's session key did not sign this request")]
    RequestSignature,
    /// The box did not sign this.
    #[error("the operator's box key did not sign this receipt")]
    ReceiptSignature,
    /// The claim is another operator's, or under another key.
    #[error("the claim's {field} is not the receipt's")]
    OtherClaim {
        /// What differs.
        field: &'static str,
    },
    /// The receipt is not in the claim.
    #[error("the receipt does not stand in the claim: {0}")]
    NotInClaim(crypto::merkle::BadProof),
    /// The header is not final.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The claim is not in the chain's state.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Checks a bundle. Costs a few signatures and hashes, and one tokenization.
///
/// # Errors
/// [`VerifyError`]: the first thing that is wrong.
pub fn verify(bundle: &Bundle, check: &Check<'_>) -> Result<Report, VerifyError> {
    let mut findings = vec![chain(bundle, check)?];
    same_model(bundle, check)?;
    findings.push(prompt(bundle, check)?);
    findings.push(answer(bundle, check)?);
    numbers(bundle, check)?;
    signatures(bundle)?;
    findings.extend(statements(bundle));
    let (level, bond) = match &bundle.settlement {
        None => (Level::Signed, None),
        Some(settlement) => {
            claimed(bundle, settlement)?;
            findings.push(level::audit(&settlement.claim));
            let mode = bundle.request.message.audit_mode;
            (level::of(&settlement.claim, mode), Some(settlement.claim.bond))
        }
    };
    findings.push(standing_of_operator(bundle));
    Ok(Report {
        level,
        assurance: "single validator",
        receipt: bundle.receipt.message.hash(),
        model: bundle.request.message.body.model,
        operator: bundle.request.message.operator,
        fee: bundle.receipt.message.fee,
        bond,
        findings,
    })
}

pub(super) fn finding(
    subject: &'static str,
    standing: Standing,
    statement: impl Into<String>,
) -> Finding {
    Finding { subject, standing, statement: statement.into() }
}

fn chain(bundle: &Bundle, check: &Check<'_>) -> Result<Finding, VerifyError> {
    let (anchor, request) = (bundle.anchor.chain_id(), bundle.request.message.body.chain);
    if anchor != request {
        return Err(VerifyError::OtherChain { anchor, request });
    }
    match check.trusted {
        Some(trusted) if trusted != anchor => {
            Err(VerifyError::UntrustedChain { found: anchor, trusted })
        }
        Some(_) => Ok(finding("chain", Standing::Proven, format!("chain {anchor}, as you said"))),
        None => {
            let statement = format!("chain {anchor}: compare it with a source you trust");
            Ok(finding("chain", Standing::Claimed, statement))
        }
    }
}

fn same_model(bundle: &Bundle, check: &Check<'_>) -> Result<(), VerifyError> {
    let body = &bundle.request.message.body;
    let (request, given) = (body.model, check.model.id());
    if request != given {
        return Err(VerifyError::OtherModel { request, given });
    }
    let (request, given) = (body.semantics, check.model.manifest().semantics);
    if request == given { Ok(()) } else { Err(VerifyError::OtherSemantics { request, given }) }
}

fn prompt(bundle: &Bundle, check: &Check<'_>) -> Result<Finding, VerifyError> {
    let body = &bundle.request.message.body;
    let own =
        check.input.map(|input| Prompt::read(input, bundle.item, check.preprocess)).transpose()?;
    if let Some(own) = &own {
        if own.ids != *bundle.input {
            let pairs = own.ids.iter().zip(bundle.input.iter());
            let position = pairs.take_while(|(own, theirs)| own == theirs).count();
            return Err(VerifyError::OtherPrompt { position });
        }
        same_parameters(bundle, own)?;
    } else if source_ids(bundle, check.preprocess)?.is_some_and(|ids| ids != *bundle.input) {
        return Err(VerifyError::Source);
    }
    if commit::input_commit(&bundle.salt, &bundle.input) != body.input_commit {
        return Err(VerifyError::InputCommit);
    }
    Ok(match own {
        Some(_) => finding("prompt", Standing::Proven, "the receipt is for your own prompt"),
        None => finding("prompt", Standing::Unknown, "give your own with --input"),
    })
}

/// The ids that the bundle's source gives, unless it is ids already.
fn source_ids(bundle: &Bundle, preprocess: &Preprocess) -> Result<Option<Vec<u32>>, VerifyError> {
    let ids = match &bundle.source {
        Source::Ids => return Ok(None),
        Source::Text(text) => preprocess.encode(text),
        Source::Chat(messages) => {
            let messages: Vec<Message> = messages.iter().map(Message::from).collect();
            preprocess.chat(&messages)
        }
    };
    Ok(Some(ids.map_err(OwnError::from)?))
}

fn same_parameters(bundle: &Bundle, own: &Prompt) -> Result<(), VerifyError> {
    let Some(chat) = &own.chat else { return Ok(()) };
    let body = &bundle.request.message.body;
    let other = |field| Err(VerifyError::OtherParameter { field });
    if chat.sampling != body.sampling {
        return other("sampling");
    }
    if chat.seed.is_some_and(|seed| seed != body.seed) {
        return other("seed");
    }
    if chat.max_tokens.is_some_and(|max| max != body.max_tokens) {
        return other("max_tokens");
    }
    if chat.stop != *bundle.stop { other("stop") } else { Ok(()) }
}

fn answer(bundle: &Bundle, check: &Check<'_>) -> Result<Finding, VerifyError> {
    if let Some(file) = check.output {
        let own = Answer::read(file, bundle.item)?;
        let same = match &bundle.output {
            Output::Tokens(ids) => own.is_text(&told(ids, bundle, check.preprocess)?),
            Output::Row(row) => own == Answer::Row(row.to_vec()),
        };
        if !same {
            return Err(VerifyError::OtherAnswer);
        }
    }
    let commitment = match &bundle.output {
        Output::Tokens(ids) => commit::output_commit_tokens(&bundle.salt, ids),
        Output::Row(row) => commit::output_commit_row(&bundle.salt, row),
    };
    if commitment != bundle.receipt.message.output_commit {
        return Err(VerifyError::OutputCommit);
    }
    Ok(match check.output {
        Some(_) => finding("answer", Standing::Proven, "the receipt is for your own answer"),
        None => finding("answer", Standing::Unknown, "give your own with --output"),
    })
}

/// The text that the gateway told: decoded, and cut at a stop string.
fn told(ids: &[u32], bundle: &Bundle, preprocess: &Preprocess) -> Result<String, VerifyError> {
    let text = preprocess.decode(ids);
    let mut stops = StopMatcher::new(bundle.stop.to_vec()).map_err(OwnError::from)?;
    let cut = stops.push(&text);
    if cut.stop.is_some() {
        return Ok(cut.text);
    }
    Ok(cut.text + &stops.finish().text)
}

fn numbers(bundle: &Bundle, check: &Check<'_>) -> Result<(), VerifyError> {
    let (request, receipt) = (&bundle.request.message, &bundle.receipt.message);
    if receipt.operator != request.operator {
        let (asked, signed) = (request.operator, receipt.operator);
        return Err(VerifyError::OtherOperator { asked, signed });
    }
    lengths("in", receipt.n_in, bundle.input.len())?;
    match &bundle.output {
        Output::Tokens(ids) => lengths("out", receipt.n_out, ids.len())?,
        Output::Row(_) => lengths("out", receipt.n_out, 1)?,
    }
    let expected = work_units(check.model.facts(), receipt.n_in, receipt.n_out);
    if receipt.work_units != expected {
        return Err(VerifyError::Work { found: receipt.work_units, expected });
    }
    let expected = fee(request.price, expected).unwrap_or(Credit::MAX);
    if receipt.fee != expected {
        return Err(VerifyError::Fee { found: receipt.fee, expected });
    }
    if receipt.sequence != request.sequence {
        let (request, receipt) = (request.sequence, receipt.sequence);
        return Err(VerifyError::Sequence { request, receipt });
    }
    if receipt.request == request.hash() { Ok(()) } else { Err(VerifyError::OtherRequest) }
}

fn lengths(side: &'static str, found: u32, expected: usize) -> Result<(), VerifyError> {
    if usize::try_from(found) == Ok(expected) {
        Ok(())
    } else {
        Err(VerifyError::Length { side, found, expected })
    }
}

fn signatures(bundle: &Bundle) -> Result<(), VerifyError> {
    let (request, receipt) = (&bundle.request, &bundle.receipt);
    let by_payer =
        request.message.session_key.verify(Domain::Request, &request.message, &request.signature);
    by_payer.map_err(|BadSignature| VerifyError::RequestSignature)?;
    let by_box = bundle.box_key.verify(Domain::Receipt, &receipt.message, &receipt.signature);
    by_box.map_err(|BadSignature| VerifyError::ReceiptSignature)
}

/// What follows from the signed messages alone.
fn statements(bundle: &Bundle) -> Vec<Finding> {
    let (request, receipt) = (&bundle.request.message, &bundle.receipt.message);
    let model = request.body.model;
    let span = receipt.t_done.saturating_sub(receipt.t_received);
    vec![
        finding("model", Standing::Proven, format!("model {model} was asked and signed for")),
        finding(
            "price",
            Standing::Proven,
            format!("{} for {} work units, as agreed", receipt.fee, receipt.work_units),
        ),
        finding(
            "computation",
            Standing::Replayable,
            format!("semantics version {}, a draft; run --replay", request.body.semantics),
        ),
        level::mode(request.audit_mode),
        finding("latency", Standing::Claimed, format!("{span} ms, by the box's own clock")),
    ]
}

fn claimed(bundle: &Bundle, settlement: &Settlement) -> Result<(), VerifyError> {
    let (request, receipt) = (&bundle.request.message, &bundle.receipt.message);
    let claim = &settlement.claim;
    let other = |field| Err(VerifyError::OtherClaim { field });
    if claim.operator != receipt.operator {
        return other("operator");
    }
    if claim.key_epoch != receipt.key_epoch || claim.box_key != bundle.box_key {
        return other("box key");
    }
    let leaf: merkle_sum::Leaf<_> = receipt.leaf(request.payer, request.lane);
    settlement.path.verify(&claim.root, &claim.totals, &leaf).map_err(VerifyError::NotInClaim)?;
    let evidence = &settlement.evidence;
    verify_certificate(&bundle.anchor, &evidence.header, &evidence.certificate)?;
    let key = CLAIMS.key_bytes(&(claim.operator, claim.epoch));
    let value = CLAIMS.encode(claim).map_err(|_| VerifyError::OtherClaim { field: "record" })?;
    Ok(verify_state(&evidence.header, &key, Some(&value), &evidence.proof)?)
}

fn standing_of_operator(bundle: &Bundle) -> Finding {
    let subject = "operator";
    let operator = bundle.receipt.message.operator;
    match &bundle.settlement {
        None => {
            let statement =
                format!("{operator}: not yet claimed, its box key is the gateway's word");
            finding(subject, Standing::Claimed, statement)
        }
        Some(Settlement { claim, .. }) => {
            let statement = format!(
                "{operator} of owner {}, with a bond of {}, claimed it at height {}",
                claim.owner, claim.bond, claim.filed_height
            );
            finding(subject, Standing::Proven, statement)
        }
    }
}
