//! Verification: who audits: entering, leaving, being drawn, being paid, being missed.
//!
//! Rules: R3 to R5, R9.

use super::{
    super::{
        math::{audit_pay, least_bond, score},
        schema::{
            AUDITOR_MODELS_MAX, AUDITORS, ENDPOINT_BYTES_MAX, Error, Event, LEAVING, ROSTER,
            ROSTER_MAX, SEATS,
        },
        state::{Auditor, Listing, auditor},
    },
    claims,
    points::PointKey,
};
use crate::{
    accounts::{
        self, Pot,
        apply::{Purse, burn, move_coin},
    },
    context::Context,
    credits,
    error::{Broken, Failure},
    models,
    payments::ClaimRecord,
    store::Read,
};
use crypto::{AccountId, ModelId, PublicKey};
use units::{Coin, Credit, List, Rounding, Text};

/// Most notices that one block looks at.
const LEFT_PER_BLOCK: usize = 64;

type Models = List<ModelId, AUDITOR_MODELS_MAX>;

/// R3
pub(super) fn enlist(
    ctx: &mut Context<'_>,
    account: AccountId,
    key: PublicKey,
    amount: Coin,
    models: &Models,
    endpoint: &Text<ENDPOINT_BYTES_MAX>,
) -> Result<(), Failure> {
    let known = auditor(ctx, &account)?;
    if let Some(until) = known.as_ref().and_then(|known| known.leaving) {
        return Err(Error::Leaving { until }.into());
    }
    key.validate().map_err(|_| Error::BadKey { key })?;
    if !models.is_sorted_by(|earlier, later| earlier < later) {
        return Err(Error::ModelsOutOfOrder.into());
    }
    for model in models.iter() {
        if models::model(ctx, model)?.is_none() {
            return Err(Error::UnknownModel { model: *model }.into());
        }
    }
    let (before, seats) = known.as_ref().map_or((Coin::ZERO, 0), |known| (known.bond, known.seats));
    let bond = before.checked_add(amount)?;
    let least = least(ctx)?;
    if bond < least {
        return Err(Error::BondTooSmall { bond, least }.into());
    }
    move_coin(ctx, Purse::Account(account), Purse::Pot(Pot::AuditorBonds), amount)?;
    let earlier = known.map(|known| known.models).unwrap_or_default();
    for model in earlier.iter().filter(|model| !models.contains(model)) {
        ctx.remove(&ROSTER, &(*model, account));
    }
    for model in models.iter() {
        make_room(ctx, account, *model, bond)?;
    }
    let (models, endpoint, since) = (models.clone(), endpoint.clone(), ctx.clock());
    write(ctx, account, &Auditor { key, bond, models, endpoint, since, leaving: None, seats })?;
    ctx.emit(Event::Enlisted { auditor: account, bond });
    Ok(())
}

/// R5: from now on it is drawn no more; its bond answers for the seats it has.
pub(super) fn retire(ctx: &mut Context<'_>, account: AccountId) -> Result<(), Failure> {
    let mut record = auditor(ctx, &account)?.ok_or(Error::NotEnlisted { account })?;
    if let Some(until) = record.leaving {
        return Err(Error::Leaving { until }.into());
    }
    for model in record.models.iter() {
        ctx.remove(&ROSTER, &(*model, account));
    }
    let due = ctx.clock().checked_add(ctx.params().windows.challenge)?;
    record.models = List::empty();
    record.leaving = Some(due);
    ctx.put(&AUDITORS, &account, &record)?;
    ctx.put(&LEAVING, &(due, account), &())?;
    ctx.emit(Event::Retiring { auditor: account, due });
    Ok(())
}

/// R5: pays bonds whose notice has run and that answer for nothing any more.
pub(super) fn leave(ctx: &mut Context<'_>) -> Result<(), Failure> {
    let clock = ctx.clock();
    for (key, ()) in ctx.scan(&LEAVING, &(), LEFT_PER_BLOCK)? {
        let (due, account) = key;
        if due > clock {
            break;
        }
        ctx.remove(&LEAVING, &key);
        let mut record = existing(ctx, account)?;
        if record.seats > 0 {
            let later = clock.checked_add(ctx.params().windows.reveal);
            let later = later.map_err(|_| Broken::Overflow)?;
            record.leaving = Some(later);
            ctx.put(&AUDITORS, &account, &record)?;
            ctx.put(&LEAVING, &(later, account), &())?;
            continue;
        }
        ctx.remove(&AUDITORS, &account);
        let bond = record.bond;
        move_coin(ctx, Purse::Pot(Pot::AuditorBonds), Purse::Account(account), bond)?;
        ctx.emit(Event::Retired { auditor: account, bond });
    }
    Ok(())
}

/// R4: those with the lowest scores among who was enlisted before the claim, does not own the
/// operator and was not drawn for the point already.
pub(super) fn draw(
    ctx: &mut Context<'_>,
    claim: &ClaimRecord,
    model: ModelId,
    key: PointKey,
    count: usize,
    taken: &[AccountId],
) -> Result<Vec<AccountId>, Failure> {
    let seed = claims::seed(ctx, claim)?;
    let (operator, epoch, point) = key;
    let mut drawn = Vec::new();
    for ((_, account), listing) in ctx.scan(&ROSTER, &model, ROSTER_MAX)? {
        if listing.since >= claim.filed || account == claim.owner || taken.contains(&account) {
            continue;
        }
        let epoch = epoch.get().to_le_bytes();
        let named: [&[u8]; 5] =
            [b"auditor", operator.as_bytes(), &epoch, &[point], account.get().as_bytes()];
        drawn.push((score(&seed, listing.bond, &named), account));
    }
    drawn.sort_unstable();
    drawn.truncate(count);
    let drawn: Vec<AccountId> = drawn.into_iter().map(|(_, account)| account).collect();
    for account in &drawn {
        let mut record = existing(ctx, *account)?;
        record.seats = record.seats.checked_add(1).ok_or(Broken::Overflow)?;
        ctx.put(&AUDITORS, account, &record)?;
        ctx.put(&SEATS, &(*account, key), &())?;
        let (auditor, replacement) = (*account, !taken.is_empty());
        ctx.emit(Event::AuditorDrawn { operator, epoch, point, auditor, replacement });
    }
    Ok(drawn)
}

/// An auditor's seat is over.
pub(super) fn unseat(
    ctx: &mut Context<'_>,
    account: AccountId,
    key: PointKey,
) -> Result<(), Failure> {
    ctx.remove(&SEATS, &(account, key));
    let mut record = existing(ctx, account)?;
    let left = record.seats.checked_sub(1);
    record.seats = left.ok_or(Broken::Rule("an auditor has fewer seats than none"))?;
    ctx.put(&AUDITORS, &account, &record)
}

/// R9: one that did not come loses a part of its bond, and its seat.
pub(super) fn miss(
    ctx: &mut Context<'_>,
    account: AccountId,
    key: PointKey,
) -> Result<(), Failure> {
    unseat(ctx, account, key)?;
    let record = existing(ctx, account)?;
    let share = ctx.params().verification.absence.of(record.bond.get(), Rounding::Up);
    let burned = Coin::new(share.map_err(|_| Broken::Overflow)?);
    burn(ctx, Purse::Pot(Pot::AuditorBonds), burned)?;
    ctx.emit(Event::AuditorMissed { auditor: account, burned });
    lower(ctx, account, record, burned)
}

/// R9: pays an audit, whatever it found, as far as the pot for audits reaches.
pub(super) fn pay(ctx: &mut Context<'_>, account: AccountId, fee: Credit) -> Result<(), Failure> {
    let pay = audit_pay(fee, credits::price(ctx)?, &ctx.params().verification);
    let amount = pay.map_err(|_| Broken::Overflow)?.min(accounts::pot(ctx, Pot::Audit)?);
    move_coin(ctx, Purse::Pot(Pot::Audit), Purse::Account(account), amount)?;
    ctx.emit(Event::AuditPaid { auditor: account, amount });
    Ok(())
}

/// Puts up to `wanted` of an auditor's bond behind its finding, in `dispute_bonds`; returns how
/// much that is (R8).
pub(super) fn post(
    ctx: &mut Context<'_>,
    account: AccountId,
    wanted: Coin,
) -> Result<Coin, Failure> {
    let record = existing(ctx, account)?;
    let posted = record.bond.min(wanted);
    move_coin(ctx, Purse::Pot(Pot::AuditorBonds), Purse::Pot(Pot::DisputeBonds), posted)?;
    lower(ctx, account, record, posted)?;
    Ok(posted)
}

/// Takes back what was posted for a dispute that could not be opened.
pub(super) fn unpost(
    ctx: &mut Context<'_>,
    account: AccountId,
    posted: Coin,
) -> Result<(), Failure> {
    let mut record = existing(ctx, account)?;
    record.bond = record.bond.checked_add(posted).map_err(|_| Broken::Overflow)?;
    move_coin(ctx, Purse::Pot(Pot::DisputeBonds), Purse::Pot(Pot::AuditorBonds), posted)?;
    write(ctx, account, &record)
}

/// Lowers a bond; below the least one is drawn no more (R3).
fn lower(
    ctx: &mut Context<'_>,
    account: AccountId,
    mut record: Auditor,
    by: Coin,
) -> Result<(), Failure> {
    record.bond = record.bond.checked_sub(by).map_err(|_| Broken::Overflow)?;
    if record.bond < least(ctx)? {
        for model in core::mem::take(&mut record.models).iter() {
            ctx.remove(&ROSTER, &(*model, account));
            ctx.emit(Event::Struck { auditor: account, model: *model });
        }
    }
    write(ctx, account, &record)
}

/// Writes an auditor's record and its listings.
fn write(ctx: &mut Context<'_>, account: AccountId, record: &Auditor) -> Result<(), Failure> {
    let listing = Listing { bond: record.bond, since: record.since };
    for model in record.models.iter() {
        ctx.put(&ROSTER, &(*model, account), &listing)?;
    }
    ctx.put(&AUDITORS, &account, record)
}

/// R4: where a model's roster is full, a larger bond takes the place of the smallest.
fn make_room(
    ctx: &mut Context<'_>,
    account: AccountId,
    model: ModelId,
    bond: Coin,
) -> Result<(), Failure> {
    let roster = ctx.scan(&ROSTER, &model, ROSTER_MAX)?;
    if roster.len() < ROSTER_MAX || roster.iter().any(|((_, listed), _)| *listed == account) {
        return Ok(());
    }
    let smallest = roster.iter().min_by_key(|(_, listing)| listing.bond);
    let Some(((_, smallest), listing)) = smallest else { return Ok(()) };
    if bond <= listing.bond {
        return Err(Error::RosterFull { least: listing.bond }.into());
    }
    let mut record = existing(ctx, *smallest)?;
    let others = record.models.iter().copied().filter(|other| *other != model).collect();
    record.models = List::new(others).map_err(|_| Broken::Overflow)?;
    ctx.remove(&ROSTER, &(model, *smallest));
    ctx.put(&AUDITORS, smallest, &record)?;
    ctx.emit(Event::Struck { auditor: *smallest, model });
    Ok(())
}

/// The least bond at the price.
fn least(ctx: &Context<'_>) -> Result<Coin, Failure> {
    let least = least_bond(credits::price(ctx)?, &ctx.params().verification);
    Ok(least.map_err(|_| Broken::Overflow)?)
}

fn existing(ctx: &Context<'_>, account: AccountId) -> Result<Auditor, Failure> {
    Ok(auditor(ctx, &account)?.ok_or(Broken::Rule("a seated auditor is not enlisted"))?)
}
