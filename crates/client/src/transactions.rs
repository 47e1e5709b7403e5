//! Transactions of one key: built, numbered, signed, sent one after the other.
//!
//! Rules: the nonce comes from the chain and is held between sends; after an unclear end (a
//! timeout, a lost node) the same bytes are asked for by id before anything else is signed, so
//! that one intention is never applied twice.
//! Never here: what to send.

use crate::rpc::{Rpc, RpcError};
use crypto::{AccountId, ChainId, Domain, SecretKey};
use ledger::{
    Call, SignedTransaction, Transaction,
    accounts::{ACCOUNTS, SESSIONS},
};
use light::rpc::{Outcome, Rejected, TransactionResult};
use std::time::Duration;
use units::{Height, Nonce};

/// Blocks for which a transaction stays valid: about a minute at the chain's pace.
const VALID_BLOCKS: u64 = 100;
/// Times a transaction is signed anew because another one took its nonce.
const NONCE_ATTEMPTS: usize = 4;
/// Times an unclear end is looked into.
const LOOK_ATTEMPTS: usize = 5;
/// Pause before looking again.
const LOOK_PAUSE: Duration = Duration::from_secs(2);

/// Why a call was not applied.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The node failed, and the transaction is not known to have become final.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// A rule of the ledger refused it.
    #[error("the ledger refused the transaction: {} (code {})", .0.message, .0.code)]
    Rejected(Rejected),
    /// Others kept taking the nonce.
    #[error("the account's nonce was taken {NONCE_ATTEMPTS} times; is the key used elsewhere?")]
    Contended,
}

/// Sends for one account with one key.
#[derive(Debug)]
pub struct Sender {
    rpc: Rpc,
    chain: ChainId,
    account: AccountId,
    key: SecretKey,
    nonce: Option<Nonce>,
}

impl Sender {
    /// A sender for `account` with its own key or one of its session keys.
    #[must_use]
    pub const fn new(rpc: Rpc, chain: ChainId, account: AccountId, key: SecretKey) -> Self {
        Self { rpc, chain, account, key, nonce: None }
    }

    /// The account.
    #[must_use]
    pub const fn account(&self) -> AccountId {
        self.account
    }

    /// Signs `call` with the next nonce, valid for about a minute.
    ///
    /// # Errors
    /// [`RpcError`].
    pub async fn sign(&mut self, call: Call) -> Result<SignedTransaction, RpcError> {
        let height = self.rpc.status().await?.height;
        let nonce = match self.nonce {
            Some(nonce) => nonce,
            None => self.next_nonce().await?,
        };
        self.nonce = Some(nonce);
        let transaction = Transaction {
            chain: self.chain,
            account: self.account,
            signer: self.key.public(),
            nonce,
            valid_until: Height::new(height.get().saturating_add(VALID_BLOCKS)),
            call,
        };
        let signature = self.key.sign(Domain::Transaction, &transaction);
        Ok(SignedTransaction { transaction, signature })
    }

    /// Sends `call` and waits until it is final and applied.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn send(&mut self, call: Call) -> Result<TransactionResult, SendError> {
        for _ in 0..NONCE_ATTEMPTS {
            let signed = self.sign(call.clone()).await?;
            if let Some(result) = self.deliver(&signed).await? {
                return Ok(result);
            }
        }
        Err(SendError::Contended)
    }

    /// Sends signed bytes; nothing if their nonce was taken by others.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn deliver(
        &mut self,
        signed: &SignedTransaction,
    ) -> Result<Option<TransactionResult>, SendError> {
        let result = match self.rpc.submit(signed).await {
            Err(RpcError::Refused(error)) if error.code.contains("nonce") => {
                self.nonce = None;
                // These very bytes may have been decided before.
                match self.rpc.transaction(&signed.transaction.id()).await? {
                    Some(result) => result,
                    None => return Ok(None),
                }
            }
            Err(error @ (RpcError::Timeout { .. } | RpcError::Unreachable { .. })) => {
                self.nonce = None;
                self.look(signed).await?.ok_or(error)?
            }
            other => other?,
        };
        match &result.outcome {
            Outcome::Applied => {
                let next = signed.transaction.nonce.checked_add(Nonce::new(1));
                self.nonce = next.ok();
                Ok(Some(result))
            }
            Outcome::Rejected(reason) | Outcome::Refused(reason) => {
                self.nonce = None;
                Err(SendError::Rejected(reason.clone()))
            }
        }
    }

    /// Whether a transaction of unclear fate has become final.
    async fn look(
        &self,
        signed: &SignedTransaction,
    ) -> Result<Option<TransactionResult>, RpcError> {
        let id = signed.transaction.id();
        for _ in 0..LOOK_ATTEMPTS {
            tokio::time::sleep(LOOK_PAUSE).await;
            match self.rpc.transaction(&id).await {
                Ok(Some(result)) => return Ok(Some(result)),
                Ok(None) | Err(RpcError::Timeout { .. } | RpcError::Unreachable { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn next_nonce(&self) -> Result<Nonce, RpcError> {
        let signer = self.key.public();
        if signer == *self.account.get() {
            let account = self.rpc.record(&ACCOUNTS, &self.account).await?;
            return Ok(account.map_or(Nonce::ZERO, |account| account.nonce));
        }
        let session = self.rpc.record(&SESSIONS, &(self.account, signer)).await?;
        Ok(session.map_or(Nonce::ZERO, |session| session.nonce))
    }
}
