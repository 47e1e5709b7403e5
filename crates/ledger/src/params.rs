//! The parameters of a chain: every number that genesis decides, each with unit and bounds.
//!
//! Rules: a parameter is declared once, in the section of the module that reads it; a value
//! outside its bounds is refused at genesis, so that no rule meets a nonsensical number; the
//! fee of each kind of transaction covers its bounded cost. Never here: a rule.

use crate::{accounts, credits, disputes, models, payments, staking, verification};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use units::{BasisPoints, Millis};

/// One whole coin in its billionths, for bounds.
pub(crate) const COIN: u128 = units::NANO;
/// One second.
pub(crate) const SECOND: u64 = 1_000;
/// One day.
pub(crate) const DAY: Millis = Millis::new(86_400_000);

/// A parameter outside its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("parameter {name} is {value}, it must lie between {low} and {high}")]
pub struct OutOfBounds {
    /// `section.field`.
    pub name: &'static str,
    /// What was given, in the field's unit.
    pub value: u128,
    /// The least allowed.
    pub low: u128,
    /// The most allowed.
    pub high: u128,
}

/// Holds one value against its bounds.
pub(crate) fn within(
    name: &'static str,
    value: u128,
    low: u128,
    high: u128,
) -> Result<(), OutOfBounds> {
    if (low..=high).contains(&value) { Ok(()) } else { Err(OutOfBounds { name, value, low, high }) }
}

fn within_ms(name: &'static str, value: Millis, low: u64, high: u64) -> Result<(), OutOfBounds> {
    within(name, value.get().into(), low.into(), high.into())
}

/// A share for a default; above the whole it is the whole.
pub(crate) fn share(basis_points: u16) -> BasisPoints {
    BasisPoints::new(basis_points).unwrap_or(BasisPoints::WHOLE)
}

/// Everything genesis decides.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields, default)]
pub struct Params {
    /// Size and pace of blocks.
    pub block: Block,
    /// Periods and windows.
    pub windows: Windows,
    /// Of module `accounts`.
    pub accounts: accounts::Params,
    /// Of module `credits`.
    pub credits: credits::Params,
    /// Of module `staking`.
    pub staking: staking::Params,
    /// Of module `models`.
    pub models: models::Params,
    /// Of module `payments`.
    pub payments: payments::Params,
    /// Of module `disputes`.
    pub disputes: disputes::Params,
    /// Of module `verification`.
    pub verification: verification::Params,
}

/// Size and pace of blocks.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Time between blocks under load, in ms; 50 to 10,000.
    pub pace: Millis,
    /// Time between blocks when nothing waits, in ms; pace to 60,000.
    pub idle: Millis,
    /// Most bytes of transactions; 2 MiB (one largest claim) to 32 MiB.
    pub bytes: u32,
    /// Most transactions; 1 to 100,000.
    pub transactions: u32,
    /// How many heights ahead a transaction may be valid; 10 to 1,000,000.
    pub transaction_lifetime: u64,
}

impl Default for Block {
    fn default() -> Self {
        Self {
            pace: Millis::new(500),
            idle: Millis::new(2_000),
            bytes: 4 << 20,
            transactions: 20_000,
            transaction_lifetime: 7_200,
        }
    }
}

/// Periods and windows, in ms of the clock.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Windows {
    /// The ledger period; 1 s to 1 day.
    pub epoch: Millis,
    /// Time to claim a period after its end; 1 s to 1 h.
    pub claim: Millis,
    /// Time to open drawn receipts; 1 s to 1 h.
    pub open: Millis,
    /// Time for auditors to commit; 1 s to 1 h.
    pub commit: Millis,
    /// Time for auditors to reveal; 1 s to 1 h.
    pub reveal: Millis,
    /// Time in which a receipt can be challenged; 1 s to 30 days.
    pub challenge: Millis,
    /// Rounds between a commitment and the draw that judges it; 1 to 1,000.
    pub draw_delay: u64,
}

impl Default for Windows {
    fn default() -> Self {
        Self {
            epoch: Millis::new(600 * SECOND),
            claim: Millis::new(60 * SECOND),
            open: Millis::new(60 * SECOND),
            commit: Millis::new(120 * SECOND),
            reveal: Millis::new(30 * SECOND),
            challenge: DAY,
            draw_delay: 10,
        }
    }
}

impl Params {
    /// The parameters of `devnet`: windows so short that a claim settles within a minute.
    #[must_use]
    pub fn devnet() -> Self {
        let windows = Windows {
            epoch: Millis::new(10 * SECOND),
            claim: Millis::new(5 * SECOND),
            open: Millis::new(5 * SECOND),
            commit: Millis::new(10 * SECOND),
            reveal: Millis::new(5 * SECOND),
            challenge: Millis::new(20 * SECOND),
            draw_delay: 4,
        };
        let staking = staking::Params { unbonding: Millis::new(60 * SECOND), ..Default::default() };
        let disputes = disputes::Params {
            clock: Millis::new(20 * SECOND),
            clock_max: Millis::new(600 * SECOND),
            ..Default::default()
        };
        let verification = verification::Params::devnet();
        Self { windows, staking, disputes, verification, ..Self::default() }
    }

    /// Holds every parameter against its bounds, and those that depend on each other.
    ///
    /// # Errors
    /// [`OutOfBounds`] names the first that does not fit.
    pub fn check(&self) -> Result<(), OutOfBounds> {
        let block = &self.block;
        within_ms("block.pace", block.pace, 50, 10_000)?;
        within_ms("block.idle", block.idle, block.pace.get(), 60_000)?;
        within("block.bytes", block.bytes.into(), 2 << 20, 32 << 20)?;
        within("block.transactions", block.transactions.into(), 1, 100_000)?;
        let lifetime = block.transaction_lifetime.into();
        within("block.transaction_lifetime", lifetime, 10, 1_000_000)?;

        let windows = &self.windows;
        let (hour, day) = (3_600 * SECOND, DAY.get());
        let (month, quarter) = (day.saturating_mul(30), day.saturating_mul(90));
        within_ms("windows.epoch", windows.epoch, SECOND, day)?;
        within_ms("windows.claim", windows.claim, SECOND, hour)?;
        within_ms("windows.open", windows.open, SECOND, hour)?;
        within_ms("windows.commit", windows.commit, SECOND, hour)?;
        within_ms("windows.reveal", windows.reveal, SECOND, hour)?;
        within_ms("windows.challenge", windows.challenge, SECOND, month)?;
        within("windows.draw_delay", windows.draw_delay.into(), 1, 1_000)?;

        self.accounts.check()?;
        self.credits.check()?;
        // A bond must outlast every window in which a fault of its operator can be shown.
        let least = windows.challenge.get();
        within_ms("staking.unbonding", self.staking.unbonding, least, quarter)?;
        self.staking.check()?;
        self.models.check()?;
        self.payments.check()?;
        self.disputes.check()?;
        self.verification.check()
    }
}
