//! Audits of receipts that only their auditors may see, and the ledger as the way to bring content.

use crate::world::{
    Ask, Gateway, PATIENCE, PayerLane, World, account, chat, key, operator_of, params,
};
use client::keystore::random_bytes;
use crypto::{SealSecret, seal};
use ledger::{
    Event, Params,
    payments::schema::AuditMode,
    verification::{self, Cause, FAULTS, Outcome, POINTS, Phase, Point, SEALED, seal_context},
};
use operator::{
    Auditor, AuditorConfig, Operator,
    faults::{Fault, Garbling},
};
use std::{sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};
use units::{BasisPoints, Coin, Credit, Epoch, Height, Millis};

/// Every claim is audited at one receipt by one auditor.
fn audited() -> Params {
    let mut params = params();
    params.windows = Params::devnet().windows;
    params.windows.epoch = Millis::new(3_000);
    params.payments.cashable_minimum = Credit::new(1);
    params.verification.leaves = 1;
    params.verification.auditors = 1;
    params.verification.audited_owners = 1;
    params.verification.audit_floor = BasisPoints::WHOLE;
    params
}

/// A box, and somebody that audits it whom nobody can reach.
struct Scene {
    world: World,
    _operator: Operator,
    _auditor: Auditor,
}

impl Scene {
    /// Has a receipt of a mode in a claim.
    async fn new(mode: AuditMode, fault: Option<Arc<dyn Fault>>) -> Self {
        let world = World::with(audited()).await;
        let mut lane = PayerLane::new(0, world.pays().await);
        let mut gateway = Gateway::bind().await;
        let mut config = world.config(&gateway);
        config.fault = fault;
        let auditor = operator::start_auditor(AuditorConfig {
            data_dir: world.box_folder().join("auditor"),
            account: account("rival"),
            key: key("rival-box"),
            rpc_url: config.rpc_url.clone(),
            listen: None,
            engines: config.models.iter().map(|served| Arc::clone(&served.engine)).collect(),
            fault: None,
        });
        let auditor = auditor.await.unwrap();
        let bond = Coin::whole(2_000).unwrap();
        auditor.enlist(&mut world.sender("rival"), bond).await.unwrap();
        let operator = operator::start(config).await.unwrap();
        gateway.accept().await;
        // The second voucher pays for the first receipt.
        for first in [20, 40] {
            let ask = Ask::new(first, 4);
            let mut request = world.request(&lane, &chat(), &ask).await;
            request.audit_mode = mode;
            let task = lane.order(world.chain_id, request, &ask);
            let number = gateway.ask(task).await;
            let answer = gateway.answer_to(number).await.unwrap();
            lane.accept(&answer.receipt);
        }
        Self { world, _operator: operator, _auditor: auditor }
    }

    /// The first point, once it is as wanted.
    async fn point(&self, wanted: impl Fn(&Point) -> bool) -> (Epoch, u8, Point) {
        let waiting = async {
            loop {
                let points = self.world.rpc.records(&POINTS, &operator_of("owner")).await.unwrap();
                if let Some(((_, epoch, number), point)) = points.into_iter().next()
                    && wanted(&point)
                {
                    return (epoch, number, point);
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, waiting).await.expect("the point gets there")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_content_reaches_an_auditor_that_nobody_can_reach_and_nobody_else() {
    let scene = Scene::new(AuditMode::Sealed, None).await;
    let brought = |point: &Point| {
        point.phase == Phase::Committing && point.demanded && point.outcome.is_none()
    };
    let (epoch, number, _) = scene.point(brought).await;
    let (at, auditor) = ((operator_of("owner"), epoch, number), account("rival"));
    // The point may have ended meanwhile, and the content with it.
    if let Some(content) = scene.world.rpc.record(&SEALED, &(at, auditor)).await.unwrap() {
        let secret = SealSecret::new(*random_bytes().unwrap());
        seal::open(&secret, &seal_context(&at, &auditor), &content).unwrap_err();
    }
    let (.., point) = scene.point(|point| point.phase == Phase::Ended).await;
    assert_eq!(point.outcome, Some(Outcome::Passed));
}

#[tokio::test(flavor = "multi_thread")]
async fn open_content_reaches_an_auditor_that_nobody_can_reach() {
    let scene = Scene::new(AuditMode::Open, None).await;
    let (.., point) = scene.point(|point| point.phase == Phase::Ended).await;
    assert_eq!((point.outcome, point.demanded), (Some(Outcome::Passed), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_under_a_seal_is_shown_to_the_ledger_by_its_auditor_and_convicts() {
    let scene = Scene::new(AuditMode::Sealed, Some(Arc::new(Garbling))).await;
    let (.., point) = scene.point(|point| point.phase == Phase::Ended).await;
    assert_eq!(point.outcome, Some(Outcome::Failed));
    let faults = scene.world.rpc.records(&FAULTS, &operator_of("owner")).await.unwrap();
    assert_eq!(faults[0].1.cause, Cause::NotDelivered);
    // The complaint ended it, not the clock: content was brought.
    let mut events = scene.world.rpc.events(Height::new(1)).await.unwrap();
    let brought = async {
        while let Ok(block) = events.next().await {
            for event in &block.events {
                match event {
                    Event::Verification(verification::Event::Delivered { .. }) => return true,
                    Event::Verification(verification::Event::Slashed { .. }) => return false,
                    _ => {}
                }
            }
        }
        false
    };
    assert!(timeout(PATIENCE, brought).await.expect("the events tell"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_refuses_the_modes_it_is_told_to() {
    let world = World::with(audited()).await;
    let mut lane = PayerLane::new(0, world.pays().await);
    let mut gateway = Gateway::bind().await;
    let mut config = world.config(&gateway);
    config.refuses = vec![AuditMode::CanaryOnly];
    let _operator = operator::start(config).await.unwrap();
    gateway.accept().await;
    let ask = Ask::new(20, 4);
    let mut request = world.request(&lane, &chat(), &ask).await;
    request.audit_mode = AuditMode::CanaryOnly;
    let task = lane.order(world.chain_id, request, &ask);
    let number = gateway.ask(task).await;
    let refusal = gateway.answer_to(number).await.unwrap_err();
    assert_eq!(refusal.code, client::wire::RefusalCode::AuditMode, "{refusal}");
    lane.payer.withdraw();
    gateway.done(&world, &mut lane, &chat(), &ask).await;
}
