//! The gateway's money on chain: credits bought and deposited, limits promised to operators.
//!
//! ```text
//!   coin ── mint ──▶ credits ── deposit ──▶ unreserved ── allocate, extend ──▶ operator's limit
//! ```
//! Rules: one live allocation per operator, of which all lanes to it draw; it grows by a step
//! before it is used up; a new one replaces one that nears its end. With the owner's key the
//! deposit is filled from coin; without it, whoever holds that key must do so.
//! Never here: lanes' states, which box gets a task.

use crate::{boxes::BoxHandle, config::Funding, lanes::Lanes};
use client::{
    follow::Follower,
    rpc::{Rpc, RpcError},
    transactions::{SendError, Sender},
};
use crypto::{AccountId, OperatorId, PublicKey};
use ledger::{
    Call, Params,
    accounts::SESSIONS,
    credits::{self, HOLDINGS},
    payments::{ALLOCATIONS, Allocation, DEPOSITS, LANES, Tx},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use units::{Credit, Millis};

/// Epochs that an allocation must outlast a task, so that its fee can still be claimed.
const MARGIN_EPOCHS: u64 = 6;

/// Why an operator cannot be promised more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FundsError {
    #[error(transparent)]
    Rpc(#[from] RpcError),
    #[error(transparent)]
    Send(#[from] SendError),
    #[error("the gateway's deposit has {unreserved} left, {needed} are needed")]
    Deposit { unreserved: Credit, needed: Credit },
    #[error("the gateway's session key has ended")]
    SessionEnded,
}

/// What an operator was promised.
#[derive(Debug, Clone, Copy)]
struct Promise {
    number: u64,
    limit: Credit,
    expires: Millis,
    /// Part of the lanes' sums that earlier allocations have paid for.
    base: Credit,
}

/// Whose money it is, and what is known of the chain that holds it.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) rpc: Rpc,
    pub(crate) follower: Follower,
    pub(crate) account: AccountId,
    /// Signs vouchers.
    pub(crate) signer: PublicKey,
    pub(crate) params: Params,
    pub(crate) policy: Funding,
}

/// The account and its promises.
#[derive(Debug)]
pub(crate) struct Funds {
    held: Account,
    lanes: Arc<Lanes>,
    /// Sends as owner; none if that key is elsewhere.
    owner: Option<tokio::sync::Mutex<Sender>>,
    /// Sends as session key. Held while an allocation changes, so that one task pays the way.
    session: tokio::sync::Mutex<Sender>,
    promises: Mutex<BTreeMap<OperatorId, Promise>>,
}

impl Funds {
    pub(crate) fn new(
        held: Account,
        lanes: Arc<Lanes>,
        owner: Option<Sender>,
        session: Sender,
    ) -> Self {
        let owner = owner.map(tokio::sync::Mutex::new);
        let session = tokio::sync::Mutex::new(session);
        Self { held, lanes, owner, session, promises: Mutex::default() }
    }

    fn promises(&self) -> MutexGuard<'_, BTreeMap<OperatorId, Promise>> {
        self.promises.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends something else with the session key, whose nonces are counted here.
    pub(crate) async fn send(&self, call: Call) -> Result<(), SendError> {
        self.session.lock().await.send(call).await.map(|_| ())
    }

    /// Finds the allocations of an earlier run, and fills the deposit.
    pub(crate) async fn open(&self) -> Result<(), FundsError> {
        let clock = self.held.follower.seen().clock;
        for ((_, number), record) in self.held.rpc.records(&ALLOCATIONS, &self.held.account).await?
        {
            if record.signer == self.held.signer && record.expires > clock {
                let promise = self.promise(number, &record).await?;
                // In ascending order: the latest of an operator stays.
                self.promises().insert(record.operator, promise);
            }
        }
        let deposit =
            self.held.rpc.record(&DEPOSITS, &self.held.account).await?.unwrap_or_default();
        let unreserved = deposit.balance.saturating_sub(deposit.reserved);
        if unreserved < self.held.policy.allocation {
            self.fill(self.held.policy.allocation).await?;
        }
        Ok(())
    }

    /// The allocation of an operator, if it covers all that is committed to it.
    fn covering(&self, operator: &OperatorId) -> Option<u64> {
        let promise = *self.promises().get(operator)?;
        let until = self.held.follower.seen().clock.checked_add(self.margin()).ok()?;
        let used = self.lanes.committed(operator).saturating_sub(promise.base);
        (promise.expires > until && used <= promise.limit).then_some(promise.number)
    }

    fn margin(&self) -> Millis {
        Millis::new(self.held.params.windows.epoch.get().saturating_mul(MARGIN_EPOCHS))
    }

    /// Whether more than half of an allocation is used, so that it should grow.
    fn is_low(&self, operator: &OperatorId) -> bool {
        let Some(promise) = self.promises().get(operator).copied() else { return true };
        let used = self.lanes.committed(operator).saturating_sub(promise.base);
        used.get().saturating_mul(2) > promise.limit.get()
    }

    /// Pays what lanes to a box that has just connected are open for from before.
    pub(crate) async fn take_up(self: &Arc<Self>, handle: &BoxHandle) {
        if !self.lanes.is_open(&handle.operator) {
            return;
        }
        match self.allocation(handle.operator).await {
            Ok(number) => self.lanes.take_up(handle, number).await,
            Err(error) => {
                tracing::warn!(operator = %handle.operator, %error, "open lanes stay unpaid");
            }
        }
    }

    /// An allocation that covers all that is committed to an operator, made or grown if need be.
    pub(crate) async fn allocation(
        self: &Arc<Self>,
        operator: OperatorId,
    ) -> Result<u64, FundsError> {
        if let Some(number) = self.covering(&operator) {
            if self.is_low(&operator) {
                let funds = Arc::clone(self);
                tokio::spawn(async move {
                    // Others grow it already if the sender is in use.
                    let Ok(mut session) = funds.session.try_lock() else { return };
                    if funds.is_low(&operator)
                        && let Err(error) = funds.grow(&mut session, operator).await
                    {
                        tracing::warn!(%operator, %error, "the allocation cannot grow");
                    }
                });
            }
            return Ok(number);
        }
        let mut session = self.session.lock().await;
        if self.covering(&operator).is_none() {
            self.grow(&mut session, operator).await?;
        }
        self.covering(&operator).ok_or_else(|| FundsError::Deposit {
            unreserved: Credit::ZERO,
            needed: self.lanes.committed(&operator),
        })
    }

    /// Extends an operator's allocation by a step beyond what is committed, or opens one.
    async fn grow(&self, session: &mut Sender, operator: OperatorId) -> Result<(), FundsError> {
        let expires = self.expiry().await?;
        let known = self.promises().get(&operator).copied();
        let usable = known.filter(|known| {
            let until = self.held.follower.seen().clock.checked_add(self.margin());
            until.is_ok_and(|until| known.expires > until)
        });
        let committed = self.lanes.committed(&operator);
        let step = self.held.policy.allocation;
        match usable {
            Some(promise) => {
                let used = committed.saturating_sub(promise.base).max(promise.limit);
                let limit = Credit::new(used.get().saturating_add(step.get()));
                self.secure(limit.saturating_sub(promise.limit)).await?;
                let expires = expires.max(promise.expires);
                let call = Tx::Extend { allocation: promise.number, limit, expires };
                session.send(Call::Payments(call)).await?;
                self.promises().insert(operator, Promise { limit, expires, ..promise });
            }
            None => {
                let fresh = self.base(&operator, Credit::ZERO).await?;
                let open = committed.saturating_sub(fresh);
                let limit = Credit::new(open.get().saturating_add(step.get()));
                self.secure(limit).await?;
                let deposit = self.held.rpc.record(&DEPOSITS, &self.held.account).await?;
                let number = deposit.unwrap_or_default().next_allocation;
                let call = Tx::Allocate {
                    allocation: number,
                    operator,
                    signer: self.held.signer,
                    limit,
                    expires,
                };
                session.send(Call::Payments(call)).await?;
                let promise = Promise { number, limit, expires, base: fresh };
                self.promises().insert(operator, promise);
            }
        }
        Ok(())
    }

    async fn promise(&self, number: u64, record: &Allocation) -> Result<Promise, FundsError> {
        let base = self.base(&record.operator, record.cashed).await?;
        Ok(Promise { number, limit: record.limit, expires: record.expires, base })
    }

    /// What claims have taken from an operator's lanes on other allocations than the one of
    /// which `cashed` is cashed.
    async fn base(&self, operator: &OperatorId, cashed: Credit) -> Result<Credit, FundsError> {
        let mut claimed = 0_u128;
        for lane in self.lanes.ids(operator) {
            let record = self.held.rpc.record(&LANES, &lane).await?.unwrap_or_default();
            claimed = claimed.saturating_add(record.cumulative.get());
        }
        Ok(Credit::new(claimed.saturating_sub(cashed.get())))
    }

    /// As late as the ledger and the session key allow.
    async fn expiry(&self) -> Result<Millis, FundsError> {
        let clock = self.held.follower.seen().clock;
        let life = self.held.params.payments.allocation_life;
        let latest = clock.checked_add(life).unwrap_or(Millis::MAX);
        if self.held.signer == *self.held.account.get() {
            return Ok(latest);
        }
        let session =
            self.held.rpc.record(&SESSIONS, &(self.held.account, self.held.signer)).await?;
        let session = session.filter(|session| session.is_live(clock));
        session.map(|session| session.expires.min(latest)).ok_or(FundsError::SessionEnded)
    }

    /// Makes sure that this much of the deposit is free to be promised.
    async fn secure(&self, needed: Credit) -> Result<(), FundsError> {
        let unreserved = self.unreserved().await?;
        if unreserved >= needed {
            return Ok(());
        }
        self.fill(needed.saturating_sub(unreserved)).await?;
        let unreserved = self.unreserved().await?;
        if unreserved >= needed { Ok(()) } else { Err(FundsError::Deposit { unreserved, needed }) }
    }

    async fn unreserved(&self) -> Result<Credit, FundsError> {
        let deposit =
            self.held.rpc.record(&DEPOSITS, &self.held.account).await?.unwrap_or_default();
        Ok(deposit.balance.saturating_sub(deposit.reserved))
    }

    /// Buys credits if the account holds fewer than `needed`, and deposits all it holds.
    async fn fill(&self, needed: Credit) -> Result<(), FundsError> {
        let Some(owner) = &self.owner else { return Ok(()) };
        let mut owner = owner.lock().await;
        let free = self.free().await?;
        if free < needed {
            let coin = self.held.policy.coin_per_purchase;
            // The price is fixed in genesis: nothing can move between look and purchase.
            let mint = credits::Tx::Mint { coin, at_least: Credit::ZERO };
            owner.send(Call::Credits(mint)).await?;
        }
        let amount = self.free().await?;
        if !amount.is_zero() {
            owner.send(Call::Payments(Tx::Deposit { amount })).await?;
        }
        Ok(())
    }

    /// Credits that the account holds and has not locked.
    async fn free(&self) -> Result<Credit, FundsError> {
        let holding = self.held.rpc.record(&HOLDINGS, &self.held.account).await?;
        Ok(holding.map_or(Credit::ZERO, |holding| holding.free))
    }
}
