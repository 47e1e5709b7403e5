//! Claims: filed once, paid exactly, their paths delivered.

use crate::world::{
    Ask, Gateway, PATIENCE, PayerLane, World, account, chat, embed, key, operator_of, params,
};
use client::{
    transactions::SendError,
    wire::{FromBox, FromGateway, Paths},
};
use ledger::{
    Call, accounts,
    credits::{coin_worth, split},
    payments::{
        CLAIMS, ClaimRecord, LANES, Stage, math,
        schema::{Receipt, ReceiptKey},
    },
    verification::PlacedLeaf,
};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{sleep, timeout};
use units::{Coin, Credit, NANO, UsdNano};

/// What the ledger pays the owner for some credits.
fn pay(credits: Credit) -> Coin {
    let coin = coin_worth(credits, UsdNano::new(NANO / 10)).unwrap();
    split(coin, &params().credits).unwrap().operator
}

/// The operator's claims.
async fn claims(world: &World) -> Vec<ClaimRecord> {
    let records = world.rpc.records(&CLAIMS, &operator_of("owner")).await.unwrap();
    records.into_iter().map(|(_, record)| record).collect()
}

/// Waits until claims over `receipts` receipts have come to `stage`.
async fn reached(world: &World, receipts: u64, stage: Stage) -> Vec<ClaimRecord> {
    let waiting = async {
        loop {
            let claims = claims(world).await;
            let count: u64 = claims.iter().map(|claim| claim.totals.count).sum();
            if count >= receipts && claims.iter().all(|claim| claim.stage >= stage) {
                return claims;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("the claims get on")
}

/// What the owner has after claims have come to a stage, from what it had before.
fn expected(before: Coin, claims: &[ClaimRecord], settled: bool) -> Coin {
    let mut coin = before;
    for claim in claims {
        let fee = math::claim_fee(claim.lanes as usize, &params().payments).unwrap();
        let base = math::base(claim.totals.fee, &params().payments).unwrap();
        let rest = claim.totals.fee.checked_sub(base).unwrap();
        coin = coin.checked_sub(fee).unwrap().checked_add(pay(base)).unwrap();
        if settled {
            coin = coin.checked_add(pay(rest)).unwrap();
        }
    }
    coin
}

/// Takes paths until there is one for each receipt.
async fn paths(gateway: &mut Gateway, receipts: usize) -> Vec<Paths> {
    let (mut all, mut count) = (Vec::new(), 0);
    while count < receipts {
        if let FromBox::Paths(paths) = gateway.next().await {
            count += paths.paths.len();
            all.push(paths);
        }
    }
    assert_eq!(count, receipts);
    all
}

fn check(paths: &[Paths], claims: &[ClaimRecord], receipts: &BTreeMap<ReceiptKey, Receipt>) {
    for paths in paths {
        let claim = claims.iter().find(|claim| claim.epoch == paths.epoch).unwrap();
        assert_eq!(paths.root, claim.root);
        assert_eq!(paths.operator, operator_of("owner"));
        for PlacedLeaf { leaf, path } in paths.paths.iter() {
            let key = leaf.key;
            assert_eq!(*leaf, receipts[&key].leaf(key.payer, key.lane));
            path.verify(&claim.root, &claim.totals, leaf).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_are_claimed_once_and_paid_to_the_last_billionth() {
    let world = World::new().await;
    let allocation = world.pays().await;
    let (mut gateway, operator) = world.serving().await;
    let before = world.balance("owner").await;
    let mut receipts = BTreeMap::new();
    let mut fees = Credit::ZERO;
    for index in 0..2 {
        let mut lane = PayerLane::new(index, allocation);
        for length in [1, 40, 7] {
            let answer = gateway.done(&world, &mut lane, &chat(), &Ask::new(20, length)).await;
            let receipt = answer.receipt.message;
            fees = fees.checked_add(receipt.fee).unwrap();
            let (payer, lane) = (account("payer"), index);
            receipts.insert(ReceiptKey { payer, lane, sequence: receipt.sequence }, receipt);
        }
        gateway.send(&FromGateway::Voucher(lane.voucher(world.chain_id))).await;
    }
    let delivered = paths(&mut gateway, receipts.len()).await;
    let filed = claims(&world).await;
    check(&delivered, &filed, &receipts);
    let total = Credit::total(filed.iter().map(|claim| claim.totals.fee)).unwrap();
    assert_eq!(total, fees);

    let paid = reached(&world, 6, Stage::BasePaid).await;
    if paid.iter().all(|claim| claim.stage == Stage::BasePaid) {
        assert_eq!(world.balance("owner").await, expected(before, &paid, false));
    }
    let settled = reached(&world, 6, Stage::Settled).await;
    assert_eq!(settled.len(), filed.len(), "nothing was claimed again");
    assert_eq!(world.balance("owner").await, expected(before, &settled, true));
    operator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_paid_for_is_not_claimed() {
    let world = World::new().await;
    let allocation = world.pays().await;
    let (mut gateway, operator) = world.serving().await;
    let mut lane = PayerLane::new(0, allocation);
    let first = gateway.done(&world, &mut lane, &embed(), &Ask::new(20, 0)).await;
    gateway.done(&world, &mut lane, &embed(), &Ask::new(30, 0)).await;
    // The second task's voucher paid for the first; nothing pays for the second.
    let filed = reached(&world, 1, Stage::Settled).await;
    assert_eq!(filed.len(), 1);
    assert_eq!(filed[0].totals.count, 1);
    assert_eq!(filed[0].totals.fee, first.receipt.message.fee);
    let record = world.rpc.record(&LANES, &lane.payer.lane()).await.unwrap().unwrap();
    assert_eq!(record.sequence, 1);
    operator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_come_again_until_the_gateway_keeps_them() {
    let world = World::new().await;
    let allocation = world.pays().await;
    let (mut gateway, operator) = world.serving().await;
    let config = world.config(&gateway);
    let mut lane = PayerLane::new(0, allocation);
    let answer = gateway.done(&world, &mut lane, &embed(), &Ask::new(20, 0)).await;
    gateway.send(&FromGateway::Voucher(lane.voucher(world.chain_id))).await;
    let first = paths(&mut gateway, 1).await;

    gateway.cut();
    gateway.accept().await;
    assert_eq!(paths(&mut gateway, 1).await, first);

    drop(operator);
    gateway.cut();
    let operator = world.restart(&config).await;
    gateway.accept().await;
    let again = paths(&mut gateway, 1).await;
    assert_eq!(again, first);
    let filed = claims(&world).await;
    let key = ReceiptKey { payer: account("payer"), lane: 0, sequence: 1 };
    check(&again, &filed, &BTreeMap::from([(key, answer.receipt.message)]));

    let keys = units::List::new(vec![key]).unwrap();
    gateway.send(&FromGateway::PathsKept { epoch: first[0].epoch, keys }).await;
    // Messages are dealt with in order: once the lane is reported, the word was taken.
    gateway.resume(lane.payer.lane()).await;
    gateway.cut();
    gateway.accept().await;
    gateway.done(&world, &mut lane, &embed(), &Ask::new(30, 0)).await;
    gateway.send(&FromGateway::Voucher(lane.voucher(world.chain_id))).await;
    let next = paths(&mut gateway, 1).await;
    assert_eq!(next[0].paths[0].leaf.key.sequence, 2, "the first was not sent again");
    operator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_of_claiming_loses_nothing_and_claims_nothing_twice() {
    let world = World::new().await;
    let allocation = world.pays().await;
    let before = world.balance("owner").await;
    let (mut gateway, mut operator) = world.serving().await;
    let config = world.config(&gateway);
    let mut lane = PayerLane::new(0, allocation);
    let mut fees = Credit::ZERO;
    for round in 0..6_u32 {
        let answer = gateway.done(&world, &mut lane, &embed(), &Ask::new(20 + round, 0)).await;
        fees = fees.checked_add(answer.receipt.message.fee).unwrap();
        gateway.send(&FromGateway::Voucher(lane.voucher(world.chain_id))).await;
        gateway.resume(lane.payer.lane()).await;
        // Different points of the period, among them the one where a claim is on its way.
        sleep(Duration::from_millis(u64::from(round) * 617)).await;
        drop(operator);
        gateway.cut();
        operator = world.restart(&config).await;
        gateway.accept().await;
        let report = gateway.resume(lane.payer.lane()).await;
        let (hot, box_key) = (key("hot").public(), key("box").public());
        lane.payer.resume(&report, &hot, &box_key).unwrap();
    }
    gateway.send(&FromGateway::Voucher(lane.voucher(world.chain_id))).await;
    let settled = reached(&world, 6, Stage::Settled).await;
    let total = Credit::total(settled.iter().map(|claim| claim.totals.fee)).unwrap();
    assert_eq!(total, fees);
    let count: u64 = settled.iter().map(|claim| claim.totals.count).sum();
    assert_eq!(count, 6);
    assert!(world.balance("owner").await <= expected(before, &settled, true));
    operator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_the_ledger_rejected_is_told_so_each_time_it_is_sent() {
    let world = World::new().await;
    let mut sender = world.sender("payer");
    let all = accounts::Tx::Transfer { to: account("owner"), amount: Coin::MAX };
    let signed = sender.sign(Call::Accounts(all)).await.unwrap();
    for _ in 0..2 {
        let sent = sender.deliver(&signed).await;
        assert!(matches!(sent, Err(SendError::Rejected(_))), "{sent:?}");
    }
}
