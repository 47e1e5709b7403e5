//! Staking: what always holds. All violations are returned, not the first.

use super::{
    schema::{BOX_KEYS, OPERATORS, UNBONDING, UNBONDING_COUNT},
    state::bond_at,
};
use crate::{
    accounts::{self, Pot},
    clock,
    error::Broken,
    invariants::{Findings, all},
    store::{Read, State},
};
use crypto::OperatorId;
use units::Coin;

/// Holds the whole state against the rules of this module.
pub(crate) fn check(state: &State, findings: &mut Findings) -> Result<(), Broken> {
    let operators = all(state, &OPERATORS)?;
    let queue = all(state, &UNBONDING)?;
    let now = clock::now(state)?.clock;

    let bonds = operators.iter().map(|(_, operator)| operator.bond);
    let bonded = Coin::total(bonds.chain(queue.iter().map(|(_, waiting)| waiting.amount)));
    let pot = accounts::pot(state, Pot::Bonds)?;
    findings.require(bonded == Ok(pot), || {
        format!("R2 staking: bonds and queue hold {bonded:?}, the pot {pot}")
    });
    let next = state.get(&UNBONDING_COUNT, &())?.unwrap_or_default();
    findings.require(queue.iter().all(|((_, number), _)| *number < next), || {
        format!("R4 staking: a waiting bond has a number not below {next}")
    });
    for (id, operator) in operators {
        findings.require(id == OperatorId::derive(&operator.owner, operator.index), || {
            format!("R1 staking: operator {id} is not derived from owner and index")
        });
        let own = queue.iter().filter(|(_, waiting)| waiting.operator == id);
        let waiting = Coin::total(own.clone().map(|(_, waiting)| waiting.amount));
        let counted = own.count() == usize::from(operator.unbondings);
        findings.require(counted && waiting == Ok(operator.unbonding), || {
            format!("R4 staking: operator {id} waits for {} by its record", operator.unbonding)
        });
        let current = state.get(&BOX_KEYS, &(id, operator.key_epoch))?;
        findings.require(current.is_some_and(|key| key.until.is_none()), || {
            format!("R6 staking: operator {id} has no current box key")
        });
        let bond = bond_at(state, &id, now)?;
        findings.require(bond == operator.bond, || {
            format!("R8 staking: operator {id} has bonded {}, its history {bond}", operator.bond)
        });
    }
    Ok(())
}
