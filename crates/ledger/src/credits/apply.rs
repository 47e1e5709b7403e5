//! Credits: the transactions, the queue of payouts, and what `payments` asks for.

use super::{
    math::{Shares, coin_worth, cost_of, credit_worth, split, spread},
    schema::{Error, Event, HOLDINGS, PAYOUTS, PRICE, QUEUE, TOTALS, Tx},
    state::{Payout, PriceSource, holding, price, totals},
};
use crate::{
    accounts::{
        self, Pot,
        apply::{Purse, burn, move_coin},
    },
    context::{Context, Sender},
    error::{Broken, Failure},
    store::Read,
};
use crypto::AccountId;
use units::{Coin, Credit, Overflow, Rounding};

/// Most queued payouts that one block pays (R7).
const PAYOUTS_PER_BLOCK: usize = 64;

/// Applies one transaction of this module.
pub(crate) fn apply(ctx: &mut Context<'_>, sender: &Sender, tx: &Tx) -> Result<(), Failure> {
    match tx {
        Tx::Mint { coin, at_least } => mint(ctx, sender.account, *coin, *at_least),
        Tx::Redeem { amount, at_least } => redeem(ctx, sender.account, *amount, *at_least),
    }
}

/// Called by genesis (R8).
pub(crate) fn open(ctx: &mut Context<'_>, source: &PriceSource) -> Result<(), Failure> {
    source.check()?;
    ctx.put(&PRICE, &(), source)
}

fn mint(
    ctx: &mut Context<'_>,
    account: AccountId,
    coin: Coin,
    at_least: Credit,
) -> Result<(), Failure> {
    // R3
    if coin.is_zero() {
        return Err(Error::ZeroAmount.into());
    }
    let price = price(ctx)?;
    let spread = spread(coin, &ctx.params().credits)?;
    let behind = coin.checked_sub(spread)?;
    let made = credit_worth(behind, price)?;
    if made.is_zero() {
        return Err(Error::TooSmall.into());
    }
    if made < at_least {
        return Err(Error::MintBelowLimit { coin, made, at_least }.into());
    }
    let mut held = holding(ctx, &account)?;
    held.free = held.free.checked_add(made)?;
    held.cost = held.cost.checked_add(behind)?; // R4
    let mut totals = totals(ctx)?;
    totals.minted = totals.minted.checked_add(made)?;

    move_coin(ctx, Purse::Account(account), Purse::Pot(Pot::Remint), behind)?;
    move_coin(ctx, Purse::Account(account), Purse::Pot(Pot::Stability), spread)?;
    ctx.put(&HOLDINGS, &account, &held)?;
    ctx.put(&TOTALS, &(), &totals)?;
    ctx.emit(Event::Minted { account, coin: behind, spread, credits: made, price });
    Ok(())
}

fn redeem(
    ctx: &mut Context<'_>,
    account: AccountId,
    amount: Credit,
    at_least: Coin,
) -> Result<(), Failure> {
    // R5
    if amount.is_zero() {
        return Err(Error::ZeroAmount.into());
    }
    let mut held = holding(ctx, &account)?;
    if amount > held.free {
        return Err(Error::Insufficient { free: held.free, amount }.into());
    }
    let worth = coin_worth(amount, price(ctx)?)?;
    let coin = cost_of(&held, amount, Rounding::Down)?.min(worth);
    if coin.is_zero() {
        return Err(Error::TooSmall.into());
    }
    if coin < at_least {
        return Err(Error::RedeemBelowLimit { amount, paid: coin, at_least }.into());
    }
    let in_pot = accounts::pot(ctx, Pot::Remint)?;
    if coin > in_pot {
        return Err(Error::RemintShort { held: in_pot, amount: coin }.into());
    }
    let gone = cost_of(&held, amount, Rounding::Up)?; // R4
    held.cost = held.cost.checked_sub(gone)?;
    held.free = held.free.checked_sub(amount)?;
    let mut totals = totals(ctx)?;
    totals.redeemed = totals.redeemed.checked_add(amount)?;

    ctx.put(&HOLDINGS, &account, &held)?;
    ctx.put(&TOTALS, &(), &totals)?;
    move_coin(ctx, Purse::Pot(Pot::Remint), Purse::Account(account), coin)?;
    ctx.emit(Event::Redeemed { account, credits: amount, coin });
    Ok(())
}

/// Free → locked, for a deposit.
pub(crate) fn lock(
    ctx: &mut Context<'_>,
    account: AccountId,
    amount: Credit,
) -> Result<(), Failure> {
    let mut held = holding(ctx, &account)?;
    let free = held.free;
    held.free = free.checked_sub(amount).map_err(|_| Error::Insufficient { free, amount })?;
    held.locked = held.locked.checked_add(amount)?;
    ctx.put(&HOLDINGS, &account, &held)
}

/// Locked → free, for a withdrawal. `payments` checked that so much is locked.
pub(crate) fn unlock(
    ctx: &mut Context<'_>,
    account: AccountId,
    amount: Credit,
) -> Result<(), Failure> {
    let mut held = holding(ctx, &account)?;
    held.locked = own_books(held.locked.checked_sub(amount))?;
    held.free = held.free.checked_add(amount)?;
    ctx.put(&HOLDINGS, &account, &held)
}

/// Locked → escrow, for a claim: from now on the payer cannot have it back by itself (R4).
pub(crate) fn charge(
    ctx: &mut Context<'_>,
    payer: AccountId,
    amount: Credit,
) -> Result<(), Failure> {
    let mut held = holding(ctx, &payer)?;
    let gone = own_books(cost_of(&held, amount, Rounding::Up))?;
    held.cost = own_books(held.cost.checked_sub(gone))?;
    held.locked = own_books(held.locked.checked_sub(amount))?;
    let mut totals = totals(ctx)?;
    totals.escrow = own_books(totals.escrow.checked_add(amount))?;
    ctx.put(&HOLDINGS, &payer, &held)?;
    ctx.put(&TOTALS, &(), &totals)
}

/// Destroys escrowed credits and pays their worth, or queues the payout (R6, R7).
pub(crate) fn settle(ctx: &mut Context<'_>, to: AccountId, credits: Credit) -> Result<(), Failure> {
    let mut totals = totals(ctx)?;
    totals.escrow = own_books(totals.escrow.checked_sub(credits))?;
    totals.settled = own_books(totals.settled.checked_add(credits))?;
    ctx.put(&TOTALS, &(), &totals)?;

    let coin = own_books(coin_worth(credits, price(ctx)?))?;
    let shares = own_books(split(coin, &ctx.params().credits))?;
    pay_or_queue(ctx, Payout { to, credits, shares }, coin)
}

/// Destroys escrowed credits of a claim that failed (R10): half of their worth is burned, half
/// goes to insurance. `owner` gets nothing and names the payout.
pub(crate) fn forfeit(
    ctx: &mut Context<'_>,
    owner: AccountId,
    credits: Credit,
) -> Result<(), Failure> {
    let mut totals = totals(ctx)?;
    totals.escrow = own_books(totals.escrow.checked_sub(credits))?;
    totals.settled = own_books(totals.settled.checked_add(credits))?;
    ctx.put(&TOTALS, &(), &totals)?;
    let coin = own_books(coin_worth(credits, price(ctx)?))?;
    let burned = own_books(coin.mul_div(1, 2, Rounding::Up))?;
    let insurance = own_books(coin.checked_sub(burned))?;
    let shares = Shares { burned, insurance, ..Shares::default() };
    pay_or_queue(ctx, Payout { to: owner, credits, shares }, coin)
}

/// Escrow → locked, for a refund: the payer has its credits back, with the coin behind them at
/// the price (R10).
pub(crate) fn refund(
    ctx: &mut Context<'_>,
    payer: AccountId,
    amount: Credit,
) -> Result<(), Failure> {
    let mut totals = totals(ctx)?;
    totals.escrow = own_books(totals.escrow.checked_sub(amount))?;
    let mut held = holding(ctx, &payer)?;
    held.locked = own_books(held.locked.checked_add(amount))?;
    let behind = own_books(coin_worth(amount, price(ctx)?))?;
    held.cost = own_books(held.cost.checked_add(behind))?;
    ctx.put(&TOTALS, &(), &totals)?;
    ctx.put(&HOLDINGS, &payer, &held)
}

/// R7: pays at once if nothing waits and `remint` reaches.
fn pay_or_queue(ctx: &mut Context<'_>, payout: Payout, coin: Coin) -> Result<(), Failure> {
    let Payout { to, credits, .. } = payout;
    let waits = !ctx.scan(&PAYOUTS, &(), 1)?.is_empty();
    if !waits && coin <= accounts::pot(ctx, Pot::Remint)? {
        return pay(ctx, &payout);
    }
    let number = ctx.get(&QUEUE, &())?.unwrap_or_default();
    let next = number.checked_add(1).ok_or(Broken::Overflow)?;
    ctx.put(&PAYOUTS, &number, &payout)?;
    ctx.put(&QUEUE, &(), &next)?;
    ctx.emit(Event::Queued { to, credits, number });
    Ok(())
}

/// R6: every share to its place.
fn pay(ctx: &mut Context<'_>, payout: &Payout) -> Result<(), Failure> {
    let Payout { to, credits, shares } = *payout;
    let Shares { operator, burned, audit, treasury, validators, insurance } = shares;
    let remint = Purse::Pot(Pot::Remint);
    move_coin(ctx, remint, Purse::Account(to), operator)?;
    move_coin(ctx, remint, Purse::Pot(Pot::Audit), audit)?;
    move_coin(ctx, remint, Purse::Pot(Pot::Treasury), treasury)?;
    move_coin(ctx, remint, Purse::Pot(Pot::Validators), validators)?;
    move_coin(ctx, remint, Purse::Pot(Pot::Insurance), insurance)?;
    burn(ctx, remint, burned)?;
    ctx.emit(Event::Paid { to, credits, shares });
    Ok(())
}

/// Pays what waits, oldest first, as far as `remint` reaches (R7).
pub(crate) fn begin_block(ctx: &mut Context<'_>) -> Result<(), Failure> {
    for (number, payout) in ctx.scan(&PAYOUTS, &(), PAYOUTS_PER_BLOCK)? {
        if own_books(payout.shares.total())? > accounts::pot(ctx, Pot::Remint)? {
            break;
        }
        ctx.remove(&PAYOUTS, &number);
        pay(ctx, &payout)?;
    }
    Ok(())
}

/// Arithmetic on the ledger's own books: it fails for no sender's reason.
fn own_books<T>(result: Result<T, Overflow>) -> Result<T, Broken> {
    result.map_err(|_| Broken::Overflow)
}
