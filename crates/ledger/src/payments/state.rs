//! Payments: the stored records, and reading them.

use super::schema::{
    ALLOCATIONS, CLAIMS, DEPOSITS, LANES, LaneClaim, LaneId, MAX_CLAIM_LANES, UNVERIFIED,
};
use crate::{
    bytes::Bytes,
    store::{Corrupt, Read},
};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{
    AccountId, Digest, OperatorId, PublicKey,
    merkle::{self, RangeProof},
    merkle_sum::Sums,
};
use serde::{Deserialize, Serialize};
use units::{BasisPoints, Coin, Credit, Epoch, Height, Millis, Overflow, Round};

/// What a payer has locked for payments.
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
pub struct Deposit {
    /// All of it. Invariant: what `credits` holds as locked (R1).
    pub balance: Credit,
    /// What live allocations may still cash. Invariant: their sum, at most `balance` (R2).
    pub reserved: Credit,
    /// Number of the next allocation. Invariant: above all live ones (R3).
    pub next_allocation: u64,
}

/// A promise to one operator.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Allocation {
    /// To whom.
    pub operator: OperatorId,
    /// Whose vouchers draw on it.
    pub signer: PublicKey,
    /// Up to how much.
    pub limit: Credit,
    /// What claims have cashed. Invariant: at most `limit`.
    pub cashed: Credit,
    /// The clock from which nothing is cashed on it.
    pub expires: Millis,
}

impl Allocation {
    /// What may still be cashed, were it not to expire.
    ///
    /// # Errors
    /// [`Overflow`] never, by the invariant of `cashed`.
    pub fn left(&self) -> Result<Credit, Overflow> {
        self.limit.checked_sub(self.cashed)
    }
}

/// What a lane was claimed for.
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
pub struct Lane {
    /// The last receipt claimed. Only grows (R8).
    pub sequence: u64,
    /// The fees of all receipts up to it. Only grows (R8).
    pub cumulative: Credit,
}

/// How far a claim has come.
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
pub enum Stage {
    /// Filed; waits for the seed of its draw.
    Filed = 0,
    /// The seed came; its windows run.
    Drawn = 1,
    /// The base is paid.
    BasePaid = 2,
    /// All is paid: final.
    Settled = 3,
    /// It failed: nothing more is paid, and payers reclaim what was not (R17).
    Void = 4,
}

/// What became of a claim's audit; `verification` decides it.
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
pub enum Audit {
    /// The seed of its draw has not come.
    Pending = 0,
    /// This network has no audits.
    Off = 1,
    /// The seed passed it over.
    PassedOver = 2,
    /// Receipts were drawn and are being looked at.
    Running = 3,
    /// At least one drawn receipt was re-executed and none was found wrong.
    Passed = 4,
    /// Receipts were drawn, but nobody could audit their models, or was let see them.
    Unaudited = 5,
    /// A drawn receipt was found wrong, or was not opened.
    Failed = 6,
}

/// A claim as filed, and how far it has come. One state proof of it tells a stranger who stood
/// behind which receipts with which key and bond (R11).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct ClaimRecord {
    /// Who claims.
    pub operator: OperatorId,
    /// Who owned the operator, and is paid.
    pub owner: AccountId,
    /// The box key that signed the receipts.
    pub box_key: PublicKey,
    /// Its version.
    pub key_epoch: u32,
    /// What the operator had bonded at filing.
    pub bond: Coin,
    /// The period claimed.
    pub epoch: Epoch,
    /// Root of the Merkle-sum tree over the receipts.
    pub root: Digest,
    /// What the tree adds up to.
    pub totals: Sums,
    /// Merkle root over the [`LaneRange`]s, in the order of the claim's lanes: together with the
    /// tree it shows which receipts of a lane were left out.
    pub ranges_root: Digest,
    /// How many lanes.
    pub lanes: u32,
    /// Whether a receipt in it may be one that is never opened.
    pub canary_only: bool,
    /// The block that filed it.
    pub filed_height: Height,
    /// The clock at filing.
    pub filed: Millis,
    /// The round whose seed draws from it (R12).
    pub draw_round: Round,
    /// The clock at which that seed came.
    pub drawn: Option<Millis>,
    /// How far it has come.
    pub stage: Stage,
    /// What was settled of the fee so far.
    pub paid: Credit,
    /// What payers have back of the fee. Invariant: `paid` + `returned` ≤ fee.
    pub returned: Credit,
    /// What became of its audit.
    pub audit: Audit,
    /// With which probability it was drawn for one.
    pub probability: BasisPoints,
    /// Points that are being looked at: while there are any, nothing is paid (R15).
    pub holds: u8,
    /// The clock of its next step, once the seed has come; passed if it is held.
    pub due: Option<Millis>,
}

impl ClaimRecord {
    /// What is neither paid nor returned.
    ///
    /// # Errors
    /// [`Overflow`] never, by the invariant of `returned`.
    pub fn owed(&self) -> Result<Credit, Overflow> {
        self.totals.fee.checked_sub(self.paid)?.checked_sub(self.returned)
    }

    /// Whether `path` shows that its `index`-th lane ranges so.
    #[must_use]
    pub fn has_range(&self, range: &LaneRange, index: u32, path: &RangeProof) -> bool {
        let (count, leaf) = (self.lanes.into(), [range.leaf()]);
        path.verify(&self.ranges_root, count, index.into(), &leaf).is_ok()
    }
}

/// The receipts of one lane in a claim.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct LaneRange {
    /// Who paid.
    pub payer: AccountId,
    /// Which of the payer's lanes to the claim's operator.
    pub lane: u32,
    /// The first receipt.
    pub first: u64,
    /// The last receipt.
    pub last: u64,
    /// Their fees.
    pub delta: Credit,
}

impl LaneRange {
    /// What a lane of a claim, as it is filed, ranges over.
    #[must_use]
    pub const fn of(lane: &LaneClaim) -> Self {
        let LaneClaim { ref voucher, first, last, delta } = *lane;
        let voucher = &voucher.message;
        Self { payer: voucher.payer, lane: voucher.lane, first, last, delta }
    }

    /// Its leaf under [`ClaimRecord::ranges_root`].
    #[must_use]
    pub fn leaf(&self) -> Digest {
        merkle::leaf(&borsh::to_vec(self).unwrap_or_default())
    }
}

/// What the payer of a wrong receipt has back of its lane.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct LaneRefund {
    /// Who.
    pub payer: AccountId,
    /// On which of its lanes to the claim's operator.
    pub lane: u32,
    /// How much.
    pub amount: Credit,
}

/// Bytes of a bit for each lane of the largest claim.
pub const LANE_BITS_BYTES: usize = MAX_CLAIM_LANES / 8;

/// Which lanes of a void claim have been reclaimed (R17).
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Reclaims {
    /// What was given back when the claim became void.
    pub refunded: Option<LaneRefund>,
    /// One bit per lane, in the order of the claim, lowest first. Invariant: as many as lanes.
    pub lanes: Bytes<LANE_BITS_BYTES>,
}

impl Reclaims {
    /// Of a claim of so many lanes of which none is reclaimed yet.
    #[must_use]
    pub fn new(lanes: u32, refunded: Option<LaneRefund>) -> Self {
        let bytes = usize::try_from(lanes.div_ceil(8)).unwrap_or(LANE_BITS_BYTES);
        let lanes = Bytes::new(vec![0; bytes.min(LANE_BITS_BYTES)]).unwrap_or_default();
        Self { refunded, lanes }
    }

    /// Whether a lane was reclaimed.
    #[must_use]
    pub fn has(&self, index: u32) -> bool {
        let byte = self.lanes.get(place_of(index)).copied().unwrap_or_default();
        byte & bit_of(index) != 0
    }

    /// Notes that a lane is reclaimed.
    pub(crate) fn note(&mut self, index: u32) {
        if let Some(byte) = self.lanes.get_mut(place_of(index)) {
            *byte |= bit_of(index);
        }
    }

    /// What a lane has back already.
    #[must_use]
    pub fn refunded_to(&self, range: &LaneRange) -> Credit {
        let own = self.refunded.filter(|it| (it.payer, it.lane) == (range.payer, range.lane));
        own.map_or(Credit::ZERO, |refunded| refunded.amount)
    }
}

fn place_of(index: u32) -> usize {
    usize::try_from(index / 8).unwrap_or(usize::MAX)
}

const fn bit_of(index: u32) -> u8 {
    1 << (index % 8)
}

/// What an operator's claims whose base is neither paid nor void count: unverified work (R16).
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn unverified(state: &impl Read, operator: &OperatorId) -> Result<Credit, Corrupt> {
    Ok(state.get(&UNVERIFIED, operator)?.unwrap_or_default())
}

/// A payer's deposit; nothing if it has none.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn deposit(state: &impl Read, payer: &AccountId) -> Result<Deposit, Corrupt> {
    Ok(state.get(&DEPOSITS, payer)?.unwrap_or_default())
}

/// A live allocation, or `None` if it never was or was released.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn allocation(
    state: &impl Read,
    payer: &AccountId,
    number: u64,
) -> Result<Option<Allocation>, Corrupt> {
    state.get(&ALLOCATIONS, &(*payer, number))
}

/// What a lane was claimed for; nothing if it never was.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn lane(state: &impl Read, id: &LaneId) -> Result<Lane, Corrupt> {
    Ok(state.get(&LANES, id)?.unwrap_or_default())
}

/// A claim, or `None` if there is none or it was forgotten.
///
/// # Errors
/// [`Corrupt`] for a damaged record.
pub fn claim(
    state: &impl Read,
    operator: &OperatorId,
    epoch: Epoch,
) -> Result<Option<ClaimRecord>, Corrupt> {
    state.get(&CLAIMS, &(*operator, epoch))
}
