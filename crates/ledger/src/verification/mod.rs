//! Verification: whether claimed work was done, and what it costs if it was not.
//!
//! ```text
//!   claim:    (none) ── seed ──▶ passed over
//!                     └────────▶ points
//!   point:    drawn ── open ──▶ committing ⟲ replace ── all have ──▶ revealing ── equal ──▶ passed
//!               │                 │ demand    ▲ deliver                 │
//!               │                 ▼           │                         └─ differs ──▶ disputed
//!               │               delivering ───┘                                            │
//!               └── silence of the operator, here or later ──▶ failed ◀── lost ────────────┘
//!   conflict: (none) ── certificate ──▶ filed ── both answer ──▶ disputed ──▶ ended
//!                                         └────── silence ──▶ ended, the silent at fault
//! ```
//!
//! Rules:
//! - R1 The seed that a claim waits for audits it with probability clamp(2γV / (qL), floor, 1): V
//!   is its operator's unverified work, L what a slash of its bond burns. An audit draws points in
//!   the sum of the fees: a receipt is drawn with probability ∝ its fee.
//! - R2 No claim is filed that takes the operator's unverified work over qL / (2γ), at which it is
//!   audited for certain. On probation less.
//! - R3 An auditor bonds at least twenty audits, and says for which registered models. What it
//!   lacks of that after a loss keeps it from being drawn.
//! - R4 Auditors of a point are drawn from those enlisted for its model before the claim was filed,
//!   with probability ∝ bond, never the operator's owner. At most 256 of a model; a larger bond
//!   takes the place of the smallest.
//! - R5 Who gives notice is drawn no more, and has its bond back after the challenge window, once
//!   it sits at no point.
//! - R6 Anybody opens a drawn receipt, before the open window ends. A model that too few owners
//!   serve is opened and not audited. Points on one receipt are one.
//! - R7 An auditor that was sent nothing demands the content here, once for a point; it makes the
//!   commitments of request and receipt, or the operator is at fault.
//! - R8 Auditors commit to what they found, unseen by others, then reveal it; only then the
//!   operator's trace root is due. A finding that differs is a dispute in the auditor's name, with
//!   a part of its bond behind it.
//! - R9 Whoever reveals is paid from the pot for audits, whatever was found. Who does not come
//!   loses a part of its bond, and is replaced once.
//! - R10 Two receipts for one request body that differ in an output which both have, or of which
//!   the shorter says that it is complete, contradict each other. Of one operator they convict
//!   it. Of two, each shows its trace root and challenges the other; whoever is silent, is shown
//!   wrong, or must win and does not, is at fault.
//! - R11 A receipt in a claimed range that the claim's tree does not hold convicts its operator.
//! - R12 A receipt is punished once, and silence once for each claim. The first fault in its
//!   memory is a light one; one that was done after another was found, or an omission, is a
//!   pattern; equivocation, and a second wrong step at one op that reads weights, is for ever. The
//!   slash is at least twice the value at stake by the probability of its audit. A silence while
//!   the operator had to bear a flood of disputes leaves no mark.
//! - R13 A slash grows with the bonds that were at fault lately, up to fourfold. Half of it is
//!   burned; from the rest the payer has back what was not refunded, a reporter gets a bounded
//!   share, insurance what is left. The claim at stake is void.
//! - R14 After a fault no claim is taken for a while.
//! - R15 At entry and after a fault an operator is on probation: its value cap is halved several
//!   times, doubles with every so many passed audits, and is whole no sooner than the probation's
//!   least length.
//! - R16 A drawn receipt that its payer lets nobody see (`CanaryOnly`) ends its point; only other
//!   receipts for the same work can contradict it. A claim that may hold such receipts says so and
//!   counts twice against the value cap; one that holds one and does not say so is a fault.
//! - R17 Content of a receipt whose mode is sealed is shown to its auditors alone: each demands it
//!   under a key of one use, and the operator brings it sealed to that. An auditor that cannot read
//!   it shows the key's secret: the ledger opens what was brought, and the operator is at fault
//!   unless it is what was committed to.
//!
//! Money flow: auditor → `auditor_bonds` → auditor, burned (absence), `dispute_bonds` (mismatch);
//! `audit` → auditor (pay); `bonds` → `penalties` → burned, payer, reporter, `insurance`.
//!
//! Attacks resisted: choosing which receipts are seen (R1, R11); faking up to the bond (R2);
//! choosing one's auditors (R4); withholding (R6, R7, R8: silence is a fault); auditors that copy,
//! for they commit unseen, or do not run, for a false finding costs them (R8); lying auditors and
//! challengers (the dispute decides); paying oneself by confessing (R13); a cheap second life
//! (R15); a flood of one's own as an excuse (R12); hiding receipts behind a mode (R16); garbage
//! under a seal, and complaints of what is none (R17).
//!
//! Spec: `docs/spec/verification.md`.

pub(crate) mod apply;
pub(crate) mod invariants;
pub mod math;
pub mod schema;
pub mod state;
#[cfg(test)]
mod tests;

pub use apply::content::seal_context;
pub use math::commitment;
pub use schema::{
    AUDITORS, CONFLICT_OF, CONFLICTS, CONFLICTS_DUE, CORRELATION, Certificate, ClaimKey, Content,
    Contradiction, DELIVERED, Delivery, Error, Event, Exhibit, FAULT_OF, FAULTS, LEAVING, Omission,
    OpenedLeaf, Opening, Outcome, POINT_OF, POINTS, POINTS_DUE, Params, PlacedLeaf, ROSTER, SEALED,
    SEATS, STANDINGS, Sealed, Tx,
};
pub use state::{
    Auditor, Cap, Cause, Conflict, Correlation, Evidence, Fault, Grade, Listing, Phase, Point,
    Seat, Side, Spread, Standing, auditor, conflict, fault, point, standing, value_cap,
};
