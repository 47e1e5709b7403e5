//! Disputes: whether a signed receipt is wrong, brought down to one step that the ledger executes.
//!
//! ```text
//!   line:  (none) ── challenge ──▶ answer ──▶ trace: refine ⟲ split ──▶ fine tree: split ⟲ refine
//!                                    │                                             │
//!                                    ├─ same trace ─▶ output: split ⟲ refine       ▼
//!                                    ├─ other end ──▶ end         │              open
//!                                    ▼                  │         ▼                │
//!                                 (decided) ◀───────────┴─── output proof    execute ─▶ (decided)
//! ```
//! A *line* is one finding against one receipt. The operator *answers* with the trace behind its
//! receipt; both sides descend four levels a round to the first coarse leaf in which they differ,
//! then in that leaf's fine tree to the first leaf of at most 8 kB; the operator opens it, and the
//! challenger names an element and opens the operands of its step.
//!
//! Rules:
//! - R1 A subject is a receipt that a registered operator's box key has signed, on a request of
//!   this chain for a registered model; the key had not been rotated away when the request was
//!   fresh. Claimed or not makes no difference.
//! - R2 It can be challenged until the challenge window has passed since its claim, or, without
//!   one, since its freshness round and deadline; by anyone, but by its payer alone where the
//!   request lets not everybody see it, for moves show leaves.
//! - R3 A receipt that no run can have given, whose work or fee are not those of its lengths, one
//!   of whose lengths is not that of its tree, or whose input the model cannot read, convicts
//!   itself.
//! - R4 Equal findings share a line, up to sixteen challengers, or start where such a line has come
//!   to. A finding must be one that a re-execution can have; a cancelled answer is compared up to
//!   its length.
//! - R5 All counts come from the model's shape and the ledger's record. Moves that follow from a
//!   digest may be made by anyone, for there is only one that hashes to it.
//! - R6 A round splits the node in which the parties differ into at most sixteen parts; the ledger
//!   picks the first that differs, so that all to its left is agreed. Runs of different length
//!   compare over what both have, which the longer run shows to be its beginning.
//! - R7 A fine tree is tied to its coarse leaf by its last leaves, but what lies before them is
//!   its party's word: only the operator and the line's own challenger may give theirs. So a
//!   shared line forks there, one line for each challenger.
//! - R8 A line is lost by the operator when an element of the leaf it opened is not what its step
//!   gives from agreed operands. An element that is right ends nothing.
//! - R9 Where the traces are equal as far as both go, the finish rule at the last common token
//!   decides; that an answer was cancelled is never held against its length.
//! - R10 Where traces and ends are equal, the first output leaf that differs is held against the
//!   trace, under the request's salt.
//! - R11 Each party has one clock per line, which runs on its turns: a base, and three times the
//!   work that it has open at the class's speed. The operator's counts all its open disputes and
//!   never shrinks while it has any.
//! - R12 Who is silent until its clock has run out loses the line. That is no wrong output, and
//!   while the operator had more than eight disputes open the verdict says so.
//! - R13 A challenger bonds twenty times the operator's cost, doubled for each line it stands
//!   behind. A lost bond pays that cost, a twentieth at most, and is burned; a won one goes back.
//! - R14 One proof closes all lines of a receipt and gives their bonds back; silence closes its
//!   own line only. A proven receipt is kept for ever, any other until its window has passed.
//! - R15 A rule of a higher module may name a challenger that chose neither receipt nor hour: it
//!   has no window to keep and no bond but what that rule has posted.
//!
//! Money flow: challenger → `dispute_bonds` → challenger, or the operator's owner (its cost) and
//! burned (the rest).
//!
//! Attacks resisted: false shapes (R5); consistent false suffixes (R6); a stranger's false fine
//! tree in an honest party's name (R7); an ally that names a right element (R8); floods (R11,
//! R12, R13); self-challenges for a light verdict (R12, R14) or for the bond (R13); a key stolen
//! and rotated away (R1); strangers that make an operator show what it keeps (R2); allies that lock
//! the honest out (R4: nothing bounds the lines of a receipt).
//!
//! Spec: `docs/spec/disputes.md`.

pub(crate) mod apply;
pub(crate) mod invariants;
pub mod math;
pub mod player;
pub mod schema;
pub mod state;
#[cfg(test)]
mod tests;

pub use schema::{
    CHALLENGERS, CLOSING, DISPUTES, DUE, Error, Event, FINDINGS, FORGET, LINES, LOADS, Params,
    Reference, References, Tx, VERDICT_COUNT, VERDICTS, moves,
};
pub use state::{
    Backer, Cause, Coarse, Dispute, Line, Load, Node, Party, Phase, Tops, Tree, Verdict, dispute,
    is_open, line, load, open_count,
};
