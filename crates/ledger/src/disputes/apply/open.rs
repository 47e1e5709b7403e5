//! Disputes: opening a line against a receipt.
//!
//! Rules: R1 to R4, R13. Signatures, which cost most, are checked once per receipt.

use super::{
    super::{
        math::{bond, defender_cost, finding_id, is_comparable, is_possible, loaded, work_units},
        schema::{
            CHALLENGERS, DISPUTES, Error, Event, FINDINGS, Finding, LINES, LOADS, Length, Subject,
        },
        state::{Backer, Cause, Dispute, Line, Node, Phase, Tree, dispute, line, load},
    },
    lines::{self, run},
};
use crate::{
    accounts::{
        Pot,
        apply::{Purse, move_coin},
    },
    clock::SEEDS,
    context::Context,
    credits,
    error::{Broken, Failure},
    models,
    payments::{self, messages::AuditMode},
    staking,
    store::Read,
    verifier::ModelFacts,
};
use core::ops::Bound;
use crypto::{
    AccountId, Digest, Domain, hash,
    merkle::{self, RangeProof},
};
use units::{Coin, List, Millis, Overflow, Round, WorkUnits};

/// Where a challenger's bond comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backing {
    /// Its account, in full: whoever challenges of its own will (R2, R13).
    Account,
    /// `dispute_bonds`, into which the caller has put so much: a challenger whom a rule of a higher
    /// module named, and which chose neither receipt nor hour (R15).
    #[allow(dead_code, reason = "the rules that name challengers stand in higher modules")]
    Posted(Coin),
}

/// Challenges a receipt in the name of an account. Returns the line, or `None` if there is nothing
/// to play for: the receipt convicts itself, or, of a posted bond, was proven wrong before; the
/// bond is then with the account.
pub(crate) fn open(
    ctx: &mut Context<'_>,
    challenger: AccountId,
    subject: &Subject,
    finding: &Finding,
    backing: Backing,
) -> Result<Option<u32>, Failure> {
    let receipt = subject.receipt.message.hash();
    let record = disputed(ctx, receipt, subject)?;
    match backing {
        Backing::Account => challengeable(ctx, &record)?,
        Backing::Posted(bond) if record.proven.is_some() => {
            lines::give_back(ctx, challenger, bond)?;
            return Ok(None);
        }
        Backing::Posted(_) => (),
    }
    if is_impossible(ctx, &record)? {
        lines::convict(ctx, challenger, receipt, record, Cause::Impossible)?; // R3
        if let Backing::Posted(bond) = backing {
            lines::give_back(ctx, challenger, bond)?;
        }
        return Ok(None);
    }
    if let Backing::Account = backing {
        may_be_shown(&record, challenger)?;
    }
    let work = check_finding(ctx, &record, finding)?;
    let known = shared_line(ctx, receipt, finding)?;
    if let Some((line, known)) = &known
        && known.backers.iter().any(|other| other.account == challenger)
    {
        let Backing::Posted(bond) = backing else {
            return Err(Error::AlreadyBehind { line: *line }.into()); // R4
        };
        lines::give_back(ctx, challenger, bond)?;
        return Ok(Some(*line));
    }
    let backer = backer(ctx, challenger, &record, backing)?;
    if backing == Backing::Account {
        move_coin(ctx, Purse::Account(challenger), Purse::Pot(Pot::DisputeBonds), backer.bond)?;
    }
    let behind = ctx.get(&CHALLENGERS, &challenger)?.unwrap_or_default();
    ctx.put(&CHALLENGERS, &challenger, &behind.checked_add(1).ok_or(Overflow)?)?;
    let number = stand(ctx, (receipt, record), known, finding, backer, work)?;
    let operator = subject.receipt.message.operator;
    ctx.emit(Event::Challenged { receipt, operator, line: number, backer });
    Ok(Some(number))
}

/// R3: evidence that needs no game.
pub(super) fn miscount(
    ctx: &mut Context<'_>,
    reporter: AccountId,
    subject: &Subject,
    length: Length,
    count: u64,
    top: &Digest,
) -> Result<(), Failure> {
    let receipt = subject.receipt.message.hash();
    let record = disputed(ctx, receipt, subject)?;
    challengeable(ctx, &record)?;
    let stated = &record.receipt;
    let (root, leaves) = match length {
        Length::Input => (record.request.body.input_commit, stated.n_in.into()),
        Length::Output => {
            let shape = ctx.ports().verifier.trace_shape(&run(ctx, &record, stated.n_out)?);
            (stated.output_commit, shape.map_err(|_| Error::BadCount)?.outputs)
        }
    };
    if count == leaves || merkle::bind(count, top) != root {
        return Err(Error::BadCount.into());
    }
    lines::convict(ctx, reporter, receipt, record, Cause::WrongLength)
}

/// R3: an input that the model cannot read has no run, so nothing could be found against it.
pub(super) fn foreign(
    ctx: &mut Context<'_>,
    reporter: AccountId,
    subject: &Subject,
    (position, token): (u32, u32),
    salt: &Digest,
    proof: &RangeProof,
) -> Result<(), Failure> {
    let receipt = subject.receipt.message.hash();
    let record = disputed(ctx, receipt, subject)?;
    challengeable(ctx, &record)?;
    let vocabulary = facts(ctx, &record.request.body)?.vocabulary;
    let leaf = hash(Domain::SaltedLeaf, &[salt.as_bytes(), &token.to_le_bytes()]);
    let (root, count) = (&record.request.body.input_commit, record.receipt.n_in.into());
    if token < vocabulary || proof.verify(root, count, position.into(), &[leaf]).is_err() {
        return Err(Error::NotForeign.into());
    }
    lines::convict(ctx, reporter, receipt, record, Cause::Impossible)
}

/// The record of a receipt: the one there is, or a new one (R1). Nothing is written.
pub(crate) fn disputed(
    ctx: &Context<'_>,
    receipt: Digest,
    subject: &Subject,
) -> Result<Dispute, Failure> {
    let mut record = match dispute(ctx, &receipt)? {
        Some(known) => known,
        None => check_subject(ctx, subject)?,
    };
    // A receipt's window may have been counted from its request first and from its claim later.
    record.ends = record.ends.max(window_end(ctx, subject)?);
    Ok(record)
}

/// R2, R14: a receipt that may still be challenged by anyone.
fn challengeable(ctx: &Context<'_>, record: &Dispute) -> Result<(), Error> {
    if record.proven.is_some() {
        return Err(Error::AlreadyProven);
    }
    let (ends, clock) = (record.ends, ctx.clock());
    if clock >= ends { Err(Error::WindowClosed { ends, clock }) } else { Ok(()) }
}

/// R2: moves show leaves, so a stranger must not make an operator play over what only auditors or
/// nobody may see.
fn may_be_shown(record: &Dispute, challenger: AccountId) -> Result<(), Error> {
    let (mode, payer) = (record.request.audit_mode, record.request.payer);
    let may = mode == AuditMode::Open || challenger == payer;
    if may { Ok(()) } else { Err(Error::OnlyThePayer { mode, payer }) }
}

/// R1: an operator's own signature, on a request for a registered model of this chain.
fn check_subject(ctx: &Context<'_>, subject: &Subject) -> Result<Dispute, Failure> {
    let (request, receipt) = (&subject.request.message, &subject.receipt.message);
    let belongs = request.body.chain == ctx.chain()
        && receipt.request == request.hash()
        && receipt.operator == request.operator
        && receipt.sequence == request.sequence;
    if !belongs {
        return Err(Error::Mismatch.into());
    }
    let (operator, key_epoch) = (receipt.operator, receipt.key_epoch);
    if staking::operator(ctx, &operator)?.is_none() {
        return Err(Error::UnknownOperator { operator }.into());
    }
    // What a key signs after it was rotated away is not the operator's word.
    let fresh = clock_of(ctx, request.freshness)?;
    let key = staking::box_key(ctx, &operator, key_epoch)?;
    let key = key.filter(|key| key.is_good_for_claims(fresh));
    let key = key.ok_or(Error::BadKeyEpoch { key_epoch })?.key;
    let facts = facts(ctx, &subject.request.message.body)?;
    let signed = [
        (request.session_key, request.hash(), subject.request.signature),
        (key, receipt.hash(), subject.receipt.signature),
    ];
    if !ctx.ports().signatures.verify_all(&signed) {
        return Err(Error::BadSignature.into());
    }
    Ok(Dispute {
        request: request.clone(),
        receipt: receipt.clone(),
        work: work_units(&facts, receipt.n_in, receipt.n_out)?,
        ends: Millis::ZERO,
        lines: 0,
        open: 0,
        proven: None,
    })
}

fn facts(ctx: &Context<'_>, body: &payments::messages::RequestBody) -> Result<ModelFacts, Failure> {
    let facts = models::model(ctx, &body.model)?.map(|model| model.facts);
    let facts = facts.filter(|facts| facts.semantics == body.semantics);
    facts.ok_or_else(|| Error::UnknownModel { model: body.model }.into())
}

/// The clock at which a round's seed came, or the next one's, or now if neither has come: a
/// receipt is never older than that.
fn clock_of(ctx: &Context<'_>, round: Round) -> Result<Millis, Failure> {
    let low = SEEDS.key_bytes(&round);
    let Some((key, value)) = ctx.first(Bound::Included(&low), Bound::Unbounded) else {
        return Ok(ctx.clock());
    };
    match SEEDS.decode_key(key) {
        Ok(_) => Ok(SEEDS.decode(value)?.clock),
        Err(_) => Ok(ctx.clock()), // Another table's first record.
    }
}

/// R2
fn window_end(ctx: &Context<'_>, subject: &Subject) -> Result<Millis, Failure> {
    let (request, receipt) = (&subject.request.message, &subject.receipt.message);
    let window = ctx.params().windows.challenge;
    let Some(claimed) = &subject.claimed else {
        let fresh = clock_of(ctx, request.freshness)?;
        return Ok(Millis::total([fresh, request.deadline, window])?);
    };
    let claim = payments::claim(ctx, &receipt.operator, claimed.epoch)?;
    let claim = claim.ok_or(Error::NotClaimed)?;
    let leaf = receipt.leaf(request.payer, request.lane);
    let shown = claimed.path.verify(&claim.root, &claim.totals, &leaf);
    shown.map_err(|_| Error::NotClaimed)?;
    Ok(claim.filed.checked_add(window)?)
}

/// R3: lengths that no run has, or work and fee that are not those of the lengths.
fn is_impossible(ctx: &Context<'_>, record: &Dispute) -> Result<bool, Failure> {
    let receipt = &record.receipt;
    let facts = facts(ctx, &record.request.body)?;
    let shape = ctx.ports().verifier.trace_shape(&run(ctx, record, receipt.n_out)?);
    Ok(shape.is_err() || !is_possible(receipt, &facts, record.work, record.request.price))
}

/// R4: a finding that a re-execution can have. Returns the work of the longer run.
fn check_finding(
    ctx: &Context<'_>,
    record: &Dispute,
    finding: &Finding,
) -> Result<WorkUnits, Failure> {
    let shape = ctx.ports().verifier.trace_shape(&run(ctx, record, finding.n_out)?);
    if shape.is_err() || !is_comparable(finding, &record.receipt) {
        return Err(Error::BadFinding.into());
    }
    let facts = facts(ctx, &record.request.body)?;
    Ok(work_units(&facts, record.receipt.n_in, finding.n_out)?.max(record.work))
}

/// R13, R15
fn backer(
    ctx: &Context<'_>,
    challenger: AccountId,
    record: &Dispute,
    backing: Backing,
) -> Result<Backer, Failure> {
    let params = &ctx.params().disputes;
    let class = lines::operator(ctx, record)?.class;
    let reference = params.references.of(class);
    let cost = defender_cost(record.work, reference, credits::price(ctx)?, params)?;
    let behind = ctx.get(&CHALLENGERS, &challenger)?.unwrap_or_default();
    Ok(match backing {
        Backing::Account => Backer { account: challenger, bond: bond(cost, behind, params)?, cost },
        Backing::Posted(bond) => Backer { account: challenger, bond, cost: cost.min(bond) },
    })
}

/// The line of an equal finding that a further challenger may join (R4).
fn shared_line(
    ctx: &Context<'_>,
    receipt: Digest,
    finding: &Finding,
) -> Result<Option<(u32, Line)>, Failure> {
    let Some(number) = ctx.get(&FINDINGS, &(receipt, finding_id(finding)))? else {
        return Ok(None);
    };
    let known = line(ctx, &receipt, number)?;
    Ok(Some((number, known.ok_or(Broken::Rule("a finding points to no line"))?)))
}

/// R4: joins the line of an equal finding, goes on from where such a line has come to, or starts
/// a new one.
fn stand(
    ctx: &mut Context<'_>,
    (receipt, mut record): (Digest, Dispute),
    known: Option<(u32, Line)>,
    finding: &Finding,
    backer: Backer,
    work: WorkUnits,
) -> Result<u32, Failure> {
    let mut phase = None;
    if let Some((number, mut known)) = known {
        phase = known.phase.coarse().copied();
        let mut backers = known.backers.clone().into_vec();
        backers.push(backer);
        if let (None, Ok(backers)) = (phase, List::new(backers)) {
            known.backers = backers;
            ctx.put(&LINES, &(receipt, number), &known)?;
            ctx.put(&DISPUTES, &receipt, &record)?;
            return Ok(number);
        }
    }
    let phase = match phase {
        Some(coarse) => lines::fine(ctx, &record, finding, coarse)?,
        None => Phase::Answer { common: common(ctx, &record, finding)? },
    };
    let fresh = Line {
        finding: *finding,
        backers: List::new(vec![backer]).map_err(|_| Broken::Overflow)?,
        work,
        phase,
        defender_used: Millis::ZERO,
        challenger_used: Millis::ZERO,
        since: ctx.clock(),
        due: Millis::ZERO,
        moves: 0,
    };
    if record.open == 0 {
        let operator = record.receipt.operator;
        let grown = loaded(&load(ctx, &operator)?, record.work)?;
        ctx.put(&LOADS, &operator, &grown)?;
    }
    let number = lines::add(ctx, receipt, &mut record, fresh)?;
    ctx.put(&FINDINGS, &(receipt, finding_id(finding)), &number)?;
    ctx.put(&DISPUTES, &receipt, &record)?;
    Ok(number)
}

/// Leaves of the trace that both runs have.
fn common(ctx: &Context<'_>, record: &Dispute, finding: &Finding) -> Result<u64, Failure> {
    let shorter = finding.n_out.min(record.receipt.n_out);
    let shape = ctx.ports().verifier.trace_shape(&run(ctx, record, shorter)?);
    Ok(shape.map_err(|_| Error::BadFinding)?.leaves)
}

/// The first split of a fine tree: [`Tree::Fine`] as a whole.
pub(super) const fn whole_fine(coarse: super::super::state::Coarse, leaves: u64) -> Phase {
    Phase::Split(Node::whole(Tree::Fine(coarse), leaves))
}
