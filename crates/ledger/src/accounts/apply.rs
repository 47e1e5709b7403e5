//! Accounts: the transactions, the admission of every transaction, and the moves of coin that
//! other modules ask for.

use super::{
    schema::{ACCOUNTS, Error, Event, POTS, Pot, SESSIONS, SUPPLY, Tx},
    state::{Account, Session, account, pot, session, supply},
};
use crate::{
    context::{Context, Sender},
    error::{Broken, Failure},
    store::Read,
    transaction::{self, Transaction},
};
use crypto::{AccountId, PublicKey};
use units::{Coin, Credit, Millis, Nonce};

/// Where coin lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purse {
    /// In an account.
    Account(AccountId),
    /// In a module's pot.
    Pot(Pot),
}

/// Applies one transaction of this module.
pub(crate) fn apply(ctx: &mut Context<'_>, sender: &Sender, tx: &Tx) -> Result<(), Failure> {
    match tx {
        Tx::Transfer { to, amount } => transfer(ctx, sender.account, *to, *amount),
        Tx::GrantSession { key, fee_cap, spend_cap, expires } => {
            grant_session(ctx, sender.account, *key, *fee_cap, *spend_cap, *expires)
        }
        Tx::RevokeSession { key } => revoke_session(ctx, sender.account, *key),
    }
}

fn transfer(
    ctx: &mut Context<'_>,
    from: AccountId,
    to: AccountId,
    amount: Coin,
) -> Result<(), Failure> {
    // R5: a positive amount. That the sender holds it is the first check of the move.
    if amount.is_zero() {
        return Err(Error::ZeroAmount.into());
    }
    // R6: the record of a fresh account is kept for ever, so opening one costs something.
    if !ctx.has(&ACCOUNTS, &to) {
        let minimum = ctx.params().accounts.opening_minimum;
        if amount < minimum {
            return Err(Error::BelowOpeningMinimum { amount, minimum }.into());
        }
        usable(*to.get())?;
    }
    move_coin(ctx, Purse::Account(from), Purse::Account(to), amount)?;
    ctx.emit(Event::Transferred { from, to, amount });
    Ok(())
}

/// R10
pub(crate) fn usable(key: PublicKey) -> Result<(), Error> {
    key.validate().map_err(|_| Error::BadKey { key })
}

/// Also called by genesis.
pub(crate) fn grant_session(
    ctx: &mut Context<'_>,
    account: AccountId,
    key: PublicKey,
    fee_cap: Coin,
    spend_cap: Credit,
    expires: Millis,
) -> Result<(), Failure> {
    // R7
    if key == *account.get() {
        return Err(Error::OwnKey.into());
    }
    usable(key)?;
    let clock = ctx.clock();
    if expires <= clock {
        return Err(Error::ExpiryPassed { expires, clock }.into());
    }
    // R9: what was used stays used, and the nonce goes on, or old transactions would replay.
    let used = session(ctx, &account, &key)?;
    let fees_spent = used.map_or(Coin::ZERO, |session| session.fees_spent);
    let backed = used.map_or(Credit::ZERO, |session| session.backed);
    if fee_cap < fees_spent {
        return Err(Error::FeeCapBelowUsed { cap: fee_cap, used: fees_spent }.into());
    }
    if spend_cap < backed {
        return Err(Error::SpendCapBelowUsed { cap: spend_cap, used: backed }.into());
    }
    let nonce = used.map_or(Nonce::ZERO, |session| session.nonce);
    let granted =
        Session { nonce, fee_cap, fees_spent, spend_cap, backed, expires, revoked: false };
    ctx.put(&SESSIONS, &(account, key), &granted)?;
    ctx.emit(Event::SessionGranted { account, key, expires });
    Ok(())
}

fn revoke_session(
    ctx: &mut Context<'_>,
    account: AccountId,
    key: PublicKey,
) -> Result<(), Failure> {
    // R7
    let Some(mut revoked) = session(ctx, &account, &key)? else {
        return Err(Error::UnknownSession { key }.into());
    };
    revoked.revoked = true;
    ctx.put(&SESSIONS, &(account, key), &revoked)?;
    ctx.emit(Event::SessionRevoked { account, key });
    Ok(())
}

/// Who pays the fee of a transaction, and from which record its nonce comes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Payer {
    /// The account's record.
    pub account: Account,
    /// The session's record, if the signer is not the account's own key.
    pub session: Option<Session>,
}

impl Payer {
    /// The next nonce (R3).
    pub(crate) fn nonce(&self) -> Nonce {
        self.session.map_or(self.account.nonce, |session| session.nonce)
    }

    /// Takes a fee and a nonce (R3, R4, R7), in the record only.
    pub(crate) fn charge(&mut self, nonce: Nonce, fee: Coin) -> Result<(), transaction::Error> {
        let expected = self.nonce();
        let wrong = transaction::Error::WrongNonce { given: nonce, expected };
        if nonce != expected {
            return Err(wrong); // R3
        }
        let next = nonce.checked_add(Nonce::new(1)).map_err(|_| wrong)?;
        // R4
        let balance = self.account.balance;
        self.account.balance = balance
            .checked_sub(fee)
            .map_err(|_| transaction::Error::FeeNotCovered { fee, balance })?;
        match &mut self.session {
            None => self.account.nonce = next,
            Some(session) => {
                // R7
                let left = session.fee_cap.saturating_sub(session.fees_spent);
                let spent = session.fees_spent.checked_add(fee);
                session.fees_spent = spent
                    .ok()
                    .filter(|spent| *spent <= session.fee_cap)
                    .ok_or(transaction::Error::SessionFeeCap { fee, left })?;
                session.nonce = next;
            }
        }
        Ok(())
    }
}

/// Finds who pays for a transaction (R4, R7): the account, through its own key or a live
/// session whose kind of call a hot key may sign.
pub(crate) fn payer(
    state: &impl Read,
    clock: Millis,
    transaction: &Transaction,
) -> Result<Payer, Failure> {
    let Transaction { account: id, signer, call, .. } = transaction;
    let account = account(state, id)?;
    let account = account.ok_or(transaction::Error::UnknownAccount { account: *id })?;
    if *signer == *id.get() {
        return Ok(Payer { account, session: None });
    }
    let session = session(state, id, signer)?;
    let session = session.ok_or(transaction::Error::UnknownSession { signer: *signer })?;
    if !session.is_live(clock) {
        return Err(transaction::Error::SessionEnded.into());
    }
    if !call.allows_session() {
        return Err(transaction::Error::OwnKeyNeeded.into());
    }
    Ok(Payer { account, session: Some(session) })
}

/// Takes fee and nonce of a transaction, or leaves everything as it was.
pub(crate) fn admit(ctx: &mut Context<'_>, transaction: &Transaction) -> Result<Coin, Failure> {
    let mut payer = payer(ctx, ctx.clock(), transaction)?;
    let fee = transaction.call.fee(ctx.params())?;
    payer.charge(transaction.nonce, fee)?;
    ctx.put(&ACCOUNTS, &transaction.account, &payer.account)?;
    if let Some(session) = &payer.session {
        ctx.put(&SESSIONS, &(transaction.account, transaction.signer), session)?;
    }
    count_burned(ctx, fee)?;
    Ok(fee)
}

/// R8: counts `amount` against what a live session may back.
pub(crate) fn back(
    ctx: &mut Context<'_>,
    account: AccountId,
    key: PublicKey,
    amount: Credit,
) -> Result<(), Failure> {
    let clock = ctx.clock();
    let Some(mut backing) = session(ctx, &account, &key)? else {
        return Err(Error::UnknownSession { key }.into());
    };
    if !backing.is_live(clock) {
        return Err(Error::SessionEnded { key, clock }.into());
    }
    let left = backing.spend_cap.saturating_sub(backing.backed);
    if amount > left {
        return Err(Error::SpendCapExceeded { amount, left }.into());
    }
    backing.backed = backing.backed.checked_add(amount)?;
    ctx.put(&SESSIONS, &(account, key), &backing)?;
    Ok(())
}

/// R8: gives back what an ended allocation left unspent.
pub(crate) fn unback(
    ctx: &mut Context<'_>,
    account: AccountId,
    key: PublicKey,
    amount: Credit,
) -> Result<(), Failure> {
    let Some(mut backing) = session(ctx, &account, &key)? else {
        return Err(Broken::Rule("an allocation is backed by a session that never was").into());
    };
    backing.backed = backing.backed.checked_sub(amount).map_err(|_| Broken::Overflow)?;
    ctx.put(&SESSIONS, &(account, key), &backing)?;
    Ok(())
}

/// R1: moves coin. An account that is short is its owner's doing; a pot that is short means
/// that its module's books are wrong.
pub(crate) fn move_coin(
    ctx: &mut Context<'_>,
    from: Purse,
    to: Purse,
    amount: Coin,
) -> Result<(), Failure> {
    take(ctx, from, amount)?;
    give(ctx, to, amount)
}

/// R1: destroys coin.
pub(crate) fn burn(ctx: &mut Context<'_>, from: Purse, amount: Coin) -> Result<(), Failure> {
    take(ctx, from, amount)?;
    count_burned(ctx, amount)
}

/// R1: makes coin, at genesis only.
pub(crate) fn endow(ctx: &mut Context<'_>, to: Purse, amount: Coin) -> Result<(), Failure> {
    let mut made = supply(ctx)?;
    made.genesis = made.genesis.checked_add(amount)?;
    ctx.put(&SUPPLY, &(), &made)?;
    give(ctx, to, amount)
}

fn count_burned(ctx: &mut Context<'_>, amount: Coin) -> Result<(), Failure> {
    let mut made = supply(ctx)?;
    made.burned = made.burned.checked_add(amount).map_err(|_| Broken::Overflow)?;
    ctx.put(&SUPPLY, &(), &made)?;
    Ok(())
}

fn take(ctx: &mut Context<'_>, from: Purse, amount: Coin) -> Result<(), Failure> {
    match from {
        Purse::Account(id) => {
            let mut record = account(ctx, &id)?.unwrap_or_default();
            let balance = record.balance;
            record.balance =
                balance.checked_sub(amount).map_err(|_| Error::Insufficient { balance, amount })?;
            ctx.put(&ACCOUNTS, &id, &record)?;
        }
        Purse::Pot(name) => {
            let held = pot(ctx, name)?;
            let left = held.checked_sub(amount);
            let left = left.map_err(|_| Broken::Rule("a pot holds less than is owed from it"))?;
            ctx.put(&POTS, &name, &left)?;
        }
    }
    Ok(())
}

fn give(ctx: &mut Context<'_>, to: Purse, amount: Coin) -> Result<(), Failure> {
    match to {
        Purse::Account(id) => {
            let mut record = account(ctx, &id)?.unwrap_or_default();
            record.balance = record.balance.checked_add(amount)?;
            ctx.put(&ACCOUNTS, &id, &record)?;
        }
        Purse::Pot(name) => {
            let held = pot(ctx, name)?.checked_add(amount)?;
            ctx.put(&POTS, &name, &held)?;
        }
    }
    Ok(())
}
