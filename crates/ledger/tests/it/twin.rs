//! A second, naive ledger, written from the rules alone: plain maps and numbers, sums taken
//! anew instead of kept, queues searched instead of ordered. It shares message types with the
//! ledger and no logic; where both disagree, one of them is wrong.

use crypto::{AccountId, ChainId, Domain, ModelId, OperatorId, PublicKey};
use ledger::{
    Call, Params, Transaction, accounts, accounts::Pot, credits, models, payments,
    payments::messages::*, staking,
};
use std::collections::{BTreeMap, BTreeSet};

/// Disputes and audits have histories of their own; these hold none.
const NO_GAMES: &str = "the generator plays no disputes and no audits";

/// What becomes of a transaction: the name of the rule's error, if any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Applied,
    Rejected(&'static str),
    Refused(&'static str),
}

type No = &'static str;

#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    pub(crate) fee_cap: u128,
    pub(crate) fees: u128,
    pub(crate) spend_cap: u128,
    /// What ended allocations have cashed.
    pub(crate) ended: u128,
    pub(crate) expires: u64,
    pub(crate) revoked: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Operator {
    pub(crate) owner: AccountId,
    pub(crate) class: staking::Class,
    pub(crate) bond: u128,
    pub(crate) keys: Vec<(PublicKey, u64)>,
    pub(crate) profile: staking::Profile,
}

#[derive(Clone, Debug)]
pub(crate) struct Allocation {
    pub(crate) operator: OperatorId,
    pub(crate) signer: PublicKey,
    pub(crate) limit: u128,
    pub(crate) cashed: u128,
    pub(crate) expires: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Claimed {
    pub(crate) owner: AccountId,
    pub(crate) fee: u128,
    pub(crate) paid: u128,
    pub(crate) filed: u64,
    pub(crate) draw: u64,
    /// 0 filed, 1 drawn, 2 base paid, 3 settled.
    pub(crate) stage: u8,
    pub(crate) due: u64,
}

/// The naive ledger.
#[derive(Clone)]
pub(crate) struct Twin {
    pub(crate) chain: ChainId,
    pub(crate) params: Params,
    pub(crate) price: u128,
    pub(crate) clock: u64,
    pub(crate) round: u64,
    pub(crate) height: u64,
    pub(crate) coin: BTreeMap<AccountId, u128>,
    pub(crate) nonces: BTreeMap<(AccountId, PublicKey), u64>,
    pub(crate) sessions: BTreeMap<(AccountId, PublicKey), Session>,
    pub(crate) pots: BTreeMap<Pot, u128>,
    pub(crate) burned: u128,
    pub(crate) free: BTreeMap<AccountId, u128>,
    pub(crate) locked: BTreeMap<AccountId, u128>,
    pub(crate) cost: BTreeMap<AccountId, u128>,
    pub(crate) minted: u128,
    pub(crate) settled: u128,
    pub(crate) redeemed: u128,
    pub(crate) operators: BTreeMap<OperatorId, Operator>,
    /// Due, whose, how much; in order of asking.
    pub(crate) unbonding: Vec<(u64, OperatorId, u128)>,
    pub(crate) next_allocation: BTreeMap<AccountId, u64>,
    pub(crate) allocations: BTreeMap<(AccountId, u64), Allocation>,
    pub(crate) lanes: BTreeMap<LaneId, (u64, u128)>,
    pub(crate) claims: BTreeMap<(OperatorId, u64), Claimed>,
    pub(crate) last_claimed: BTreeMap<OperatorId, u64>,
    pub(crate) seeds: BTreeSet<u64>,
    pub(crate) models: BTreeMap<ModelId, (String, String, crypto::Digest, AccountId)>,
}

fn need(holds: bool, otherwise: No) -> Result<(), No> {
    if holds { Ok(()) } else { Err(otherwise) }
}

fn up(a: u128, b: u128, c: u128) -> u128 {
    (a * b).div_ceil(c)
}

impl Twin {
    /// A block: time has been moved, seeds have been noted, transactions follow.
    pub(crate) fn block(&mut self, transactions: &[&Transaction]) -> Vec<Fate> {
        self.take_up_draws();
        let fates = transactions.iter().map(|transaction| self.transaction(transaction)).collect();
        self.release();
        self.pay_claims();
        self.pay_unbonded();
        fates
    }

    fn transaction(&mut self, tx: &Transaction) -> Fate {
        if let Err(no) = self.charge(tx) {
            return Fate::Refused(no);
        }
        let before = self.clone();
        let result = match &tx.call {
            Call::Accounts(call) => self.accounts(tx, call),
            Call::Credits(call) => self.credits(tx, call),
            Call::Staking(call) => self.staking(tx, call),
            Call::Models(call) => self.models(tx, call),
            Call::Payments(call) => self.payments(tx, call),
            Call::Disputes(_) | Call::Verification(_) => unreachable!("{NO_GAMES}"),
        };
        match result {
            Ok(()) => Fate::Applied,
            Err(no) => {
                *self = before;
                Fate::Rejected(no)
            }
        }
    }

    fn fee(&self, call: &Call) -> u128 {
        let p = &self.params;
        let fee = match call {
            Call::Accounts(accounts::Tx::Transfer { .. }) => p.accounts.transfer_fee,
            Call::Accounts(accounts::Tx::GrantSession { .. }) => p.accounts.grant_session_fee,
            Call::Accounts(accounts::Tx::RevokeSession { .. }) => p.accounts.revoke_session_fee,
            Call::Credits(credits::Tx::Mint { .. }) => p.credits.mint_fee,
            Call::Credits(credits::Tx::Redeem { .. }) => p.credits.redeem_fee,
            Call::Staking(staking::Tx::Register(_)) => p.staking.register_fee,
            Call::Staking(staking::Tx::Bond { .. } | staking::Tx::Unbond { .. }) => {
                p.staking.bond_fee
            }
            Call::Staking(_) => p.staking.update_fee,
            Call::Models(models::Tx::Publish(it)) => {
                let kib = (it.manifest.len() + it.graph.len()).div_ceil(1_024) as u128;
                return p.models.publish_fee.get() + kib * p.models.publish_fee_per_kib.get();
            }
            Call::Payments(
                payments::Tx::Deposit { .. }
                | payments::Tx::Withdraw { .. }
                | payments::Tx::Reclaim(_),
            ) => p.payments.deposit_fee,
            Call::Payments(payments::Tx::Allocate { .. } | payments::Tx::Extend { .. }) => {
                p.payments.allocate_fee
            }
            Call::Payments(payments::Tx::FileClaim(claim)) => {
                let lanes = claim.lanes.len() as u128 * p.payments.claim_lane_fee.get();
                return p.payments.claim_fee.get() + lanes;
            }
            Call::Disputes(_) | Call::Verification(_) => unreachable!("{NO_GAMES}"),
        };
        fee.get()
    }

    fn charge(&mut self, tx: &Transaction) -> Result<(), No> {
        need(self.coin.contains_key(&tx.account), "UnknownAccount")?;
        let fee = self.fee(&tx.call);
        let owner = tx.signer == *tx.account.get();
        if !owner {
            let session = self.sessions.get(&(tx.account, tx.signer)).ok_or("UnknownSession")?;
            need(!session.revoked && self.clock < session.expires, "SessionEnded")?;
            let hot = match &tx.call {
                Call::Payments(call) => !matches!(call, payments::Tx::Withdraw { .. }),
                Call::Staking(call) => matches!(call, staking::Tx::SetProfile { .. }),
                _ => false,
            };
            need(hot, "OwnKeyNeeded")?;
        }
        let nonce = self.nonces.get(&(tx.account, tx.signer)).copied().unwrap_or(0);
        need(tx.nonce.get() == nonce, "WrongNonce")?;
        need(self.coin[&tx.account] >= fee, "FeeNotCovered")?;
        if !owner {
            let session = self.sessions.get_mut(&(tx.account, tx.signer)).unwrap();
            need(session.fees + fee <= session.fee_cap, "SessionFeeCap")?;
            session.fees += fee;
        }
        *self.coin.get_mut(&tx.account).unwrap() -= fee;
        self.burned += fee;
        self.nonces.insert((tx.account, tx.signer), nonce + 1);
        Ok(())
    }

    fn spend(&mut self, from: AccountId, amount: u128) -> Result<(), No> {
        let coin = self.coin.entry(from).or_default();
        need(*coin >= amount, "Insufficient")?;
        *coin -= amount;
        Ok(())
    }

    fn accounts(&mut self, tx: &Transaction, call: &accounts::Tx) -> Result<(), No> {
        match call {
            accounts::Tx::Transfer { to, amount } => {
                let amount = amount.get();
                need(amount > 0, "ZeroAmount")?;
                let opening = !self.coin.contains_key(to);
                let minimum = self.params.accounts.opening_minimum.get();
                need(!opening || amount >= minimum, "BelowOpeningMinimum")?;
                need(!opening || to.get().validate().is_ok(), "BadKey")?;
                self.spend(tx.account, amount)?;
                *self.coin.entry(*to).or_default() += amount;
            }
            accounts::Tx::GrantSession { key, fee_cap, spend_cap, expires } => {
                need(key != tx.account.get(), "OwnKey")?;
                need(key.validate().is_ok(), "BadKey")?;
                need(expires.get() > self.clock, "ExpiryPassed")?;
                let backed = self.backed(tx.account, *key);
                let session = self.sessions.entry((tx.account, *key)).or_default();
                need(fee_cap.get() >= session.fees, "FeeCapBelowUsed")?;
                need(spend_cap.get() >= backed, "SpendCapBelowUsed")?;
                session.fee_cap = fee_cap.get();
                session.spend_cap = spend_cap.get();
                session.expires = expires.get();
                session.revoked = false;
            }
            accounts::Tx::RevokeSession { key } => {
                let session = self.sessions.get_mut(&(tx.account, *key));
                session.ok_or("UnknownSession")?.revoked = true;
            }
        }
        Ok(())
    }

    /// Live limits, and what ended allocations have cashed.
    pub(crate) fn backed(&self, account: AccountId, key: PublicKey) -> u128 {
        let live = self.allocations.iter().filter(|((a, _), l)| *a == account && l.signer == key);
        let live = live.fold(0, |sum, (_, allocation)| sum + allocation.limit);
        live + self.sessions.get(&(account, key)).map_or(0, |session| session.ended)
    }

    fn credits(&mut self, tx: &Transaction, call: &credits::Tx) -> Result<(), No> {
        let who = tx.account;
        match call {
            credits::Tx::Mint { coin, at_least } => {
                let coin = coin.get();
                need(coin > 0, "ZeroAmount")?;
                let spread = up(coin, self.params.credits.mint_spread.get().into(), 10_000);
                let made = (coin - spread) * self.price / 1_000_000_000;
                need(made > 0, "TooSmall")?;
                need(made >= at_least.get(), "MintBelowLimit")?;
                // First what goes into one pot, then what goes into the other.
                self.spend(who, coin - spread)?;
                self.spend(who, spread)?;
                *self.pots.entry(Pot::Remint).or_default() += coin - spread;
                *self.pots.entry(Pot::Stability).or_default() += spread;
                *self.free.entry(who).or_default() += made;
                *self.cost.entry(who).or_default() += coin - spread;
                self.minted += made;
            }
            credits::Tx::Redeem { amount, at_least } => {
                let amount = amount.get();
                need(amount > 0, "ZeroAmount")?;
                let free = self.free.get(&who).copied().unwrap_or(0);
                need(amount <= free, "Insufficient")?;
                let all = free + self.locked.get(&who).copied().unwrap_or(0);
                let cost = self.cost[&who];
                let paid = (cost * amount / all).min(amount * 1_000_000_000 / self.price);
                need(paid > 0, "TooSmall")?;
                need(paid >= at_least.get(), "RedeemBelowLimit")?;
                need(paid <= self.pots[&Pot::Remint], "RemintShort")?;
                self.cost.insert(who, cost - up(cost, amount, all));
                self.free.insert(who, free - amount);
                self.redeemed += amount;
                *self.pots.get_mut(&Pot::Remint).unwrap() -= paid;
                *self.coin.get_mut(&who).unwrap() += paid;
            }
        }
        Ok(())
    }

    fn floor(&self, class: staking::Class) -> u128 {
        up(self.params.staking.floors.of(class).get(), 1_000_000_000, self.price)
    }

    fn owned(&mut self, owner: AccountId, id: OperatorId) -> Result<&mut Operator, No> {
        let operator = self.operators.get_mut(&id).ok_or("UnknownOperator")?;
        need(operator.owner == owner, "NotTheOwner")?;
        Ok(operator)
    }

    fn staking(&mut self, tx: &Transaction, call: &staking::Tx) -> Result<(), No> {
        let who = tx.account;
        let sorted =
            |profile: &staking::Profile| profile.models.windows(2).all(|pair| pair[0] < pair[1]);
        match call {
            staking::Tx::Register(it) => {
                let id = OperatorId::derive(&who, it.index);
                need(!self.operators.contains_key(&id), "AlreadyRegistered")?;
                need(it.bond.get() >= self.floor(it.class), "BelowFloor")?;
                need(it.box_key.validate().is_ok(), "BadKey")?;
                need(sorted(&it.profile), "ModelsOutOfOrder")?;
                self.spend(who, it.bond.get())?;
                let operator = Operator {
                    owner: who,
                    class: it.class,
                    bond: it.bond.get(),
                    keys: vec![(it.box_key, u64::MAX)],
                    profile: it.profile.clone(),
                };
                self.operators.insert(id, operator);
            }
            staking::Tx::Bond { operator, amount } => {
                let record = self.owned(who, *operator)?.clone();
                need(amount.get() > 0, "ZeroAmount")?;
                let bond = record.bond + amount.get();
                need(bond >= self.floor(record.class), "BelowFloor")?;
                self.spend(who, amount.get())?;
                self.operators.get_mut(operator).unwrap().bond = bond;
            }
            staking::Tx::Unbond { operator, amount } => {
                let record = self.owned(who, *operator)?.clone();
                need(amount.get() > 0, "ZeroAmount")?;
                need(amount.get() <= record.bond, "MoreThanBonded")?;
                let left = record.bond - amount.get();
                need(left == 0 || left >= self.floor(record.class), "BelowFloor")?;
                let waiting = self.unbonding.iter().filter(|(_, id, _)| id == operator).count();
                need(waiting < 8, "TooManyUnbondings")?;
                let due = self.clock + self.params.staking.unbonding.get();
                self.unbonding.push((due, *operator, amount.get()));
                self.operators.get_mut(operator).unwrap().bond = left;
            }
            staking::Tx::RotateBoxKey { operator, box_key } => {
                let windows = self.params.windows;
                let ends = self.clock + windows.epoch.get() + windows.claim.get();
                let record = self.owned(who, *operator)?;
                need(box_key.validate().is_ok(), "BadKey")?;
                let last = record.keys.last_mut().unwrap();
                need(last.0 != *box_key, "SameKey")?;
                last.1 = ends;
                record.keys.push((*box_key, u64::MAX));
            }
            staking::Tx::SetClass { operator, class } => {
                let floor = self.floor(*class);
                let record = self.owned(who, *operator)?;
                need(record.bond == 0 || record.bond >= floor, "BelowFloor")?;
                record.class = *class;
            }
            staking::Tx::SetProfile { operator, profile } => {
                let record = self.owned(who, *operator)?;
                let by_box = record.keys.last().unwrap().0 == tx.signer;
                need(by_box || tx.signer == *who.get(), "NotTheBoxKey")?;
                need(sorted(profile), "ModelsOutOfOrder")?;
                record.profile = profile.clone();
            }
        }
        Ok(())
    }

    fn models(&mut self, tx: &Transaction, call: &models::Tx) -> Result<(), No> {
        let models::Tx::Publish(it) = call;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        for name in [&it.publisher, &it.name] {
            need(name.chars().next().is_some_and(plain), "BadName")?;
            need(name.chars().all(|c| plain(c) || c == '-' || c == '.'), "BadName")?;
        }
        let (publisher, name) = (it.publisher.to_string(), it.name.to_string());
        let first = self.models.values().find(|(other, ..)| *other == publisher);
        need(first.is_none_or(|(.., owner)| *owner == tx.account), "NotThePublisher")?;
        let taken = self.models.values().any(|(p, n, ..)| (p, n) == (&publisher, &name));
        need(!taken, "NameTaken")?;
        need(!it.graph.is_empty(), "Rejected")?;
        let facts: ledger::ModelFacts = borsh::from_slice(&it.manifest).map_err(|_| "Rejected")?;
        need(!self.models.contains_key(&facts.model), "AlreadyRegistered")?;
        let copied = self.models.values().any(|(_, _, root, _)| *root == facts.weight_root);
        need(!copied, "DuplicateWeights")?;
        let deposit = up(self.params.models.deposit.get(), 1_000_000_000, self.price);
        self.spend(tx.account, deposit)?;
        *self.pots.entry(Pot::ModelDeposits).or_default() += deposit;
        self.models.insert(facts.model, (publisher, name, facts.weight_root, tx.account));
        Ok(())
    }

    pub(crate) fn reserved(&self, payer: AccountId) -> u128 {
        let own = self.allocations.iter().filter(|((owner, _), _)| *owner == payer);
        own.fold(0, |sum, (_, allocation)| sum + allocation.limit - allocation.cashed)
    }

    fn unreserved(&self, payer: AccountId) -> u128 {
        self.locked.get(&payer).copied().unwrap_or(0) - self.reserved(payer)
    }

    /// Whether an expiry is allowed now for vouchers of `signer`.
    fn expiry(&self, payer: AccountId, signer: PublicKey, old: u64, new: u64) -> Result<(), No> {
        let mut latest = self.clock + self.params.payments.allocation_life.get();
        if signer != *payer.get() {
            let session = self.sessions.get(&(payer, signer)).ok_or("UnknownSession")?;
            latest = latest.min(session.expires);
        }
        need(new > self.clock && new >= old && new <= latest, "BadExpiry")
    }

    /// Whether a session can back so much more.
    fn backs(&self, payer: AccountId, signer: PublicKey, more: u128) -> Result<(), No> {
        if signer == *payer.get() {
            return Ok(());
        }
        let session = &self.sessions[&(payer, signer)];
        need(!session.revoked && self.clock < session.expires, "SessionEnded")?;
        need(self.backed(payer, signer) + more <= session.spend_cap, "SpendCapExceeded")
    }

    fn payments(&mut self, tx: &Transaction, call: &payments::Tx) -> Result<(), No> {
        let who = tx.account;
        let owner = tx.signer == *who.get();
        match call {
            payments::Tx::Deposit { amount } => {
                need(amount.get() > 0, "ZeroAmount")?;
                let free = self.free.entry(who).or_default();
                need(amount.get() <= *free, "Insufficient")?;
                *free -= amount.get();
                *self.locked.entry(who).or_default() += amount.get();
            }
            payments::Tx::Withdraw { amount } => {
                need(amount.get() > 0, "ZeroAmount")?;
                need(amount.get() <= self.unreserved(who), "OverDeposit")?;
                *self.locked.get_mut(&who).unwrap() -= amount.get();
                *self.free.entry(who).or_default() += amount.get();
            }
            payments::Tx::Allocate { allocation, operator, signer, limit, expires } => {
                need(limit.get() > 0, "ZeroAmount")?;
                let next = self.next_allocation.get(&who).copied().unwrap_or(0);
                need(*allocation == next, "WrongNumber")?;
                need(self.operators.contains_key(operator), "UnknownOperator")?;
                need(owner || tx.signer == *signer, "NotTheSigner")?;
                self.expiry(who, *signer, 0, expires.get())?;
                need(limit.get() <= self.unreserved(who), "OverDeposit")?;
                self.backs(who, *signer, limit.get())?;
                self.next_allocation.insert(who, next + 1);
                let promised = Allocation {
                    operator: *operator,
                    signer: *signer,
                    limit: limit.get(),
                    cashed: 0,
                    expires: expires.get(),
                };
                self.allocations.insert((who, next), promised);
            }
            payments::Tx::Extend { allocation, limit, expires } => {
                let key = (who, *allocation);
                let old = self.allocations.get(&key).cloned();
                let old = old.filter(|old| self.clock < old.expires).ok_or("UnknownAllocation")?;
                need(limit.get() >= old.limit, "LimitShrinks")?;
                need(owner || tx.signer == old.signer, "NotTheSigner")?;
                self.expiry(who, old.signer, old.expires, expires.get())?;
                let more = limit.get() - old.limit;
                need(more <= self.unreserved(who), "OverDeposit")?;
                self.backs(who, old.signer, more)?;
                let (limit, expires) = (limit.get(), expires.get());
                self.allocations.insert(key, Allocation { limit, expires, ..old });
            }
            payments::Tx::FileClaim(claim) => self.claim(who, tx.signer, claim)?,
            payments::Tx::Reclaim(it) => {
                let known = self.claims.contains_key(&(it.operator, it.epoch.get()));
                need(known, "UnknownClaim")?;
                return Err("NotVoid"); // Without audits no claim fails.
            }
        }
        Ok(())
    }

    fn claim(&mut self, who: AccountId, signer: PublicKey, claim: &Claim) -> Result<(), No> {
        let operator = self.operators.get(&claim.operator).ok_or("UnknownOperator")?.clone();
        need(operator.owner == who, "NotTheOwner")?;
        let period = self.clock / self.params.windows.epoch.get();
        need(claim.epoch.get() < period, "PeriodOpen")?;
        let last = self.last_claimed.get(&claim.operator);
        need(last.is_none_or(|last| claim.epoch.get() > *last), "AlreadyClaimed")?;
        let version = operator.keys.get(claim.key_epoch as usize);
        need(version.is_some_and(|(_, ends)| self.clock < *ends), "BadKeyEpoch")?;
        let mut own = vec![*who.get(), operator.keys[claim.key_epoch as usize].0];
        own.push(operator.keys.last().unwrap().0);
        need(own.contains(&signer), "NotTheBoxKey")?;
        need(!claim.lanes.is_empty(), "NoLanes")?;
        let (mut fee, mut count, mut last_lane) = (0, 0, None);
        let mut taken: BTreeMap<AccountId, u128> = BTreeMap::new();
        for lane in claim.lanes.iter() {
            let id = lane.voucher.message.lane_id();
            let delta = self.lane(claim, lane, last_lane)?;
            last_lane = Some(id);
            fee += delta;
            count += lane.last - lane.first + 1;
            self.lanes.insert(id, (lane.last, lane.voucher.message.cumulative.get()));
            let key = (id.payer, lane.voucher.message.allocation);
            self.allocations.get_mut(&key).unwrap().cashed += delta;
            *taken.entry(id.payer).or_default() += delta;
        }
        need(claim.totals.fee.get() == fee, "FeeMismatch")?;
        need(claim.totals.count == count, "CountMismatch")?;
        for lane in claim.lanes.iter() {
            let voucher = &lane.voucher;
            let key = voucher.message.session_key;
            let good = key.verify(Domain::Voucher, &voucher.message, &voucher.signature);
            need(good.is_ok(), "BadSignature")?;
        }
        for (payer, amount) in taken {
            self.take_locked(payer, amount);
        }
        self.last_claimed.insert(claim.operator, claim.epoch.get());
        let record = Claimed {
            owner: who,
            fee,
            paid: 0,
            filed: self.clock,
            draw: self.round + self.params.windows.draw_delay,
            stage: 0,
            due: 0,
        };
        self.claims.insert((claim.operator, claim.epoch.get()), record);
        Ok(())
    }

    fn lane(&self, claim: &Claim, lane: &LaneClaim, last: Option<LaneId>) -> Result<u128, No> {
        let voucher = &lane.voucher.message;
        let id = voucher.lane_id();
        need(voucher.chain == self.chain, "WrongChain")?;
        need(voucher.operator == claim.operator, "WrongOperator")?;
        need(voucher.acknowledgement.is_some(), "Unacknowledged")?;
        need(last.is_none_or(|last| last < id), "LaneOrder")?;
        let (sequence, cumulative) = self.lanes.get(&id).copied().unwrap_or((0, 0));
        let range = lane.first == sequence + 1 && lane.last >= lane.first;
        need(range && lane.last == voucher.sequence, "WrongRange")?;
        need(voucher.cumulative.get() > cumulative, "StaleVoucher")?;
        let delta = voucher.cumulative.get() - cumulative;
        need(lane.delta.get() == delta, "WrongDelta")?;
        need(delta >= self.params.payments.cashable_minimum.get(), "BelowMinimum")?;
        let allocation = self.allocations.get(&(id.payer, voucher.allocation));
        let allocation = allocation.filter(|allocation| self.clock < allocation.expires);
        let allocation = allocation.ok_or("UnknownAllocation")?;
        need(allocation.operator == claim.operator, "WrongAllocation")?;
        need(allocation.signer == voucher.session_key, "WrongSigner")?;
        need(delta <= allocation.limit - allocation.cashed, "OverLimit")?;
        Ok(delta)
    }

    /// Locked credits leave for escrow with their share of the cost.
    fn take_locked(&mut self, payer: AccountId, amount: u128) {
        let all = self.free.get(&payer).copied().unwrap_or(0) + self.locked[&payer];
        let cost = self.cost[&payer];
        self.cost.insert(payer, cost - up(cost, amount, all));
        *self.locked.get_mut(&payer).unwrap() -= amount;
    }

    pub(crate) fn escrow(&self) -> u128 {
        self.claims.values().fold(0, |sum, claim| sum + claim.fee - claim.paid)
    }

    fn take_up_draws(&mut self) {
        let windows = self.params.windows;
        let reveal_ends = windows.open.get() + windows.commit.get() + windows.reveal.get();
        for claim in self.claims.values_mut() {
            if claim.stage == 0 && self.seeds.contains(&claim.draw) {
                claim.stage = 1;
                claim.due = self.clock + reveal_ends;
            }
        }
    }

    fn release(&mut self) {
        let ended = self.allocations.iter().filter(|(_, it)| it.expires <= self.clock);
        let ended: Vec<_> = ended.map(|(key, it)| (*key, it.clone())).collect();
        for (key, allocation) in ended {
            self.allocations.remove(&key);
            if let Some(session) = self.sessions.get_mut(&(key.0, allocation.signer)) {
                session.ended += allocation.cashed;
            }
        }
    }

    fn pay_claims(&mut self) {
        let keys: Vec<_> = self.claims.keys().copied().collect();
        for key in keys {
            let claim = self.claims[&key].clone();
            if claim.stage == 0 || claim.due > self.clock {
                continue;
            }
            if claim.stage == 3 {
                self.claims.remove(&key);
                continue;
            }
            let base = claim.fee * u128::from(self.params.payments.base_pay.get()) / 10_000;
            let amount = if claim.stage == 1 { base } else { claim.fee - claim.paid };
            self.settle(claim.owner, amount);
            let due = if claim.stage == 1 {
                claim.due.max(claim.filed + self.params.windows.challenge.get())
            } else {
                claim.due + self.params.payments.claim_retention.get()
            };
            let (paid, stage) = (claim.paid + amount, claim.stage + 1);
            self.claims.insert(key, Claimed { paid, stage, due, ..claim });
        }
    }

    fn settle(&mut self, owner: AccountId, credits: u128) {
        self.settled += credits;
        let coin = credits * 1_000_000_000 / self.price;
        let take = up(coin, self.params.credits.take.get().into(), 10_000);
        let split = self.params.credits.take_split;
        let mut burned = take;
        for (pot, share) in [
            (Pot::Audit, split.audit),
            (Pot::Treasury, split.treasury),
            (Pot::Validators, split.validators),
            (Pot::Insurance, split.insurance),
        ] {
            let part = take * u128::from(share.get()) / 10_000;
            *self.pots.entry(pot).or_default() += part;
            burned -= part;
        }
        self.burned += burned;
        *self.pots.get_mut(&Pot::Remint).unwrap() -= coin;
        *self.coin.entry(owner).or_default() += coin - take;
    }

    fn pay_unbonded(&mut self) {
        let clock = self.clock;
        let (due, waiting) = self.unbonding.iter().partition(|(due, ..)| *due <= clock);
        self.unbonding = waiting;
        let due: Vec<(u64, OperatorId, u128)> = due;
        for (_, operator, amount) in due {
            let owner = self.operators[&operator].owner;
            *self.coin.entry(owner).or_default() += amount;
        }
    }
}
