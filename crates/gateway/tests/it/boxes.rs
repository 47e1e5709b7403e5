//! Boxes that fail, lie or vanish: another answers, or the caller is told.

use crate::world::{PRICE, World, account, chat, key};
use client::wire::{
    FromBox, FromGateway, Hello, LaneReport, Output, Refusal, RefusalCode, Task, WIRE_VERSION,
    decode, encode,
};
use crypto::{ChainId, Digest, OperatorId};
use ledger::payments::schema::{Ask, Finish, Receipt};
use link::{Dialer, Limits, Receiver, Sender, TlsDialer};
use serde_json::json;
use units::{Credit, List, Millis, WorkUnits};

/// A box that answers by a script instead of an engine.
struct Puppet {
    sender: Sender,
    receiver: Receiver,
}

impl Puppet {
    /// Connects as the box of `two`.
    async fn connect(world: &World) -> Self {
        let puppet = Self::dial(world, "two-box").await;
        let chain = world.rpc.status().await.unwrap().chain_id;
        puppet.hello(world, chain, 0).await;
        let mut puppet = puppet;
        assert_eq!(puppet.next().await, Some(FromGateway::Welcome));
        puppet
    }

    async fn dial(world: &World, role: &str) -> Self {
        let dialer = TlsDialer::new(&key(role), Limits::default()).unwrap();
        let address = world.gateway().link_addr().to_string();
        let connection = dialer.dial(&address, key("link").public()).await.unwrap();
        let (sender, receiver) = connection.split();
        Self { sender, receiver }
    }

    async fn hello(&self, world: &World, chain: ChainId, key_epoch: u32) {
        let operator = OperatorId::derive(&account("two"), 0);
        let model = world.models.chat.id();
        let ask = Ask { chain, operator, key_epoch, model, price: PRICE, serial: 1 };
        let asks = List::new(vec![ask.sign(&key("two-box"))]).unwrap();
        let hello = Hello { version: WIRE_VERSION, chain, operator, key_epoch, asks };
        self.say(&FromBox::Hello(hello)).await;
    }

    async fn say(&self, message: &FromBox) {
        self.sender.send(encode(message)).await.unwrap();
    }

    async fn next(&mut self) -> Option<FromGateway> {
        let frame = self.receiver.next().await.ok()??;
        Some(decode(&frame).unwrap())
    }

    /// Reports empty lanes until a task comes.
    async fn task(&mut self) -> Task {
        loop {
            match self.next().await.expect("the gateway speaks") {
                FromGateway::Resume { lane } => {
                    let unpaid = List::empty();
                    let report = LaneReport { lane, voucher: None, unpaid };
                    self.say(&FromBox::LaneReport(report)).await;
                }
                FromGateway::Task(task) => return *task,
                other => panic!("{other:?}"),
            }
        }
    }
}

/// A receipt that would be right if its output were.
fn receipt(task: &Task, tokens: u32, fee: Credit, work_units: WorkUnits) -> Receipt {
    let request = &task.request.message;
    Receipt {
        operator: request.operator,
        key_epoch: 0,
        request: request.hash(),
        output_commit: Digest::ZERO,
        trace_commit: Digest::ZERO,
        n_in: u32::try_from(task.ids.len()).unwrap(),
        n_out: tokens,
        finish: Finish::Stop,
        work_units,
        fee,
        sequence: request.sequence,
        previous: Digest::ZERO,
        t_received: Millis::ZERO,
        t_first: Millis::ZERO,
        t_done: Millis::ZERO,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_box_answers_when_one_fails_before_its_first_token() {
    let mut world = World::empty().await;
    let mut puppet = Puppet::connect(&world).await;
    world.until("the puppet is known", |world| world.gateway().operators() == 1).await;

    // Alone, its refusal is what the caller gets; it may retry.
    let caller = world.caller();
    let asking = tokio::spawn(async move { caller.chat(&chat("hello")).await });
    let task = puppet.task().await.task;
    let refusal = Refusal::new(RefusalCode::Busy, "no room");
    puppet.say(&FromBox::Refused { task, refusal }).await;
    let reply = asking.await.unwrap();
    reply.refuses(503, "overloaded", None);
    assert_eq!(reply.headers["retry-after"], "1");

    // Beside an honest box, whatever it does before its first token, the caller is answered.
    world.start_box("one").await;
    let misdeeds: [fn(&Task) -> Option<FromBox>; 3] = [
        |task| {
            let refusal = Refusal::new(RefusalCode::Internal, "broken");
            Some(FromBox::Refused { task: task.task, refusal })
        },
        |task| {
            let wrong = receipt(task, 1, Credit::new(1), WorkUnits::new(1));
            let rest = Output::Tokens(List::new(vec![1]).unwrap());
            Some(FromBox::Done { task: task.task, receipt: wrong.sign(&key("two-box")), rest })
        },
        |_| None,
    ];
    for misdeed in misdeeds {
        // Boxes take turns: at most two requests reach the puppet once.
        let caller = world.caller();
        let asking = tokio::spawn(async move {
            let replies = [caller.chat(&chat("a")).await, caller.chat(&chat("b")).await];
            replies.map(|reply| (reply.status, reply.text))
        });
        let task = puppet.task().await;
        match misdeed(&task) {
            Some(message) => puppet.say(&message).await,
            None => {
                // It vanishes.
                drop(puppet);
                puppet = Puppet::connect(&world).await;
            }
        }
        for (status, text) in asking.await.unwrap() {
            assert_eq!(status, 200, "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_lost_in_the_middle_ends_the_stream_with_an_error_object() {
    let world = World::empty().await;
    let mut puppet = Puppet::connect(&world).await;
    world.until("the puppet is known", |world| world.gateway().operators() == 1).await;
    let caller = world.caller();
    let asking = tokio::spawn(async move {
        let mut body = chat("hello");
        body["stream"] = json!(true);
        caller.chat(&body).await
    });
    let task = puppet.task().await;
    let preprocess = preprocess::Preprocess::from_bytes(world.models.chat.preprocess()).unwrap();
    let ids = List::new(preprocess.encode("cloth").unwrap()).unwrap();
    puppet.say(&FromBox::Tokens { task: task.task, ids }).await;
    drop(puppet);
    let reply = asking.await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text);
    let events = reply.events();
    assert_eq!(events.last().unwrap()["error"]["code"], "operator_lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_is_not_what_it_says_is_not_welcome() {
    let world = World::empty().await;
    let chain = world.rpc.status().await.unwrap().chain_id;
    for (role, chain, key_epoch) in [
        ("stranger", chain, 0),
        ("one-box", chain, 0),
        ("two-box", ChainId::new(Digest::ZERO), 0),
        ("two-box", chain, 1),
    ] {
        let mut puppet = Puppet::dial(&world, role).await;
        puppet.hello(&world, chain, key_epoch).await;
        let answer = puppet.next().await;
        assert!(matches!(answer, Some(FromGateway::Rejected(_))), "{role}: {answer:?}");
        assert_eq!(puppet.next().await, None);
    }
    assert_eq!(world.gateway().operators(), 0);
}
