//! How far a receipt has come, by the claim that the ledger holds.
//!
//! Rules: a level is what the ledger's record says, no more; what an audit means for one receipt of
//! its claim is said in words. Never here: whether the record is the ledger's.

use super::verify::{Finding, Standing, finding};
use ledger::payments::{Audit, ClaimRecord, Stage, messages::AuditMode};
use serde::Serialize;

/// How far a receipt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Payer and box have signed.
    Signed,
    /// The operator has brought it to the chain and stands behind it with its bond.
    Claimed,
    /// Most of it is paid: no audit of its claim failed. It may still be challenged.
    Settled,
    /// And receipts of its claim were drawn, run again by others, and found right.
    Audited,
    /// All is paid: nobody can challenge it any more.
    Final,
}

impl Level {
    /// As people read it.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Signed => "signed",
            Self::Claimed => "claimed",
            Self::Settled => "settled",
            Self::Audited => "audited",
            Self::Final => "final",
        }
    }
}

/// How far a receipt of a mode has come with its claim. Its operator knows that one of mode
/// `canary_only` is never run again, so that audits of others say nothing of it.
pub(super) fn of(claim: &ClaimRecord, mode: AuditMode) -> Level {
    match (claim.stage, claim.audit) {
        (Stage::BasePaid, Audit::Passed) if mode == AuditMode::CanaryOnly => Level::Settled,
        (Stage::Filed | Stage::Drawn | Stage::Void, _) => Level::Claimed,
        (Stage::BasePaid, Audit::Passed) => Level::Audited,
        (Stage::BasePaid, _) => Level::Settled,
        (Stage::Settled, _) => Level::Final,
    }
}

/// What the ledger says of the claim's audit. The draw is by fee, so most receipts of an audited
/// claim were not run again themselves.
pub(super) fn audit(claim: &ClaimRecord) -> Finding {
    let statement = match claim.audit {
        Audit::Pending => "the draw of its claim waits for its seed",
        Audit::Off => "not audited: this network has no audits",
        Audit::PassedOver => "not drawn: the seed passed the claim over",
        Audit::Running => "receipts of its claim are being run again by others",
        Audit::Passed => "receipts drawn from its claim were run again by others and found right",
        Audit::Unaudited => "drawn, but nobody could run the model again, or was let to",
        Audit::Failed => "its claim failed its audit: it is refunded and earns nothing",
    };
    finding("audit", Standing::Proven, statement)
}

/// Whom the payer lets see input and output if the receipt is drawn: signed in the request.
pub(super) fn mode(mode: AuditMode) -> Finding {
    let statement = match mode {
        AuditMode::Open => "open: its payer lets auditors see it, and everybody if one demands it",
        AuditMode::Sealed => "sealed: its payer lets its auditors see it, and nobody else",
        AuditMode::CanaryOnly => {
            "canary_only: its payer lets nobody see it, so no audit looks at it"
        }
    };
    finding("audit mode", Standing::Proven, statement)
}
