//! Two ends of a lane play against each other, honest and not.

use super::*;
use crate::wire::LaneReport;
use crypto::{AccountId, ChainId, ModelId, OperatorId, SecretKey, Signed};
use ledger::payments::schema::{
    AuditMode, Finish, LaneId, Request, RequestBody, Sampling, Tier, Voucher,
};
use units::{List, Millis, Price, Round, WorkUnits};

const CHAIN: ChainId = ChainId::new(Digest::new([7; 32]));

fn session() -> SecretKey {
    SecretKey::from_seed([1; 32])
}

fn box_key() -> SecretKey {
    SecretKey::from_seed([2; 32])
}

fn lane() -> LaneId {
    let payer = AccountId::new(SecretKey::from_seed([3; 32]).public());
    LaneId { payer, operator: OperatorId::derive(&payer, 0), index: 5 }
}

fn request(sequence: u64) -> Request {
    let body = RequestBody {
        chain: CHAIN,
        model: ModelId::new(Digest::ZERO),
        semantics: 0,
        input_commit: Digest::ZERO,
        sampling: Sampling { temperature_milli: 0, top_p_milli: 1_000, top_k: 0 },
        seed: sequence,
        max_tokens: 1,
        stop: List::empty(),
    };
    Request {
        body,
        payer: lane().payer,
        session_key: session().public(),
        operator: lane().operator,
        lane: lane().index,
        sequence,
        price: Price::new(1),
        deadline: Millis::new(1_000),
        tier: Tier::Audit,
        audit_mode: AuditMode::Open,
        freshness: Round::new(1),
    }
}

fn receipt(payee: &Payee, request: &Request, fee: u128) -> Signed<Receipt> {
    let position = payee.position();
    let receipt = Receipt {
        operator: lane().operator,
        key_epoch: 0,
        request: request.hash(),
        output_commit: Digest::ZERO,
        trace_commit: Digest::ZERO,
        n_in: 1,
        n_out: 1,
        finish: Finish::Stop,
        work_units: WorkUnits::new(1),
        fee: Credit::new(fee),
        sequence: position.sequence + 1,
        previous: position.receipt,
        t_received: Millis::ZERO,
        t_first: Millis::ZERO,
        t_done: Millis::ZERO,
    };
    receipt.sign(&box_key())
}

/// Two ends and what the payee would find on its disk.
struct Pair {
    payer: Payer,
    payee: Payee,
    receipts: Vec<Signed<Receipt>>,
}

impl Pair {
    fn new() -> Self {
        Self {
            payer: Payer::new(lane()),
            payee: Payee::new(lane(), CREDIT_LIMIT),
            receipts: Vec::new(),
        }
    }

    fn after(tasks: u128) -> Self {
        let mut pair = Self::new();
        for task in 1..=tasks {
            pair.task(10 * task);
        }
        pair
    }

    fn voucher(&mut self) -> Signed<Voucher> {
        self.payer.voucher(CHAIN, 1, &session())
    }

    fn pay(&mut self) {
        let voucher = self.voucher();
        self.payee.check_voucher(CHAIN, &voucher).unwrap();
        self.payee.take_voucher(voucher);
    }

    /// The operator's half of a task whose receipt never reaches the payer.
    fn task_unseen(&mut self, fee: u128) -> Signed<Receipt> {
        let request = request(self.payer.next_sequence());
        self.payer.order_task(&request, Credit::new(1_000));
        self.pay();
        self.payee.admit(request.sequence).unwrap();
        self.payee.begin(request.sequence);
        let receipt = receipt(&self.payee, &request, fee);
        self.payee.issue(&receipt.message).unwrap();
        self.receipts.push(receipt.clone());
        receipt
    }

    fn task(&mut self, fee: u128) {
        let receipt = self.task_unseen(fee);
        self.payer.accept(&receipt, &box_key().public(), Times::default()).unwrap();
    }

    fn report(&self) -> LaneReport {
        let voucher = self.payee.latest_voucher().cloned();
        let paid = voucher.as_ref().map_or(0, |voucher| voucher.message.sequence);
        let unpaid = self.receipts.iter().filter(|receipt| receipt.message.sequence > paid);
        LaneReport { lane: lane(), voucher, unpaid: List::new(unpaid.cloned().collect()).unwrap() }
    }

    fn resume(&mut self) -> Result<(), ReceiptError> {
        let report = self.report();
        self.payer.resume(&report, &session().public(), &box_key().public())
    }

    #[track_caller]
    fn refuses(&self, voucher: Voucher, expected: VoucherError) {
        let signed = voucher.sign(&session());
        assert_eq!(self.payee.check_voucher(CHAIN, &signed), Err(expected));
    }
}

#[test]
fn vouchers_are_exact_sums_that_acknowledge_the_last_receipt() {
    let mut pair = Pair::after(3);
    let voucher = pair.voucher().message;
    assert_eq!(voucher.sequence, 3);
    assert_eq!(voucher.cumulative, Credit::new(60));
    assert_eq!(voucher.acknowledgement.unwrap().receipt, pair.receipts[2].message.hash());
    assert_eq!(pair.payee.unpaid(), Credit::new(30), "the last is paid by the next voucher");
    pair.pay();
    assert_eq!(pair.payee.unpaid(), Credit::ZERO);
    assert!(!pair.payer.owes());
}

#[test]
fn a_voucher_that_says_nothing_new_is_not_signed_again() {
    let mut pair = Pair::after(1);
    let first = pair.voucher();
    assert_eq!(pair.voucher(), first);
    pair.pay();
    assert_eq!(pair.payee.check_voucher(CHAIN, &first), Ok(false));
}

#[test]
fn vouchers_that_do_not_hold_are_refused_each_with_its_reason() {
    let mut pair = Pair::after(2);
    let good = pair.voucher().message;
    let due = good.cumulative;
    let changed = |change: &dyn Fn(&mut Voucher)| {
        let mut voucher = good.clone();
        change(&mut voucher);
        voucher
    };
    pair.refuses(changed(&|v| v.chain = ChainId::new(Digest::ZERO)), VoucherError::WrongChain);
    pair.refuses(changed(&|v| v.lane = 6), VoucherError::WrongLane);
    pair.refuses(changed(&|v| v.sequence = 3), VoucherError::Ahead { issued: 2, found: 3 });
    pair.refuses(changed(&|v| v.sequence = 0), VoucherError::Stale { held: 1, found: 0 });
    for found in [Credit::ZERO, Credit::new(29), Credit::new(31), Credit::MAX] {
        let voucher = changed(&|v| v.cumulative = found);
        pair.refuses(voucher, VoucherError::Amount { due, found });
    }
    let voucher = changed(&|v| v.acknowledgement = None);
    pair.refuses(voucher, VoucherError::Acknowledgement { sequence: 2 });

    let other_key = good.sign(&SecretKey::from_seed([9; 32]));
    assert_eq!(pair.payee.check_voucher(CHAIN, &other_key), Err(VoucherError::Signature));
}

#[test]
fn a_payee_extends_credit_for_a_few_receipts_only() {
    let mut payee = Payee::new(lane(), CREDIT_LIMIT);
    for sequence in 1..=CREDIT_LIMIT as u64 {
        payee.admit(sequence).unwrap();
        let receipt = receipt(&payee, &request(sequence), 1);
        payee.issue(&receipt.message).unwrap();
    }
    let refused = payee.admit(CREDIT_LIMIT as u64 + 1);
    assert_eq!(refused, Err(AdmissionError::Unpaid { unpaid: CREDIT_LIMIT, limit: CREDIT_LIMIT }));
}

#[test]
fn a_lane_carries_one_task_at_a_time_in_order() {
    let mut pair = Pair::after(1);
    assert_eq!(pair.payee.admit(3), Err(AdmissionError::Sequence { expected: 2, found: 3 }));
    assert_eq!(pair.payee.admit(1), Err(AdmissionError::Sequence { expected: 2, found: 1 }));
    pair.payee.begin(2);
    assert_eq!(pair.payee.admit(2), Err(AdmissionError::Running { sequence: 2 }));
    pair.payee.abandon();
    assert_eq!(pair.payee.admit(2), Ok(()));
}

#[test]
fn receipts_that_do_not_hold_are_refused_each_with_its_reason() {
    let mut pair = Pair::after(1);
    let key = box_key().public();
    let accept = |payer: &mut Payer, receipt: Receipt| {
        payer.accept(&receipt.sign(&box_key()), &key, Times::default())
    };
    let good = receipt(&pair.payee, &request(2), 1_000).message;
    assert_eq!(accept(&mut pair.payer, good.clone()), Err(ReceiptError::NotOrdered));
    pair.payer.order_task(&request(2), Credit::new(1_000));
    let before = pair.payer.clone();

    let other = Receipt { request: Digest::ZERO, ..good };
    assert_eq!(accept(&mut pair.payer, other), Err(ReceiptError::OtherRequest));
    let fee = Credit::new(1_001);
    let dear = Receipt { fee, ..good };
    let most = Credit::new(1_000);
    assert_eq!(accept(&mut pair.payer, dear), Err(ReceiptError::Fee { fee, most }));
    let skipped = Receipt { sequence: 3, ..good };
    let expected = ReceiptError::Sequence { expected: 2, found: 3 };
    assert_eq!(accept(&mut pair.payer, skipped), Err(expected));
    let forked = Receipt { previous: Digest::ZERO, ..good };
    assert_eq!(accept(&mut pair.payer, forked), Err(ReceiptError::Previous { sequence: 2 }));
    let forged = good.clone().sign(&SecretKey::from_seed([9; 32]));
    let refused = pair.payer.accept(&forged, &key, Times::default());
    assert_eq!(refused, Err(ReceiptError::Signature));

    assert_eq!(pair.payer, before, "a refused receipt changes nothing");
    assert_eq!(accept(&mut pair.payer, good), Ok(()));
}

#[test]
fn a_receipt_that_was_lost_on_the_way_is_accepted_on_resuming() {
    let mut pair = Pair::after(2);
    pair.task_unseen(7);
    let on_disk = borsh::to_vec(&pair.payer).unwrap();
    pair.payer = borsh::from_slice(&on_disk).unwrap();
    pair.resume().unwrap();
    assert_eq!(pair.payer.position(), pair.payee.position());
    pair.task(8);
    assert_eq!(pair.voucher().message.cumulative, Credit::new(10 + 20 + 7 + 8));
}

#[test]
fn a_task_that_never_ran_leaves_its_place_free_on_resuming() {
    let mut pair = Pair::after(2);
    pair.payer.order_task(&request(3), Credit::new(1_000));
    pair.resume().unwrap();
    assert_eq!(pair.payer.order(), None);
    pair.task(5);
}

#[test]
fn a_payer_that_lost_its_state_recovers_from_its_own_voucher() {
    let mut pair = Pair::after(3);
    pair.pay();
    pair.payer = Payer::new(lane());
    pair.resume().unwrap();
    assert_eq!(pair.payer.position(), pair.payee.position());
    assert_eq!(pair.voucher().message.cumulative, Credit::new(60));
    pair.task(1);
}

#[test]
fn a_payer_that_lost_its_state_does_not_pay_for_what_it_cannot_remember() {
    let mut pair = Pair::after(3);
    pair.payer = Payer::new(lane());
    assert_eq!(pair.resume(), Err(ReceiptError::NotOrdered));
}

#[test]
fn a_payer_never_adopts_a_voucher_it_did_not_sign() {
    let mut pair = Pair::after(1);
    let mut report = pair.report();
    let mut voucher = pair.voucher().message;
    voucher.sequence = 9;
    voucher.cumulative = Credit::new(1_000_000);
    report.voucher = Some(voucher.sign(&box_key()));
    let refused = pair.payer.resume(&report, &session().public(), &box_key().public());
    assert_eq!(refused, Err(ReceiptError::Signature));
}

#[test]
fn a_payee_that_lost_receipts_is_noticed() {
    let mut pair = Pair::after(3);
    pair.receipts.truncate(2);
    let expected = ReceiptError::Sequence { expected: 2, found: 3 };
    assert_eq!(pair.resume(), Err(expected));
}

#[test]
fn a_payee_is_restored_from_its_records() {
    let mut pair = Pair::after(4);
    pair.task_unseen(9);
    let voucher = pair.payee.latest_voucher().cloned();
    let paid = voucher.as_ref().unwrap().message.sequence;
    let unpaid: Vec<Receipt> = pair
        .receipts
        .iter()
        .map(|receipt| receipt.message.clone())
        .filter(|receipt| receipt.sequence > paid)
        .collect();
    let restored = Payee::restore(lane(), CREDIT_LIMIT, voucher, &unpaid).unwrap();
    assert_eq!(restored, pair.payee);
}

#[test]
fn any_order_of_tasks_losses_and_restarts_keeps_both_ends_equal() {
    use proptest::prelude::*;
    proptest!(|(steps in proptest::collection::vec((0_u8..4, 0_u128..1_000), 1..60))| {
        let mut pair = Pair::new();
        let mut total = 0;
        for (step, fee) in steps {
            match step {
                0 => {
                    pair.task(fee);
                    total += fee;
                }
                1 => {
                    pair.task_unseen(fee);
                    total += fee;
                    pair.resume().unwrap();
                }
                2 => pair.pay(),
                _ => {
                    let bytes = borsh::to_vec(&pair.payer).unwrap();
                    pair.payer = borsh::from_slice(&bytes).unwrap();
                    pair.resume().unwrap();
                }
            }
            prop_assert_eq!(pair.payer.position(), pair.payee.position());
            prop_assert_eq!(pair.payer.position().cumulative, Credit::new(total));
        }
    });
}
