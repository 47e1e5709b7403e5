//! Payments: what genesis decides.

use crate::params::{COIN, DAY, OutOfBounds, SECOND, share, within};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use units::{BasisPoints, Coin, Credit, Millis, NANO};

/// What genesis decides.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Share of a claim that is paid first; 5,000 to 10,000 basis points.
    pub base_pay: BasisPoints,
    /// Least delta of a lane in a claim, in credits; one billionth to 1.
    pub cashable_minimum: Credit,
    /// Longest life of an allocation, in ms of the clock; 1 minute to 365 days.
    pub allocation_life: Millis,
    /// How long a settled claim is kept, in ms of the clock; 1 minute to 365 days.
    pub claim_retention: Millis,
    /// Fee of a deposit or withdrawal, in coin; 0 to 1.
    pub deposit_fee: Coin,
    /// Fee of an allocation or its extension, in coin; 0 to 1.
    pub allocate_fee: Coin,
    /// Fee of a claim, in coin; 0 to 1.
    pub claim_fee: Coin,
    /// Further fee per lane of a claim, in coin; 0 to 0.01.
    pub claim_lane_fee: Coin,
}

impl Params {
    /// Holds every field against its bounds.
    ///
    /// # Errors
    /// [`OutOfBounds`] names the first that is not.
    pub fn check(&self) -> Result<(), OutOfBounds> {
        let (minute, year) = (u128::from(60 * SECOND), u128::from(DAY.get().saturating_mul(365)));
        within("payments.base_pay", self.base_pay.get().into(), 5_000, 10_000)?;
        within("payments.cashable_minimum", self.cashable_minimum.get(), 1, NANO)?;
        let life = self.allocation_life.get().into();
        within("payments.allocation_life", life, minute, year)?;
        let retention = self.claim_retention.get().into();
        within("payments.claim_retention", retention, minute, year)?;
        within("payments.deposit_fee", self.deposit_fee.get(), 0, COIN)?;
        within("payments.allocate_fee", self.allocate_fee.get(), 0, COIN)?;
        within("payments.claim_fee", self.claim_fee.get(), 0, COIN)?;
        within("payments.claim_lane_fee", self.claim_lane_fee.get(), 0, COIN / 100)
    }
}

impl Default for Params {
    fn default() -> Self {
        Self {
            base_pay: share(8_000),
            cashable_minimum: Credit::new(1_000),
            allocation_life: Millis::new(30 * 86_400_000),
            claim_retention: Millis::new(7 * 86_400_000),
            deposit_fee: Coin::new(200_000),
            allocate_fee: Coin::new(200_000),
            claim_fee: Coin::new(500_000),
            claim_lane_fee: Coin::new(50_000),
        }
    }
}
