//! Disputes: what happens to a line between moves: its clock, its forks, its end.
//!
//! Rules: R7, R11, R13, R14.

use super::{
    super::{
        math::{allowance, finding_id, unloaded},
        schema::{
            CHALLENGERS, CLOSING, DISPUTES, DUE, Event, FINDINGS, FORGET, Finding, LINES, LOADS,
            VERDICT_COUNT, VERDICTS,
        },
        state::{Backer, Cause, Coarse, Dispute, Line, Party, Phase, Verdict, load},
    },
    open::whole_fine,
};
use crate::{
    accounts::{
        Pot,
        apply::{Purse, burn, move_coin},
    },
    context::Context,
    error::{Broken, Failure},
    models::{GRAPHS, MANIFESTS},
    staking::{self, Class, Operator},
    store::{Read, Table},
    verifier::DisputedRun,
};
use crypto::{AccountId, Digest, ModelId};
use units::{Coin, List, Millis};

/// The run of a dispute with `n_out` outputs, as the port sees it.
pub(super) fn run<'a>(
    ctx: &'a Context<'_>,
    record: &'a Dispute,
    n_out: u32,
) -> Result<DisputedRun<'a>, Broken> {
    let body = &record.request.body;
    Ok(DisputedRun {
        manifest: registered(ctx, &MANIFESTS, &body.model)?,
        graph: registered(ctx, &GRAPHS, &body.model)?,
        body,
        n_in: record.receipt.n_in,
        n_out,
    })
}

/// The bytes of a registry record, without copying them: what stands behind their length.
fn registered<'a, V>(
    ctx: &'a Context<'_>,
    table: &Table<ModelId, V>,
    model: &ModelId,
) -> Result<&'a [u8], Broken>
where
    V: borsh::BorshSerialize + borsh::BorshDeserialize,
{
    let record = ctx.raw(&table.key_bytes(model)).and_then(|bytes| bytes.get(4..));
    record.ok_or(Broken::Rule("a disputed model is not registered"))
}

/// The operator of a dispute.
pub(super) fn operator(ctx: &Context<'_>, record: &Dispute) -> Result<Operator, Failure> {
    let operator = staking::operator(ctx, &record.receipt.operator)?;
    Ok(operator.ok_or(Broken::Rule("a disputed operator is not registered"))?)
}

/// R11: the clock at which the time of the party on turn ends, as things stand.
pub(super) fn ends(ctx: &Context<'_>, record: &Dispute, line: &Line) -> Result<Millis, Failure> {
    let params = &ctx.params().disputes;
    let (given, used) = match line.phase.turn() {
        Party::Defender => {
            let class = operator(ctx, record)?.class;
            let work = load(ctx, &record.receipt.operator)?.peak;
            (allowance(work, params.references.of(class), params), line.defender_used)
        }
        // A challenger may have the smallest hardware there is.
        Party::Challenger => {
            let reference = params.references.of(Class::Board);
            (allowance(line.work, reference, params), line.challenger_used)
        }
    };
    Ok(line.since.checked_add(given.saturating_sub(used)).map_err(|_| Broken::Overflow)?)
}

/// Enters a new line under the dispute's next number.
pub(super) fn add(
    ctx: &mut Context<'_>,
    receipt: Digest,
    record: &mut Dispute,
    mut line: Line,
) -> Result<u32, Failure> {
    let number = record.lines;
    record.lines = number.checked_add(1).ok_or(Broken::Overflow)?;
    record.open = record.open.checked_add(1).ok_or(Broken::Overflow)?;
    line.due = ends(ctx, record, &line)?;
    ctx.put(&DUE, &(line.due, (receipt, number)), &())?;
    ctx.put(&LINES, &(receipt, number), &line)?;
    Ok(number)
}

/// Where a line stands once its coarse leaf is found.
pub(super) fn fine(
    ctx: &Context<'_>,
    record: &Dispute,
    finding: &Finding,
    coarse: Coarse,
) -> Result<Phase, Failure> {
    let run = run(ctx, record, finding.n_out)?;
    let shape = ctx.ports().verifier.fine_shape(&run, coarse.leaf);
    let shape = shape.map_err(|_| Broken::Rule("a coarse leaf has no fine tree"))?;
    Ok(whole_fine(Coarse { root: Digest::ZERO, ..coarse }, shape.leaves))
}

/// Takes a line to its next phase after a move.
pub(super) fn advance(
    ctx: &mut Context<'_>,
    (receipt, number): (Digest, u32),
    mut record: Dispute,
    mut line: Line,
    phase: Phase,
) -> Result<(), Failure> {
    let party = line.phase.turn();
    let spent = ctx.clock().saturating_sub(line.since);
    let used = match party {
        Party::Defender => &mut line.defender_used,
        Party::Challenger => &mut line.challenger_used,
    };
    *used = used.checked_add(spent).map_err(|_| Broken::Overflow)?;
    ctx.remove(&DUE, &(line.due, (receipt, number)));
    line.phase = phase;
    line.since = ctx.clock();
    line.moves = line.moves.saturating_add(1);
    let others = if line.phase.coarse().is_some() { alone(&mut line)? } else { Vec::new() };
    line.due = ends(ctx, &record, &line)?;
    let due = line.due;
    ctx.put(&DUE, &(due, (receipt, number)), &())?;
    ctx.put(&LINES, &(receipt, number), &line)?;
    ctx.emit(Event::Moved { receipt, line: number, party, due });
    if others.is_empty() {
        return Ok(());
    }
    for backer in others {
        let backers = List::new(vec![backer]).map_err(|_| Broken::Overflow)?;
        let fork = add(ctx, receipt, &mut record, Line { backers, ..line.clone() })?;
        let challenger = backer.account;
        ctx.emit(Event::Forked { receipt, from: number, line: fork, challenger });
    }
    ctx.put(&DISPUTES, &receipt, &record)
}

/// R7: leaves the first challenger in a line and returns the others.
fn alone(line: &mut Line) -> Result<Vec<Backer>, Broken> {
    let mut backers = line.backers.clone().into_vec();
    let others = backers.split_off(1.min(backers.len()));
    line.backers = List::new(backers).map_err(|_| Broken::Overflow)?;
    Ok(others)
}

/// Ends a line with a verdict (R13, R14).
pub(super) fn decide(
    ctx: &mut Context<'_>,
    (receipt, number): (Digest, u32),
    mut record: Dispute,
    line: &Line,
    loser: Party,
    cause: Cause,
) -> Result<(), Failure> {
    let owner = operator(ctx, &record)?.owner;
    for backer in line.backers.iter() {
        match loser {
            Party::Defender => give_back(ctx, backer.account, backer.bond)?,
            Party::Challenger => forfeit(ctx, backer, owner)?,
        }
    }
    remove(ctx, (receipt, number), &mut record, line)?;
    let challenger = line.backers.first().ok_or(Broken::Rule("a line has no challenger"))?.account;
    let operator = record.receipt.operator;
    let at = ctx.clock();
    let line = Some(number);
    let verdict = Verdict { receipt, operator, line, challenger, loser, cause, at };
    settle(ctx, receipt, &mut record, verdict)
}

/// Convicts a receipt without a line (R3).
pub(super) fn convict(
    ctx: &mut Context<'_>,
    challenger: AccountId,
    receipt: Digest,
    mut record: Dispute,
    cause: Cause,
) -> Result<(), Failure> {
    let (operator, loser, at) = (record.receipt.operator, Party::Defender, ctx.clock());
    let verdict = Verdict { receipt, operator, line: None, challenger, loser, cause, at };
    settle(ctx, receipt, &mut record, verdict)
}

/// Writes a verdict down; a proof makes all other lines pointless.
fn settle(
    ctx: &mut Context<'_>,
    receipt: Digest,
    record: &mut Dispute,
    verdict: Verdict,
) -> Result<(), Failure> {
    if verdict.loser == Party::Defender && verdict.cause.is_proof() {
        record.proven = Some(verdict.cause);
        if record.open > 0 {
            ctx.put(&CLOSING, &receipt, &())?;
        }
    }
    ctx.put(&DISPUTES, &receipt, record)?;
    let number = ctx.get(&VERDICT_COUNT, &())?.unwrap_or_default();
    ctx.put(&VERDICTS, &number, &verdict)?;
    ctx.put(&VERDICT_COUNT, &(), &number.checked_add(1).ok_or(Broken::Overflow)?)?;
    ctx.emit(Event::Decided(verdict));
    Ok(())
}

/// Closes a line that another one's proof has made pointless (R14).
pub(super) fn close(
    ctx: &mut Context<'_>,
    (receipt, number): (Digest, u32),
    record: &mut Dispute,
    line: &Line,
    cause: Cause,
) -> Result<(), Failure> {
    for backer in line.backers.iter() {
        give_back(ctx, backer.account, backer.bond)?;
    }
    remove(ctx, (receipt, number), record, line)?;
    ctx.put(&DISPUTES, &receipt, record)?;
    ctx.emit(Event::Closed { receipt, line: number, cause });
    Ok(())
}

/// Takes a line out of all tables but its dispute's, which the caller writes.
fn remove(
    ctx: &mut Context<'_>,
    (receipt, number): (Digest, u32),
    record: &mut Dispute,
    line: &Line,
) -> Result<(), Failure> {
    ctx.remove(&LINES, &(receipt, number));
    ctx.remove(&DUE, &(line.due, (receipt, number)));
    let shared = (receipt, finding_id(&line.finding));
    if ctx.get(&FINDINGS, &shared)? == Some(number) {
        ctx.remove(&FINDINGS, &shared);
    }
    for Backer { account, .. } in line.backers.iter() {
        let behind = ctx.get(&CHALLENGERS, account)?.unwrap_or_default();
        match behind.checked_sub(1) {
            None => return Err(Broken::Rule("a challenger's lines are miscounted").into()),
            Some(0) => ctx.remove(&CHALLENGERS, account),
            Some(left) => ctx.put(&CHALLENGERS, account, &left)?,
        }
    }
    record.open = record.open.checked_sub(1).ok_or(Broken::Overflow)?;
    if record.open > 0 {
        return Ok(());
    }
    let operator = record.receipt.operator;
    let left = unloaded(&load(ctx, &operator)?, record.work).map_err(|_| Broken::Overflow)?;
    if left.disputes == 0 {
        ctx.remove(&LOADS, &operator);
    } else {
        ctx.put(&LOADS, &operator, &left)?;
    }
    ctx.put(&FORGET, &(record.ends.max(ctx.clock()), receipt), &())
}

/// R13: the winner's bond.
pub(super) fn give_back(
    ctx: &mut Context<'_>,
    account: AccountId,
    bond: Coin,
) -> Result<(), Failure> {
    move_coin(ctx, Purse::Pot(Pot::DisputeBonds), Purse::Account(account), bond)
}

/// R13: the loser's bond: the operator's cost to its owner, the rest is burned.
fn forfeit(ctx: &mut Context<'_>, backer: &Backer, owner: AccountId) -> Result<(), Failure> {
    let pot = Purse::Pot(Pot::DisputeBonds);
    let rest: Coin = backer.bond.checked_sub(backer.cost).map_err(|_| Broken::Overflow)?;
    move_coin(ctx, pot, Purse::Account(owner), backer.cost)?;
    burn(ctx, pot, rest)
}
