//! Payments: deposits, allocations, lanes, vouchers, claims; and all messages of a request.
//!
//! ```text
//!   deposit:     free ── deposit ──▶ unreserved ── allocate ──▶ reserved ── claim ──▶ escrow
//!                free ◀── withdraw ── unreserved ◀── expiry ─── reserved
//!   allocation:  (none) ── allocate ──▶ live ⟲ extend ── expires ──▶ released
//!   claim:       (none) ── file ──▶ filed ── seed of its draw round ──▶ drawn
//!                drawn ── open, commit, reveal windows ──▶ base paid (80 %)
//!                base paid ── challenge window after filing, if later ──▶ settled ──▶ forgotten
//!                drawn, base paid ── audit lost ──▶ void ⟲ reclaim ──▶ forgotten
//! ```
//!
//! Rules:
//! - R1 A deposit is locked credits of the payer. What no allocation reserves can be withdrawn,
//!   by the account's own key.
//! - R2 The unspent limits of a payer's live allocations sum to what its deposit has reserved,
//!   and that is at most the deposit: no credit is promised twice.
//! - R3 An allocation promises one operator a limit until a clock, and names the one key whose
//!   vouchers draw on it: the account's own, or a session key within its spend cap and for no
//!   longer than the session lives. Allocations of a payer are numbered from 0; no number comes
//!   back, so that no voucher of an old allocation can be cashed on a later one.
//! - R4 A limit and an expiry may grow, never shrink: an operator relies on them.
//! - R5 From its expiry on nothing is cashed on an allocation; what is unspent is released at the
//!   end of a block, at most 256 allocations a block.
//! - R6 An operator files one claim per period that has ended, in ascending order, at any later
//!   time. It names a box key good for claims, and is sent by the owner, by that box key or by
//!   the current one, where it is a session key of the owner.
//! - R7 A claim lists 1 to 4,096 lanes in ascending order, none twice.
//! - R8 A lane's range follows on from the last one claimed and ends at its voucher's sequence;
//!   its delta is what the voucher adds to what was claimed, at least the cashable minimum. So
//!   each receipt is paid once.
//! - R9 A lane's voucher names this chain and operator, acknowledges a receipt, is signed by the
//!   key its allocation names, and its delta fits in what the allocation has left.
//! - R10 The deltas sum to the fee of the claim's Merkle-sum root, the ranges to its count.
//! - R11 Filing moves the deltas from the payers' deposits to escrow. The record keeps operator,
//!   owner, box key, key version and bond as of filing, so that its one state proof suffices.
//! - R12 A claim's draw names a round `draw_delay` after the one it was filed in, and waits for
//!   that round's seed for ever; all its windows count from the block that brings the seed.
//! - R13 80 % of the fee, rounded down, are settled when the open, commit and reveal windows have
//!   passed; the rest when, besides, the challenge window after filing has. At most 256 steps a
//!   block, oldest first.
//! - R14 A settled or void record is kept for the retention time.
//! - R15 While drawn receipts of a claim are being looked at, it is held and nothing is paid. A
//!   claim that failed is void and pays nobody but its payers: the one of a wrong receipt has its
//!   fee back in its deposit at once.
//! - R16 The fees of an operator's claims whose base is neither paid nor void are its unverified
//!   work: `verification` holds it against the value cap. A claim that says that some of its
//!   receipts may never be opened counts twice.
//! - R17 While a void record is kept, each lane of it is reclaimed once: its share of what was not
//!   paid, less what was refunded to it, goes back into its payer's deposit. Whoever shows the
//!   lane's range under `ranges_root` may do it. What is left in the end is forfeited.
//!
//! Money flow: free → locked (deposit) → escrow (claim) → settled by `credits`: coin to the
//! operator's owner and the shares of the take, burned among them; escrow → locked (refund,
//! reclaim); escrow → forfeited.
//!
//! Attacks resisted: double promises (R2, R3); a payer that shrinks or withdraws before a claim
//! (R1, R4); replayed, foreign or reordered vouchers (R3, R8, R9); dust (R8); omitted or doubled
//! receipts (R8, R10); draws known before the commitment (R12); claims that stall a block (R7,
//! R13); an operator that hides by its silence whose receipt was drawn (R17).
//!
//! Spec: `docs/spec/ledger.md`.

pub(crate) mod apply;
pub(crate) mod invariants;
pub mod math;
pub mod schema;
pub mod state;
#[cfg(test)]
mod tests;

pub use schema::{
    ALLOCATION_EXPIRIES, ALLOCATIONS, CLAIMED, CLAIMS, DEPOSITS, DRAWN, DRAWS, DUE, Error, Event,
    LANES, Params, READY, RECLAIMS, Reclaim, Tx, UNVERIFIED, messages,
};
pub use state::{
    Allocation, Audit, ClaimRecord, Deposit, Lane, LaneRange, LaneRefund, Reclaims, Stage,
    allocation, claim, deposit, lane, unverified,
};
