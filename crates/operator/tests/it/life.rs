//! Starting, stopping, coming back.

use crate::world::{Answer, Ask, Gateway, PayerLane, World, account, chat, embed, key};
use client::wire::RefusalCode;
use crypto::Domain;
use ledger::payments::schema::Finish;
use model::Output;
use operator::{Config, StartError};

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_was_dropped_comes_back_with_every_voucher_and_receipt() {
    let world = World::new().await;
    let allocation = world.pays().await;
    let (mut gateway, operator) = world.serving().await;
    let config = world.config(&gateway);
    let mut lane = PayerLane::new(3, allocation);
    gateway.done(&world, &mut lane, &chat(), &Ask::new(20, 5)).await;
    let before = lane.clone();
    let last = gateway.done(&world, &mut lane, &chat(), &Ask::new(30, 5)).await;
    drop(operator);
    gateway.cut();

    let operator = world.restart(&config).await;
    gateway.accept().await;
    let report = gateway.resume(lane.payer.lane()).await;
    let voucher = report.voucher.clone().unwrap();
    assert_eq!(voucher, before.clone().voucher(world.chain_id));
    assert_eq!(&report.unpaid[..], std::slice::from_ref(&last.receipt));
    // A payer that never got the last answer takes its receipt from the report.
    let mut restored = before;
    let (hot, box_key) = (key("hot").public(), key("box").public());
    assert!(restored.payer.resume(&report, &hot, &box_key).is_err(), "it ordered nothing");
    lane.payer.resume(&report, &hot, &box_key).unwrap();
    let next = gateway.done(&world, &mut lane, &chat(), &Ask::new(40, 5)).await;
    assert_eq!(next.receipt.message.sequence, 3);
    assert_eq!(next.receipt.message.previous, last.receipt.message.hash());
    operator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_whose_connection_is_cut_ends_before_the_lane_is_reported() {
    let world = World::new().await;
    let allocation = world.pays().await;
    let (mut gateway, operator) = world.serving().await;
    let mut lane = PayerLane::new(0, allocation);
    let ask = Ask::new(20, 2_000);
    let request = world.request(&lane, &chat(), &ask).await;
    gateway.ask(lane.order(world.chain_id, request, &ask)).await;
    let _begun = gateway.tokens().await;
    gateway.cut();
    gateway.accept().await;
    let report = gateway.resume(lane.payer.lane()).await;
    let [receipt] = &report.unpaid[..] else { panic!("{report:?}") };
    assert_eq!(receipt.message.finish, Finish::Cancelled);
    lane.payer.resume(&report, &key("hot").public(), &key("box").public()).unwrap();
    assert_eq!(lane.payer.position().sequence, 1);
    gateway.done(&world, &mut lane, &embed(), &Ask::new(30, 0)).await;
    operator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutting_down_finishes_what_runs_and_refuses_what_comes() {
    let world = World::new().await;
    let allocation = world.pays().await;
    let (mut gateway, operator) = world.serving().await;
    let (mut first, mut second) = (PayerLane::new(0, allocation), PayerLane::new(1, allocation));
    let (model, ask) = (chat(), Ask::new(20, 1_000));
    let request = world.request(&first, &model, &ask).await;
    let running = gateway.ask(first.order(world.chain_id, request, &ask)).await;
    let (_, ids) = gateway.tokens().await;
    let request = world.request(&second, &model, &ask).await;
    let shutdown = tokio::spawn(operator.shutdown());
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let late = gateway.ask(second.order(world.chain_id, request, &ask)).await;
    let mut answers = gateway.answers_to(&[running, late]).await;
    let Answer { output, receipt } = answers.remove(&running).unwrap().unwrap();
    let Output::Tokens(rest) = output else { panic!("no tokens") };
    assert_eq!(receipt.message.n_out as usize, ids.len() + rest.len());
    let box_key = key("box").public();
    box_key.verify(Domain::Receipt, &receipt.message, &receipt.signature).unwrap();
    let refusal = answers.remove(&late).unwrap().unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Stopping, "{refusal}");
    shutdown.await.unwrap();
    assert_eq!(gateway.try_next().await, None);

    let operator = world.restart(&world.config(&gateway)).await;
    gateway.accept().await;
    let report = gateway.resume(first.payer.lane()).await;
    assert_eq!(report.unpaid[..], [receipt]);
    operator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_away_is_found_again_at_its_address() {
    let world = World::new().await;
    let allocation = world.pays().await;
    let (mut gateway, operator) = world.serving().await;
    let address = gateway.address();
    let mut lane = PayerLane::new(0, allocation);
    gateway.done(&world, &mut lane, &embed(), &Ask::new(20, 0)).await;
    drop(gateway);
    let mut gateway = Gateway::bind_again(&address).await;
    gateway.accept().await;
    gateway.done(&world, &mut lane, &embed(), &Ask::new(30, 0)).await;
    operator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_the_chain_does_not_know_does_not_start() {
    let world = World::new().await;
    let gateway = Gateway::bind().await;
    let good = world.config(&gateway);

    let refused = operator::start(Config { index: 5, ..good.clone() }).await;
    assert!(matches!(refused, Err(StartError::NotRegistered { .. })), "{refused:?}");
    let refused = operator::start(Config { box_key: key("rival-box"), ..good.clone() }).await;
    assert!(matches!(refused, Err(StartError::BoxKey { .. })), "{refused:?}");
    let refused = operator::start(Config { queue: 0, ..good.clone() }).await;
    assert!(matches!(refused, Err(StartError::Setting { name: "queue", .. })), "{refused:?}");
    let twice = [good.models.clone(), good.models.clone()].concat();
    let refused = operator::start(Config { models: twice, ..good.clone() }).await;
    assert!(matches!(refused, Err(StartError::Setting { .. })), "{refused:?}");

    operator::start(good.clone()).await.unwrap().shutdown().await;
    let rival = Config { owner: account("rival"), box_key: key("rival-box"), ..good };
    let refused = operator::start(rival).await;
    assert!(matches!(refused, Err(StartError::OtherBox { .. })), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_that_changes_is_asked_under_a_higher_serial() {
    let world = World::new().await;
    let mut gateway = Gateway::bind().await;
    let mut config = world.config(&gateway);
    let mut serials = Vec::new();
    for price in [10, 10, 11] {
        config.models.truncate(1);
        config.models[0].price = units::Price::new(price);
        let operator = world.restart(&config).await;
        gateway.accept().await;
        let ask = gateway.hello.clone().unwrap().asks[0].message.clone();
        assert_eq!(ask.price, units::Price::new(price));
        serials.push(ask.serial);
        operator.shutdown().await;
        gateway.cut();
    }
    assert_eq!(serials, [1, 1, 2]);
}
