//! Verification: two receipts for the same work of which at least one is wrong.
//!
//! Rule: R10. No party's word decides: each operator challenges the other's receipt with its own,
//! and the dispute shows whose does not hold.

use super::{
    super::{
        math::{contradict_in_end, duel_finding, must_win},
        schema::{
            CONFLICT_OF, CONFLICTS, CONFLICTS_DUE, Certificate, Contradiction, Error, Event,
            Exhibit, FAULT_OF, OpenedLeaf,
        },
        state::{Cause, Conflict, Evidence, Side, conflict},
    },
    penalties::{Charge, Work, convict},
    points::check_trace,
};
use crate::{
    context::Context,
    disputes::{self, Dispute, apply::Backing, math::is_comparable},
    error::{Broken, Failure},
    models::{GRAPHS, MANIFESTS},
    staking,
    store::Read,
    verifier::DisputedRun,
};
use crypto::{AccountId, Digest, Domain, hash, hash_of};
use units::Coin;

/// Most conflicts whose time one block looks at.
const DUE_PER_BLOCK: usize = 64;

pub(super) fn file(
    ctx: &mut Context<'_>,
    reporter: AccountId,
    certificate: &Certificate,
) -> Result<(), Failure> {
    let Certificate { first, second, contradiction } = certificate;
    let (one, other) = (exhibited(ctx, first)?, exhibited(ctx, second)?);
    if one.request.body != other.request.body {
        return Err(Error::OtherBody.into());
    }
    check_contradiction(ctx, &one, &other, contradiction)?;
    let receipts = [one.receipt.hash(), other.receipt.hash()];
    let id = hash_of(Domain::Conflict, &(receipts.iter().min(), receipts.iter().max()));
    if one.receipt.operator == other.receipt.operator {
        return against_itself(ctx, reporter, id, &one, &other);
    }
    let due = ctx.clock().checked_add(ctx.params().disputes.clock)?;
    let sides = [side(ctx, first)?, side(ctx, second)?];
    let operators = [one.receipt.operator, other.receipt.operator];
    ctx.put(&CONFLICTS, &id, &Conflict { sides, reporter, due, disputed: false })?;
    ctx.put(&CONFLICTS_DUE, &(due, id), &())?;
    for receipt in &receipts {
        ctx.put(&CONFLICT_OF, receipt, &id)?;
    }
    ctx.emit(Event::ConflictFiled { conflict: id, receipts, operators, due });
    Ok(())
}

/// A receipt that can be brought forward: signed, in time, not judged and not in conflict.
fn exhibited(ctx: &Context<'_>, exhibit: &Exhibit) -> Result<Dispute, Failure> {
    let receipt = exhibit.receipt.message.hash();
    let record = disputes::apply::disputed(ctx, receipt, &exhibit.subject())?;
    if record.request != exhibit.request.message {
        return Err(disputes::Error::Mismatch.into());
    }
    if ctx.clock() >= record.ends {
        return Err(Error::TooLate { ended: record.ends }.into());
    }
    if ctx.has(&FAULT_OF, &receipt) {
        return Err(Error::Punished { receipt }.into());
    }
    if ctx.has(&CONFLICT_OF, &receipt) {
        return Err(Error::InConflict { receipt }.into());
    }
    Ok(record)
}

fn side(ctx: &Context<'_>, exhibit: &Exhibit) -> Result<Side, Failure> {
    let operator = staking::operator(ctx, &exhibit.receipt.message.operator)?;
    let owner = operator.ok_or(Broken::Rule("a signed receipt is of no operator"))?.owner;
    Ok(Side { subject: exhibit.subject(), owner, challenges: false, trace_root: None })
}

fn check_contradiction(
    ctx: &Context<'_>,
    one: &Dispute,
    other: &Dispute,
    contradiction: &Contradiction,
) -> Result<(), Failure> {
    match contradiction {
        Contradiction::Output { index, first, second } => {
            opened(ctx, one, *index, first)?;
            opened(ctx, other, *index, second)?;
            if first.data == second.data {
                return Err(Error::NoContradiction.into());
            }
        }
        Contradiction::End if contradict_in_end(&one.receipt, &other.receipt) => (),
        Contradiction::End => return Err(Error::NoContradiction.into()),
    }
    Ok(())
}

/// A leaf that leads to a receipt's output commitment.
fn opened(
    ctx: &Context<'_>,
    record: &Dispute,
    index: u32,
    leaf: &OpenedLeaf,
) -> Result<(), Failure> {
    let (body, receipt) = (&record.request.body, &record.receipt);
    let missing = Broken::Rule("the model of a checked receipt is not registered");
    let manifest = ctx.get(&MANIFESTS, &body.model)?.ok_or(missing.clone())?;
    let graph = ctx.get(&GRAPHS, &body.model)?.ok_or(missing)?;
    let (n_in, n_out) = (receipt.n_in, receipt.n_out);
    let run = DisputedRun { manifest: &manifest, graph: &graph, body, n_in, n_out };
    let shape = ctx.ports().verifier.trace_shape(&run).map_err(|_| Error::BadOpening)?;
    let digest = hash(Domain::SaltedLeaf, &[leaf.salt.as_bytes(), &leaf.data]);
    let shown = leaf.path.verify(&receipt.output_commit, shape.outputs, index.into(), &[digest]);
    Ok(shown.map_err(|_| Error::BadOpening)?)
}

/// One operator's two words: it needs no dispute to see that one is wrong.
fn against_itself(
    ctx: &mut Context<'_>,
    reporter: AccountId,
    id: Digest,
    one: &Dispute,
    other: &Dispute,
) -> Result<(), Failure> {
    let equivocation = one.receipt.request == other.receipt.request;
    let cause = if equivocation { Cause::Equivocation } else { Cause::Contradiction };
    let window = ctx.params().windows.challenge;
    let charge = Charge {
        operator: one.receipt.operator,
        cause,
        evidence: Evidence::Conflict { id },
        done: one.ends.max(other.ends).saturating_sub(window),
        work: Some(Work::of(&one.request, &one.receipt)),
        claim: None,
        reporter: Some(reporter),
    };
    convict(ctx, charge)?;
    // The other receipt is judged with it.
    let fault = ctx.get(&FAULT_OF, &one.receipt.hash())?;
    let fault = fault.ok_or(Broken::Rule("a fault is not on record"))?;
    ctx.put(&FAULT_OF, &other.receipt.hash(), &fault)
}

/// By whoever has the root.
pub(super) fn answer(
    ctx: &mut Context<'_>,
    receipt: Digest,
    trace_root: Digest,
    salt: &Digest,
) -> Result<(), Failure> {
    let id = ctx.get(&CONFLICT_OF, &receipt)?.ok_or(Error::NotInConflict { receipt })?;
    let mut record = existing(ctx, id)?;
    let own = record.sides.iter_mut().find(|side| side.receipt() == receipt);
    let own = own.ok_or(Broken::Rule("a conflict is not on its receipt"))?;
    if own.trace_root.is_some() {
        return Err(Error::Repeated.into());
    }
    check_trace(&own.subject, trace_root, salt)?;
    own.trace_root = Some(trace_root);
    ctx.emit(Event::ConflictAnswered { conflict: id, receipt });
    if record.sides.iter().all(|side| side.trace_root.is_some()) {
        return dispute(ctx, id, record);
    }
    ctx.put(&CONFLICTS, &id, &record)
}

/// Each side challenges the other with its own receipt, where a run can have found that.
fn dispute(ctx: &mut Context<'_>, id: Digest, mut record: Conflict) -> Result<(), Failure> {
    ctx.remove(&CONFLICTS_DUE, &(record.due, id));
    record.disputed = true;
    for from in [0, 1] {
        let [one, other] = &mut record.sides;
        let (challenger, defender) = if from == 0 { (one, other) } else { (other, one) };
        let root = challenger.trace_root.ok_or(Broken::Rule("a side has not answered"))?;
        let (own, against) =
            (&challenger.subject.receipt.message, &defender.subject.receipt.message);
        let finding = duel_finding(root, own, against);
        if !is_comparable(&finding, against) {
            continue;
        }
        let bound = must_win(own, against);
        let (account, backing) = (challenger.owner, Backing::Posted(Coin::ZERO));
        match disputes::apply::open(ctx, account, &defender.subject, &finding, backing) {
            Ok(_) => challenger.challenges = bound,
            Err(Failure::Rejected(_)) => (),
            Err(broken) => return Err(broken),
        }
    }
    ctx.put(&CONFLICTS, &id, &record)?;
    let receipt = record.sides[0].receipt();
    look_at(ctx, receipt)
}

/// Sides that have not answered in time are at fault.
pub(super) fn look_at_due(ctx: &mut Context<'_>) -> Result<(), Failure> {
    let clock = ctx.clock();
    for ((due, id), ()) in ctx.scan(&CONFLICTS_DUE, &(), DUE_PER_BLOCK)? {
        if due > clock {
            break;
        }
        let record = existing(ctx, id)?;
        ctx.remove(&CONFLICTS_DUE, &(due, id));
        for side in record.sides.iter().filter(|side| side.trace_root.is_none()) {
            blame(ctx, id, &record, side, Cause::NotRevealed)?;
        }
        end(ctx, id, &record);
    }
    Ok(())
}

/// Ends the conflict that a receipt is in, once nothing about it is open: who has challenged the
/// other side and could not show it wrong is wrong itself.
pub(super) fn look_at(ctx: &mut Context<'_>, receipt: Digest) -> Result<(), Failure> {
    let Some(id) = ctx.get(&CONFLICT_OF, &receipt)? else { return Ok(()) };
    let record = existing(ctx, id)?;
    if !record.disputed {
        return Ok(());
    }
    for side in &record.sides {
        let dispute = disputes::dispute(ctx, &side.receipt())?;
        if dispute.is_some_and(|dispute| dispute.open > 0 && dispute.proven.is_none()) {
            return Ok(());
        }
    }
    let [one, other] = &record.sides;
    for (challenger, defender) in [(one, other), (other, one)] {
        if challenger.challenges && !ctx.has(&FAULT_OF, &defender.receipt()) {
            blame(ctx, id, &record, challenger, Cause::Refuted)?;
        }
    }
    end(ctx, id, &record);
    Ok(())
}

fn blame(
    ctx: &mut Context<'_>,
    id: Digest,
    record: &Conflict,
    side: &Side,
    cause: Cause,
) -> Result<(), Failure> {
    let (request, receipt) = (&side.subject.request.message, &side.subject.receipt.message);
    let known = disputes::apply::disputed(ctx, side.receipt(), &side.subject)?;
    let charge = Charge {
        operator: receipt.operator,
        cause,
        evidence: Evidence::Conflict { id },
        done: known.ends.saturating_sub(ctx.params().windows.challenge),
        work: Some(Work::of(request, receipt)),
        claim: None,
        reporter: Some(record.reporter),
    };
    convict(ctx, charge)
}

fn end(ctx: &mut Context<'_>, id: Digest, record: &Conflict) {
    for side in &record.sides {
        ctx.remove(&CONFLICT_OF, &side.receipt());
    }
    ctx.remove(&CONFLICTS, &id);
    ctx.emit(Event::ConflictEnded { conflict: id });
}

/// Who is rewarded for a verdict on a receipt in conflict: whoever filed it, unless somebody else
/// than the other side has shown it.
pub(super) fn reporter(
    ctx: &Context<'_>,
    id: Digest,
    challenger: AccountId,
) -> Result<Option<AccountId>, Failure> {
    let record = existing(ctx, id)?;
    let a_side = record.sides.iter().any(|side| side.owner == challenger);
    Ok(Some(if a_side { record.reporter } else { challenger }))
}

fn existing(ctx: &Context<'_>, id: Digest) -> Result<Conflict, Failure> {
    Ok(conflict(ctx, &id)?.ok_or(Broken::Rule("a receipt is in a conflict that is not there"))?)
}
