//! Credits: the stable unit that tasks are paid in, minted only by burning coin.
//!
//! ```text
//!            mint            lock               charge             settle
//!   coin ──────────▶ free ─────────▶ locked ───────────▶ escrow ──────────▶ destroyed
//!   (to remint)       │  ◀─────────                                (coin from remint)
//!                     │    unlock
//!                     └── redeem ──▶ destroyed (coin from remint)
//! ```
//!
//! Rules:
//! - R1 free + locked + escrow = minted − settled − redeemed, after every block.
//! - R2 A credit is bound to the account that minted it: it can be spent or redeemed, not given.
//! - R3 Minting moves coin into `remint`, less a spread into `stability`, and makes the rest's
//!   worth of credits at the price, rounded down.
//! - R4 An account has one average cost: the coin in `remint` behind its credits. Credits that
//!   leave take their share of it along, rounded up.
//! - R5 Redeeming destroys free credits and pays the least of their share of the cost and their
//!   worth at the price, rounded down, out of `remint`. It never makes coin.
//! - R6 Settlement destroys escrowed credits and pays their worth at the price, rounded down,
//!   out of `remint`: the operator its part, the shares of the take their pots, the burned share
//!   is burned. The parts sum exactly; the take rounds up, its other shares down, and what is
//!   left over by that is burned.
//! - R7 What `remint` cannot cover is queued whole and paid in order, before anything younger.
//! - R8 The price is the one in genesis.
//! - R9 Under a fixed price `remint` covers the cost of all credits held.
//! - R10 Escrowed credits of a claim that failed go back to a payer, with their worth as cost, or
//!   are forfeited: destroyed, half of their worth burned, half to insurance, none to anybody who
//!   could have failed on purpose.
//!
//! Money flow: account → `remint` + `stability` (mint); `remint` → account (redeem);
//! `remint` → operator, `audit`, `treasury`, `validators`, `insurance`, burned (settlement);
//! `remint` → `insurance`, burned (forfeit).
//!
//! Attacks resisted: reflexive redemption, which on a falling price would mint more than was
//! burned (R5); rounding in the caller's favour, repeated (R3–R6); an account that redeems the
//! cheap part of what it bought (R4); a run on `remint` (R7).
//!
//! Spec: `docs/spec/ledger.md`.

pub(crate) mod apply;
pub(crate) mod invariants;
pub mod math;
pub mod schema;
pub mod state;
#[cfg(test)]
mod tests;

pub use math::{Shares, coin_worth, credit_worth, split};
pub use schema::{Error, Event, HOLDINGS, PAYOUTS, PRICE, Params, QUEUE, TOTALS, Tx};
pub use state::{Holding, Payout, PriceSource, Totals, holding, price, totals};
