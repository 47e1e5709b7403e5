//! Staking: what always holds. All violations are returned, not the first.

use super::{
    schema::{
        BOX_KEYS, OPERATORS, SERVERS, SERVING_OWNERS, UNBONDING, UNBONDING_COUNT, UNBONDING_OF,
    },
    state::{Operator, Unbonding, bond_at},
};
use crate::{
    accounts::{self, Pot},
    clock,
    error::Broken,
    invariants::{Findings, all},
    store::{Read, State},
};
use crypto::{AccountId, ModelId, OperatorId};
use std::collections::BTreeMap;
use units::{Coin, Millis};

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
    check_index(state, &queue, findings)?;
    check_servers(state, &operators, findings)?;
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

/// The index by operator holds exactly the queue.
fn check_index(
    state: &State,
    queue: &[((Millis, u64), Unbonding)],
    findings: &mut Findings,
) -> Result<(), Broken> {
    let mut indexed: Vec<_> = all(state, &UNBONDING_OF)?.into_iter().map(|(key, ())| key).collect();
    let mut queued: Vec<_> =
        queue.iter().map(|((due, number), waiting)| (waiting.operator, *due, *number)).collect();
    indexed.sort_unstable();
    queued.sort_unstable();
    findings.require(indexed == queued, || {
        "R10 staking: waiting bonds and their index differ".to_owned()
    });
    Ok(())
}

/// Owners are counted per model as the operators' records say.
fn check_servers(
    state: &State,
    operators: &[(OperatorId, Operator)],
    findings: &mut Findings,
) -> Result<(), Broken> {
    let mut servers: BTreeMap<(ModelId, AccountId), u32> = BTreeMap::new();
    for (id, operator) in operators {
        let out = operator.bond.is_zero() || super::discipline(state, id)?.tombstoned;
        for model in operator.profile.models.iter().filter(|_| !out) {
            let count = servers.entry((*model, operator.owner)).or_default();
            *count = count.saturating_add(1);
        }
    }
    let mut owners: BTreeMap<ModelId, u32> = BTreeMap::new();
    for (model, _) in servers.keys() {
        let count = owners.entry(*model).or_default();
        *count = count.saturating_add(1);
    }
    let kept: BTreeMap<_, _> = all(state, &SERVERS)?.into_iter().collect();
    let kept_owners: BTreeMap<_, _> = all(state, &SERVING_OWNERS)?.into_iter().collect();
    findings.require(kept == servers && kept_owners == owners, || {
        "R12 staking: the owners that serve a model are miscounted".to_owned()
    });
    Ok(())
}
