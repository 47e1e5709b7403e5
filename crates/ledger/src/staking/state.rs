//! Staking: the stored records, and reading them.

use super::schema::{BONDS, BOX_KEYS, DISCIPLINE, OPERATORS, SERVING_OWNERS};
use crate::store::{Corrupt, Read};
use borsh::{BorshDeserialize, BorshSerialize};
use core::ops::Bound;
use crypto::{AccountId, ModelId, OperatorId, PublicKey};
use serde::{Deserialize, Serialize};
use units::{Coin, List, Millis, Text};

/// What hardware an operator runs: it sets the floor of its bond.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Class {
    /// E0: a single-board computer.
    Board = 0,
    /// E1: a mini-PC, a phone, an embedded accelerator.
    Small = 1,
    /// E2: a consumer GPU.
    Consumer = 2,
    /// E3: a workstation GPU.
    Workstation = 3,
    /// E4: a data-centre GPU.
    DataCentre = 4,
}

impl Class {
    /// All of them, smallest first.
    pub const ALL: [Self; 5] =
        [Self::Board, Self::Small, Self::Consumer, Self::Workstation, Self::DataCentre];
}

/// How to reach an operator and what it serves, by its own word.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Where its link is found, in the link's own notation.
    pub endpoint: Text<256>,
    /// The models it serves, ascending (R9).
    pub models: List<ModelId, 64>,
}

/// An operator.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Operator {
    /// Who owns it and is paid. Never changes (R1).
    pub owner: AccountId,
    /// Which of the owner's operators it is.
    pub index: u32,
    /// What hardware it runs.
    pub class: Class,
    /// How to reach it and what it serves.
    pub profile: Profile,
    /// What is bonded. Invariant: zero or at least the floor at the last change (R3).
    pub bond: Coin,
    /// What waits to be paid back. Invariant: the sum of its entries in the queue.
    pub unbonding: Coin,
    /// Entries in the queue. Invariant: at most eight (R4).
    pub unbondings: u8,
    /// The current version of the box key (R6).
    pub key_epoch: u32,
    /// The clock at which it entered.
    pub registered: Millis,
}

/// One version of a box key.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct BoxKey {
    /// The key that signs receipts.
    pub key: PublicKey,
    /// The clock from which it is the current one.
    pub from: Millis,
    /// The clock from which no claim may name it; `None` while it is the current one.
    pub until: Option<Millis>,
}

impl BoxKey {
    /// Whether a claim at `clock` may name this version (R6).
    #[must_use]
    pub fn is_good_for_claims(&self, clock: Millis) -> bool {
        self.until.is_none_or(|until| clock < until)
    }
}

/// A part of a bond that waits.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Unbonding {
    /// Whose.
    pub operator: OperatorId,
    /// How much.
    pub amount: Coin,
}

/// What an operator must bear for its faults (R11).
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct Discipline {
    /// The clock until which it files no claim.
    pub jailed_until: Millis,
    /// Whether it is out for ever.
    pub tombstoned: bool,
}

/// What an operator must bear for its faults; nothing if it never was at fault.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn discipline(state: &impl Read, operator: &OperatorId) -> Result<Discipline, Corrupt> {
    Ok(state.get(&DISCIPLINE, operator)?.unwrap_or_default())
}

/// How many owners serve a model (R12).
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn serving_owners(state: &impl Read, model: &ModelId) -> Result<u32, Corrupt> {
    Ok(state.get(&SERVING_OWNERS, model)?.unwrap_or_default())
}

/// An operator, or `None` if it never entered.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn operator(state: &impl Read, id: &OperatorId) -> Result<Option<Operator>, Corrupt> {
    state.get(&OPERATORS, id)
}

/// One version of a box key, or `None` if there never was one.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn box_key(
    state: &impl Read,
    operator: &OperatorId,
    epoch: u32,
) -> Result<Option<BoxKey>, Corrupt> {
    state.get(&BOX_KEYS, &(*operator, epoch))
}

/// What an operator had bonded at a clock (R8); nothing before it entered.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn bond_at(state: &impl Read, operator: &OperatorId, clock: Millis) -> Result<Coin, Corrupt> {
    let low = BONDS.part(operator);
    let high = BONDS.key_bytes(&(*operator, clock));
    match state.last(Bound::Included(&low), Bound::Included(&high)) {
        Some((_, value)) => BONDS.decode(value),
        None => Ok(Coin::ZERO),
    }
}
