//! Transactions and vouchers that one core applies, without consensus, network or disk.
//!
//! Writes `bench/ledger.json` into the target directory. Never here: an assertion on time.

#![allow(clippy::disallowed_types, reason = "a bench measures time")]

#[path = "../src/testing/mod.rs"]
mod testing;

use core::hint::black_box;
use ledger::{Authorized, Transaction, apply_block, genesis::GenesisAccount};
use std::{fmt::Write as _, fs, path::PathBuf, time::Instant};
use testing::{
    LaneOf, PORTS, World, account, claim_of, coins, file, genesis, transfer, whole_credits,
};
use units::{Coin, Credit, Epoch, List};

/// Transfers in one block.
const TRANSFERS: usize = 10_000;
/// Open accounts.
const ACCOUNTS: usize = 20_000;
/// Lanes of one claim.
const LANES: u32 = 4_096;
/// Times each figure is taken; the best counts, for other processes only slow a run down.
const REPEATS: usize = 15;

/// One line of the report.
struct Row {
    name: &'static str,
    value: f64,
    unit: &'static str,
    /// The figure to reach, and where it comes from.
    bar: Option<f64>,
    baseline: &'static str,
}

/// Seconds of the best run.
fn best(mut run: impl FnMut()) -> f64 {
    let seconds = (0..REPEATS).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    });
    seconds.fold(f64::INFINITY, f64::min)
}

/// A world with many accounts whose blocks hold many transactions.
fn wide() -> World {
    let mut genesis = genesis();
    let names = (0..ACCOUNTS).map(|n| format!("account {n}"));
    let more = names.map(|name| GenesisAccount {
        account: account(&name),
        balance: coins(1_000),
        sessions: List::empty(),
    });
    let mut accounts = genesis.accounts.into_vec();
    accounts.extend(more);
    genesis.accounts = List::new(accounts).expect("fewer than the bound");
    World::from_genesis(&genesis)
}

fn transfers() -> Row {
    let world = wide();
    let to = |n: usize| transfer(&format!("account {}", (n * 7_919) % ACCOUNTS), Coin::new(5));
    let block: Vec<Authorized<Transaction>> = (0..TRANSFERS)
        .map(|n| {
            let from = format!("account {n}");
            world.authorized(&from, &from, 0, to(n))
        })
        .collect();
    let env = world.env(500);
    let seconds = best(|| {
        let applied = apply_block(&world.state, &env, &block, &PORTS).expect("a valid block");
        black_box(applied);
    });
    Row {
        name: "transfers applied per second and core",
        value: TRANSFERS as f64 / seconds,
        unit: "1/s",
        bar: Some(100_000.0),
        baseline: "one block of 10,000 over 20,000 accounts; signatures checked before",
    }
}

fn claims() -> [Row; 2] {
    let mut world = World::new();
    let operator = world.register("olga", "box");
    world.fund("gateway", 5_000);
    let allocation = world.allocate("gateway", operator, whole_credits(4_500));
    let cumulative = (Credit::ZERO, whole_credits(1));
    let lanes = (0..LANES).map(|lane| {
        let (payer, signer, range) = ("gateway", "gateway", (1, 10));
        let lane = LaneOf { payer, signer, lane, allocation, range, cumulative };
        lane.claim(world.chain, operator)
    });
    let claim = claim_of(operator, Epoch::ZERO, lanes.collect());
    world.wait_for_next_period();
    let claim = world.authorized("olga", "olga", 0, file(claim));
    let bytes = claim.bytes();
    let env = world.env(500);
    let seconds = best(|| {
        let block = core::slice::from_ref(&claim);
        black_box(apply_block(&world.state, &env, block, &PORTS).expect("a valid block"));
    });
    let settled = Row {
        name: "vouchers settled per second and core",
        value: f64::from(LANES) / seconds,
        unit: "1/s",
        bar: None,
        baseline: "one claim of 4,096 lanes, every signature checked",
    };
    let size = Row {
        name: "vouchers settled per claim",
        value: f64::from(LANES),
        unit: "vouchers",
        bar: Some(1_000.0),
        baseline: if bytes <= ledger::transaction::MAX_TRANSACTION_BYTES {
            "fits in one transaction"
        } else {
            "does not fit in one transaction"
        },
    };
    [settled, size]
}

fn report(rows: &[Row]) -> String {
    let mut json = String::from("[");
    for (index, row) in rows.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let bar = row.bar.map_or("null".to_owned(), |bar| format!("{bar:.0}"));
        let holds = row.bar.map_or("null".to_owned(), |bar| (row.value >= bar).to_string());
        let Row { name, value, unit, baseline, .. } = row;
        let _ = write!(
            json,
            "{comma}\n  {{\"name\": \"{name}\", \"value\": {value:.0}, \"unit\": \"{unit}\", \
             \"bar\": {bar}, \"holds\": {holds}, \"baseline\": \"{baseline}\"}}"
        );
    }
    json + "\n]\n"
}

fn main() {
    let [settled, size] = claims();
    let rows = [transfers(), settled, size];
    for Row { name, value, unit, .. } in &rows {
        eprintln!("{name:40} {value:>12.0} {unit}");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or("../../target".into(), PathBuf::from);
    let folder = target.join("bench");
    fs::create_dir_all(&folder).expect("the target directory can be written");
    fs::write(folder.join("ledger.json"), report(&rows)).expect("the report can be written");
}
