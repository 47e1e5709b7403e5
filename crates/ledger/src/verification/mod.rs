//! Verification: whether claimed work was done, and what it costs if it was not.

pub(crate) mod apply;
pub(crate) mod invariants;
pub mod math;
pub mod schema;
pub mod state;
#[cfg(test)]
mod tests;

pub use math::commitment;
pub use schema::{
    AUDITORS, CONFLICT_OF, CONFLICTS, CONFLICTS_DUE, CORRELATION, Certificate, ClaimKey, Content,
    Contradiction, DELIVERED, Error, Event, Exhibit, FAULT_OF, FAULTS, LEAVING, Omission,
    OpenedLeaf, Opening, Outcome, POINT_OF, POINTS, POINTS_DUE, Params, PlacedLeaf, ROSTER,
    STANDINGS, Tx,
};
pub use state::{
    Auditor, Cap, Cause, Conflict, Correlation, Evidence, Fault, Grade, Listing, Phase, Point,
    Seat, Side, Spread, Standing, auditor, conflict, fault, point, standing, value_cap,
};
