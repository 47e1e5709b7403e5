//! Payments: the transactions of a payer, and the steps that fall due. Claims are in [`claim`],
//! what comes back of void ones in [`reclaim`].

mod claim;
mod reclaim;
mod settlement;

pub(crate) use settlement::{begin_block, existing, hold, release, void};

use super::{
    schema::{ALLOCATION_EXPIRIES, ALLOCATIONS, DEPOSITS, Error, Event, Tx},
    state::{Allocation, Deposit, allocation, deposit},
};
use crate::{
    accounts::{
        self,
        apply::{back, unback},
    },
    context::{Context, Sender},
    credits,
    error::{Broken, Failure},
    staking,
    store::Read,
};
use crypto::{AccountId, OperatorId, PublicKey};
use units::{Credit, Millis, Overflow};

/// Most allocations that one block releases (R5).
const RELEASED_PER_BLOCK: usize = 256;

/// Applies one transaction of this module.
pub(crate) fn apply(ctx: &mut Context<'_>, sender: &Sender, tx: &Tx) -> Result<(), Failure> {
    match tx {
        Tx::Deposit { amount } => lock(ctx, sender.account, *amount),
        Tx::Withdraw { amount } => withdraw(ctx, sender.account, *amount),
        Tx::Allocate { allocation, operator, signer, limit, expires } => {
            let terms = Terms { signer: *signer, limit: *limit, expires: *expires };
            allocate(ctx, sender, *allocation, *operator, &terms)
        }
        Tx::Extend { allocation, limit, expires } => {
            extend(ctx, sender, *allocation, *limit, *expires)
        }
        Tx::FileClaim(claim) => claim::file(ctx, sender, claim),
        Tx::Reclaim(reclaim) => reclaim::reclaim(ctx, reclaim),
    }
}

/// Releases what has expired, then pays what is due.
pub(crate) fn end_block(ctx: &mut Context<'_>) -> Result<(), Failure> {
    release_expired(ctx)?;
    settlement::pay_due(ctx)
}

fn lock(ctx: &mut Context<'_>, payer: AccountId, amount: Credit) -> Result<(), Failure> {
    // R1
    if amount.is_zero() {
        return Err(Error::ZeroAmount.into());
    }
    let mut record = deposit(ctx, &payer)?;
    record.balance = record.balance.checked_add(amount)?;
    credits::apply::lock(ctx, payer, amount)?;
    ctx.put(&DEPOSITS, &payer, &record)?;
    ctx.emit(Event::Deposited { payer, amount });
    Ok(())
}

fn withdraw(ctx: &mut Context<'_>, payer: AccountId, amount: Credit) -> Result<(), Failure> {
    // R1
    if amount.is_zero() {
        return Err(Error::ZeroAmount.into());
    }
    let mut record = deposit(ctx, &payer)?;
    check_unreserved(&record, amount)?;
    record.balance = record.balance.checked_sub(amount)?;
    credits::apply::unlock(ctx, payer, amount)?;
    ctx.put(&DEPOSITS, &payer, &record)?;
    ctx.emit(Event::Withdrawn { payer, amount });
    Ok(())
}

/// What an allocation promises.
struct Terms {
    signer: PublicKey,
    limit: Credit,
    expires: Millis,
}

fn allocate(
    ctx: &mut Context<'_>,
    sender: &Sender,
    number: u64,
    operator: OperatorId,
    terms: &Terms,
) -> Result<(), Failure> {
    let Terms { signer, limit, expires } = *terms;
    let payer = sender.account;
    // R3
    if limit.is_zero() {
        return Err(Error::ZeroAmount.into());
    }
    let mut record = deposit(ctx, &payer)?;
    let expected = record.next_allocation;
    if number != expected {
        return Err(Error::WrongNumber { given: number, expected }.into());
    }
    if staking::operator(ctx, &operator)?.is_none() {
        return Err(Error::UnknownOperator { operator }.into());
    }
    check_signer(sender, signer)?;
    check_expiry(ctx, payer, signer, Millis::ZERO, expires)?;
    check_unreserved(&record, limit)?; // R2
    record.reserved = record.reserved.checked_add(limit)?;
    record.next_allocation = number.checked_add(1).ok_or(Overflow)?;

    if signer != *payer.get() {
        back(ctx, payer, signer, limit)?;
    }
    let promised = Allocation { operator, signer, limit, cashed: Credit::ZERO, expires };
    ctx.put(&DEPOSITS, &payer, &record)?;
    ctx.put(&ALLOCATIONS, &(payer, number), &promised)?;
    ctx.put(&ALLOCATION_EXPIRIES, &(expires, (payer, number)), &())?;
    ctx.emit(Event::Allocated { payer, allocation: number, operator, limit, expires });
    Ok(())
}

fn extend(
    ctx: &mut Context<'_>,
    sender: &Sender,
    number: u64,
    limit: Credit,
    expires: Millis,
) -> Result<(), Failure> {
    let payer = sender.account;
    let mut promised = live(ctx, payer, number)?;
    let Allocation { operator, signer, .. } = promised;
    // R4
    let given = limit;
    let added = limit
        .checked_sub(promised.limit)
        .map_err(|_| Error::LimitShrinks { given, limit: promised.limit })?;
    check_signer(sender, signer)?;
    check_expiry(ctx, payer, signer, promised.expires, expires)?;
    let mut record = deposit(ctx, &payer)?;
    check_unreserved(&record, added)?; // R2
    record.reserved = record.reserved.checked_add(added)?;
    let earlier = promised.expires;
    (promised.limit, promised.expires) = (limit, expires);

    if signer != *payer.get() {
        back(ctx, payer, signer, added)?;
    }
    ctx.remove(&ALLOCATION_EXPIRIES, &(earlier, (payer, number)));
    ctx.put(&ALLOCATION_EXPIRIES, &(expires, (payer, number)), &())?;
    ctx.put(&ALLOCATIONS, &(payer, number), &promised)?;
    ctx.put(&DEPOSITS, &payer, &record)?;
    ctx.emit(Event::Allocated { payer, allocation: number, operator, limit, expires });
    Ok(())
}

/// An allocation on which can still be cashed (R5).
fn live(ctx: &Context<'_>, payer: AccountId, number: u64) -> Result<Allocation, Failure> {
    let promised = allocation(ctx, &payer, number)?;
    let promised = promised.filter(|promised| ctx.clock() < promised.expires);
    promised.ok_or_else(|| Error::UnknownAllocation { payer, allocation: number }.into())
}

/// R2
fn check_unreserved(record: &Deposit, amount: Credit) -> Result<(), Failure> {
    let unreserved = record.balance.checked_sub(record.reserved);
    let unreserved = unreserved.map_err(|_| Broken::Rule("more is reserved than deposited"))?;
    if amount > unreserved { Err(Error::OverDeposit { amount, unreserved }.into()) } else { Ok(()) }
}

/// R3: a session key can promise its own vouchers only, or a stolen one would reach the caps of
/// all others.
fn check_signer(sender: &Sender, signer: PublicKey) -> Result<(), Error> {
    if sender.is_owner() || sender.signer == signer { Ok(()) } else { Err(Error::NotTheSigner) }
}

/// R3, R4: an expiry lies ahead, not before the old one, not beyond the longest life nor beyond
/// the session that backs it.
fn check_expiry(
    ctx: &Context<'_>,
    payer: AccountId,
    signer: PublicKey,
    old: Millis,
    expires: Millis,
) -> Result<(), Failure> {
    let earliest = ctx.clock().checked_add(Millis::new(1))?.max(old);
    let mut latest = ctx.clock().checked_add(ctx.params().payments.allocation_life)?;
    if signer != *payer.get() {
        let session = accounts::session(ctx, &payer, &signer)?;
        let session = session.ok_or(accounts::Error::UnknownSession { key: signer })?;
        latest = latest.min(session.expires);
    }
    if (earliest..=latest).contains(&expires) {
        Ok(())
    } else {
        Err(Error::BadExpiry { expires, earliest, latest }.into())
    }
}

/// R5
fn release_expired(ctx: &mut Context<'_>) -> Result<(), Failure> {
    let clock = ctx.clock();
    for (key, ()) in ctx.scan(&ALLOCATION_EXPIRIES, &(), RELEASED_PER_BLOCK)? {
        let (expires, (payer, number)) = key;
        if expires > clock {
            break;
        }
        let ended = allocation(ctx, &payer, number)?;
        let ended = ended.ok_or(Broken::Rule("an expiry has no allocation"))?;
        let unspent = ended.left().map_err(|_| Broken::Overflow)?;
        let mut record = deposit(ctx, &payer)?;
        let reserved = record.reserved.checked_sub(unspent);
        record.reserved = reserved.map_err(|_| Broken::Overflow)?;
        if ended.signer != *payer.get() {
            unback(ctx, payer, ended.signer, unspent)?;
        }
        ctx.remove(&ALLOCATION_EXPIRIES, &key);
        ctx.remove(&ALLOCATIONS, &(payer, number));
        ctx.put(&DEPOSITS, &payer, &record)?;
        ctx.emit(Event::Released { payer, allocation: number, unspent });
    }
    Ok(())
}
