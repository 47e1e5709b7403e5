//! Verification: what an auditor needs and the commitments hide, where it was not sent over a link.
//!
//! Rules: R7, R17. Open content is demanded once for a point and shown to everybody; sealed content
//! once for each auditor, to a key of its own.

use super::{
    super::{
        schema::{Content, DELIVERED, Delivery, Error, Event, POINTS, SEALED, Sealed},
        state::{Cause, Phase, Point, Seat},
    },
    auditors,
    points::{self, PointKey, enter, existing, in_phase, list, own_seat},
};
use crate::{
    context::{Context, Sender},
    disputes::moves::Subject,
    error::{Broken, Failure},
    models,
    payments::messages::AuditMode,
    staking,
    store::Read,
    verifier::Task,
};
use borsh::BorshDeserialize;
use crypto::{
    AccountId, Digest, Domain, Salt, SealKey, SealSecret, Tree, hash_of, merkle,
    seal::{self, SealError},
};

/// Seats that a point ever has: each may be replaced once.
const SEATS_EVER: usize = 8;

/// What content sealed for an auditor of a point is bound to: it opens at no other point and for
/// nobody else.
#[must_use]
pub fn seal_context(point: &PointKey, auditor: &AccountId) -> Digest {
    hash_of(Domain::SealContext, &(point, auditor))
}

/// R7, R17
pub(super) fn demand(
    ctx: &mut Context<'_>,
    sender: &Sender,
    key: PointKey,
    reply: Option<SealKey>,
) -> Result<(), Failure> {
    let mut point = in_phase(ctx, key, &[Phase::Committing, Phase::Delivering])?;
    let mode = mode_of(&point)?;
    if reply.is_some() != (mode == AuditMode::Sealed) {
        return Err(Error::OtherMode { mode }.into());
    }
    let taken = point.seats.iter().any(|seat| seat.reply.is_some() && seat.reply == reply);
    let phase = point.phase;
    let mut seats = point.seats.into_vec();
    let seat = own_seat(ctx, sender, &mut seats)?;
    if seat.commitment.is_some() {
        return Err(Error::Repeated.into());
    }
    match reply {
        None if phase != Phase::Committing => return Err(Error::WrongPhase { phase }.into()),
        None if point.demanded => return Err(Error::DemandedBefore.into()),
        Some(_) if seat.reply.is_some() => return Err(Error::DemandedBefore.into()),
        Some(key) if taken => return Err(Error::ReplyKeyTaken { key }.into()),
        Some(key) => key.validate().map_err(|_| Error::BadReplyKey { key })?,
        None => {}
    }
    seat.reply = reply;
    point.seats = list(seats)?;
    point.demanded = true;
    let due = enter(ctx, key, point, Phase::Delivering, ctx.params().windows.open)?;
    ctx.emit(Event::Demanded { operator: key.0, epoch: key.1, point: key.2, due });
    Ok(())
}

/// R7, R17
pub(super) fn deliver(
    ctx: &mut Context<'_>,
    sender: &Sender,
    key: PointKey,
    delivery: &Delivery,
) -> Result<(), Failure> {
    let point = existing(ctx, key)?;
    if point.phase != Phase::Delivering {
        return Err(Error::NotDemanded.into());
    }
    let mode = mode_of(&point)?;
    match delivery {
        Delivery::Open(content) if mode == AuditMode::Open => {
            check(ctx, points::subject(&point)?, content)?;
            ctx.put(&DELIVERED, &key, content)?;
        }
        Delivery::Sealed { auditor, content } if mode == AuditMode::Sealed => {
            seal_for(ctx, sender, key, &point, *auditor, content)?;
        }
        _ => return Err(Error::OtherMode { mode }.into()),
    }
    go_on(ctx, key, point)
}

/// Back to committing, unless another auditor still waits for its content.
pub(super) fn go_on(ctx: &mut Context<'_>, key: PointKey, point: Point) -> Result<(), Failure> {
    if point.seats.iter().any(|seat| waits(ctx, key, seat)) {
        return ctx.put(&POINTS, &key, &point);
    }
    let commit_until = enter(ctx, key, point, Phase::Committing, ctx.params().windows.commit)?;
    ctx.emit(Event::Delivered { operator: key.0, epoch: key.1, point: key.2, commit_until });
    Ok(())
}

/// Whether an auditor has demanded sealed content and has none, and needs it still.
fn waits(ctx: &Context<'_>, key: PointKey, seat: &Seat) -> bool {
    let demanded = seat.reply.is_some() && seat.commitment.is_none();
    demanded && !ctx.has(&SEALED, &(key, seat.auditor))
}

/// R17: nobody can hold it against the commitments yet, so only the operator brings it: its owner's
/// key, its current box key, or the one that signed the receipt, while that is good for claims.
fn seal_for(
    ctx: &mut Context<'_>,
    sender: &Sender,
    key: PointKey,
    point: &Point,
    auditor: AccountId,
    content: &Sealed,
) -> Result<(), Failure> {
    let operator = staking::operator(ctx, &key.0)?;
    let operator = operator.ok_or(Broken::Rule("a claim is of no operator"))?;
    let current = staking::apply::current_key(ctx, key.0, &operator)?.key;
    let signed = points::subject(point)?.receipt.message.key_epoch;
    let signed = staking::box_key(ctx, &key.0, signed)?;
    let signed = signed.filter(|signed| signed.is_good_for_claims(ctx.clock()));
    let hot = sender.signer == current || signed.is_some_and(|key| key.key == sender.signer);
    if sender.account != operator.owner || !(sender.is_owner() || hot) {
        return Err(Error::NotTheOperator { account: sender.account }.into());
    }
    let seat = point.seats.iter().find(|seat| seat.auditor == auditor);
    if !seat.is_some_and(|seat| waits(ctx, key, seat)) {
        return Err(Error::NotDemanded.into());
    }
    ctx.put(&SEALED, &(key, auditor), content)
}

/// R17: an auditor shows the secret of its key, so that the ledger reads what it was sent.
pub(super) fn complain(
    ctx: &mut Context<'_>,
    sender: &Sender,
    key: PointKey,
    secret: &SealSecret,
) -> Result<(), Failure> {
    let point = in_phase(ctx, key, &[Phase::Committing, Phase::Delivering])?;
    let mut seats = point.seats.clone().into_vec();
    let seat = own_seat(ctx, sender, &mut seats)?;
    if seat.commitment.is_some() {
        return Err(Error::Repeated.into());
    }
    let sealed = ctx.get(&SEALED, &(key, seat.auditor))?.ok_or(Error::NothingDelivered)?;
    if seat.reply != Some(secret.key()) {
        return Err(Error::WrongSecret.into());
    }
    let context = seal_context(&key, &seat.auditor);
    if reads(ctx, points::subject(&point)?, &seal::open(secret, &context, &sealed))? {
        return Err(Error::ContentHolds.into());
    }
    // It did what it could: it is paid as for a finding.
    auditors::pay(ctx, sender.account, points::subject(&point)?.receipt.message.fee)?;
    points::fail(ctx, key, point, Cause::NotDelivered)
}

/// Whether opened bytes are the content that was committed to.
fn reads(
    ctx: &Context<'_>,
    subject: &Subject,
    opened: &Result<Vec<u8>, SealError>,
) -> Result<bool, Failure> {
    let Ok(bytes) = opened else { return Ok(false) };
    let Ok(content) = Content::try_from_slice(bytes) else { return Ok(false) };
    match check(ctx, subject, &content) {
        Ok(()) => Ok(true),
        Err(Failure::Rejected(_)) => Ok(false),
        Err(broken) => Err(broken),
    }
}

/// The point has ended: what was delivered is of no more use.
pub(super) fn forget(ctx: &mut Context<'_>, key: PointKey) -> Result<(), Failure> {
    ctx.remove(&DELIVERED, &key);
    for (sealed, _) in ctx.scan(&SEALED, &key, SEATS_EVER)? {
        ctx.remove(&SEALED, &sealed);
    }
    Ok(())
}

pub(super) fn mode_of(point: &Point) -> Result<AuditMode, Broken> {
    Ok(points::subject(point)?.request.message.audit_mode)
}

/// The content makes the commitments of request and receipt (R7).
fn check(ctx: &Context<'_>, subject: &Subject, content: &Content) -> Result<(), Failure> {
    let (body, receipt) = (&subject.request.message.body, &subject.receipt.message);
    let model = models::model(ctx, &body.model)?;
    let model = model.ok_or(Broken::Rule("the model of an opened receipt is not registered"))?;
    let holds = |tree, ids: &[u32], count: u32, commit| {
        u32::try_from(ids.len()) == Ok(count) && salted_root(&content.salt, tree, ids) == commit
    };
    let input = holds(Tree::Input, &content.input, receipt.n_in, body.input_commit);
    let output = match model.facts.task {
        Task::Generate => {
            holds(Tree::Output, &content.output, receipt.n_out, receipt.output_commit)
        }
        Task::Embed => content.output.is_empty(), // The auditor computes the row.
    };
    if input && output { Ok(()) } else { Err(Error::WrongContent.into()) }
}

fn salted_root(salt: &Salt, tree: Tree, ids: &[u32]) -> Digest {
    let leaf = |(index, id): (u64, &u32)| merkle::salted_leaf(salt, tree, index, &id.to_le_bytes());
    merkle::root(&(0..).zip(ids).map(leaf).collect::<Vec<_>>())
}
