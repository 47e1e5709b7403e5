//! What a handler works with: the state through an overlay, the parameters, the time, the
//! ports, and the list of events.
//!
//! Rules: a handler loads, checks everything, computes, writes, emits, in this order; it knows
//! of the outside world only what stands here. Never here: a rule of any module.

use crate::{
    clock::Now,
    error::{Broken, Failure},
    event::Event,
    params::Params,
    store::{Key, Overlay, Read, Table, Writes},
    tables::{CHAIN, PARAMS},
    verifier::Ports,
};
use borsh::{BorshDeserialize, BorshSerialize};
use core::ops::Bound;
use crypto::{AccountId, ChainId, PublicKey};
use units::{Epoch, Millis, Round};

/// Who sends a transaction whose fee is taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sender {
    /// The account that acts.
    pub(crate) account: AccountId,
    /// The key that signed: the account's own or a live session's.
    pub(crate) signer: PublicKey,
}

impl Sender {
    /// Whether the account's own key signed.
    pub(crate) fn is_owner(&self) -> bool {
        self.signer == *self.account.get()
    }
}

/// The world of a handler.
pub(crate) struct Context<'a> {
    overlay: Overlay<'a>,
    params: Params,
    chain: ChainId,
    now: Now,
    ports: Ports<'a>,
    events: Vec<Event>,
    kept_events: usize,
    fresh_seeds: Vec<Round>,
}

impl<'a> Context<'a> {
    /// The world at the start of a block. The caller sets the time.
    pub(crate) fn open(overlay: Overlay<'a>, now: Now, ports: Ports<'a>) -> Result<Self, Broken> {
        let params = overlay.get(&PARAMS, &())?;
        let params = params.ok_or(Broken::Rule("there are no parameters"))?;
        let chain = overlay.get(&CHAIN, &())?.ok_or(Broken::Rule("there is no chain id"))?;
        Ok(Self {
            overlay,
            params,
            chain,
            now,
            ports,
            events: Vec::new(),
            kept_events: 0,
            fresh_seeds: Vec::new(),
        })
    }

    pub(crate) const fn params(&self) -> &Params {
        &self.params
    }

    pub(crate) const fn chain(&self) -> ChainId {
        self.chain
    }

    pub(crate) const fn now(&self) -> &Now {
        &self.now
    }

    pub(crate) const fn clock(&self) -> Millis {
        self.now.clock
    }

    pub(crate) const fn round(&self) -> Round {
        self.now.round
    }

    /// The ledger period the clock is in.
    pub(crate) fn epoch(&self) -> Epoch {
        self.now.epoch(&self.params.windows)
    }

    pub(crate) const fn ports(&self) -> Ports<'a> {
        self.ports
    }

    /// The rounds whose seeds this block brought, ascending.
    pub(crate) fn fresh_seeds(&self) -> &[Round] {
        &self.fresh_seeds
    }

    /// Notes a seed that this block brought.
    pub(crate) fn note_seed(&mut self, round: Round) {
        self.fresh_seeds.push(round);
    }

    /// States a fact.
    pub(crate) fn emit(&mut self, event: impl Into<Event>) {
        self.events.push(event.into());
    }

    /// How many facts were stated since the last [`Self::keep`].
    pub(crate) fn fresh_events(&self) -> usize {
        self.events.len().saturating_sub(self.kept_events)
    }

    /// Makes everything since the last call final for this block.
    pub(crate) fn keep(&mut self) {
        self.overlay.keep();
        self.kept_events = self.events.len();
    }

    /// Undoes everything since the last [`Self::keep`].
    pub(crate) fn revert(&mut self) {
        self.overlay.revert();
        self.events.truncate(self.kept_events);
    }

    pub(crate) fn put<K: Key, V: BorshSerialize + BorshDeserialize>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
        value: &V,
    ) -> Result<(), Failure> {
        Ok(self.overlay.put(table, key, value)?)
    }

    pub(crate) fn remove<K: Key, V: BorshSerialize + BorshDeserialize>(
        &mut self,
        table: &Table<K, V>,
        key: &K,
    ) {
        self.overlay.remove(table, key);
    }

    /// The block's writes and events.
    pub(crate) fn close(self) -> (Writes, Vec<Event>) {
        (self.overlay.into_writes(), self.events)
    }
}

impl Read for Context<'_> {
    fn raw(&self, key: &[u8]) -> Option<&[u8]> {
        self.overlay.raw(key)
    }

    fn first(&self, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Option<(&[u8], &[u8])> {
        self.overlay.first(low, high)
    }

    fn last(&self, low: Bound<&[u8]>, high: Bound<&[u8]>) -> Option<(&[u8], &[u8])> {
        self.overlay.last(low, high)
    }
}
