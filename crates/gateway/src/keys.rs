//! Callers' API keys and their budgets.
//!
//! Rules: a secret is compared by its hash; what a running task may cost is reserved before it
//! starts, so that tasks at the same time cannot overdraw a budget together; a finished task is
//! charged what it did cost. Never here: credits on chain, which are the gateway's own.

use crate::{
    config::ApiKey,
    error::{ApiError, Code},
    store::Records,
};
use ::http::{HeaderMap, header};
use client::store::StoreError;
use crypto::{Digest, Domain, hash};
use ledger::payments::messages::AuditMode;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use units::Credit;

/// Tasks of one key at the same time.
const MAX_TASKS_PER_KEY: usize = 64;

#[derive(Debug)]
struct Account {
    audit_mode: AuditMode,
    budget: Credit,
    spent: Credit,
    reserved: Credit,
    tasks: usize,
}

/// All keys by hash.
#[derive(Debug)]
pub(crate) struct Keys(Mutex<BTreeMap<Digest, Account>>);

/// A part of a budget that a running task holds; freed when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    keys: Arc<Keys>,
    key: Digest,
    most: Credit,
}

impl Keys {
    pub(crate) fn open(keys: &[ApiKey], records: &Records) -> Result<Arc<Self>, StoreError> {
        let mut accounts = BTreeMap::new();
        for key in keys {
            let hash = hash_secret(&key.secret);
            let spent = records.spent(&hash)?;
            let ApiKey { budget, audit_mode, .. } = *key;
            let reserved = Credit::ZERO;
            let account = Account { audit_mode, budget, spent, reserved, tasks: 0 };
            accounts.insert(hash, account);
        }
        Ok(Arc::new(Self(Mutex::new(accounts))))
    }

    fn accounts(&self) -> MutexGuard<'_, BTreeMap<Digest, Account>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The hash of the key in `Authorization: Bearer …`.
    pub(crate) fn authenticate(&self, headers: &HeaderMap) -> Result<Digest, ApiError> {
        let hint = "send the header Authorization: Bearer KEY";
        let value = headers.get(header::AUTHORIZATION).ok_or_else(|| {
            ApiError::new(Code::MissingApiKey, "the request carries no API key", hint)
        })?;
        let secret = value.to_str().ok().and_then(|text| {
            let (scheme, secret) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| secret.trim())
        });
        let unknown = || ApiError::new(Code::InvalidApiKey, "this gateway knows no such key", hint);
        let key = hash_secret(secret.ok_or_else(unknown)?);
        if self.accounts().contains_key(&key) { Ok(key) } else { Err(unknown()) }
    }

    /// Who may see what a key asks, unless the request says otherwise.
    pub(crate) fn audit_mode(&self, key: &Digest) -> AuditMode {
        self.accounts().get(key).map_or(AuditMode::Open, |account| account.audit_mode)
    }

    /// Holds back what a task may cost.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        key: Digest,
        most: Credit,
    ) -> Result<Reservation, ApiError> {
        let mut accounts = self.accounts();
        let account = accounts.get_mut(&key).ok_or_else(|| {
            ApiError::new(Code::InvalidApiKey, "this gateway knows no such key", "use another")
        })?;
        if account.tasks >= MAX_TASKS_PER_KEY {
            let message = format!("this key has {MAX_TASKS_PER_KEY} tasks running already");
            return Err(ApiError::new(Code::RateLimited, message, "wait for one to finish"));
        }
        let used = account.spent.get().saturating_add(account.reserved.get());
        let left = Credit::new(account.budget.get().saturating_sub(used));
        if most > left {
            let message = format!("the request may cost {most}, the key has {left} left");
            let hint = "lower max_tokens, or ask for a larger budget";
            return Err(ApiError::new(Code::InsufficientCredits, message, hint));
        }
        account.reserved = Credit::new(account.reserved.get().saturating_add(most.get()));
        account.tasks = account.tasks.saturating_add(1);
        Ok(Reservation { keys: Arc::clone(self), key, most })
    }
}

impl Reservation {
    /// Notes what the task did cost; it is on disk already.
    pub(crate) fn charge(&self, cost: Credit) {
        if let Some(account) = self.keys.accounts().get_mut(&self.key) {
            account.spent = Credit::new(account.spent.get().saturating_add(cost.get()));
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(account) = self.keys.accounts().get_mut(&self.key) {
            account.reserved = account.reserved.saturating_sub(self.most);
            account.tasks = account.tasks.saturating_sub(1);
        }
    }
}

fn hash_secret(secret: &str) -> Digest {
    hash(Domain::ApiKey, &[secret.as_bytes()])
}
