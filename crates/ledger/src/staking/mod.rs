//! Staking: operators, their box keys, and the bonds that stand behind what they sign.
//!
//! ```text
//!   operator:  (none) ── register, bond ≥ floor ──▶ bonded ── unbond all ──▶ exited
//!              exited ── bond ≥ floor ──▶ bonded
//!   bond:      bonded ── unbond ──▶ queued for `unbonding` ──▶ back with the owner
//!   box key:   current ── rotate ──▶ old, good for claims until its window ends ──▶ void
//! ```
//!
//! Rules:
//! - R1 An operator is H(owner, index); it is registered once and never changes its owner. One
//!   owner may run many.
//! - R2 bonds + queued bonds = pot `bonds`, after every block.
//! - R3 What an operator has bonded is at least the floor of its class, in dollars at the price,
//!   or nothing.
//! - R4 Unbonding takes what is bonded, once, and waits for the unbonding time, which is longer
//!   than any window in which a fault can be shown. At most eight parts wait per operator.
//! - R5 What has waited is paid to the owner at the end of a block, oldest first, at most 64 a
//!   block; the rest follows in the next.
//! - R6 A box key is a version of the operator, numbered from 0. A rotation starts the next one;
//!   the old one stays good for claims for one period and its claim window, so that what it
//!   signed can be cashed.
//! - R7 Class and profile are the owner's to change; a higher class needs its floor. The
//!   profile may also be changed by the current box key, where it is a session key of the owner,
//!   because a box finds out its own address.
//! - R8 The bond as of any clock within the challenge window and one day can be read.
//! - R9 A box key is a usable key; a profile lists models in ascending order, none twice.
//! - R10 A slash takes what stood behind a fault: at most the bond of that clock, from what is
//!   bonded now and from parts whose wait began after it, oldest first. It may leave less than
//!   the floor.
//! - R11 A jailed operator files no claim until its time is over; a tombstoned one never again,
//!   and bonds no more. Both keep what was not slashed.
//! - R12 The owners that serve a model are counted: those with a bonded operator, not tombstoned,
//!   whose profile lists it.
//!
//! Money flow: owner → `bonds` (register, bond); `bonds` → owner (unbonding, after its wait);
//! `bonds` → `penalties` (slash), which `verification` spreads in the same step.
//!
//! Attacks resisted: a stolen box key, which can be rotated away without losing the operator
//! (R1, R6); an exit before a fault is found (R4); a queue so long that a block never ends (R4,
//! R5); a bond that is shown and withdrawn at once (R4, R8); an exit between fault and slash (R10).
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
    BONDS, BOX_KEYS, BondFloors, DISCIPLINE, Error, Event, OPERATORS, Params, Registration,
    SERVERS, SERVING_OWNERS, Tx, UNBONDING, UNBONDING_COUNT, UNBONDING_OF,
};
pub use state::{
    BoxKey, Class, Discipline, Operator, Profile, Unbonding, bond_at, box_key, discipline,
    operator, serving_owners,
};
