//! Verification: what genesis decides.

use crate::params::{COIN, DAY, OutOfBounds, SECOND, share, within};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use units::{BasisPoints, Coin, Millis, NANO, UsdNano};

/// Most points of one claim.
pub const LEAVES_MAX: u8 = 8;
/// Most auditors of one point.
pub const AUDITORS_MAX: u8 = 4;

/// What genesis decides.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Points drawn in an audited claim; 0 to 8. At 0 this network has no audits and no value cap.
    pub leaves: u8,
    /// Auditors per point; 1 to 4.
    pub auditors: u8,
    /// Owners that must serve a model before it is audited; 1 to 1,000.
    pub audited_owners: u32,
    /// Least share of claims that are audited; 100 to 10,000 basis points.
    pub audit_floor: BasisPoints,
    /// The most a cheat saves per fee of a faked receipt; 1,000 to 10,000 basis points.
    pub saving: BasisPoints,
    /// Share of audits that are not wholly in the hands of the audited: 1 − φ^m at the assumed
    /// hostile share φ of auditor bonds; 1,000 to 10,000 basis points.
    pub detection: BasisPoints,
    /// Least bond of an auditor: twenty audits; 0 to 100,000 dollars.
    pub auditor_bond: UsdNano,
    /// Pay of one audit in per cent of the receipt's fee; 0 to 1,000.
    pub audit_pay: u16,
    /// Share of its bond that a missing auditor loses; 0 to 1,000 basis points.
    pub absence: BasisPoints,
    /// Least slash of a first isolated fault, of the bond; 100 to 10,000 basis points.
    pub first_fault: BasisPoints,
    /// Slash of a repeated fault, of the bond; 100 to 10,000 basis points.
    pub pattern: BasisPoints,
    /// Slash of a silence under a flood of disputes, of the bond; 0 to 1,000 basis points.
    pub silence: BasisPoints,
    /// How long a fault makes the next one a repeated one; 1 minute to 365 days.
    pub fault_memory: Millis,
    /// For how long no claim is taken after a fault; 0 to 30 days.
    pub jail: Millis,
    /// Least length of a probation; 0 to 90 days.
    pub probation: Millis,
    /// How often the value cap doubles until a probation ends; 0 to 8.
    pub probation_levels: u8,
    /// Passed audits for each doubling; 1 to 10,000.
    pub passes_per_level: u32,
    /// Share of a slash that is burned always; 5,000 to 10,000 basis points.
    pub burned: BasisPoints,
    /// Most that a reporter gets, of a slash; 0 to 5,000 basis points.
    pub reporter: BasisPoints,
    /// Most that a reporter gets of one slash; 0 to 100,000 dollars.
    pub reporter_most: UsdNano,
    /// Fee of enlisting and retiring, in coin; 0 to 1.
    pub enlist_fee: Coin,
    /// Fee of an opening, in coin; 0 to 1.
    pub open_fee: Coin,
    /// Fee of a commitment, a reveal or an answer, in coin; 0 to 1.
    pub audit_fee: Coin,
    /// Fee of a demand, in coin: about that of the delivery it forces; 0 to 1.
    pub demand_fee: Coin,
    /// Fee of a delivery, in coin; 0 to 1.
    pub deliver_fee: Coin,
    /// Further fee per started KiB of a delivery, in coin; 0 to 0.01.
    pub deliver_fee_per_kib: Coin,
    /// Fee of a conflict certificate, an omission or a complaint, in coin; 0 to 1.
    pub evidence_fee: Coin,
}

impl Params {
    /// The values of `devnet`: no audits until its genesis says otherwise; short memories.
    #[must_use]
    pub fn devnet() -> Self {
        Self {
            leaves: 0,
            audited_owners: 3,
            fault_memory: Millis::new(600 * SECOND),
            jail: Millis::new(20 * SECOND),
            probation: Millis::new(60 * SECOND),
            passes_per_level: 5,
            ..Self::default()
        }
    }

    /// Holds every field against its bounds.
    ///
    /// # Errors
    /// [`OutOfBounds`] names the first that is not.
    pub fn check(&self) -> Result<(), OutOfBounds> {
        let dollars = 100_000 * NANO;
        let days = |days: u64| u128::from(DAY.get().saturating_mul(days));
        let minute = u128::from(60 * SECOND);
        let share =
            |name, value: BasisPoints, low, high| within(name, value.get().into(), low, high);
        let fee = |name, value: Coin| within(name, value.get(), 0, COIN);
        within("verification.leaves", self.leaves.into(), 0, LEAVES_MAX.into())?;
        within("verification.auditors", self.auditors.into(), 1, AUDITORS_MAX.into())?;
        within("verification.audited_owners", self.audited_owners.into(), 1, 1_000)?;
        share("verification.audit_floor", self.audit_floor, 100, 10_000)?;
        share("verification.saving", self.saving, 1_000, 10_000)?;
        share("verification.detection", self.detection, 1_000, 10_000)?;
        within("verification.auditor_bond", self.auditor_bond.get(), 0, dollars)?;
        within("verification.audit_pay", self.audit_pay.into(), 0, 1_000)?;
        share("verification.absence", self.absence, 0, 1_000)?;
        share("verification.first_fault", self.first_fault, 100, 10_000)?;
        share("verification.pattern", self.pattern, 100, 10_000)?;
        share("verification.silence", self.silence, 0, 1_000)?;
        let memory = self.fault_memory.get().into();
        within("verification.fault_memory", memory, minute, days(365))?;
        within("verification.jail", self.jail.get().into(), 0, days(30))?;
        within("verification.probation", self.probation.get().into(), 0, days(90))?;
        within("verification.probation_levels", self.probation_levels.into(), 0, 8)?;
        within("verification.passes_per_level", self.passes_per_level.into(), 1, 10_000)?;
        share("verification.burned", self.burned, 5_000, 10_000)?;
        share("verification.reporter", self.reporter, 0, 5_000)?;
        within("verification.reporter_most", self.reporter_most.get(), 0, dollars)?;
        fee("verification.enlist_fee", self.enlist_fee)?;
        fee("verification.open_fee", self.open_fee)?;
        fee("verification.audit_fee", self.audit_fee)?;
        fee("verification.demand_fee", self.demand_fee)?;
        fee("verification.deliver_fee", self.deliver_fee)?;
        let per_kib = self.deliver_fee_per_kib.get();
        within("verification.deliver_fee_per_kib", per_kib, 0, COIN / 100)?;
        fee("verification.evidence_fee", self.evidence_fee)
    }
}

impl Default for Params {
    fn default() -> Self {
        Self {
            leaves: 2,
            auditors: 2,
            audited_owners: 8,
            audit_floor: share(2_000),
            saving: BasisPoints::WHOLE,
            detection: share(9_600),
            auditor_bond: UsdNano::new(NANO),
            audit_pay: 130,
            absence: share(200),
            first_fault: share(500),
            pattern: share(3_000),
            silence: share(100),
            fault_memory: Millis::new(90 * 86_400_000),
            jail: Millis::new(3_600_000),
            probation: Millis::new(7 * 86_400_000),
            probation_levels: 4,
            passes_per_level: 100,
            burned: share(5_000),
            reporter: share(2_000),
            reporter_most: UsdNano::new(500 * NANO),
            enlist_fee: Coin::new(200_000),
            open_fee: Coin::new(400_000),
            audit_fee: Coin::new(200_000),
            demand_fee: Coin::new(2_000_000),
            deliver_fee: Coin::new(400_000),
            deliver_fee_per_kib: Coin::new(50_000),
            evidence_fee: Coin::new(1_000_000),
        }
    }
}
