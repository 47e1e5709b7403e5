//! Disputes: a wrong receipt is proven wrong by the ledger, a right one is defended.

use crate::world::{Answer, Ask, Gateway, PATIENCE, PayerLane, World, chat, embed, key};
use crypto::{Digest, Signed};
use engine::Engine;
use ledger::{
    Call,
    disputes::{
        self, Cause, DISPUTES, Dispute,
        schema::{Finding, Subject},
    },
    payments::schema::Request,
};
use model::{Model, Output};
use operator::{
    Challenge, Config, Ended, Operator, ServedModel, challenge,
    faults::{Fault, FlippedOutput, Lazy, Silent, SwappedWeights},
};
use std::{sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};
use units::Coin;

/// A served answer with all that its consumer knows of it.
struct Served {
    ask: Ask,
    request: Signed<Request>,
    answer: Answer,
}

impl Served {
    fn subject(&self) -> Subject {
        let (request, receipt) = (self.request.clone(), self.answer.receipt.clone());
        Subject { request, receipt, claimed: None }
    }

    fn hash(&self) -> Digest {
        self.answer.receipt.message.hash()
    }
}

/// A box with a fault, or none, and a payer's lane to it.
struct Scene {
    world: World,
    gateway: Gateway,
    lane: PayerLane,
    honest: Config,
    operator: Option<Operator>,
}

impl Scene {
    async fn new(fault: impl FnOnce(&mut Vec<ServedModel>) -> Option<Arc<dyn Fault>>) -> Self {
        let world = World::new().await;
        let lane = PayerLane::new(0, world.pays().await);
        let mut gateway = Gateway::bind().await;
        let honest = world.config(&gateway);
        let mut config = honest.clone();
        config.fault = fault(&mut config.models);
        let operator = operator::start(config).await.unwrap();
        gateway.accept().await;
        Self { world, gateway, lane, honest, operator: Some(operator) }
    }

    async fn ask(&mut self, model: &Model, ask: Ask) -> Served {
        let request = self.world.request(&self.lane, model, &ask).await;
        let task = self.lane.order(self.world.chain_id, request, &ask);
        let request = task.request.clone();
        let number = self.gateway.ask(task).await;
        let answer = self.gateway.answer_to(number).await.unwrap();
        self.lane.accept(&answer.receipt);
        Served { ask, request, answer }
    }

    fn engine(&self, model: &Model) -> Arc<Engine> {
        let mut served = self.honest.models.iter().map(|served| &served.engine);
        Arc::clone(served.find(|engine| engine.model().id() == model.id()).unwrap())
    }

    /// The payer runs the answer again and goes to the ledger with what it finds.
    async fn challenge(&self, model: &Model, served: &Served) -> Ended {
        let challenge = challenge(Challenge {
            rpc_url: self.honest.rpc_url.clone(),
            key: key("payer"),
            engine: self.engine(model),
            subject: served.subject(),
            salt: served.ask.salt,
            ids: served.ask.ids.clone(),
            tokens: match &served.answer.output {
                Output::Tokens(tokens) => tokens.clone(),
                Output::Row(_) => Vec::new(),
            },
        });
        timeout(PATIENCE, challenge).await.expect("the dispute ends").unwrap()
    }

    async fn dispute(&self, served: &Served) -> Option<Dispute> {
        self.world.rpc.record(&DISPUTES, &served.hash()).await.unwrap()
    }
}

/// Runs models with two rows of weights swapped, under the names of the right ones.
fn swapped(models: &mut Vec<ServedModel>) -> Option<Arc<dyn Fault>> {
    let mut fault = SwappedWeights::default();
    for served in models {
        let model = Arc::new(fault.swap(served.engine.model()).unwrap());
        let options = engine::Options { backend: None, threads: 1 };
        served.engine = Arc::new(Engine::load(model, options).unwrap());
    }
    Some(Arc::new(fault))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_with_swapped_weights_is_convicted_by_one_step() {
    let mut scene = Scene::new(swapped).await;
    for (model, tokens) in [(chat(), 5), (embed(), 0)] {
        let served = scene.ask(&model, Ask::new(20, tokens)).await;
        let ended = scene.challenge(&model, &served).await;
        let Ended::Won { cause: Some(Cause::WrongStep { weights, .. }) } = ended else {
            panic!("{ended:?}");
        };
        assert!(weights, "the step reads a weight row");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_says_something_else_than_it_computed_is_convicted_by_the_output() {
    let mut scene = Scene::new(|_| Some(Arc::new(FlippedOutput))).await;
    for (model, tokens) in [(chat(), 5), (embed(), 0)] {
        let served = scene.ask(&model, Ask::new(20, tokens)).await;
        let ended = scene.challenge(&model, &served).await;
        assert_eq!(ended, Ended::Won { cause: Some(Cause::WrongOutput) });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_repeats_its_first_answer_has_no_move() {
    let mut scene = Scene::new(|_| Some(Arc::new(Lazy::default()))).await;
    let first = scene.ask(&chat(), Ask::new(20, 5)).await;
    let second = scene.ask(&chat(), Ask::new(40, 5)).await;
    assert_eq!(first.answer.output, second.answer.output, "it was not run");
    assert_eq!(scene.challenge(&chat(), &first).await, Ended::Right);
    assert_eq!(scene.challenge(&chat(), &second).await, Ended::Won { cause: None });
}

/// Says with a bond that the trace behind a receipt is another one, and shows nothing for it.
/// Gives what the accuser has once it has bonded, and once the dispute has ended.
async fn accuse(scene: &Scene, served: &Served) -> [Coin; 2] {
    let receipt = &served.answer.receipt.message;
    let finding = Finding {
        trace_root: receipt.trace_commit,
        output_commit: receipt.output_commit,
        n_out: receipt.n_out,
        finish: receipt.finish,
    };
    let tx = disputes::Tx::Challenge { subject: Box::new(served.subject()), finding };
    scene.world.sender("rival").send(Call::Disputes(tx)).await.unwrap();
    let bonded = scene.world.balance("rival").await;
    let ended = async {
        while scene.dispute(served).await.unwrap().open > 0 {
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(PATIENCE, ended).await.expect("somebody's clock runs out");
    assert_eq!(scene.dispute(served).await.unwrap().proven, None);
    [bonded, scene.world.balance("rival").await]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_answers_nobody_loses_by_its_clock() {
    let mut scene = Scene::new(|_| Some(Arc::new(Silent))).await;
    let served = scene.ask(&chat(), Ask::new(20, 5)).await;
    let [bonded, after] = accuse(&scene, &served).await;
    assert!(after > bonded, "the accuser has its bond back");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_box_defends_its_receipt_by_itself() {
    let mut scene = Scene::new(|_| None).await;
    let served = scene.ask(&chat(), Ask::new(20, 5)).await;
    assert_eq!(scene.challenge(&chat(), &served).await, Ended::Right);
    assert!(scene.dispute(&served).await.is_none(), "nothing was sent");
    let [bonded, after] = accuse(&scene, &served).await;
    assert_eq!(after, bonded, "the accuser's bond is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_that_was_killed_goes_on_defending() {
    let mut scene = Scene::new(|_| None).await;
    let served = scene.ask(&chat(), Ask::new(20, 5)).await;
    scene.operator = None;
    let ([bonded, after], _again) =
        tokio::join!(accuse(&scene, &served), scene.world.restart(&scene.honest));
    assert_eq!(after, bonded, "the accuser's bond is gone");
}
