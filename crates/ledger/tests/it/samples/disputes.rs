//! One value of every message, transaction, event and record of disputes.

use super::{Sample, record, sample};
use crate::testing::{account, digest, operator_of, toy};
use crypto::{
    ChainId, Salt,
    merkle::{self, PrefixProof, RangeProof},
    merkle_sum::SumPath,
};
use ledger::{
    Call, Event,
    bytes::Bytes,
    disputes::{
        Backer, Cause, Coarse, Dispute, Line, Load, Node, Party, Phase, Tops, Tree, Tx, Verdict,
        moves::*,
    },
    payments::messages::Finish,
    tables as t,
};
use units::{Coin, Epoch, List, Millis, Round, WorkUnits};

pub(crate) fn subject() -> Subject {
    let request = toy::request(ChainId::new(digest("chain")), 3, 4, Some(101), Round::new(77));
    let receipt = toy::receipt(&request, &toy::ToyRun::right(&request.body));
    toy::subject(request, receipt, "box")
}

fn finding() -> Finding {
    Finding {
        trace_root: digest("trace"),
        output_commit: digest("output"),
        n_out: 34,
        finish: Finish::Length,
    }
}

fn leaves() -> Vec<crypto::Digest> {
    ["a", "b", "c", "d", "e"].map(digest).to_vec()
}

fn range() -> RangeProof {
    RangeProof::new(&leaves(), 1..3).unwrap()
}

fn parts() -> Parts {
    let tops = List::new(merkle::tops(&leaves(), LEVELS)).unwrap();
    let prefix = Some(PrefixProof::new(&leaves(), 3).unwrap());
    let pieces = List::new(leaves().split_off(4)).unwrap();
    Parts { tops, prefix, outputs: Some(Outputs { pieces, proof: range() }) }
}

fn moves() -> Vec<(&'static str, Move)> {
    let bytes = Bytes::new(vec![4, 5, 6]).unwrap();
    let output = OutputProof {
        salt: Salt::new([8; 32]),
        first: 9,
        input: range(),
        bytes: Bytes::new(vec![1, 2]).unwrap(),
        leaf: digest("leaf"),
        pieces: range(),
        trace: range(),
    };
    vec![
        ("answer", Move::Answer { salt: digest("salt"), parts: parts() }),
        ("split", Move::Split { parts: parts() }),
        ("refine", Move::Refine { parts: parts() }),
        ("open", Move::Open { bytes }),
        ("execute", Move::Execute { element: 7, openings: Bytes::new(vec![7; 9]).unwrap() }),
        ("end", Move::End { token: 258, proof: range() }),
        ("output", Move::Output(output)),
    ]
}

/// What its messages carry.
pub(super) fn messages() -> Vec<Sample> {
    let mut claimed = subject();
    let path = SumPath { index: 2, siblings: List::empty() };
    claimed.claimed = Some(ClaimedIn { epoch: Epoch::new(9), path });
    let mut samples = vec![
        sample("message finding", &finding()),
        sample("message subject", &subject()),
        sample("message claimed subject", &claimed),
    ];
    let all = moves().into_iter();
    samples.extend(all.map(|(name, play)| sample(&format!("message move {name}"), &play)));
    samples
}

/// Every kind of transaction.
pub(super) fn calls() -> Vec<Call> {
    let subject = Box::new(subject());
    let play = moves().swap_remove(1).1;
    let (count, top) = (3, digest("top"));
    vec![
        Call::Disputes(Tx::Challenge { subject: subject.clone(), finding: finding() }),
        Call::Disputes(Tx::Play { receipt: digest("receipt"), line: 2, play }),
        Call::Disputes(Tx::Miscount {
            subject: subject.clone(),
            length: Length::Output,
            count,
            top,
        }),
        Call::Disputes(Tx::Foreign {
            subject,
            position: 1,
            token: 50_000,
            salt: digest("salt"),
            proof: range(),
        }),
    ]
}

fn backer() -> Backer {
    Backer { account: account("alice"), bond: Coin::new(200), cost: Coin::new(10) }
}

fn verdict() -> Verdict {
    Verdict {
        receipt: digest("receipt"),
        operator: operator_of("olga", 0),
        line: Some(2),
        challenger: account("alice"),
        loser: Party::Defender,
        cause: Cause::WrongStep { op: 4, weights: true },
        at: Millis::new(52_000),
    }
}

/// Every kind of event.
pub(super) fn events() -> Vec<Event> {
    use ledger::disputes::Event as E;
    let (receipt, operator, due) = (digest("receipt"), operator_of("olga", 0), Millis::new(60_258));
    let all = [
        E::Challenged { receipt, operator, line: 2, backer: backer() },
        E::Moved { receipt, line: 2, party: Party::Challenger, due },
        E::Forked { receipt, from: 2, line: 3, challenger: account("bob") },
        E::Decided(verdict()),
        E::Closed { receipt, line: 3, cause: Cause::WrongOutput },
    ];
    all.into_iter().map(Event::Disputes).collect()
}

/// Every kind of record.
pub(super) fn records() -> Vec<[Sample; 2]> {
    let (receipt, clock) = (digest("receipt"), Millis::new(60_258));
    let Subject { request, receipt: signed, .. } = subject();
    let dispute = Dispute {
        request: request.message,
        receipt: signed.message,
        work: WorkUnits::new(70),
        ends: clock,
        lines: 3,
        open: 1,
        proven: Some(Cause::NoAnswer { flood: true }),
    };
    let (defender, challenger) = (digest("ours"), digest("theirs"));
    let coarse = Coarse { leaf: 5, defender, challenger, root: digest("fine") };
    let tops = Some(Tops { defender, challenger });
    let node = Node { tree: Tree::Fine(coarse), first: 16, count: 9, tops };
    let line = Line {
        finding: finding(),
        backers: List::new(vec![backer()]).unwrap(),
        work: WorkUnits::new(90),
        phase: Phase::Refine { node, tops: parts().tops },
        defender_used: Millis::new(3),
        challenger_used: Millis::new(4),
        since: Millis::new(50_000),
        due: clock,
        moves: 6,
    };
    let load = Load { disputes: 2, work: WorkUnits::new(140), peak: WorkUnits::new(150) };
    vec![
        record(&t::DISPUTES, &receipt, &dispute),
        record(&t::LINES, &(receipt, 258), &line),
        record(&t::LINES_DUE, &(clock, (receipt, 258)), &()),
        record(&t::FINDINGS, &(receipt, digest("finding")), &258),
        record(&t::LOADS, &operator_of("olga", 0), &load),
        record(&t::CHALLENGERS, &account("alice"), &2),
        record(&t::VERDICTS, &258, &verdict()),
        record(&t::VERDICT_COUNT, &(), &259),
        record(&t::CLOSING, &receipt, &()),
        record(&t::FORGET, &(clock, receipt), &()),
    ]
}
