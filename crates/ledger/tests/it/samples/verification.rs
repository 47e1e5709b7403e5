//! One value of every message, transaction, event and record of verification.

use super::{Sample, disputes, record, sample};
use crate::testing::{account, digest, operator_of, public};
use crypto::{
    Digest, ModelId, Salt, SealSecret,
    merkle::RangeProof,
    merkle_sum::{Leaf, SumPath},
};
use ledger::{
    Call, Event,
    bytes::Bytes,
    disputes::moves::{Finding, Subject},
    payments::{
        LaneRange,
        messages::{Finish, ReceiptKey},
    },
    tables as t,
    verification::{
        Auditor, Cause, Certificate, Conflict, Content, Contradiction, Correlation, Delivery,
        Error, Evidence, Exhibit, Fault, Grade, Listing, Omission, OpenedLeaf, Opening, Outcome,
        Phase, PlacedLeaf, Point, Sealed, Seat, Side, Spread, Standing, Tx,
    },
};
use units::{BasisPoints, Coin, Credit, Epoch, List, Millis, Text, WorkUnits};

fn epoch() -> Epoch {
    Epoch::new(9)
}

fn path() -> SumPath {
    SumPath { index: 2, siblings: List::empty() }
}

fn range() -> RangeProof {
    RangeProof::new(&["a", "b", "c"].map(digest), 1..2).unwrap()
}

fn exhibit() -> Exhibit {
    let Subject { request, receipt, .. } = disputes::subject();
    Exhibit { request, receipt }
}

fn opening() -> Opening {
    let Exhibit { request, receipt } = exhibit();
    Opening { epoch: epoch(), request, receipt, path: path() }
}

fn finding() -> Finding {
    let (trace_root, output_commit) = (digest("trace"), digest("output"));
    Finding { trace_root, output_commit, n_out: 34, finish: Finish::Stop }
}

fn content() -> Content {
    Content {
        salt: Salt::new([8; 32]),
        input: List::new(vec![7, 8, 258]).unwrap(),
        output: List::new(vec![9]).unwrap(),
    }
}

fn certificate() -> Certificate {
    let leaf = |byte| OpenedLeaf {
        salt: digest("leaf salt"),
        data: Bytes::new(vec![byte, 0, 0, 0]).unwrap(),
        path: range(),
    };
    let contradiction = Contradiction::Output { index: 1, first: leaf(4), second: leaf(5) };
    Certificate { first: exhibit(), second: exhibit(), contradiction }
}

fn omission() -> Omission {
    let key = ReceiptKey { payer: account("gateway"), lane: 2, sequence: 4 };
    let (fee, work) = (Credit::new(7), WorkUnits::new(70));
    let leaf = Leaf { key, item: digest("receipt"), fee, work };
    let payer = account("gateway");
    Omission {
        epoch: epoch(),
        exhibit: exhibit(),
        range: LaneRange { payer, lane: 2, first: 1, last: 5, delta: Credit::new(35) },
        lane_index: 1,
        range_path: range(),
        around: List::new(vec![PlacedLeaf { leaf, path: path() }]).unwrap(),
    }
}

/// What its messages carry.
pub(super) fn messages() -> Vec<Sample> {
    let end = Certificate { contradiction: Contradiction::End, ..certificate() };
    vec![
        sample("message opening", &opening()),
        sample("message content", &content()),
        sample("message certificate", &certificate()),
        sample("message certificate of an end", &end),
        sample("message omission", &omission()),
    ]
}

/// Every kind of transaction.
pub(super) fn calls() -> Vec<Call> {
    let (operator, epoch, point) = (operator_of("olga", 0), epoch(), 1);
    let (receipt, trace_root, salt) = (digest("receipt"), digest("trace"), digest("salt"));
    let enlist = Tx::Enlist {
        key: public("hot"),
        amount: Coin::new(5_000),
        models: List::new(vec![model()]).unwrap(),
        endpoint: Text::new("127.0.0.1:7001").unwrap(),
    };
    let all = vec![
        enlist,
        Tx::Retire,
        Tx::Open(Box::new(opening())),
        Tx::Commit { operator, epoch, point, commitment: digest("sealed") },
        Tx::Reveal { operator, epoch, point, finding: finding(), salt },
        Tx::RevealTrace { operator, epoch, point, trace_root, salt },
        Tx::Demand { operator, epoch, point, reply: None },
        Tx::Deliver { operator, epoch, point, delivery: Delivery::Open(content()) },
        Tx::Conflict(Box::new(certificate())),
        Tx::Answer { receipt, trace_root, salt },
        Tx::Omission(Box::new(omission())),
        Tx::Demand { operator, epoch, point, reply: Some(secret().key()) },
        Tx::Deliver {
            operator,
            epoch,
            point,
            delivery: Delivery::Sealed { auditor: account("alice"), content: sealed() },
        },
        Tx::Complain { operator, epoch, point, secret: secret() },
    ];
    all.into_iter().map(Call::Verification).collect()
}

fn secret() -> SealSecret {
    SealSecret::new([5; 32])
}

/// The ledger reads it only when somebody complains.
fn sealed() -> Sealed {
    Sealed::new(vec![1, 2, 3]).unwrap()
}

fn model() -> ModelId {
    ModelId::new(digest("model"))
}

fn spread() -> Spread {
    let [taken, burned, victim, reporter, insurance] = [100, 50, 5, 20, 25].map(Coin::new);
    Spread { taken, burned, victim, reporter, insurance }
}

fn cause() -> Cause {
    Cause::Disputed(ledger::disputes::Cause::WrongStep { op: 4, weights: true })
}

/// Every kind of event.
pub(super) fn events() -> Vec<Event> {
    use ledger::verification::Event as E;
    let (operator, epoch, point) = (operator_of("olga", 0), epoch(), 1);
    let (auditor, due, receipt) = (account("alice"), Millis::new(60_258), digest("receipt"));
    let (bond, probability) = (Coin::new(5_000), BasisPoints::new(2_000).unwrap());
    let other = operator_of("otto", 0);
    let conflict = digest("conflict");
    let receipts = [receipt, digest("other")];
    let all = [
        E::Enlisted { auditor, bond },
        E::Struck { auditor, model: model() },
        E::Retiring { auditor, due },
        E::Retired { auditor, bond },
        E::PassedOver { operator, epoch, probability },
        E::PointDrawn {
            operator,
            epoch,
            point,
            at: Credit::new(258),
            probability,
            open_until: due,
        },
        E::PointOpened { operator, epoch, point, receipt, model: model(), commit_until: due },
        E::AuditorDrawn { operator, epoch, point, auditor, replacement: true },
        E::Demanded { operator, epoch, point, due },
        E::Delivered { operator, epoch, point, commit_until: due },
        E::RevealOpen { operator, epoch, point, reveal_until: due },
        E::AuditorMissed { auditor, burned: Coin::new(100) },
        E::AuditPaid { auditor, amount: Coin::new(7) },
        E::Mismatch { operator, epoch, point, receipt, auditor },
        E::PointEnded { operator, epoch, point, outcome: Outcome::Merged },
        E::ConflictFiled { conflict, receipts, operators: [operator, other], due },
        E::ConflictAnswered { conflict, receipt },
        E::ConflictEnded { conflict },
        E::Slashed {
            operator,
            fault: 3,
            cause: cause(),
            evidence: Evidence::Conflict { id: conflict },
            spread: spread(),
        },
    ];
    all.into_iter().map(Event::Verification).collect()
}

/// Every kind of record.
pub(super) fn records() -> Vec<[Sample; 2]> {
    let (id, clock, alice) = (operator_of("olga", 0), Millis::new(60_258), account("alice"));
    let (receipt, conflict_id) = (digest("receipt"), digest("conflict"));
    let claim = (id, epoch());
    let models = List::new(vec![model()]).unwrap();
    let auditor = Auditor {
        key: public("hot"),
        bond: Coin::new(5_000),
        models,
        endpoint: Text::new("127.0.0.1:7001").unwrap(),
        since: Millis::new(300),
        leaving: Some(clock),
        seats: 2,
    };
    let listing = Listing { bond: auditor.bond, since: auditor.since };
    let seat = Seat {
        auditor: alice,
        commitment: Some(receipt),
        finding: Some(finding()),
        reply: Some(secret().key()),
    };
    let point = Point {
        at: Credit::new(258),
        phase: Phase::Revealing,
        due: clock,
        receipt: Some(receipt),
        subject: Some(opening().subject()),
        seats: List::new(vec![seat]).unwrap(),
        replaced: true,
        demanded: true,
        trace_root: Some(digest("trace")),
        outcome: Some(Outcome::NoAuditor),
    };
    let side = |trace_root: Option<Digest>| Side {
        subject: exhibit().subject(),
        owner: account("olga"),
        challenges: trace_root.is_some(),
        trace_root,
    };
    let conflict = Conflict {
        sides: [side(None), side(Some(digest("trace")))],
        reporter: alice,
        due: clock,
        disputed: false,
    };
    let standing = Standing {
        since: Millis::new(300),
        passed: 17,
        faults: 259,
        last_fault: Some(Millis::new(400)),
        weights: Some((model(), 4)),
    };
    let correlation = Correlation { since: clock, bonds: Coin::new(9_000) };
    vec![
        record(&t::AUDITORS, &alice, &auditor),
        record(&t::ROSTER, &(model(), alice), &listing),
        record(&t::LEAVING, &(clock, alice), &()),
        record(&t::POINTS, &(id, epoch(), 1), &point),
        record(&t::POINTS_DUE, &(clock, claim, 1), &()),
        record(&t::POINT_OF, &receipt, &(epoch(), 1)),
        record(&t::CONFLICTS, &conflict_id, &conflict),
        record(&t::CONFLICTS_DUE, &(clock, conflict_id), &()),
        record(&t::CONFLICT_OF, &receipt, &conflict_id),
        record(&t::STANDINGS, &id, &standing),
        record(&t::FAULTS, &(id, 258), &fault()),
        record(&t::FAULT_OF, &receipt, &258),
        record(&t::CORRELATION, &(), &correlation),
        record(&t::DELIVERED, &(id, epoch(), 1), &content()),
        record(&t::SEATS, &(alice, (id, epoch(), 1)), &()),
        record(&t::SEALED, &((id, epoch(), 1), alice), &sealed()),
    ]
}

fn fault() -> Fault {
    Fault {
        cause: cause(),
        grade: Grade::Pattern,
        evidence: Evidence::Point { epoch: epoch(), point: 1 },
        receipt: Some(digest("receipt")),
        payer: Some(account("gateway")),
        done: Millis::new(300),
        found: Millis::new(400),
        value: Credit::new(7_000),
        probability: BasisPoints::new(2_000).unwrap(),
        correlation: 10_258,
        wanted: Coin::new(120),
        spread: spread(),
        refunded: Credit::new(7),
        reporter: Some(account("alice")),
    }
}

/// The errors that carry figures.
pub(super) fn errors() -> Vec<Sample> {
    let over = Error::OverValueCap { value: Credit::new(9), cap: Credit::new(8) };
    let key = Error::BadReplyKey { key: secret().key() };
    vec![sample("verification error", &over), sample("verification error key", &key)]
}
