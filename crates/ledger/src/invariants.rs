//! What holds after every block: each module's check, over the whole state.
//!
//! Rules: a check reads everything and writes nothing, and reports every violation, not the
//! first; tests, the simulator and devnet run it after each block. Never here: a repair.

use crate::{
    accounts, credits, disputes,
    error::Broken,
    models, payments, staking,
    store::{Key, Read, State, Table},
    verification,
};
use borsh::{BorshDeserialize, BorshSerialize};

/// What was found: empty if all is well.
#[derive(Debug, Default)]
pub struct Findings(Vec<String>);

impl Findings {
    /// Notes a violation unless `holds`.
    pub(crate) fn require(&mut self, holds: bool, violation: impl FnOnce() -> String) {
        if !holds {
            self.0.push(violation());
        }
    }

    /// The violations, each a sentence that names its rule.
    #[must_use]
    pub fn violations(&self) -> &[String] {
        &self.0
    }
}

/// Holds the whole state against the rules of all modules.
///
/// # Errors
/// [`Broken`] if a record does not even decode.
pub fn check(state: &State) -> Result<Findings, Broken> {
    let mut findings = Findings::default();
    accounts::invariants::check(state, &mut findings)?;
    credits::invariants::check(state, &mut findings)?;
    staking::invariants::check(state, &mut findings)?;
    models::invariants::check(state, &mut findings)?;
    payments::invariants::check(state, &mut findings)?;
    disputes::invariants::check(state, &mut findings)?;
    verification::invariants::check(state, &mut findings)?;
    Ok(findings)
}

/// A whole table.
pub(crate) fn all<K: Key, V: BorshSerialize + BorshDeserialize>(
    state: &State,
    table: &Table<K, V>,
) -> Result<Vec<(K, V)>, Broken> {
    Ok(state.scan(table, &(), usize::MAX)?)
}
