//! All tables of the state in one list, for readers outside and for the snapshot.
//!
//! Rules: each table is declared in its module's schema and listed here; a test holds that no
//! two share a prefix and that none is missing. Never here: a record.

pub use crate::{
    accounts::schema::{ACCOUNTS, POTS, SESSIONS, SUPPLY},
    clock::{NOW, SEEDS},
    credits::schema::{HOLDINGS, PAYOUTS, PRICE, QUEUE, TOTALS},
    disputes::schema::{
        CHALLENGERS, CLOSING, DISPUTES, DUE as LINES_DUE, FINDINGS, FORGET, LINES, LOADS,
        VERDICT_COUNT, VERDICTS,
    },
    models::schema::{GRAPHS, MANIFESTS, MODELS, NAMES, PUBLISHERS, WEIGHTS},
    payments::schema::{
        ALLOCATION_EXPIRIES, ALLOCATIONS, CLAIMED, CLAIMS, DEPOSITS, DRAWN, DRAWS, DUE, LANES,
        READY, RECLAIMS, UNVERIFIED,
    },
    staking::schema::{
        BONDS, BOX_KEYS, DISCIPLINE, OPERATORS, SERVERS, SERVING_OWNERS, UNBONDING,
        UNBONDING_COUNT, UNBONDING_OF,
    },
    verification::schema::{
        AUDITORS, CONFLICT_OF, CONFLICTS, CONFLICTS_DUE, CORRELATION, DELIVERED, FAULT_OF, FAULTS,
        LEAVING, POINT_OF, POINTS, POINTS_DUE, ROSTER, SEALED, SEATS, STANDINGS,
    },
};
use crate::{
    params::Params,
    store::{Table, TableInfo},
};
use crypto::ChainId;

/// The chain this state belongs to: one record, written at genesis.
pub const CHAIN: Table<(), ChainId> = Table::new([0, 0], "chain.id");
/// The parameters: one record.
pub const PARAMS: Table<(), Params> = Table::new([0, 1], "chain.params");

/// Every table, in the order of the prefixes.
pub const ALL: &[TableInfo] = &[
    CHAIN.info(),
    PARAMS.info(),
    NOW.info(),
    SEEDS.info(),
    ACCOUNTS.info(),
    SESSIONS.info(),
    POTS.info(),
    SUPPLY.info(),
    PRICE.info(),
    HOLDINGS.info(),
    TOTALS.info(),
    PAYOUTS.info(),
    QUEUE.info(),
    OPERATORS.info(),
    BOX_KEYS.info(),
    BONDS.info(),
    UNBONDING.info(),
    UNBONDING_COUNT.info(),
    UNBONDING_OF.info(),
    DISCIPLINE.info(),
    SERVERS.info(),
    SERVING_OWNERS.info(),
    MODELS.info(),
    MANIFESTS.info(),
    GRAPHS.info(),
    NAMES.info(),
    PUBLISHERS.info(),
    WEIGHTS.info(),
    DEPOSITS.info(),
    ALLOCATIONS.info(),
    ALLOCATION_EXPIRIES.info(),
    LANES.info(),
    CLAIMS.info(),
    DRAWS.info(),
    READY.info(),
    DUE.info(),
    CLAIMED.info(),
    UNVERIFIED.info(),
    DRAWN.info(),
    RECLAIMS.info(),
    DISPUTES.info(),
    LINES.info(),
    LINES_DUE.info(),
    FINDINGS.info(),
    LOADS.info(),
    CHALLENGERS.info(),
    VERDICTS.info(),
    VERDICT_COUNT.info(),
    CLOSING.info(),
    FORGET.info(),
    AUDITORS.info(),
    ROSTER.info(),
    LEAVING.info(),
    POINTS.info(),
    POINTS_DUE.info(),
    POINT_OF.info(),
    CONFLICTS.info(),
    CONFLICTS_DUE.info(),
    CONFLICT_OF.info(),
    STANDINGS.info(),
    FAULTS.info(),
    FAULT_OF.info(),
    CORRELATION.info(),
    DELIVERED.info(),
    SEATS.info(),
    SEALED.info(),
];

/// The table a key belongs to.
#[must_use]
pub fn of_key(key: &[u8]) -> Option<&'static TableInfo> {
    let prefix = key.first_chunk::<2>()?;
    ALL.iter().find(|table| table.prefix == *prefix)
}
