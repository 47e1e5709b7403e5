//! Tasks, vouchers and frames that must not pass, each with the code that says why.

use crate::world::{
    Ask, Gateway, PATIENCE, PRICE, PayerLane, World, chat, embed, key, operator_of,
};
use client::wire::{FromBox, FromGateway, Refusal, RefusalCode, Task};
use crypto::{ChainId, Digest, ModelId, Salt, Signed};
use ledger::payments::schema::{Request, Voucher};
use units::{Credit, List, Millis, Price, Round};

/// Sends a task and returns why it is refused.
async fn refused(gateway: &mut Gateway, task: Task) -> Refusal {
    let number = gateway.ask(task).await;
    gateway.answer_to(number).await.expect_err("a refusal")
}

/// A good task whose request was changed before it was signed.
async fn changed(world: &World, lane: &PayerLane, change: impl Fn(&mut Request)) -> Task {
    let ask = Ask::new(20, 4);
    let mut request = world.request(lane, &chat(), &ask).await;
    change(&mut request);
    lane.clone().order(world.chain_id, request, &ask)
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_do_not_fit_are_refused_each_with_its_code() {
    let world = World::new().await;
    let allocation = world.pays().await;
    let (mut gateway, operator) = world.serving().await;
    let mut lane = PayerLane::new(0, allocation);
    type Change = fn(&mut Request);
    let cases: [(&str, RefusalCode, Change); 17] = [
        ("chain", RefusalCode::Request, |r| r.body.chain = ChainId::new(Digest::ZERO)),
        ("operator", RefusalCode::Request, |r| r.operator = operator_of("rival")),
        ("lane", RefusalCode::Voucher, |r| r.lane = 1),
        ("session key", RefusalCode::Voucher, |r| r.session_key = key("box").public()),
        ("model", RefusalCode::Model, |r| r.body.model = ModelId::new(Digest::ZERO)),
        ("semantics", RefusalCode::Model, |r| r.body.semantics = 9),
        ("low price", RefusalCode::Price, |r| r.price = Price::new(PRICE.get() - 1)),
        ("high price", RefusalCode::Price, |r| r.price = Price::new(u128::MAX)),
        ("no deadline", RefusalCode::Deadline, |r| r.deadline = Millis::ZERO),
        ("long deadline", RefusalCode::Deadline, |r| r.deadline = Millis::MAX),
        ("round to come", RefusalCode::Freshness, |r| r.freshness = Round::MAX),
        ("no tokens", RefusalCode::Request, |r| r.body.max_tokens = 0),
        ("top_p", RefusalCode::Request, |r| r.body.sampling.top_p_milli = 1_001),
        ("stop id", RefusalCode::Request, |r| r.body.stop = List::new(vec![u32::MAX]).unwrap()),
        ("commitment", RefusalCode::Request, |r| r.body.input_commit = Digest::ZERO),
        ("later place", RefusalCode::Lane, |r| r.sequence = 2),
        ("no place", RefusalCode::Lane, |r| r.sequence = 0),
    ];
    for (name, code, change) in cases {
        let task = changed(&world, &lane, change).await;
        let refusal = refused(&mut gateway, task).await;
        assert_eq!(refusal.code, code, "{name}: {refusal}");
        assert!(!refusal.reason.is_empty());
    }

    let good = changed(&world, &lane, |_| {}).await;
    let forged = Signed { signature: good.voucher.signature, ..good.request.clone() };
    let refusal = refused(&mut gateway, Task { request: forged, ..good.clone() }).await;
    assert_eq!(refusal.code, RefusalCode::Request, "{refusal}");
    let salt = Salt::new([8; 32]);
    let refusal = refused(&mut gateway, Task { salt, ..good.clone() }).await;
    assert_eq!(refusal.code, RefusalCode::Request, "{refusal}");

    for (ids, model, max_tokens) in [
        (vec![], chat(), 4),
        (vec![5; 1_537], chat(), 4),
        (vec![u32::MAX], chat(), 4),
        (vec![5; 65_536], embed(), 0),
        (vec![5], embed(), 1),
    ] {
        let ask = Ask { ids, salt, max_tokens };
        let request = world.request(&lane, &model, &ask).await;
        let task = lane.clone().order(world.chain_id, request, &ask);
        let refusal = refused(&mut gateway, task).await;
        assert_eq!(refusal.code, RefusalCode::Request, "{refusal}");
    }
    gateway.done(&world, &mut lane, &chat(), &Ask::new(20, 4)).await;
    operator.shutdown().await;
}

/// A good task under another voucher.
async fn under(world: &World, lane: &PayerLane, change: impl Fn(&mut Voucher)) -> Task {
    let mut task = changed(world, lane, |_| {}).await;
    change(&mut task.voucher.message);
    Task { voucher: task.voucher.message.sign(&key("hot")), ..task }
}

#[tokio::test(flavor = "multi_thread")]
async fn vouchers_that_do_not_hold_are_refused_each_with_its_code() {
    let world = World::new().await;
    let allocation = world.pays().await;
    let (mut gateway, operator) = world.serving().await;
    let mut lane = PayerLane::new(0, allocation);
    let paid = gateway.done(&world, &mut lane, &chat(), &Ask::new(20, 4)).await;
    let fee = paid.receipt.message.fee;
    let more = Credit::new(fee.get() + 1);
    let less = Credit::new(fee.get() - 1);

    type Change = Box<dyn Fn(&mut Voucher)>;
    let cases: Vec<(&str, Change)> = vec![
        ("chain", Box::new(|v| v.chain = ChainId::new(Digest::ZERO))),
        ("ahead", Box::new(|v| v.sequence = 2)),
        ("more", Box::new(move |v| v.cumulative = more)),
        ("less", Box::new(move |v| v.cumulative = less)),
        ("nothing", Box::new(|v| v.cumulative = Credit::ZERO)),
        ("everything", Box::new(|v| v.cumulative = Credit::MAX)),
        ("unacknowledged", Box::new(|v| v.acknowledgement = None)),
    ];
    for (name, change) in cases {
        let task = under(&world, &lane, change).await;
        let refusal = refused(&mut gateway, task).await;
        assert_eq!(refusal.code, RefusalCode::Voucher, "{name}: {refusal}");
    }
    let mut task = changed(&world, &lane, |_| {}).await;
    task.voucher = task.voucher.message.sign(&key("box"));
    let refusal = refused(&mut gateway, task).await;
    assert_eq!(refusal.code, RefusalCode::Voucher, "{refusal}");

    // Nothing of that counted.
    gateway.done(&world, &mut lane, &chat(), &Ask::new(20, 4)).await;

    // Alone, they are refused just so.
    let mut voucher = lane.voucher(world.chain_id).message;
    voucher.cumulative = Credit::MAX;
    gateway.send(&FromGateway::Voucher(voucher.sign(&key("hot")))).await;
    let FromBox::VoucherRefused { lane: named, refusal } = gateway.next().await else {
        panic!("not refused")
    };
    assert_eq!(named, lane.payer.lane());
    assert_eq!(refusal.code, RefusalCode::Voucher, "{refusal}");
    operator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn allocations_that_do_not_cover_a_task_are_refused() {
    let world = World::new().await;
    let good = world.pays().await;
    let (hot, one) = (key("hot").public(), Credit::whole(1).unwrap());
    let others = world.allocate(operator_of("rival"), hot, one, 600_000).await;
    let other_key = key("payer").public();
    let signed = world.allocate(operator_of("owner"), other_key, one, 600_000).await;
    let small = world.allocate(operator_of("owner"), hot, Credit::new(1), 600_000).await;
    let short = world.allocate(operator_of("owner"), hot, one, 6_000).await;
    let (mut gateway, operator) = world.serving().await;
    for allocation in [others, signed, small, short, 99] {
        let lane = PayerLane::new(0, allocation);
        let task = changed(&world, &lane, |_| {}).await;
        let refusal = refused(&mut gateway, task).await;
        assert_eq!(refusal.code, RefusalCode::Allocation, "{allocation}: {refusal}");
    }
    // Refused tasks have left no lane behind.
    let report = gateway.resume(PayerLane::new(0, good).payer.lane()).await;
    assert_eq!(report.voucher, None);

    // Two lanes together may not promise more than their allocation holds.
    let (model, ask) = (chat(), Ask::new(20, 4));
    let mut lane = PayerLane::new(0, good);
    let fee = gateway.done(&world, &mut lane, &model, &ask).await.receipt.message.fee;
    let limit = Credit::new(fee.get() + fee.get() / 2);
    let tight = world.allocate(operator_of("owner"), hot, limit, 600_000).await;
    let mut first = PayerLane::new(1, tight);
    gateway.done(&world, &mut first, &model, &ask).await;
    let second = PayerLane::new(2, tight);
    let task = changed(&world, &second, |_| {}).await;
    let refusal = refused(&mut gateway, task).await;
    assert_eq!(refusal.code, RefusalCode::Allocation, "{refusal}");
    operator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_pay_gets_no_more_than_the_credit_limit() {
    let world = World::new().await;
    let allocation = world.pays().await;
    let mut gateway = Gateway::bind().await;
    let config = operator::Config { credit_limit: 2, ..world.config(&gateway) };
    let operator = operator::start(config).await.unwrap();
    gateway.accept().await;
    let mut lane = PayerLane::new(0, allocation);
    let unpaid = lane.voucher(world.chain_id);
    let ask = Ask::new(20, 0);
    for _ in 0..2 {
        let request = world.request(&lane, &embed(), &ask).await;
        let task = Task { voucher: unpaid.clone(), ..lane.order(world.chain_id, request, &ask) };
        let number = gateway.ask(task).await;
        lane.accept(&gateway.answer_to(number).await.unwrap().receipt);
    }
    let request = world.request(&lane, &embed(), &ask).await;
    let task = Task { voucher: unpaid, ..lane.clone().order(world.chain_id, request, &ask) };
    let refusal = refused(&mut gateway, task).await;
    assert_eq!(refusal.code, RefusalCode::Voucher, "{refusal}");
    assert!(refusal.reason.contains("2 receipts are unpaid"), "{refusal}");

    // A voucher that comes alone opens the way.
    gateway.send(&FromGateway::Voucher(lane.voucher(world.chain_id))).await;
    gateway.done(&world, &mut lane, &embed(), &ask).await;
    operator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_carries_one_task_at_a_time_whoever_brings_it() {
    let world = World::new().await;
    let allocation = world.pays().await;
    let (mut gateway, operator) = world.serving().await;
    let mut lane = PayerLane::new(0, allocation);
    let ask = Ask::new(20, 2_000);
    let request = world.request(&lane, &chat(), &ask).await;
    let task = lane.order(world.chain_id, request, &ask);
    let running = gateway.ask(task.clone()).await;
    let again = gateway.ask(task).await;
    let mut answers = gateway.answers_to(&[running, again]).await;
    let answers = [answers.remove(&running).unwrap(), answers.remove(&again).unwrap()];
    // Either may have come to the lane first.
    let [done, refused] = match answers {
        [Ok(done), Err(refused)] | [Err(refused), Ok(done)] => [Ok(done), Err(refused)],
        other => panic!("{other:?}"),
    };
    assert_eq!(refused.unwrap_err().code, RefusalCode::Lane);
    lane.accept(&done.unwrap().receipt);
    operator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_no_messages_end_the_connection_and_the_box_comes_back() {
    let world = World::new().await;
    let allocation = world.pays().await;
    let (mut gateway, operator) = world.serving().await;
    let mut lane = PayerLane::new(0, allocation);
    let good = client::wire::encode(&FromGateway::Resume { lane: lane.payer.lane() });
    let frames = [
        vec![99],
        vec![2, 0],
        [good.as_slice(), &[0]].concat(),
        client::wire::encode(&FromGateway::Welcome),
    ];
    for frame in frames {
        gateway.send_raw(frame.clone()).await;
        assert_eq!(gateway.try_next().await, None, "{frame:?}");
        gateway.accept().await;
    }
    // A task number twice.
    let mut task = changed(&world, &lane, |r| r.body.max_tokens = 2_000).await;
    task.task = 5;
    for _ in 0..2 {
        gateway.send(&FromGateway::Task(Box::new(task.clone()))).await;
    }
    while gateway.try_next().await.is_some() {}
    gateway.accept().await;
    let lane_id = lane.payer.lane();
    let report = gateway.resume(lane_id).await;
    lane.payer.order_task(&task.request.message, Credit::MAX);
    lane.payer.resume(&report, &key("hot").public(), &key("box").public()).unwrap();
    gateway.done(&world, &mut lane, &chat(), &Ask::new(20, 4)).await;
    operator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_with_another_key_gets_nothing() {
    let world = World::new().await;
    let mut gateway = Gateway::bind().await;
    let mut config = world.config(&gateway);
    config.gateways[0].key = key("somebody else").public();
    let operator = operator::start(config).await.unwrap();
    // The box breaks off each handshake; a good peer afterwards is the first that gets through.
    let dialer = link::TlsDialer::new(&key("peer"), link::Limits::default()).unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let (address, pinned) = (gateway.address(), key("gateway").public());
    let _dialled = link::Dialer::dial(&dialer, &address, pinned).await.unwrap();
    let accepted = tokio::time::timeout(PATIENCE, gateway.connection()).await.unwrap();
    assert_eq!(accepted.peer(), key("peer").public());
    operator.shutdown().await;
}
