//! Money as a caller sees it: billed once, within a budget, across restarts.

use crate::world::{OWNERS, PATIENCE, POOR, World, chat};
use serde_json::json;
use std::time::Duration;
use tokio::time::timeout;
use units::BasisPoints;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_an_sdk_repeats_is_run_and_billed_once() {
    let mut world = World::new().await;
    let caller = world.caller();
    let body = chat("hello").to_string();
    let path = "/v1/chat/completions";
    let send = |count: &'static str| {
        let (caller, body) = (caller.clone(), body.clone());
        async move {
            let count = [("x-stainless-retry-count", count)];
            caller.post_with(path, body.as_bytes(), &count).await
        }
    };
    // At the same time and one after the other.
    let (first, second) = tokio::join!(send("0"), async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        send("1").await
    });
    let third = send("2").await;
    assert_eq!(first.status, 200, "{}", first.text);
    assert_eq!(first.receipt(), second.receipt());
    assert_eq!(first.receipt(), third.receipt());
    assert_eq!(first.text, third.text);
    let fresh = send("0").await;
    assert_ne!(first.receipt(), fresh.receipt(), "without the mark it is a new request");

    // An explicit key holds too, for one body.
    let key = [("idempotency-key", "order-1")];
    let one = caller.post_with(path, body.as_bytes(), &key).await;
    let two = caller.post_with(path, body.as_bytes(), &key).await;
    assert_eq!(one.receipt(), two.receipt());
    let other = chat("other").to_string();
    let reused = caller.post_with(path, other.as_bytes(), &key).await;
    reused.refuses(409, "idempotency_key_reused", None);
    assert_eq!(reused.headers["x-should-retry"], "false");

    // Both marks still hold after the gateway was restarted.
    world.stop_gateway().await;
    world.start_gateway().await;
    let caller = world.caller();
    let again = caller.post_with(path, body.as_bytes(), &key).await;
    assert_eq!(one.receipt(), again.receipt());
    assert_eq!(one.text, again.text);
    let count = [("x-stainless-retry-count", "1")];
    let again = caller.post_with(path, body.as_bytes(), &count).await;
    assert_eq!(again.status, 200, "{}", again.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_never_overdrawn_and_a_margin_is_stated() {
    let mut world = World::empty().await;
    world.stop_gateway().await;
    world.margin = BasisPoints::new(1_000).unwrap();
    world.start_gateway().await;
    world.start_box("one").await;
    let poor = world.caller().with_key(POOR);
    poor.chat(&chat("hello")).await.refuses(402, "insufficient_credits", None);

    let reply = world.caller().chat(&chat("hello")).await;
    let bundle = &world.bundles(&reply.receipt()).await[0];
    let fee = bundle.receipt.message.fee.get();
    assert_eq!(bundle.margin.get(), fee.div_ceil(10));
    let cost = reply.json()["usage"]["cost"].as_f64().unwrap();
    assert!((cost - (fee + bundle.margin.get()) as f64 / 1e9).abs() < 1e-12);

    let foreign = poor.get(&format!("/v1/receipts/{}", reply.receipt())).await;
    foreign.refuses(403, "forbidden", None);
}

#[tokio::test(flavor = "multi_thread")]
async fn lanes_go_on_where_they_were_after_restarts_of_either_side() {
    let mut world = World::new().await;
    let ask = async |world: &World| {
        let reply = world.caller().chat(&chat("hello")).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        let bundle = world.bundles(&reply.receipt()).await.remove(0);
        (bundle.request.message.lane, bundle.receipt.message)
    };
    let (lane, first) = ask(&world).await;
    assert_eq!(first.sequence, 1);
    // The gateway restarts; its box finds the new address only by being restarted with it.
    world.stop_gateway().await;
    for operator in std::mem::take(&mut world.boxes) {
        operator.shutdown().await;
    }
    world.start_gateway().await;
    world.start_box(OWNERS[0]).await;
    let (same, second) = ask(&world).await;
    assert_eq!((same, second.sequence), (lane, 2));
    assert_eq!(second.previous, first.hash());
    // Only the box restarts.
    for operator in std::mem::take(&mut world.boxes) {
        operator.shutdown().await;
    }
    world.until("the box is gone", |world| world.gateway().operators() == 0).await;
    world.start_box(OWNERS[0]).await;
    let (same, third) = ask(&world).await;
    assert_eq!((same, third.sequence), (lane, 3));
    assert_eq!(third.previous, second.hash());
    let usage = json!(third.n_out);
    assert!(usage.as_u64().is_some_and(|tokens| tokens > 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_is_paid_though_its_lane_is_never_used_again() {
    let mut world = World::new().await;
    let reply = world.caller().chat(&chat("hello")).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    // The box goes before the second is over after which a voucher goes alone.
    for operator in std::mem::take(&mut world.boxes) {
        operator.shutdown().await;
    }
    world.until("the box is gone", |world| world.gateway().operators() == 0).await;
    world.start_box(OWNERS[0]).await;
    let claimed = async {
        loop {
            let bundle = world.bundles(&reply.receipt()).await.remove(0);
            if bundle.settlement.is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(PATIENCE, claimed).await.expect("the receipt is claimed");
}
