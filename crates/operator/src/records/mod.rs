//! What a box keeps on disk: vouchers, receipts, openings, claims, and who still needs paths.
//!
//! ```text
//!   vouchers     lane                        → the latest voucher
//!   receipts     lane, sequence              → request, receipt, gateway
//!   openings     lane, sequence              → salt, input ids, output
//!   claims       epoch, root                 → the claim as it was sent
//!   taken        epoch, root                 → (marks a claim that was seen on the ledger)
//!   undelivered  gateway, epoch, lane, sequence → its claim's root
//!   asks         model                       → price and serial
//!   identity     (one record)                → chain and operator
//! ```
//! Rules: keys sort as their values do; a receipt and its opening are written together, and the
//! write returns when both are on disk; what no longer can be asked for is pruned in bounded
//! steps. Never here: decisions.

use borsh::{BorshDeserialize, BorshSerialize};
use client::{
    store::{Store, StoreError},
    wire::{MAX_INPUT_IDS, MAX_ROW},
};
use crypto::{ChainId, Digest, ModelId, OperatorId, PublicKey, Salt, Signed};
use ledger::{
    payments::schema::{AuditMode, Claim, LaneId, Receipt, Request, Voucher},
    store::Key,
};
use redb::{TableDefinition, TableError, WriteTransaction};
use std::{ops::RangeInclusive, path::Path};
use units::{Epoch, List, Price};

/// A table, by its name.
pub(crate) type Table = &'static str;

const VOUCHERS: Table = "vouchers";
const RECEIPTS: Table = "receipts";
const OPENINGS: Table = "openings";
const CLAIMS: Table = "claims";
const TAKEN: Table = "taken";
const UNDELIVERED: Table = "undelivered";
const ASKS: Table = "asks";
const IDENTITY: Table = "identity";

/// What is done with each key and value of a scan.
type Each<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError> + 'a;

/// A task that was done.
#[derive(Debug, Clone, BorshSerialize, BorshDeserialize)]
pub(crate) struct Answered {
    /// The link key of the gateway that asked.
    pub(crate) gateway: PublicKey,
    /// What was asked.
    pub(crate) request: Signed<Request>,
    /// What was signed.
    pub(crate) receipt: Signed<Receipt>,
}

/// What stands behind a receipt's commitments: needed if it is drawn or disputed.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Opening {
    /// Of input and output trees.
    pub(crate) salt: Salt,
    /// The input.
    pub(crate) ids: List<u32, MAX_INPUT_IDS>,
    /// The output's tokens; none for a row.
    pub(crate) tokens: List<u32, MAX_INPUT_IDS>,
    /// The output's row; none for tokens.
    pub(crate) row: List<i32, MAX_ROW>,
    /// Root of the trace behind the receipt's commitment.
    pub(crate) trace_root: Digest,
}

/// A lane as it is on disk.
#[derive(Debug)]
pub(crate) struct StoredLane {
    pub(crate) lane: LaneId,
    pub(crate) voucher: Signed<Voucher>,
    /// The receipts after the voucher, in order.
    pub(crate) unpaid: Vec<Signed<Receipt>>,
}

/// A receipt whose path its gateway has not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Undelivered {
    pub(crate) epoch: Epoch,
    pub(crate) root: Digest,
    pub(crate) lane: LaneId,
    pub(crate) sequence: u64,
}

/// The records; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Records(Store);

impl Records {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Store::open(path).map(Self)
    }

    /// Puts the chain and the operator down, or returns those that were put down before.
    pub(crate) async fn claim_folder(
        &self,
        chain: ChainId,
        operator: OperatorId,
    ) -> Result<(ChainId, OperatorId), StoreError> {
        if let Some(found) = self.get(IDENTITY, &[])? {
            return Ok(found);
        }
        let value = bytes(&(chain, operator));
        self.0.write(move |transaction| put(transaction, IDENTITY, &[], &value)).await?;
        Ok((chain, operator))
    }

    /// The serial of an ask: one higher whenever the price has changed.
    pub(crate) async fn ask_serial(&self, model: ModelId, price: Price) -> Result<u64, StoreError> {
        let held: Option<(Price, u64)> = self.get(ASKS, model.as_bytes())?;
        let serial = match held {
            Some((known, serial)) if known == price => return Ok(serial),
            Some((_, serial)) => serial.saturating_add(1),
            None => 1,
        };
        let value = bytes(&(price, serial));
        self.0.write(move |transaction| put(transaction, ASKS, model.as_bytes(), &value)).await?;
        Ok(serial)
    }

    pub(crate) async fn put_voucher(&self, voucher: &Signed<Voucher>) -> Result<(), StoreError> {
        let key = key(&voucher.message.lane_id());
        let value = bytes(voucher);
        self.0.write(move |transaction| put(transaction, VOUCHERS, &key, &value)).await
    }

    /// Writes a receipt with its opening.
    pub(crate) async fn put_answer(
        &self,
        answered: &Answered,
        opening: &Opening,
    ) -> Result<(), StoreError> {
        let request = &answered.request.message;
        let key = key(&(request.lane_id(), request.sequence));
        let (answered, opening) = (bytes(answered), bytes(opening));
        let work = move |transaction: &WriteTransaction| {
            put(transaction, RECEIPTS, &key, &answered)?;
            put(transaction, OPENINGS, &key, &opening)
        };
        self.0.write(work).await
    }

    /// All lanes with what no voucher pays for.
    pub(crate) fn lanes(&self) -> Result<Vec<StoredLane>, StoreError> {
        let mut lanes = Vec::new();
        for (lane, voucher) in self.all::<LaneId, Signed<Voucher>>(VOUCHERS)? {
            let first = voucher.message.sequence.saturating_add(1);
            let unpaid = self.answers(lane, first..=u64::MAX)?;
            let unpaid = unpaid.into_iter().map(|answered| answered.receipt).collect();
            lanes.push(StoredLane { lane, voucher, unpaid });
        }
        Ok(lanes)
    }

    /// The answers of a part of a lane, in order.
    pub(crate) fn answers(
        &self,
        lane: LaneId,
        range: RangeInclusive<u64>,
    ) -> Result<Vec<Answered>, StoreError> {
        let low = key(&(lane, *range.start()));
        let high = key(&(lane, *range.end()));
        let mut answers = Vec::new();
        self.scan(RECEIPTS, &low, &high, &mut |_, value| {
            answers.push(decode(RECEIPTS, value)?);
            Ok(())
        })?;
        Ok(answers)
    }

    /// What stands behind a receipt, until it is pruned.
    pub(crate) fn opening(&self, lane: LaneId, seq: u64) -> Result<Option<Opening>, StoreError> {
        self.get(OPENINGS, &key(&(lane, seq)))
    }

    /// Writes a claim before it is sent.
    pub(crate) async fn put_claim(&self, claim: &Claim) -> Result<(), StoreError> {
        let key = key(&(claim.epoch, claim.root));
        let value = bytes(claim);
        self.0.write(move |transaction| put(transaction, CLAIMS, &key, &value)).await
    }

    /// Every claim that was sent and not forgotten, by epoch.
    pub(crate) fn claims(&self) -> Result<Vec<Claim>, StoreError> {
        Ok(self
            .all::<(Epoch, Digest), Claim>(CLAIMS)?
            .into_iter()
            .map(|(_, claim)| claim)
            .collect())
    }

    /// One claim.
    pub(crate) fn claim(&self, epoch: Epoch, root: Digest) -> Result<Option<Claim>, StoreError> {
        self.get(CLAIMS, &key(&(epoch, root)))
    }

    /// Whether a claim was seen on the ledger.
    pub(crate) fn is_taken(&self, epoch: Epoch, root: Digest) -> Result<bool, StoreError> {
        Ok(self.get::<()>(TAKEN, &key(&(epoch, root)))?.is_some())
    }

    /// Notes that a claim is on the ledger, and which gateway needs the paths of which receipts.
    pub(crate) async fn take_claim(
        &self,
        epoch: Epoch,
        root: Digest,
        owed: Vec<(PublicKey, Undelivered)>,
    ) -> Result<(), StoreError> {
        let key = key(&(epoch, root));
        let work = move |transaction: &WriteTransaction| {
            for (gateway, owed) in &owed {
                put(transaction, UNDELIVERED, &owed_key(gateway, owed), owed.root.as_bytes())?;
            }
            put(transaction, TAKEN, &key, &[])
        };
        self.0.write(work).await
    }

    /// Forgets a claim.
    pub(crate) async fn drop_claim(&self, epoch: Epoch, root: Digest) -> Result<(), StoreError> {
        let key = key(&(epoch, root));
        let work = move |transaction: &WriteTransaction| {
            remove(transaction, CLAIMS, &key)?;
            remove(transaction, TAKEN, &key)
        };
        self.0.write(work).await
    }

    /// Notes that a gateway keeps paths.
    pub(crate) async fn paths_kept(
        &self,
        gateway: PublicKey,
        kept: Vec<Undelivered>,
    ) -> Result<(), StoreError> {
        let work = move |transaction: &WriteTransaction| {
            for kept in &kept {
                remove(transaction, UNDELIVERED, &owed_key(&gateway, kept))?;
            }
            Ok(())
        };
        self.0.write(work).await
    }

    /// At most `limit` receipts whose paths a gateway needs, by epoch, after `after`.
    pub(crate) fn owed(
        &self,
        gateway: &PublicKey,
        after: Option<&Undelivered>,
        limit: usize,
    ) -> Result<Vec<Undelivered>, StoreError> {
        let low = after.map_or_else(
            || key(gateway),
            |after| {
                let next = Undelivered { sequence: after.sequence.saturating_add(1), ..*after };
                owed_key(gateway, &next)
            },
        );
        let high = key(&(*gateway, (Epoch::MAX, (LAST_LANE, u64::MAX))));
        let mut owed = Vec::new();
        self.scan_some(UNDELIVERED, &low, &high, limit, &mut |key, value| {
            let (_, (epoch, (lane, sequence))): OwedKey = read_key(UNDELIVERED, key)?;
            let root = decode(UNDELIVERED, value)?;
            owed.push(Undelivered { epoch, root, lane, sequence });
            Ok(())
        })?;
        Ok(owed)
    }

    /// Forgets the openings of a part of a lane, at most `limit`; says whether that was all.
    pub(crate) async fn prune_openings(
        &self,
        lane: LaneId,
        range: RangeInclusive<u64>,
        limit: usize,
    ) -> Result<bool, StoreError> {
        self.prune(OPENINGS, lane, range, limit).await
    }

    /// Forgets the receipts of a part of a lane, at most `limit`; says whether that was all.
    pub(crate) async fn prune_answers(
        &self,
        lane: LaneId,
        range: RangeInclusive<u64>,
        limit: usize,
    ) -> Result<bool, StoreError> {
        self.prune(RECEIPTS, lane, range, limit).await
    }

    /// Forgets the paths still owed of an epoch, at most `limit`; says whether that was all.
    pub(crate) async fn prune_owed(&self, epoch: Epoch, limit: usize) -> Result<bool, StoreError> {
        let mut keys = Vec::new();
        self.scan(UNDELIVERED, &[], &[u8::MAX; 256], &mut |bytes, _| {
            let (_, (owed, _)): OwedKey = read_key(UNDELIVERED, bytes)?;
            if owed == epoch && keys.len() < limit {
                keys.push(bytes.to_vec());
            }
            Ok(())
        })?;
        let done = keys.len() < limit;
        let work = move |transaction: &WriteTransaction| {
            keys.iter().try_for_each(|key| remove(transaction, UNDELIVERED, key))
        };
        self.0.write(work).await?;
        Ok(done)
    }

    async fn prune(
        &self,
        table: Table,
        lane: LaneId,
        range: RangeInclusive<u64>,
        limit: usize,
    ) -> Result<bool, StoreError> {
        let (low, high) = (key(&(lane, *range.start())), key(&(lane, *range.end())));
        let mut keys = Vec::new();
        self.scan_some(table, &low, &high, limit, &mut |key, _| {
            keys.push(key.to_vec());
            Ok(())
        })?;
        let done = keys.len() < limit;
        if keys.is_empty() {
            return Ok(done);
        }
        let work = move |transaction: &WriteTransaction| {
            keys.iter().try_for_each(|key| remove(transaction, table, key))
        };
        self.0.write(work).await?;
        Ok(done)
    }

    fn get<T: BorshDeserialize>(&self, table: Table, key: &[u8]) -> Result<Option<T>, StoreError> {
        get(&self.0, table, key)
    }

    fn all<K: Key, T: BorshDeserialize>(&self, table: Table) -> Result<Vec<(K, T)>, StoreError> {
        let mut all = Vec::new();
        self.scan(table, &[], &[u8::MAX; 256], &mut |key, value| {
            all.push((read_key(table, key)?, decode(table, value)?));
            Ok(())
        })?;
        Ok(all)
    }

    fn scan(
        &self,
        table: Table,
        low: &[u8],
        high: &[u8],
        each: &mut Each<'_>,
    ) -> Result<(), StoreError> {
        self.scan_some(table, low, high, usize::MAX, each)
    }

    fn scan_some(
        &self,
        table: Table,
        low: &[u8],
        high: &[u8],
        limit: usize,
        each: &mut Each<'_>,
    ) -> Result<(), StoreError> {
        let records = match self.0.read()?.open_table(definition(table)) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            other => other?,
        };
        for entry in records.range::<&[u8]>(low..=high)?.take(limit) {
            let (key, value) = entry?;
            each(key.value(), value.value())?;
        }
        Ok(())
    }
}

/// No lane sorts after it.
const LAST_LANE: LaneId = LaneId {
    payer: crypto::AccountId::new(PublicKey::new([u8::MAX; 32])),
    operator: OperatorId::new(Digest::new([u8::MAX; 32])),
    index: u32::MAX,
};

/// Gateway, epoch, lane, sequence.
type OwedKey = (PublicKey, (Epoch, (LaneId, u64)));

fn owed_key(gateway: &PublicKey, owed: &Undelivered) -> Vec<u8> {
    key(&(*gateway, (owed.epoch, (owed.lane, owed.sequence))))
}

pub(crate) const fn definition(
    table: Table,
) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table)
}

fn key(key: &impl Key) -> Vec<u8> {
    let mut bytes = Vec::new();
    key.write(&mut bytes);
    bytes
}

fn read_key<K: Key>(table: &'static str, mut bytes: &[u8]) -> Result<K, StoreError> {
    let key = K::read(&mut bytes).filter(|_| bytes.is_empty());
    key.ok_or_else(|| StoreError::record(table, "its key does not decode"))
}

/// Writing to memory does not fail, and every list is within its bound.
pub(crate) fn bytes(value: &impl BorshSerialize) -> Vec<u8> {
    borsh::to_vec(value).unwrap_or_default()
}

fn decode<T: BorshDeserialize>(table: &'static str, bytes: &[u8]) -> Result<T, StoreError> {
    borsh::from_slice(bytes).map_err(|error| StoreError::record(table, error))
}

/// Whether one of these receipts is of those that nobody may see.
pub(crate) fn holds_unseen(answers: &[Answered]) -> bool {
    let mut modes = answers.iter().map(|answered| answered.request.message.audit_mode);
    modes.any(|mode| mode == AuditMode::CanaryOnly)
}

/// The value of a key; none where nothing was ever written.
pub(crate) fn get<T: BorshDeserialize>(
    store: &Store,
    table: Table,
    key: &[u8],
) -> Result<Option<T>, StoreError> {
    let records = match store.read()?.open_table(definition(table)) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        other => other?,
    };
    let found = records.get(key)?;
    found.map(|value| decode(table, value.value())).transpose()
}

pub(crate) fn put(
    transaction: &WriteTransaction,
    table: Table,
    key: &[u8],
    value: &[u8],
) -> Result<(), StoreError> {
    transaction.open_table(definition(table))?.insert(key, value)?;
    Ok(())
}

fn remove(transaction: &WriteTransaction, table: Table, key: &[u8]) -> Result<(), StoreError> {
    transaction.open_table(definition(table))?.remove(key)?;
    Ok(())
}

#[cfg(test)]
mod tests;
