//! Staking: the transactions, and the queue of unbonding. What `verification` asks for is in
//! [`discipline`].

mod discipline;

pub(crate) use discipline::{jail, slash, tombstone};

use super::{
    math::{floor, key_ends},
    schema::{
        BONDS, BOX_KEYS, Error, Event, OPERATORS, Registration, Tx, UNBONDING, UNBONDING_COUNT,
        UNBONDING_OF,
    },
    state::{BoxKey, Class, Operator, Profile, Unbonding, box_key, operator},
};
use crate::{
    accounts::{
        Pot,
        apply::{Purse, move_coin},
    },
    context::{Context, Sender},
    credits,
    error::{Broken, Failure},
    params::DAY,
    store::Read,
};
use crypto::{AccountId, OperatorId, PublicKey};
use units::{Coin, Millis};

/// Most parts of one bond that may wait (R4).
const UNBONDINGS_MAX: u8 = 8;
/// Most parts that are paid in one block (R5).
const UNBONDED_PER_BLOCK: usize = 64;
/// Most outdated bond records that one change forgets (R8); twice what it adds.
const FORGOTTEN_PER_CHANGE: usize = 2;

/// Applies one transaction of this module.
pub(crate) fn apply(ctx: &mut Context<'_>, sender: &Sender, tx: &Tx) -> Result<(), Failure> {
    let owner = sender.account;
    match tx {
        Tx::Register(registration) => register(ctx, owner, registration),
        Tx::Bond { operator, amount } => bond(ctx, owner, *operator, *amount),
        Tx::Unbond { operator, amount } => unbond(ctx, owner, *operator, *amount),
        Tx::RotateBoxKey { operator, box_key } => rotate(ctx, owner, *operator, *box_key),
        Tx::SetClass { operator, class } => set_class(ctx, owner, *operator, *class),
        Tx::SetProfile { operator, profile } => set_profile(ctx, sender, *operator, profile),
    }
}

/// Also called by genesis.
pub(crate) fn register(
    ctx: &mut Context<'_>,
    owner: AccountId,
    registration: &Registration,
) -> Result<(), Failure> {
    let Registration { index, box_key, class, ref profile, bond } = *registration;
    // R1
    let id = OperatorId::derive(&owner, index);
    if operator(ctx, &id)?.is_some() {
        return Err(Error::AlreadyRegistered { operator: id }.into());
    }
    check_floor(ctx, class, bond)?; // R3
    usable(box_key)?; // R9
    check_profile(profile)?; // R9

    let registered = ctx.clock();
    let record = Operator {
        owner,
        index,
        class,
        profile: profile.clone(),
        bond: Coin::ZERO,
        unbonding: Coin::ZERO,
        unbondings: 0,
        key_epoch: 0,
        registered,
    };
    let key = BoxKey { key: box_key, from: registered, until: None };
    move_coin(ctx, Purse::Account(owner), Purse::Pot(Pot::Bonds), bond)?;
    ctx.put(&BOX_KEYS, &(id, 0), &key)?;
    ctx.emit(Event::Registered { operator: id, class, box_key });
    set_bond(ctx, id, record, bond)
}

fn bond(
    ctx: &mut Context<'_>,
    owner: AccountId,
    id: OperatorId,
    amount: Coin,
) -> Result<(), Failure> {
    let record = owned(ctx, owner, id)?;
    if amount.is_zero() {
        return Err(Error::ZeroAmount.into());
    }
    if super::discipline(ctx, &id)?.tombstoned {
        return Err(Error::Tombstoned { operator: id }.into()); // R11
    }
    let bond = record.bond.checked_add(amount)?;
    check_floor(ctx, record.class, bond)?; // R3
    move_coin(ctx, Purse::Account(owner), Purse::Pot(Pot::Bonds), amount)?;
    set_bond(ctx, id, record, bond)
}

fn unbond(
    ctx: &mut Context<'_>,
    owner: AccountId,
    id: OperatorId,
    amount: Coin,
) -> Result<(), Failure> {
    let mut record = owned(ctx, owner, id)?;
    // R4
    if amount.is_zero() {
        return Err(Error::ZeroAmount.into());
    }
    let more = Error::MoreThanBonded { amount, bond: record.bond };
    let left = record.bond.checked_sub(amount).map_err(|_| more)?;
    if !left.is_zero() {
        check_floor(ctx, record.class, left)?; // R3
    }
    if record.unbondings >= UNBONDINGS_MAX {
        return Err(Error::TooManyUnbondings { limit: UNBONDINGS_MAX }.into());
    }
    let due = ctx.clock().checked_add(ctx.params().staking.unbonding)?;
    let number = ctx.get(&UNBONDING_COUNT, &())?.unwrap_or_default();
    let next = number.checked_add(1).ok_or(Broken::Overflow)?;
    record.unbonding = record.unbonding.checked_add(amount)?;
    record.unbondings = record.unbondings.saturating_add(1);

    ctx.put(&UNBONDING, &(due, number), &Unbonding { operator: id, amount })?;
    ctx.put(&UNBONDING_OF, &(id, due, number), &())?;
    ctx.put(&UNBONDING_COUNT, &(), &next)?;
    ctx.emit(Event::Unbonding { operator: id, amount, due });
    set_bond(ctx, id, record, left)
}

fn rotate(
    ctx: &mut Context<'_>,
    owner: AccountId,
    id: OperatorId,
    key: PublicKey,
) -> Result<(), Failure> {
    let mut record = owned(ctx, owner, id)?;
    usable(key)?; // R9
    let mut old = current_key(ctx, id, &record)?;
    if old.key == key {
        return Err(Error::SameKey { key }.into());
    }
    // R6
    let epoch = record.key_epoch.checked_add(1).ok_or(units::Overflow)?;
    let from = ctx.clock();
    old.until = Some(key_ends(from, &ctx.params().windows)?);

    ctx.put(&BOX_KEYS, &(id, record.key_epoch), &old)?;
    ctx.put(&BOX_KEYS, &(id, epoch), &BoxKey { key, from, until: None })?;
    record.key_epoch = epoch;
    ctx.put(&OPERATORS, &id, &record)?;
    ctx.emit(Event::BoxKeyRotated { operator: id, epoch, box_key: key });
    Ok(())
}

fn set_class(
    ctx: &mut Context<'_>,
    owner: AccountId,
    id: OperatorId,
    class: Class,
) -> Result<(), Failure> {
    let mut record = owned(ctx, owner, id)?;
    // R7: an exited operator holds no bond and may choose any class to come back in.
    if !record.bond.is_zero() {
        check_floor(ctx, class, record.bond)?;
    }
    record.class = class;
    ctx.put(&OPERATORS, &id, &record)?;
    ctx.emit(Event::Updated { operator: id });
    Ok(())
}

fn set_profile(
    ctx: &mut Context<'_>,
    sender: &Sender,
    id: OperatorId,
    profile: &Profile,
) -> Result<(), Failure> {
    let mut record = owned(ctx, sender.account, id)?;
    // R7: of the owner's hot keys only the box's own.
    if !sender.is_owner() && current_key(ctx, id, &record)?.key != sender.signer {
        return Err(Error::NotTheBoxKey { key: sender.signer }.into());
    }
    check_profile(profile)?; // R9
    let before = record.clone();
    record.profile = profile.clone();
    discipline::recount(ctx, id, Some(&before), &record)?;
    ctx.put(&OPERATORS, &id, &record)?;
    ctx.emit(Event::Updated { operator: id });
    Ok(())
}

/// Pays what has waited long enough (R5).
pub(crate) fn end_block(ctx: &mut Context<'_>) -> Result<(), Failure> {
    let clock = ctx.clock();
    for (key, waiting) in ctx.scan(&UNBONDING, &(), UNBONDED_PER_BLOCK)? {
        if key.0 > clock {
            break;
        }
        let Unbonding { operator: id, amount } = waiting;
        let record = operator(ctx, &id)?;
        let mut record = record.ok_or(Broken::Rule("a waiting bond has no operator"))?;
        record.unbonding = record.unbonding.checked_sub(amount).map_err(|_| Broken::Overflow)?;
        record.unbondings = record.unbondings.saturating_sub(1);
        ctx.remove(&UNBONDING, &key);
        ctx.remove(&UNBONDING_OF, &(id, key.0, key.1));
        move_coin(ctx, Purse::Pot(Pot::Bonds), Purse::Account(record.owner), amount)?;
        ctx.put(&OPERATORS, &id, &record)?;
        ctx.emit(Event::Unbonded { operator: id, amount });
    }
    Ok(())
}

/// The sender's operator (R1).
fn owned(ctx: &Context<'_>, owner: AccountId, id: OperatorId) -> Result<Operator, Failure> {
    let record = operator(ctx, &id)?.ok_or(Error::UnknownOperator { operator: id })?;
    if record.owner == owner { Ok(record) } else { Err(Error::NotTheOwner { operator: id }.into()) }
}

/// The current version of an operator's box key (R6).
pub(crate) fn current_key(
    ctx: &Context<'_>,
    id: OperatorId,
    record: &Operator,
) -> Result<BoxKey, Failure> {
    let key = box_key(ctx, &id, record.key_epoch)?;
    Ok(key.ok_or(Broken::Rule("an operator has no current box key"))?)
}

/// R3
fn check_floor(ctx: &Context<'_>, class: Class, bond: Coin) -> Result<(), Failure> {
    let floor = floor(class, &ctx.params().staking, credits::price(ctx)?)?;
    if bond < floor { Err(Error::BelowFloor { bond, floor }.into()) } else { Ok(()) }
}

/// R9
fn usable(key: PublicKey) -> Result<(), Error> {
    key.validate().map_err(|_| Error::BadKey { key })
}

/// R9
fn check_profile(profile: &Profile) -> Result<(), Error> {
    let ascending = profile.models.is_sorted_by(|earlier, later| earlier < later);
    if ascending { Ok(()) } else { Err(Error::ModelsOutOfOrder) }
}

/// Writes a changed bond and remembers from when it counts (R8).
fn set_bond(
    ctx: &mut Context<'_>,
    id: OperatorId,
    mut record: Operator,
    bond: Coin,
) -> Result<(), Failure> {
    let before = operator(ctx, &id)?;
    record.bond = bond;
    discipline::recount(ctx, id, before.as_ref(), &record)?;
    ctx.put(&OPERATORS, &id, &record)?;
    let clock = ctx.clock();
    ctx.put(&BONDS, &(id, clock), &bond)?;
    forget(ctx, id, clock)?;
    ctx.emit(Event::BondChanged { operator: id, bond });
    Ok(())
}

/// Drops bond records that were replaced before anybody could still ask for them (R8).
fn forget(ctx: &mut Context<'_>, id: OperatorId, clock: Millis) -> Result<(), Failure> {
    let keep = ctx.params().windows.challenge.checked_add(DAY)?;
    let horizon = clock.saturating_sub(keep);
    let oldest = ctx.scan(&BONDS, &id, FORGOTTEN_PER_CHANGE.saturating_add(1))?;
    for (earlier, later) in oldest.iter().zip(oldest.iter().skip(1)) {
        let (replaced, _) = later;
        if replaced.1 < horizon {
            ctx.remove(&BONDS, &earlier.0);
        }
    }
    Ok(())
}
