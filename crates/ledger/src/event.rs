//! What happened in a block, for indexers and wallets, in the order in which it happened.
//!
//! Rules: an event states a fact that the state alone would not show; its number never
//! changes its meaning. Never here: anything a rule reads.

use crate::{accounts, credits, disputes, models, payments, staking, verification};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// One variant per module.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Event {
    /// Of `accounts`.
    Accounts(accounts::Event) = 1,
    /// Of `credits`.
    Credits(credits::Event) = 2,
    /// Of `staking`.
    Staking(staking::Event) = 3,
    /// Of `models`.
    Models(models::Event) = 4,
    /// Of `payments`.
    Payments(payments::Event) = 5,
    /// Of `disputes`.
    Disputes(disputes::Event) = 6,
    /// Of `verification`.
    Verification(verification::Event) = 7,
}

macro_rules! from_module {
    ($($module:ident => $variant:ident),*) => {$(
        impl From<$module::Event> for Event {
            fn from(event: $module::Event) -> Self {
                Self::$variant(event)
            }
        }
    )*};
}
from_module!(
    accounts => Accounts, credits => Credits, staking => Staking, models => Models,
    payments => Payments, disputes => Disputes, verification => Verification
);
