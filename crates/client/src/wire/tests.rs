//! Frames from strangers: cut, lengthened, changed at any byte.

use super::*;
use crypto::{AccountId, ModelId, SecretKey};
use ledger::payments::schema::{Acknowledgement, AuditMode, Finish, RequestBody, Sampling, Tier};
use proptest::prelude::*;
use units::{Credit, Millis, Price, Round, WorkUnits};

fn key() -> SecretKey {
    SecretKey::from_seed([5; 32])
}

fn lane() -> LaneId {
    let payer = AccountId::new(key().public());
    LaneId { payer, operator: OperatorId::derive(&payer, 0), index: 3 }
}

fn request() -> Signed<Request> {
    let body = RequestBody {
        chain: ChainId::new(Digest::ZERO),
        model: ModelId::new(Digest::ZERO),
        semantics: 0,
        input_commit: Digest::ZERO,
        sampling: Sampling { temperature_milli: 700, top_p_milli: 1_000, top_k: 40 },
        seed: 7,
        max_tokens: 16,
        stop: List::new(vec![2]).unwrap(),
    };
    let request = Request {
        body,
        payer: lane().payer,
        session_key: key().public(),
        operator: lane().operator,
        lane: lane().index,
        sequence: 4,
        price: Price::new(1),
        deadline: Millis::new(1_000),
        tier: Tier::Audit,
        audit_mode: AuditMode::Open,
        freshness: Round::new(9),
    };
    request.sign(&key())
}

fn voucher() -> Signed<Voucher> {
    let times = Millis::new(5);
    let voucher = Voucher {
        chain: ChainId::new(Digest::ZERO),
        payer: lane().payer,
        session_key: key().public(),
        operator: lane().operator,
        lane: lane().index,
        allocation: 1,
        cumulative: Credit::new(30),
        sequence: 3,
        acknowledgement: Some(Acknowledgement {
            receipt: Digest::ZERO,
            t_sent: times,
            t_first: times,
            t_done: times,
        }),
    };
    voucher.sign(&key())
}

fn receipt() -> Signed<Receipt> {
    let receipt = Receipt {
        operator: lane().operator,
        key_epoch: 0,
        request: request().message.hash(),
        output_commit: Digest::ZERO,
        trace_commit: Digest::ZERO,
        n_in: 3,
        n_out: 1,
        finish: Finish::Length,
        work_units: WorkUnits::new(1),
        fee: Credit::new(1),
        sequence: 4,
        previous: Digest::ZERO,
        t_received: Millis::ZERO,
        t_first: Millis::ZERO,
        t_done: Millis::ZERO,
    };
    receipt.sign(&key())
}

fn task() -> Vec<u8> {
    encode(&FromGateway::Task(Box::new(Task {
        task: 1,
        request: request(),
        ids: List::new(vec![1, 2, 3]).unwrap(),
        salt: Salt::new([6; 32]),
        voucher: voucher(),
    })))
}

fn done() -> Vec<u8> {
    let rest = Output::Row(List::new(vec![1, -1]).unwrap());
    encode(&FromBox::Done { task: 1, receipt: receipt(), rest })
}

fn report() -> Vec<u8> {
    let unpaid = List::new(vec![receipt()]).unwrap();
    encode(&FromBox::LaneReport(LaneReport { lane: lane(), voucher: Some(voucher()), unpaid }))
}

/// Whether bytes are no message, or exactly the message they decode to.
fn is_canonical<T: BorshSerialize + BorshDeserialize>(bytes: &[u8]) -> bool {
    decode::<T>(bytes).map_or(true, |message| encode(&message) == bytes)
}

#[test]
fn messages_come_back_as_they_were_sent() {
    assert_eq!(encode(&decode::<FromGateway>(&task()).unwrap()), task());
    assert_eq!(encode(&decode::<FromBox>(&done()).unwrap()), done());
    assert_eq!(encode(&decode::<FromBox>(&report()).unwrap()), report());
}

/// Whether a frame is read only at its full length.
fn is_read_only_whole<T: BorshDeserialize>(frame: &[u8]) -> bool {
    let cut = (0..frame.len()).all(|end| decode::<T>(&frame[..end]).is_err());
    cut && decode::<T>(&[frame, &[0]].concat()).is_err() && decode::<T>(frame).is_ok()
}

#[test]
fn a_cut_or_lengthened_frame_is_no_message() {
    assert!(is_read_only_whole::<FromGateway>(&task()));
    assert!(is_read_only_whole::<FromBox>(&done()));
    assert!(is_read_only_whole::<FromBox>(&report()));
}

#[test]
fn a_list_above_its_bound_is_refused_before_it_is_read() {
    let mut frame = encode(&FromBox::Tokens { task: 1, ids: List::empty() });
    let length = frame.len();
    frame[length - 4..].copy_from_slice(&u32::MAX.to_le_bytes());
    let error = decode::<FromBox>(&frame).unwrap_err();
    assert!(error.reason.contains("exceeds"), "{error}");
}

#[test]
fn an_unknown_kind_of_message_is_refused() {
    assert!(decode::<FromBox>(&[200]).is_err());
    assert!(decode::<FromGateway>(&[200]).is_err());
}

#[test]
fn the_text_of_a_refusal_is_cut_between_letters() {
    let refusal = Refusal::new(RefusalCode::Busy, "é".repeat(MAX_REASON_BYTES));
    assert_eq!(refusal.reason.len(), MAX_REASON_BYTES);
    let odd = format!("a{}", "é".repeat(MAX_REASON_BYTES));
    assert_eq!(Refusal::new(RefusalCode::Busy, odd).reason.len(), MAX_REASON_BYTES - 1);
}

proptest! {
    #[test]
    fn a_changed_byte_gives_no_message_or_exactly_another(
        which in 0_usize..3,
        place in any::<prop::sample::Index>(),
        change in 1_u8..,
    ) {
        let mut frame = vec![task(), done(), report()].swap_remove(which);
        let place = place.index(frame.len());
        frame[place] ^= change;
        prop_assert!(is_canonical::<FromBox>(&frame));
        prop_assert!(is_canonical::<FromGateway>(&frame));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(frame in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(is_canonical::<FromBox>(&frame));
        prop_assert!(is_canonical::<FromGateway>(&frame));
    }
}
