//! Payments: what may be sent, what is recorded.

mod errors;
pub mod messages;
mod params;

use super::{
    math,
    state::{Allocation, ClaimRecord, Deposit, Lane, LaneRange, Reclaims},
};
use crate::store::{Key, Table};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{AccountId, OperatorId, PublicKey, merkle::RangeProof};
pub use errors::Error;
pub use messages::*;
pub use params::Params;
use serde::{Deserialize, Serialize};
use units::{Coin, Credit, Epoch, Millis, Overflow, Round};

/// Deposits by payer. Invariant: R1, R2.
pub const DEPOSITS: Table<AccountId, Deposit> = Table::new([5, 0], "payments.deposits");
/// Live allocations by (payer, number).
pub const ALLOCATIONS: Table<(AccountId, u64), Allocation> =
    Table::new([5, 1], "payments.allocations");
/// Live allocations by expiry. Invariant: one entry per allocation.
pub const ALLOCATION_EXPIRIES: Table<(Millis, (AccountId, u64)), ()> =
    Table::new([5, 2], "payments.allocation_expiries");
/// What each lane was claimed for. Never removed: it makes a receipt payable once (R8).
pub const LANES: Table<LaneId, Lane> = Table::new([5, 3], "payments.lanes");
/// Claims by (operator, period).
pub const CLAIMS: Table<(OperatorId, Epoch), ClaimRecord> = Table::new([5, 4], "payments.claims");
/// The latest period each operator has claimed (R6). Never removed.
pub const CLAIMED: Table<OperatorId, Epoch> = Table::new([5, 8], "payments.claimed");
/// Claims that wait for the seed of a round (R12).
pub const DRAWS: Table<(Round, (OperatorId, Epoch)), ()> = Table::new([5, 5], "payments.draws");
/// Rounds whose seed came and whose claims are being taken up (R12).
pub const READY: Table<Round, ()> = Table::new([5, 6], "payments.ready");
/// Claims by the clock of their next step (R13, R14).
pub const DUE: Table<(Millis, (OperatorId, Epoch)), ()> = Table::new([5, 7], "payments.due");

/// Which lanes of a void claim have been reclaimed. Invariant: one for each void claim (R17).
pub const RECLAIMS: Table<(OperatorId, Epoch), Reclaims> = Table::new([5, 11], "payments.reclaims");
/// What claims count whose base is neither paid nor void, by operator. Absent means none (R16).
pub const UNVERIFIED: Table<OperatorId, Credit> = Table::new([5, 9], "payments.unverified");
/// Claims whose seed this block brought, until `verification` has drawn from them.
/// Invariant: empty after each block.
pub const DRAWN: Table<(OperatorId, Epoch), ()> = Table::new([5, 10], "payments.drawn");

impl Key for LaneId {
    fn write(&self, out: &mut Vec<u8>) {
        (self.payer, self.operator, self.index).write(out);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let (payer, operator, index) = Key::read(bytes)?;
        Some(Self { payer, operator, index })
    }
}

/// One lane of a void claim, whose payer gets back what it paid (R17).
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reclaim {
    /// Whose claim.
    pub operator: OperatorId,
    /// For which period.
    pub epoch: Epoch,
    /// The lane's range.
    pub range: LaneRange,
    /// Which lane of the claim.
    pub lane_index: u32,
    /// The range under the claim's `ranges_root`.
    pub range_path: RangeProof,
}

impl Reclaim {
    /// One lane of a claim as it was filed; nothing if it has no such lane.
    #[must_use]
    pub fn of(claim: &Claim, lane_index: u32) -> Option<Self> {
        let range = LaneRange::of(claim.lanes.get(usize::try_from(lane_index).ok()?)?);
        let at = u64::from(lane_index);
        let range_path = RangeProof::new(&claim.range_leaves(), at..at.checked_add(1)?).ok()?;
        Some(Self { operator: claim.operator, epoch: claim.epoch, range, lane_index, range_path })
    }
}

/// Transactions. Numbers are on the wire: never reuse one.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Tx {
    /// 0: Locks free credits (R1).
    Deposit {
        /// How much.
        amount: Credit,
    } = 0,
    /// 1: Frees locked credits that nothing reserves (R1).
    Withdraw {
        /// How much.
        amount: Credit,
    } = 1,
    /// 2: Promises an operator a limit (R2, R3).
    Allocate {
        /// The payer's next number.
        allocation: u64,
        /// To whom.
        operator: OperatorId,
        /// Whose vouchers draw on it.
        signer: PublicKey,
        /// How much.
        limit: Credit,
        /// The clock from which nothing is cashed on it.
        expires: Millis,
    } = 2,
    /// 3: Raises limit or expiry (R2–R4).
    Extend {
        /// Which.
        allocation: u64,
        /// The new limit; at least the old.
        limit: Credit,
        /// The new expiry; at least the old.
        expires: Millis,
    } = 3,
    /// 4: Cashes a period's receipts (R6–R11).
    FileClaim(Claim) = 4,
    /// 5: Takes a lane of a void claim back into its payer's deposit (R17). By anybody.
    Reclaim(Box<Reclaim>) = 5,
}

impl Tx {
    /// The fixed fee of the kind; a claim pays further for each lane, whose signature it makes
    /// every validator check.
    ///
    /// # Errors
    /// [`Overflow`] only under parameters beyond their bounds.
    pub fn fee(&self, params: &Params) -> Result<Coin, Overflow> {
        match self {
            Self::Deposit { .. } | Self::Withdraw { .. } | Self::Reclaim(_) => {
                Ok(params.deposit_fee)
            }
            Self::Allocate { .. } | Self::Extend { .. } => Ok(params.allocate_fee),
            Self::FileClaim(claim) => math::claim_fee(claim.lanes.len(), params),
        }
    }

    /// Whether a session key may sign it. It cannot withdraw (R1).
    #[must_use]
    pub const fn allows_session(&self) -> bool {
        !matches!(self, Self::Withdraw { .. })
    }
}

/// Facts for indexers.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[borsh(use_discriminant = true)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Event {
    /// Credits were locked.
    Deposited {
        /// By whom.
        payer: AccountId,
        /// How much.
        amount: Credit,
    } = 0,
    /// Credits were freed.
    Withdrawn {
        /// By whom.
        payer: AccountId,
        /// How much.
        amount: Credit,
    } = 1,
    /// A limit was promised, or raised.
    Allocated {
        /// By whom.
        payer: AccountId,
        /// Its number.
        allocation: u64,
        /// To whom.
        operator: OperatorId,
        /// Up to how much.
        limit: Credit,
        /// Until when.
        expires: Millis,
    } = 2,
    /// An allocation ended.
    Released {
        /// Whose.
        payer: AccountId,
        /// Its number.
        allocation: u64,
        /// What it left unspent.
        unspent: Credit,
    } = 3,
    /// A claim was filed.
    ClaimFiled {
        /// By whom.
        operator: OperatorId,
        /// For which period.
        epoch: Epoch,
        /// How much it claims.
        fee: Credit,
        /// How many receipts.
        receipts: u64,
        /// The round whose seed draws from it.
        draw_round: Round,
    } = 4,
    /// The seed of a claim's draw came.
    ClaimDrawn {
        /// Whose.
        operator: OperatorId,
        /// For which period.
        epoch: Epoch,
        /// The clock at which the base is paid.
        base_due: Millis,
    } = 5,
    /// The base of a claim was settled.
    BasePaid {
        /// Whose.
        operator: OperatorId,
        /// For which period.
        epoch: Epoch,
        /// How much of the fee.
        amount: Credit,
    } = 6,
    /// The rest of a claim was settled.
    ClaimSettled {
        /// Whose.
        operator: OperatorId,
        /// For which period.
        epoch: Epoch,
        /// How much of the fee.
        amount: Credit,
    } = 7,
    /// A claim failed: nothing more is paid on it, and its payers reclaim what was not.
    ClaimVoid {
        /// Whose.
        operator: OperatorId,
        /// For which period.
        epoch: Epoch,
        /// How much of the fee they can reclaim.
        left: Credit,
        /// Until when.
        until: Millis,
    } = 8,
    /// A payer has its fee back, in its deposit.
    Refunded {
        /// Whose claim.
        operator: OperatorId,
        /// For which period.
        epoch: Epoch,
        /// To whom.
        payer: AccountId,
        /// How much of the fee.
        amount: Credit,
    } = 9,
    /// What was not reclaimed of a void claim is gone: half of its worth burned, half insurance's.
    Forfeited {
        /// Whose claim.
        operator: OperatorId,
        /// For which period.
        epoch: Epoch,
        /// How much of the fee.
        amount: Credit,
    } = 10,
}
