//! Accounts: coin balances, fees, session keys, and the named pots of all other modules.
//!
//! ```text
//!   account:  unopened ── transfer ≥ opening minimum ──▶ open, for ever
//!   session:  (none) ── grant ──▶ live ── expiry or revoke ──▶ ended ── grant ──▶ live
//! ```
//!
//! Rules:
//! - R1 Coin exists as balances and pots; it is moved, minted and burned only here.
//! - R2 balances + pots + burned = genesis + minted, after every block.
//! - R3 A transaction counts once: its nonce is the next of its (account, signer). Each signer
//!   of an account counts for itself, so that a gateway and its owner never wait for each other.
//! - R4 A fee is fixed by the kind, burned, and charged to the account behind the signer, also
//!   when the call is rejected. What cannot pay its fee has no effect at all.
//! - R5 A transfer moves a positive amount the sender holds; one to oneself changes nothing.
//! - R6 A first transfer to an unopened account is at least the opening minimum, which pays for
//!   the record that is kept for ever.
//! - R7 A session key acts until it expires or is revoked, signs only what a hot key may, and
//!   spends at most `fee_cap` on fees.
//! - R8 A session's key may back payment allocations of at most `spend_cap` in all; what an
//!   allocation leaves unspent comes back under the cap.
//! - R9 Granting again changes caps and expiry, never what was used or the nonce; no cap may
//!   fall below what was used.
//! - R10 A key that opens an account or a session is a usable one: on the curve, not of small
//!   order (under which every message verifies), in its one spelling.
//!
//! Money flow: genesis → balances; balances ⇄ balances (transfer); balances → burned (fees);
//! balances ⇄ pots and pots → burned at the call of the module that owns the pot.
//!
//! Attacks resisted: replay (R3, with the chain id and the last height of the envelope); dust
//! accounts that fill the state (R6); a stolen hot key, which loses at most its caps (R7, R8);
//! free retries of failing calls (R4).
//!
//! Spec: `docs/spec/ledger.md`.

pub(crate) mod apply;
pub(crate) mod invariants;
pub mod math;
pub mod schema;
pub mod state;
#[cfg(test)]
mod tests;

pub use schema::{ACCOUNTS, Error, Event, POTS, Params, Pot, SESSIONS, SUPPLY, Tx};
pub use state::{Account, Session, Supply, account, next_nonce, pot, session, supply};
