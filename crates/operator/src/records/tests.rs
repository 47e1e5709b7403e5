//! What was written is found again, in order and in parts.

use super::*;
use crypto::{AccountId, SecretKey};
use ledger::payments::schema::{AuditMode, Finish, RequestBody, Sampling, Tier};
use units::{Credit, Millis, Round, WorkUnits};

fn key_of(seed: u8) -> SecretKey {
    SecretKey::from_seed([seed; 32])
}

fn lane(index: u32) -> LaneId {
    let payer = AccountId::new(key_of(1).public());
    LaneId { payer, operator: OperatorId::derive(&payer, 0), index }
}

fn answered(lane: LaneId, sequence: u64) -> Answered {
    let body = RequestBody {
        chain: ChainId::new(Digest::ZERO),
        model: ModelId::new(Digest::ZERO),
        semantics: 0,
        input_commit: Digest::ZERO,
        sampling: Sampling { temperature_milli: 0, top_p_milli: 1_000, top_k: 0 },
        seed: 0,
        max_tokens: 1,
        stop: List::empty(),
    };
    let request = Request {
        body,
        payer: lane.payer,
        session_key: key_of(2).public(),
        operator: lane.operator,
        lane: lane.index,
        sequence,
        price: Price::new(1),
        deadline: Millis::new(1),
        tier: Tier::Audit,
        audit_mode: AuditMode::Open,
        freshness: Round::ZERO,
    };
    let receipt = Receipt {
        operator: lane.operator,
        key_epoch: 0,
        request: request.hash(),
        output_commit: Digest::ZERO,
        trace_commit: Digest::ZERO,
        n_in: 1,
        n_out: 1,
        finish: Finish::Stop,
        work_units: WorkUnits::new(1),
        fee: Credit::new(1),
        sequence,
        previous: Digest::ZERO,
        t_received: Millis::ZERO,
        t_first: Millis::ZERO,
        t_done: Millis::ZERO,
    };
    let (request, receipt) = (request.sign(&key_of(2)), receipt.sign(&key_of(3)));
    Answered { gateway: key_of(4).public(), request, receipt }
}

fn opening() -> Opening {
    Opening {
        salt: Salt::new([1; 32]),
        ids: List::new(vec![1, 2]).unwrap(),
        tokens: List::new(vec![3]).unwrap(),
        row: List::empty(),
        trace_root: Digest::ZERO,
    }
}

fn sequences(records: &Records, lane: LaneId, range: RangeInclusive<u64>) -> Vec<u64> {
    let answers = records.answers(lane, range).unwrap();
    answers.iter().map(|answered| answered.receipt.message.sequence).collect()
}

#[tokio::test]
async fn answers_are_found_by_lane_in_order_and_pruned_in_steps() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::open(&folder.path().join("records")).unwrap();
    for (index, count) in [(0, 300), (1, 5), (256, 2)] {
        for sequence in (1..=count).rev() {
            let done = answered(lane(index), sequence);
            records.put_answer(&done, &opening()).await.unwrap();
        }
    }
    assert_eq!(sequences(&records, lane(0), 1..=u64::MAX), (1..=300).collect::<Vec<_>>());
    assert_eq!(sequences(&records, lane(1), 2..=4), [2, 3, 4]);
    assert_eq!(sequences(&records, lane(2), 0..=u64::MAX), [0; 0]);
    assert_eq!(records.opening(lane(1), 3).unwrap(), Some(opening()));

    assert!(!records.prune_openings(lane(1), 1..=4, 2).await.unwrap());
    assert!(!records.prune_openings(lane(1), 1..=4, 2).await.unwrap());
    assert!(records.prune_openings(lane(1), 1..=4, 2).await.unwrap());
    assert_eq!(records.opening(lane(1), 4).unwrap(), None);
    assert_eq!(records.opening(lane(1), 5).unwrap(), Some(opening()));
    assert!(records.prune_answers(lane(1), 1..=4, 8).await.unwrap());
    assert_eq!(sequences(&records, lane(1), 0..=u64::MAX), [5]);
    assert_eq!(sequences(&records, lane(256), 0..=u64::MAX), [1, 2]);
}

#[tokio::test]
async fn owed_paths_are_listed_in_parts_until_they_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let records = Records::open(&folder.path().join("records")).unwrap();
    let (one, other) = (key_of(4).public(), key_of(5).public());
    let owed = |epoch: u8, index, sequence| {
        let (root, epoch) = (Digest::new([epoch; 32]), Epoch::new(epoch.into()));
        Undelivered { epoch, root, lane: lane(index), sequence }
    };
    for epoch in [2_u8, 1] {
        let all = [(0, 1), (0, 2), (3, 1)].map(|(index, sequence)| owed(epoch, index, sequence));
        let all = all.into_iter().flat_map(|owed| [(one, owed), (other, owed)]).collect();
        let (root, epoch) = (Digest::new([epoch; 32]), Epoch::new(epoch.into()));
        records.take_claim(epoch, root, all).await.unwrap();
        assert!(records.is_taken(epoch, root).unwrap());
    }
    let expected: Vec<_> = [1_u8, 2]
        .into_iter()
        .flat_map(|epoch| [owed(epoch, 0, 1), owed(epoch, 0, 2), owed(epoch, 3, 1)])
        .collect();
    assert_eq!(records.owed(&one, None, 100).unwrap(), expected);
    let part = records.owed(&one, None, 2).unwrap();
    assert_eq!(part, expected[..2]);
    assert_eq!(records.owed(&one, part.last(), 100).unwrap(), expected[2..]);

    records.paths_kept(one, expected[..4].to_vec()).await.unwrap();
    assert_eq!(records.owed(&one, None, 100).unwrap(), expected[4..]);
    assert_eq!(records.owed(&other, None, 100).unwrap(), expected);
    assert!(records.prune_owed(Epoch::new(1), 100).await.unwrap());
    assert_eq!(records.owed(&other, None, 100).unwrap(), expected[3..]);
}
