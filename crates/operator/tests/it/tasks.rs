//! Tasks that are answered, broken off, or find no room.

use crate::world::{Answer, Ask, PRICE, PayerLane, World, chat, embed, key, operator_of};
use client::wire::{FromGateway, RefusalCode};
use crypto::{Digest, Domain};
use ledger::payments::{messages::fee, schema::Finish};
use model::{Model, Output, commit};

/// Everything a receipt says about an answer, but for its place in the lane.
fn verify(model: &Model, ask: &Ask, answer: &Answer) {
    let Answer { output, receipt } = answer;
    let message = &receipt.message;
    key("box").public().verify(Domain::Receipt, message, &receipt.signature).unwrap();
    assert_eq!(message.output_commit, commit::output_commit(&ask.salt, output));
    assert_eq!(message.n_in as usize, ask.ids.len());
    let n_out = if let Output::Tokens(ids) = output { ids.len() } else { 1 };
    assert_eq!(message.n_out as usize, n_out);
    let work = model::work_units(model.facts(), message.n_in, message.n_out);
    assert_eq!(message.work_units, work);
    assert_eq!(message.fee, fee(PRICE, work).unwrap());
    assert!(message.t_received <= message.t_first && message.t_first <= message.t_done);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_what_the_reference_gives_and_its_receipt_says_so() {
    let world = World::new().await;
    let allocation = world.pays().await;
    let (mut gateway, operator) = world.serving().await;
    let hello = gateway.hello.clone().unwrap();
    assert_eq!(hello.operator, operator_of("owner"));
    for ask in hello.asks.iter() {
        key("box").public().verify(Domain::Ask, &ask.message, &ask.signature).unwrap();
        assert_eq!(ask.message.price, PRICE);
    }
    let mut lane = PayerLane::new(0, allocation);
    let mut previous = Digest::ZERO;
    for (model, ask) in
        [(chat(), Ask::new(20, 300)), (embed(), Ask::new(40, 0)), (chat(), Ask::new(60, 1))]
    {
        let request = world.request(&lane, &model, &ask).await;
        let expected = ask.reference(&model, &request);
        let task = lane.order(world.chain_id, request.clone(), &ask);
        let number = gateway.ask(task).await;
        let answer = gateway.answer_to(number).await.unwrap();
        verify(&model, &ask, &answer);
        assert_eq!(answer.output, expected.output);
        let message = &answer.receipt.message;
        assert_eq!(message.trace_commit, commit::trace_commit(&expected.trace_root, &ask.salt));
        assert_eq!(message.request, request.hash());
        assert_eq!(message.sequence, request.sequence);
        assert_eq!(message.previous, previous);
        assert_ne!(message.finish, Finish::Cancelled);
        previous = message.hash();
        lane.accept(&answer.receipt);
    }
    operator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_said_at_once_and_the_lane_stays_where_it_was() {
    let world = World::new().await;
    let allocation = world.pays().await;
    let mut gateway = crate::world::Gateway::bind().await;
    let config = operator::Config { queue: 1, ..world.config(&gateway) };
    let operator = operator::start(config).await.unwrap();
    gateway.accept().await;
    let (model, ask) = (chat(), Ask::new(20, 2_000));
    let mut lanes: Vec<_> = (0..24).map(|index| PayerLane::new(index, allocation)).collect();
    let mut numbers = Vec::new();
    let template = world.request(&lanes[0], &model, &ask).await;
    for lane in &mut lanes {
        let request =
            ledger::payments::schema::Request { lane: lane.payer.lane().index, ..template.clone() };
        let task = lane.order(world.chain_id, request, &ask);
        numbers.push(gateway.ask(task).await);
    }
    let mut answers = gateway.answers_to(&numbers).await;
    let mut busy = 0;
    for (lane, number) in lanes.iter_mut().zip(&numbers) {
        match answers.remove(number).unwrap() {
            Ok(answer) => {
                verify(&model, &ask, &answer);
                lane.accept(&answer.receipt);
            }
            Err(refusal) => {
                assert_eq!(refusal.code, RefusalCode::Busy, "{refusal}");
                assert!(refusal.reason.contains("another box"), "{refusal}");
                lane.payer.withdraw();
                busy += 1;
            }
        }
    }
    assert!(busy > 0 && busy < lanes.len(), "{busy}");
    for lane in &mut lanes {
        gateway.done(&world, lane, &embed(), &Ask::new(30, 0)).await;
    }
    operator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_task_is_billed_for_what_was_delivered_or_not_at_all() {
    let world = World::new().await;
    let allocation = world.pays().await;
    let (mut gateway, operator) = world.serving().await;
    let (model, ask) = (chat(), Ask::new(20, 2_000));
    let (mut first, mut second) = (PayerLane::new(0, allocation), PayerLane::new(1, allocation));
    let whole = ask.reference(&model, &world.request(&first, &model, &ask).await);
    let Output::Tokens(whole) = whole.output else { panic!("no tokens") };

    // The second waits for the first, so its cancel comes before its first token.
    let request = world.request(&first, &model, &ask).await;
    let running = gateway.ask(first.order(world.chain_id, request, &ask)).await;
    let (task, ids) = gateway.tokens().await;
    assert_eq!(task, running);
    let request = world.request(&second, &model, &ask).await;
    let waiting = gateway.ask(second.order(world.chain_id, request, &ask)).await;
    gateway.send(&FromGateway::Cancel { task: waiting }).await;
    gateway.send(&FromGateway::Cancel { task: running }).await;
    let mut answers = gateway.answers_to(&[running, waiting]).await;

    let mut answer = answers.remove(&running).unwrap().unwrap();
    if let Output::Tokens(rest) = &mut answer.output {
        rest.splice(0..0, ids.iter().copied());
    }
    verify(&model, &ask, &answer);
    let Output::Tokens(delivered) = &answer.output else { panic!("no tokens") };
    assert_eq!(delivered[..], whole[..delivered.len()]);
    assert_eq!(answer.receipt.message.finish, Finish::Cancelled);
    assert!(delivered.len() < whole.len(), "{} of {}", delivered.len(), whole.len());
    first.accept(&answer.receipt);

    match answers.remove(&waiting).unwrap() {
        Err(refusal) => {
            assert_eq!(refusal.code, RefusalCode::Cancelled, "{refusal}");
            second.payer.withdraw();
        }
        Ok(answer) => {
            assert_eq!(answer.receipt.message.finish, Finish::Cancelled);
            verify(&model, &ask, &answer);
            second.accept(&answer.receipt);
        }
    }
    gateway.done(&world, &mut first, &embed(), &Ask::new(30, 0)).await;
    gateway.done(&world, &mut second, &embed(), &Ask::new(30, 0)).await;
    operator.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_that_passes_ends_the_task_and_bills_what_came() {
    let world = World::new().await;
    let allocation = world.pays().await;
    let (mut gateway, operator) = world.serving().await;
    let (model, ask) = (chat(), Ask::new(20, 2_000));
    let mut lane = PayerLane::new(0, allocation);
    let mut request = world.request(&lane, &model, &ask).await;
    request.deadline = units::Millis::new(1);
    let number = gateway.ask(lane.order(world.chain_id, request, &ask)).await;
    match gateway.answer_to(number).await {
        Err(refusal) => {
            assert_eq!(refusal.code, RefusalCode::Deadline, "{refusal}");
            lane.payer.withdraw();
        }
        Ok(answer) => {
            verify(&model, &ask, &answer);
            assert_eq!(answer.receipt.message.finish, Finish::Cancelled);
            lane.accept(&answer.receipt);
        }
    }
    gateway.done(&world, &mut lane, &embed(), &Ask::new(30, 0)).await;
    operator.shutdown().await;
}
