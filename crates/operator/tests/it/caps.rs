//! The value cap: a box takes no work that it could not claim.

use crate::world::{Answer, Ask, Gateway, PATIENCE, PayerLane, World, embed, operator_of, params};
use client::{
    caps,
    wire::{Refusal, RefusalCode},
};
use ledger::{Params, payments::schema::AuditMode};
use model::work_units;
use operator::Operator;
use std::time::Duration;
use tokio::time::{sleep, timeout};
use units::{BasisPoints, Credit, Price};

/// A network with audits, in which a newcomer may have little unverified.
fn audited() -> Params {
    let mut params = params();
    params.payments.cashable_minimum = Credit::new(1);
    params.verification.leaves = 1;
    params.verification.probation_levels = 8;
    params.verification.detection = BasisPoints::new(1_000).unwrap();
    params
}

/// One embedding, answered or refused.
async fn ask(
    world: &World,
    gateway: &mut Gateway,
    lane: &mut PayerLane,
    price: Price,
) -> Result<Answer, Refusal> {
    let ask = Ask::new(20, 0);
    let mut request = world.request(lane, &embed(), &ask).await;
    request.price = price;
    let task = lane.order(world.chain_id, request, &ask);
    let number = gateway.ask(task).await;
    let answer = gateway.answer_to(number).await;
    match &answer {
        Ok(answer) => lane.accept(&answer.receipt),
        Err(_) => lane.payer.withdraw(),
    }
    answer
}

/// A box for whose three tasks there is room, where all count once.
async fn served(refuses: Vec<AuditMode>) -> (World, Gateway, PayerLane, Price, Operator) {
    let world = World::with(audited()).await;
    let operator = operator_of("owner");
    let clock = world.rpc.status().await.unwrap().clock;
    let cap = caps::cap(&world.rpc, &audited(), &operator, clock).await.unwrap().unwrap();
    // Three tasks fit, four do not.
    let work = work_units(embed().facts(), 12, 1);
    let price = cap.value.unwrap().get() / (3 * u128::from(work.get()));
    let price = Price::new(price);

    let lane = PayerLane::new(0, world.pays().await);
    let mut gateway = Gateway::bind().await;
    let mut config = world.config(&gateway);
    config.models.iter_mut().for_each(|served| served.price = price);
    config.refuses = refuses;
    let operator = operator::start(config).await.unwrap();
    gateway.accept().await;
    (world, gateway, lane, price, operator)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_takes_work_nobody_may_see_has_half_of_the_room() {
    let (world, mut gateway, mut lane, price, _operator) = served(Vec::new()).await;
    ask(&world, &mut gateway, &mut lane, price).await.unwrap();
    let refusal = ask(&world, &mut gateway, &mut lane, price).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::ValueCap, "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_still_holds_work_nobody_may_see_has_half_of_the_room_whatever_its_settings() {
    let (world, mut gateway, mut lane, price, operator) = served(Vec::new()).await;
    let wanted = Ask::new(20, 0);
    let mut request = world.request(&lane, &embed(), &wanted).await;
    (request.price, request.audit_mode) = (price, AuditMode::CanaryOnly);
    let task = lane.order(world.chain_id, request, &wanted);
    let number = gateway.ask(task).await;
    lane.accept(&gateway.answer_to(number).await.unwrap().receipt);
    operator.shutdown().await;
    let mut config = world.config(&gateway);
    config.models.iter_mut().for_each(|served| served.price = price);
    config.refuses = vec![AuditMode::CanaryOnly];
    let _operator = world.restart(&config).await;
    gateway.accept().await;
    let refusal = ask(&world, &mut gateway, &mut lane, price).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::ValueCap, "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_refuses_what_its_value_cap_leaves_no_room_for() {
    let refuses = vec![AuditMode::CanaryOnly];
    let (world, mut gateway, mut lane, price, _operator) = served(refuses).await;
    for _ in 0..3 {
        ask(&world, &mut gateway, &mut lane, price).await.unwrap();
    }
    let refusal = ask(&world, &mut gateway, &mut lane, price).await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::ValueCap, "{refusal}");
    // Once a claim is verified there is room again.
    let again = async {
        while let Err(refusal) = ask(&world, &mut gateway, &mut lane, price).await {
            assert_eq!(refusal.code, RefusalCode::ValueCap, "{refusal}");
            sleep(Duration::from_millis(500)).await;
        }
    };
    timeout(PATIENCE, again).await.expect("audits make room");
}
