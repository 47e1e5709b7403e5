//! Staking: what may be sent, what is recorded, why a sender is refused.

use super::state::{BoxKey, Class, Discipline, Operator, Profile, Unbonding};
use crate::{
    params::{COIN, OutOfBounds, within},
    store::Table,
};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{AccountId, ModelId, OperatorId, PublicKey};
use serde::{Deserialize, Serialize};
use units::{Coin, Millis, NANO, UsdNano};

/// Operators. Never removed: an exited one may bond again.
pub const OPERATORS: Table<OperatorId, Operator> = Table::new([3, 0], "staking.operators");
/// Box keys by (operator, version). Invariant: versions 0 to the current one, without gaps.
pub const BOX_KEYS: Table<(OperatorId, u32), BoxKey> = Table::new([3, 1], "staking.box_keys");
/// The bond from a clock on, by (operator, clock) (R8).
pub const BONDS: Table<(OperatorId, Millis), Coin> = Table::new([3, 2], "staking.bonds");
/// Bonds that wait, by the clock at which they are due, then in order of asking (R4, R5).
pub const UNBONDING: Table<(Millis, u64), Unbonding> = Table::new([3, 3], "staking.unbonding");
/// Number of the next waiting bond: one record. Invariant: above all in [`UNBONDING`].
pub const UNBONDING_COUNT: Table<(), u64> = Table::new([3, 4], "staking.unbonding_count");

/// Bonds that wait, by operator (R10). Invariant: one entry per entry of [`UNBONDING`].
pub const UNBONDING_OF: Table<(OperatorId, Millis, u64), ()> =
    Table::new([3, 5], "staking.unbonding_of");
/// Operators that were jailed or tombstoned (R11). Never removed.
pub const DISCIPLINE: Table<OperatorId, Discipline> = Table::new([3, 6], "staking.discipline");
/// How many operators of an owner serve a model (R12). Absent means none.
pub const SERVERS: Table<(ModelId, AccountId), u32> = Table::new([3, 7], "staking.servers");
/// How many owners serve a model (R12). Absent means none.
pub const SERVING_OWNERS: Table<ModelId, u32> = Table::new([3, 8], "staking.serving_owners");

/// How an operator enters.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registration {
    /// Which of the owner's operators this is (R1).
    pub index: u32,
    /// The first box key, version 0.
    pub box_key: PublicKey,
    /// What hardware it runs.
    pub class: Class,
    /// How to reach it and what it serves.
    pub profile: Profile,
    /// What it bonds; at least the floor of its class.
    pub bond: Coin,
}

/// Transactions. Numbers are on the wire: never reuse one.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Tx {
    /// 0: Enters an operator of the sender (R1, R3, R9).
    Register(Registration) = 0,
    /// 1: Adds to a bond (R3).
    Bond {
        /// Whose.
        operator: OperatorId,
        /// How much.
        amount: Coin,
    } = 1,
    /// 2: Takes from a bond, to be paid after the unbonding time (R4).
    Unbond {
        /// Whose.
        operator: OperatorId,
        /// How much; all of it to exit.
        amount: Coin,
    } = 2,
    /// 3: Starts the next version of the box key (R6, R9).
    RotateBoxKey {
        /// Whose.
        operator: OperatorId,
        /// The new key.
        box_key: PublicKey,
    } = 3,
    /// 4: Changes the class (R7).
    SetClass {
        /// Whose.
        operator: OperatorId,
        /// The new class.
        class: Class,
    } = 4,
    /// 5: Changes the profile (R7, R9).
    SetProfile {
        /// Whose.
        operator: OperatorId,
        /// The new profile.
        profile: Profile,
    } = 5,
}

impl Tx {
    /// The fixed fee of the kind.
    #[must_use]
    pub const fn fee(&self, params: &Params) -> Coin {
        match self {
            Self::Register(_) => params.register_fee,
            Self::Bond { .. } | Self::Unbond { .. } => params.bond_fee,
            Self::RotateBoxKey { .. } | Self::SetClass { .. } | Self::SetProfile { .. } => {
                params.update_fee
            }
        }
    }

    /// Whether a session key may sign it (R7).
    #[must_use]
    pub const fn allows_session(&self) -> bool {
        matches!(self, Self::SetProfile { .. })
    }
}

/// Facts for indexers.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Event {
    /// An operator entered.
    Registered {
        /// Which.
        operator: OperatorId,
        /// What hardware.
        class: Class,
        /// Its first box key.
        box_key: PublicKey,
    } = 0,
    /// What an operator has bonded changed.
    BondChanged {
        /// Whose.
        operator: OperatorId,
        /// Bonded from now on.
        bond: Coin,
    } = 1,
    /// A part of a bond waits for its owner.
    Unbonding {
        /// Whose.
        operator: OperatorId,
        /// How much.
        amount: Coin,
        /// The clock at which it is paid.
        due: Millis,
    } = 2,
    /// A part of a bond came back to its owner.
    Unbonded {
        /// Whose.
        operator: OperatorId,
        /// How much.
        amount: Coin,
    } = 3,
    /// The next version of a box key started.
    BoxKeyRotated {
        /// Whose.
        operator: OperatorId,
        /// The version.
        epoch: u32,
        /// The key.
        box_key: PublicKey,
    } = 4,
    /// Class or profile changed.
    Updated {
        /// Whose.
        operator: OperatorId,
    } = 5,
    /// A slash took from bond and waiting parts.
    BondSlashed {
        /// Whose.
        operator: OperatorId,
        /// How much.
        amount: Coin,
    } = 6,
    /// An operator files no claim until then.
    Jailed {
        /// Which.
        operator: OperatorId,
        /// Until when.
        until: Millis,
    } = 7,
    /// An operator is out for ever.
    Tombstoned {
        /// Which.
        operator: OperatorId,
    } = 8,
}

/// Why a sender is refused. Numbers are on the wire: never reuse one.
#[derive(
    Debug,
    Clone,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
    thiserror::Error,
)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Error {
    /// R1.
    #[error("operator {operator} is registered already; choose another index")]
    AlreadyRegistered {
        /// Which.
        operator: OperatorId,
    } = 0,
    /// R1.
    #[error("operator {operator} is not registered")]
    UnknownOperator {
        /// Which.
        operator: OperatorId,
    } = 1,
    /// R1.
    #[error("operator {operator} belongs to another account")]
    NotTheOwner {
        /// Which.
        operator: OperatorId,
    } = 2,
    /// R3, R4.
    #[error("the amount is zero; give at least one billionth")]
    ZeroAmount = 3,
    /// R3, R4, R7.
    #[error("a bond of {bond} is below the floor of the class, {floor}; bond more, or exit")]
    BelowFloor {
        /// What would be bonded.
        bond: Coin,
        /// The least, at the price.
        floor: Coin,
    } = 4,
    /// R4.
    #[error("{amount} is more than the {bond} that is bonded")]
    MoreThanBonded {
        /// Asked.
        amount: Coin,
        /// Bonded.
        bond: Coin,
    } = 5,
    /// R4.
    #[error("{limit} parts of the bond wait already; ask again when the first is paid")]
    TooManyUnbondings {
        /// The limit.
        limit: u8,
    } = 6,
    /// R9.
    #[error("{key} is no usable key: off the curve, of small order or misspelt")]
    BadKey {
        /// In the transaction.
        key: PublicKey,
    } = 7,
    /// R6.
    #[error("{key} is the current box key already")]
    SameKey {
        /// In the transaction.
        key: PublicKey,
    } = 8,
    /// R9.
    #[error("the profile's models must be in ascending order, none twice")]
    ModelsOutOfOrder = 9,
    /// R7.
    #[error("session key {key} is not the operator's current box key")]
    NotTheBoxKey {
        /// Who signed.
        key: PublicKey,
    } = 10,
    /// R11.
    #[error("operator {operator} is tombstoned: it bonds no more")]
    Tombstoned {
        /// Which.
        operator: OperatorId,
    } = 11,
}

/// What genesis decides.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// How long a bond waits, in ms; the challenge window to 90 days.
    pub unbonding: Millis,
    /// Least bond by class.
    pub floors: BondFloors,
    /// Fee of a registration, in coin; 0 to 10.
    pub register_fee: Coin,
    /// Fee of bonding and unbonding, in coin; 0 to 1.
    pub bond_fee: Coin,
    /// Fee of a change of key, class or profile, in coin; 0 to 1.
    pub update_fee: Coin,
}

/// Least bond by class, in billionths of a dollar; each 0 to 100,000 dollars.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct BondFloors {
    /// Of [`Class::Board`].
    pub board: UsdNano,
    /// Of [`Class::Small`].
    pub small: UsdNano,
    /// Of [`Class::Consumer`].
    pub consumer: UsdNano,
    /// Of [`Class::Workstation`].
    pub workstation: UsdNano,
    /// Of [`Class::DataCentre`].
    pub data_centre: UsdNano,
}

impl BondFloors {
    /// The floor of a class.
    #[must_use]
    pub const fn of(&self, class: Class) -> UsdNano {
        match class {
            Class::Board => self.board,
            Class::Small => self.small,
            Class::Consumer => self.consumer,
            Class::Workstation => self.workstation,
            Class::DataCentre => self.data_centre,
        }
    }
}

impl Params {
    /// Holds every field against its bounds; `unbonding` is held against the windows by
    /// [`crate::Params::check`].
    ///
    /// # Errors
    /// [`OutOfBounds`] names the first that is not.
    pub fn check(&self) -> Result<(), OutOfBounds> {
        for class in Class::ALL {
            let floor = self.floors.of(class).get();
            within("staking.floors", floor, 0, 100_000 * NANO)?;
        }
        within("staking.register_fee", self.register_fee.get(), 0, 10 * COIN)?;
        within("staking.bond_fee", self.bond_fee.get(), 0, COIN)?;
        within("staking.update_fee", self.update_fee.get(), 0, COIN)
    }
}

impl Default for Params {
    fn default() -> Self {
        Self {
            unbonding: Millis::new(14 * 86_400_000),
            floors: BondFloors {
                board: UsdNano::new(5 * NANO),
                small: UsdNano::new(20 * NANO),
                consumer: UsdNano::new(100 * NANO),
                workstation: UsdNano::new(400 * NANO),
                data_centre: UsdNano::new(1_200 * NANO),
            },
            register_fee: Coin::new(10_000_000),
            bond_fee: Coin::new(200_000),
            update_fee: Coin::new(200_000),
        }
    }
}
