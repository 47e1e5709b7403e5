//! One value of every message, transaction kind, event, record and key, always the same.

mod disputes;
mod verification;

use crate::testing::{account, digest, key, operator_of, public, seed};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{ChainId, Domain, ModelId, merkle_sum::Sums};
use ledger::{
    Call, Event, Genesis, ModelFacts, Params, Reach, SignedTransaction, Table, Task, Transaction,
    accounts, accounts::Pot, bytes::Bytes, clock, credits, genesis, models, payments,
    payments::messages::*, staking, store::Key, tables,
};
use serde::{Serialize, de::DeserializeOwned};
use units::{
    Coin, Credit, Epoch, Height, List, Millis, Nonce, Price, Round, Text, UsdNano, WorkUnits,
};

/// A value's name and canonical bytes, with its decoders.
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// Decodes bytes and encodes what it read.
    pub(crate) again: fn(&[u8]) -> Option<Vec<u8>>,
    /// The value in JSON, and its canonical bytes after reading that JSON.
    pub(crate) json: Option<(String, Vec<u8>)>,
}

fn again<T: BorshSerialize + BorshDeserialize>(bytes: &[u8]) -> Option<Vec<u8>> {
    T::try_from_slice(bytes).ok().map(|value| borsh::to_vec(&value).unwrap())
}

fn sample<T>(name: &str, value: &T) -> Sample
where
    T: BorshSerialize + BorshDeserialize + Serialize + DeserializeOwned,
{
    let json = serde_json::to_string(value).unwrap();
    let read: T = serde_json::from_str(&json).unwrap();
    let json = Some((json, borsh::to_vec(&read).unwrap()));
    let bytes = borsh::to_vec(value).unwrap();
    Sample { name: name.to_owned(), bytes, again: again::<T>, json }
}

/// The record of a table and the key it stands under.
fn record<K: Key, V: BorshSerialize + BorshDeserialize>(
    table: &Table<K, V>,
    key: &K,
    value: &V,
) -> [Sample; 2] {
    let name = table.info().name;
    let bytes = table.encode(value).unwrap();
    let value = Sample { name: format!("record {name}"), bytes, again: again::<V>, json: None };
    let bytes = table.key_bytes(key);
    let read = |bytes: &[u8]| {
        let mut rest = bytes.get(2..)?;
        let key = K::read(&mut rest)?;
        let mut again = bytes[..2].to_vec();
        key.write(&mut again);
        rest.is_empty().then_some(again)
    };
    let key = Sample { name: format!("key {name}"), bytes, again: read, json: None };
    [key, value]
}

fn chain() -> ChainId {
    ChainId::new(digest("chain"))
}

fn model_id() -> ModelId {
    ModelId::new(digest("model"))
}

fn sums() -> Sums {
    Sums { fee: Credit::new(7_000_000), work: WorkUnits::new(70), count: 3 }
}

pub(crate) fn voucher() -> Voucher {
    let acknowledgement = Acknowledgement {
        receipt: digest("receipt"),
        t_sent: Millis::new(1_000),
        t_first: Millis::new(1_250),
        t_done: Millis::new(1_900),
    };
    Voucher {
        chain: chain(),
        payer: account("gateway"),
        session_key: public("hot"),
        operator: operator_of("olga", 0),
        lane: 2,
        allocation: 4,
        cumulative: Credit::new(7_000_000),
        sequence: 3,
        acknowledgement: Some(acknowledgement),
    }
}

fn claim() -> Claim {
    let voucher = voucher().sign(&key("hot"));
    let lane = LaneClaim { voucher, first: 1, last: 3, delta: Credit::new(7_000_000) };
    Claim {
        operator: operator_of("olga", 0),
        key_epoch: 1,
        epoch: Epoch::new(9),
        root: digest("root"),
        totals: sums(),
        lanes: List::new(vec![lane]).unwrap(),
        canary_only: true,
    }
}

fn messages() -> Vec<Sample> {
    let body = RequestBody {
        chain: chain(),
        model: model_id(),
        semantics: 0,
        input_commit: digest("input"),
        sampling: Sampling { temperature_milli: 700, top_p_milli: 950, top_k: 40 },
        seed: u64::MAX,
        max_tokens: 128,
        stop: List::new(vec![2, 50_256]).unwrap(),
    };
    let request = Request {
        body: body.clone(),
        payer: account("gateway"),
        session_key: public("hot"),
        operator: operator_of("olga", 0),
        lane: 2,
        sequence: 3,
        price: Price::new(100_000),
        deadline: Millis::new(30_000),
        tier: Tier::Audit,
        audit_mode: AuditMode::Open,
        freshness: Round::new(77),
    };
    let receipt = Receipt {
        operator: operator_of("olga", 0),
        key_epoch: 1,
        request: request.hash(),
        output_commit: digest("output"),
        trace_commit: digest("trace"),
        n_in: 12,
        n_out: 34,
        finish: Finish::Length,
        work_units: WorkUnits::new(70),
        fee: Credit::new(7_000_000),
        sequence: 3,
        previous: digest("previous"),
        t_received: Millis::new(10),
        t_first: Millis::new(250),
        t_done: Millis::new(900),
    };
    let ask = Ask {
        chain: chain(),
        operator: operator_of("olga", 0),
        key_epoch: 1,
        model: model_id(),
        price: Price::new(100_000),
        serial: 5,
    };
    let lane = LaneId { payer: account("gateway"), operator: operator_of("olga", 0), index: 2 };
    let opening = Voucher { acknowledgement: None, sequence: 0, ..voucher() };
    vec![
        sample("message request body", &body),
        sample("message request", &request),
        sample("message signed request", &request.sign(&key("hot"))),
        sample("message voucher", &voucher()),
        sample("message opening voucher", &opening),
        sample("message signed voucher", &voucher().sign(&key("hot"))),
        sample("message receipt", &receipt),
        sample("message signed receipt", &receipt.clone().sign(&key("box"))),
        sample("message receipt leaf", &receipt.leaf(account("gateway"), 2)),
        sample("message ask", &ask),
        sample("message signed ask", &ask.clone().sign(&key("box"))),
        sample("message lane id", &lane),
        sample("message claim", &claim()),
    ]
}

fn reclaim() -> payments::Reclaim {
    payments::Reclaim::of(&claim(), 0).unwrap()
}

fn registration() -> staking::Registration {
    staking::Registration {
        index: 3,
        box_key: public("box"),
        class: staking::Class::Consumer,
        profile: profile(),
        bond: Coin::new(5_000),
    }
}

fn profile() -> staking::Profile {
    let models = List::new(vec![model_id()]).unwrap();
    staking::Profile { endpoint: Text::new("127.0.0.1:7000").unwrap(), models }
}

fn publication() -> models::Publication {
    models::Publication {
        publisher: Text::new("acme").unwrap(),
        name: Text::new("mini-1.0").unwrap(),
        manifest: Bytes::new(vec![1, 2, 3]).unwrap(),
        graph: Bytes::new(vec![4, 5]).unwrap(),
    }
}

/// Every kind of transaction.
pub(crate) fn calls() -> Vec<Call> {
    use {accounts::Tx as A, credits::Tx as C, payments::Tx as P, staking::Tx as S};
    let operator = operator_of("olga", 0);
    let (amount, credits) = (Coin::new(5_000), Credit::new(6_000));
    let (expires, box_key) = (Millis::new(99_000), public("box"));
    vec![
        Call::Accounts(A::Transfer { to: account("bob"), amount }),
        Call::Accounts(A::GrantSession {
            key: public("hot"),
            fee_cap: amount,
            spend_cap: credits,
            expires,
        }),
        Call::Accounts(A::RevokeSession { key: public("hot") }),
        Call::Credits(C::Mint { coin: amount, at_least: credits }),
        Call::Credits(C::Redeem { amount: credits, at_least: amount }),
        Call::Staking(S::Register(registration())),
        Call::Staking(S::Bond { operator, amount }),
        Call::Staking(S::Unbond { operator, amount }),
        Call::Staking(S::RotateBoxKey { operator, box_key }),
        Call::Staking(S::SetClass { operator, class: staking::Class::DataCentre }),
        Call::Staking(S::SetProfile { operator, profile: profile() }),
        Call::Models(models::Tx::Publish(publication())),
        Call::Payments(P::Deposit { amount: credits }),
        Call::Payments(P::Withdraw { amount: credits }),
        Call::Payments(P::Allocate {
            allocation: 4,
            operator,
            signer: public("hot"),
            limit: credits,
            expires,
        }),
        Call::Payments(P::Extend { allocation: 4, limit: credits, expires }),
        Call::Payments(P::FileClaim(claim())),
        Call::Payments(P::Reclaim(Box::new(reclaim()))),
    ]
    .into_iter()
    .chain(disputes::calls())
    .chain(verification::calls())
    .collect()
}

/// A signed transaction around a call.
pub(crate) fn envelope(call: Call) -> SignedTransaction {
    let transaction = Transaction {
        chain: chain(),
        account: account("alice"),
        signer: public("alice"),
        nonce: Nonce::new(8),
        valid_until: Height::new(90),
        call,
    };
    let signature = key("alice").sign(Domain::Transaction, &transaction);
    SignedTransaction { transaction, signature }
}

/// Every kind of event.
pub(crate) fn events() -> Vec<Event> {
    use {accounts::Event as A, credits::Event as C, payments::Event as P, staking::Event as S};
    let (operator, box_key) = (operator_of("olga", 0), public("box"));
    let (from, to, payer) = (account("alice"), account("bob"), account("gateway"));
    let (coin, credits, amount) = (Coin::new(5_000), Credit::new(6_000), Coin::new(7_000));
    let (epoch, expires) = (Epoch::new(9), Millis::new(99_000));
    let shares = credits::split(coin, &credits::Params::default()).unwrap();
    let accounts = [
        A::Transferred { from, to, amount },
        A::SessionGranted { account: from, key: public("hot"), expires },
        A::SessionRevoked { account: from, key: public("hot") },
    ];
    let price = UsdNano::new(100_000_000);
    let spread = Coin::new(13);
    let credit_events = [
        C::Minted { account: from, coin, spread, credits, price },
        C::Redeemed { account: from, credits, coin },
        C::Paid { to, credits, shares },
        C::Queued { to, credits, number: 2 },
    ];
    let staking = [
        S::Registered { operator, class: staking::Class::Small, box_key },
        S::BondChanged { operator, bond: coin },
        S::Unbonding { operator, amount, due: expires },
        S::Unbonded { operator, amount },
        S::BoxKeyRotated { operator, epoch: 1, box_key },
        S::Updated { operator },
        S::BondSlashed { operator, amount },
        S::Jailed { operator, until: expires },
        S::Tombstoned { operator },
    ];
    let name = Text::new("acme/mini-1.0").unwrap();
    let published = models::Event::Published { model: model_id(), name, owner: from };
    let draw_round = Round::new(81);
    let payments = [
        P::Deposited { payer, amount: credits },
        P::Withdrawn { payer, amount: credits },
        P::Allocated { payer, allocation: 4, operator, limit: credits, expires },
        P::Released { payer, allocation: 4, unspent: credits },
        P::ClaimFiled { operator, epoch, fee: credits, receipts: 3, draw_round },
        P::ClaimDrawn { operator, epoch, base_due: expires },
        P::BasePaid { operator, epoch, amount: credits },
        P::ClaimSettled { operator, epoch, amount: credits },
        P::ClaimVoid { operator, epoch, left: credits, until: expires },
        P::Refunded { operator, epoch, payer, amount: credits },
        P::Forfeited { operator, epoch, amount: credits },
    ];
    let mut all: Vec<Event> = accounts.into_iter().map(Event::Accounts).collect();
    all.extend(credit_events.into_iter().map(Event::Credits));
    all.extend(staking.into_iter().map(Event::Staking));
    all.push(Event::Models(published));
    all.extend(payments.into_iter().map(Event::Payments));
    all.extend(disputes::events());
    all.extend(verification::events());
    all
}

fn facts() -> ModelFacts {
    ModelFacts {
        model: model_id(),
        semantics: 0,
        task: Task::Generate,
        graph_root: digest("graph"),
        weight_root: digest("weights"),
        preprocess: digest("preprocess"),
        reach: Reach::Causal,
        per_position: 106_000_000,
        per_output: 28_000_000,
        per_pair: 34_560,
        blocks: 30,
        max_input: 2_048,
        max_positions: 8_192,
        vocabulary: 49_152,
        width: 576,
    }
}

fn account_records() -> Vec<[Sample; 2]> {
    use tables as t;
    let (amount, credits) = (Coin::new(5_000), Credit::new(6_000));
    let session = accounts::Session {
        nonce: Nonce::new(2),
        fee_cap: amount,
        fees_spent: Coin::new(9),
        spend_cap: credits,
        backed: Credit::new(10),
        expires: Millis::new(99_000),
        revoked: true,
    };
    let supply = accounts::Supply { genesis: amount, minted: Coin::ZERO, burned: Coin::new(1) };
    let now = clock::Now {
        height: Height::new(4),
        time: Millis::new(1_700_000_000_000),
        clock: Millis::new(2_000),
        round: Round::new(6),
    };
    let round = Round::new(6);
    let seed = clock::SeedRecord { seed: seed(round), clock: Millis::new(1_500) };
    let account_record = accounts::Account { balance: amount, nonce: Nonce::new(3) };
    let payout = credits::Payout {
        to: account("olga"),
        credits,
        shares: credits::split(amount, &credits::Params::default()).unwrap(),
    };
    let totals = credits::Totals {
        minted: Credit::new(9),
        settled: Credit::new(3),
        redeemed: Credit::new(2),
        escrow: Credit::new(1),
    };
    let holding = credits::Holding { free: credits, locked: Credit::new(4), cost: amount };
    let price = credits::PriceSource::Fixed(UsdNano::new(100_000_000));
    vec![
        record(&t::CHAIN, &(), &chain()),
        record(&t::PARAMS, &(), &Params::default()),
        record(&t::NOW, &(), &now),
        record(&t::SEEDS, &round, &seed),
        record(&t::ACCOUNTS, &account("alice"), &account_record),
        record(&t::SESSIONS, &(account("alice"), public("hot")), &session),
        record(&t::POTS, &Pot::Insurance, &amount),
        record(&t::SUPPLY, &(), &supply),
        record(&t::PRICE, &(), &price),
        record(&t::HOLDINGS, &account("alice"), &holding),
        record(&t::TOTALS, &(), &totals),
        record(&t::PAYOUTS, &258, &payout),
        record(&t::QUEUE, &(), &259),
    ]
}

fn operator_records() -> Vec<[Sample; 2]> {
    use tables as t;
    let (id, clock) = (operator_of("olga", 3), Millis::new(60_258));
    let amount = Coin::new(5_000);
    let operator = staking::Operator {
        owner: account("olga"),
        index: 3,
        class: staking::Class::Workstation,
        profile: profile(),
        bond: amount,
        unbonding: Coin::new(6),
        unbondings: 1,
        key_epoch: 1,
        registered: Millis::new(500),
    };
    let (from, until) = (Millis::new(500), Some(Millis::new(900)));
    let box_key = staking::BoxKey { key: public("box"), from, until };
    let unbonding = staking::Unbonding { operator: id, amount };
    let discipline = staking::Discipline { jailed_until: Millis::new(900), tombstoned: true };
    let publication = publication();
    let model = models::Model {
        facts: facts(),
        publisher: publication.publisher.clone(),
        name: publication.name,
        owner: account("alice"),
        deposit: amount,
        published: Millis::new(700),
    };
    let full = Text::new("acme/mini-1.0").unwrap();
    vec![
        record(&t::OPERATORS, &id, &operator),
        record(&t::BOX_KEYS, &(id, 258), &box_key),
        record(&t::BONDS, &(id, clock), &amount),
        record(&t::UNBONDING, &(clock, 258), &unbonding),
        record(&t::UNBONDING_COUNT, &(), &259),
        record(&t::UNBONDING_OF, &(id, clock, 258), &()),
        record(&t::DISCIPLINE, &id, &discipline),
        record(&t::SERVERS, &(model_id(), account("olga")), &258),
        record(&t::SERVING_OWNERS, &model_id(), &258),
        record(&t::MODELS, &model_id(), &model),
        record(&t::MANIFESTS, &model_id(), &publication.manifest),
        record(&t::GRAPHS, &model_id(), &publication.graph),
        record(&t::NAMES, &full, &model_id()),
        record(&t::PUBLISHERS, &publication.publisher, &account("alice")),
        record(&t::WEIGHTS, &digest("weights"), &model_id()),
    ]
}

fn payment_records() -> Vec<[Sample; 2]> {
    use tables as t;
    let (id, clock) = (operator_of("olga", 3), Millis::new(60_258));
    let (payer, epoch, round) = (account("gateway"), Epoch::new(9), Round::new(258));
    let deposit = payments::Deposit {
        balance: Credit::new(9_000),
        reserved: Credit::new(8_000),
        next_allocation: 5,
    };
    let allocation = payments::Allocation {
        operator: id,
        signer: public("hot"),
        limit: Credit::new(8_000),
        cashed: Credit::new(1),
        expires: clock,
    };
    let lane_id = LaneId { payer, operator: id, index: 258 };
    let lane = payments::Lane { sequence: 3, cumulative: Credit::new(7_000_000) };
    let range = payments::LaneRange { payer, lane: 2, first: 1, last: 3, delta: Credit::new(7) };
    let claim = payments::ClaimRecord {
        operator: id,
        owner: account("olga"),
        box_key: public("box"),
        key_epoch: 1,
        bond: Coin::new(5_000),
        epoch,
        root: digest("root"),
        totals: sums(),
        ranges_root: crypto::merkle::root(&[range.leaf()]),
        lanes: 1,
        canary_only: true,
        filed_height: Height::new(44),
        filed: Millis::new(50_000),
        draw_round: round,
        drawn: Some(Millis::new(52_000)),
        stage: payments::Stage::BasePaid,
        paid: Credit::new(5_600_000),
        returned: Credit::new(9),
        audit: payments::Audit::Running,
        probability: units::BasisPoints::new(2_000).unwrap(),
        holds: 2,
        due: Some(Millis::new(61_000)),
    };
    let refunded = payments::LaneRefund { payer, lane: 2, amount: Credit::new(7) };
    let reclaims = payments::Reclaims::new(258, Some(refunded));
    vec![
        record(&t::DEPOSITS, &payer, &deposit),
        record(&t::ALLOCATIONS, &(payer, 258), &allocation),
        record(&t::ALLOCATION_EXPIRIES, &(clock, (payer, 258)), &()),
        record(&t::LANES, &lane_id, &lane),
        record(&t::CLAIMS, &(id, epoch), &claim),
        record(&t::DRAWS, &(round, (id, epoch)), &()),
        record(&t::READY, &round, &()),
        record(&t::DUE, &(clock, (id, epoch)), &()),
        record(&t::CLAIMED, &id, &epoch),
        record(&t::UNVERIFIED, &id, &Credit::new(7)),
        record(&t::DRAWN, &(id, epoch), &()),
        record(&t::RECLAIMS, &(id, epoch), &reclaims),
    ]
}

fn documents() -> Vec<Sample> {
    let mut document: Genesis = crate::testing::genesis();
    let owner = account("olga");
    let operator = genesis::GenesisOperator { owner, registration: registration() };
    document.operators = List::new(vec![operator]).unwrap();
    let model = genesis::GenesisModel { owner, publication: publication() };
    document.models = List::new(vec![model]).unwrap();
    let outcome = ledger::Outcome {
        id: digest("transaction"),
        fee: Coin::new(5),
        status: ledger::Status::Rejected(accounts::Error::ZeroAmount.into()),
        events: 1,
    };
    vec![
        sample("genesis", &document),
        sample("params devnet", &Params::devnet()),
        sample("model facts", &facts()),
        sample("outcome", &outcome),
    ]
}

/// All of them.
pub(crate) fn all() -> Vec<Sample> {
    let mut samples = messages();
    samples.extend(disputes::messages());
    samples.extend(verification::messages());
    samples.extend(verification::errors());
    for call in calls() {
        let name = format!("transaction {}", kind(&call));
        samples.push(sample(&name, &envelope(call)));
    }
    for event in events() {
        samples.push(sample(&format!("event {}", kind(&event)), &event));
    }
    let records = [account_records(), operator_records(), payment_records(), disputes::records()];
    let records = records.into_iter().chain([verification::records()]);
    samples.extend(records.flatten().flatten());
    samples.extend(documents());
    samples
}

/// `Module::Variant` of a value with two levels of variants.
fn kind(value: &impl core::fmt::Debug) -> String {
    let text = format!("{value:?}");
    let (module, inner) = text.split_once('(').unwrap();
    let variant = inner.split(|c: char| !c.is_alphanumeric()).next().unwrap();
    format!("{module}::{variant}")
}
