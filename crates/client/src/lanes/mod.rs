//! The two ends of a lane: who pays and who is paid, as pure state machines.
//!
//! ```text
//!   payer                                     payee
//!   order(n) ── request n, voucher ≤ n−1 ──▶  take voucher, admit n
//!   accept(n) ◀──────────── receipt n ──────  issue(n)
//!   voucher(n) ── alone after a second ────▶  take voucher
//! ```
//! Rules:
//! - One task at a time on a lane, because each receipt names the one before it; a payer that
//!   wants more at once opens more lanes.
//! - A voucher is the exact sum of the fees of receipts 1 to its sequence, and acknowledges the
//!   last of them. The payee knows that sum and takes nothing else: no dust, no rounding, no
//!   overpayment that could be argued about.
//! - The payee goes without pay for at most `credit_limit` receipts.
//! - State reaches the disk before the message that rests on it leaves. After a restart the
//!   payer asks the payee where the lane stands and believes only signatures: its own on a
//!   voucher, the box key's on a receipt for the task it remembers having ordered. Where the two
//!   cannot agree, the payer leaves the lane for good and opens another.
//!
//! Never here: I/O, clocks, prices, the ledger.

use crate::wire::LaneReport;
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{ChainId, Digest, Domain, PublicKey, SecretKey, Signed};
use ledger::payments::schema::{Acknowledgement, LaneId, Receipt, Request, Voucher};
use std::collections::BTreeMap;
use units::{Credit, Overflow};

/// Unpaid receipts that a payee puts up with per lane, unless it says otherwise.
pub const CREDIT_LIMIT: usize = 4;

/// Where a lane has come to, after its last receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Position {
    /// Receipts so far.
    pub sequence: u64,
    /// The exact sum of their fees.
    pub cumulative: Credit,
    /// Hash of the last; zero before the first.
    pub receipt: Digest,
}

impl Position {
    /// Before the first receipt.
    pub const START: Self = Self { sequence: 0, cumulative: Credit::ZERO, receipt: Digest::ZERO };

    /// The position after `receipt`, if it is the next.
    fn after(&self, receipt: &Receipt) -> Result<Self, ReceiptError> {
        let sequence = self.sequence.saturating_add(1);
        if receipt.sequence != sequence {
            return Err(ReceiptError::Sequence { expected: sequence, found: receipt.sequence });
        }
        if receipt.previous != self.receipt {
            return Err(ReceiptError::Previous { sequence });
        }
        let cumulative = self.cumulative.checked_add(receipt.fee)?;
        Ok(Self { sequence, cumulative, receipt: receipt.hash() })
    }
}

/// Why a payer does not accept a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// No task was ordered on this lane.
    #[error("no task is open on this lane")]
    NotOrdered,
    /// It answers another request.
    #[error("the receipt is for another request")]
    OtherRequest,
    /// Not signed by the operator's box key.
    #[error("the receipt is not signed by the operator's box key")]
    Signature,
    /// Not the next of the lane.
    #[error("the receipt has sequence {found}, the lane is at {expected}")]
    Sequence {
        /// The lane's next.
        expected: u64,
        /// The receipt's.
        found: u64,
    },
    /// It names another receipt before it.
    #[error("receipt {sequence} does not follow the lane's last receipt")]
    Previous {
        /// The receipt's place.
        sequence: u64,
    },
    /// It costs more than the task could.
    #[error("the receipt costs {fee}, the task at most {most}")]
    Fee {
        /// The receipt's.
        fee: Credit,
        /// The bound when the task was ordered.
        most: Credit,
    },
    /// The sum of fees does not fit.
    #[error("the sum of the lane's fees does not fit")]
    Overflow,
}

impl From<Overflow> for ReceiptError {
    fn from(_: Overflow) -> Self {
        Self::Overflow
    }
}

/// Why a payee does not take a voucher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VoucherError {
    /// It settles on another chain.
    #[error("the voucher is for another chain")]
    WrongChain,
    /// It belongs to another lane.
    #[error("the voucher is for another lane")]
    WrongLane,
    /// Not signed by the session key it names, or by another one than before.
    #[error("the voucher is not signed by the lane's session key")]
    Signature,
    /// It pays for fewer receipts than one that is already held.
    #[error("the voucher pays for {found} receipts, one for {held} is held")]
    Stale {
        /// Of the voucher that is held.
        held: u64,
        /// Of this one.
        found: u64,
    },
    /// It pays for receipts that do not exist.
    #[error("the voucher pays for {found} receipts, there are {issued}")]
    Ahead {
        /// Receipts so far.
        issued: u64,
        /// What it says.
        found: u64,
    },
    /// Its amount is not the exact sum.
    #[error("the voucher's sum is {found}, the receipts' is {due}")]
    Amount {
        /// The exact sum.
        due: Credit,
        /// The voucher's.
        found: Credit,
    },
    /// It acknowledges another receipt than the last it pays for.
    #[error("the voucher does not acknowledge receipt {sequence}")]
    Acknowledgement {
        /// The last receipt it pays for.
        sequence: u64,
    },
}

/// Why a payee does not admit a task to a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// Not the next of the lane.
    #[error("the task has sequence {found}, the lane is at {expected}")]
    Sequence {
        /// The lane's next.
        expected: u64,
        /// The task's.
        found: u64,
    },
    /// Another task is running.
    #[error("the lane's task {sequence} is still running; open another lane")]
    Running {
        /// Its place.
        sequence: u64,
    },
    /// Too much is owed.
    #[error("{unpaid} receipts are unpaid, at most {limit} are extended; send a voucher")]
    Unpaid {
        /// Receipts without a voucher.
        unpaid: usize,
        /// The bound.
        limit: usize,
    },
}

/// A task that was ordered and has no receipt yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Order {
    /// Hash of its request.
    pub request: Digest,
    /// The most it can cost.
    pub most: Credit,
}

/// The paying end. Goes to disk as it stands.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Payer {
    lane: LaneId,
    position: Position,
    acknowledgement: Option<Acknowledgement>,
    voucher: Option<Signed<Voucher>>,
    order: Option<Order>,
}

impl Payer {
    /// A lane without receipts.
    #[must_use]
    pub const fn new(lane: LaneId) -> Self {
        Self { lane, position: Position::START, acknowledgement: None, voucher: None, order: None }
    }

    /// Which lane.
    #[must_use]
    pub const fn lane(&self) -> LaneId {
        self.lane
    }

    /// Where it stands.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.position
    }

    /// The task that has no receipt yet.
    #[must_use]
    pub const fn order(&self) -> Option<Order> {
        self.order
    }

    /// Sequence of the next request.
    #[must_use]
    pub const fn next_sequence(&self) -> u64 {
        self.position.sequence.saturating_add(1)
    }

    /// Whether a receipt is accepted that no voucher pays for.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.paid() < self.position.sequence
    }

    fn paid(&self) -> u64 {
        self.voucher.as_ref().map_or(0, |voucher| voucher.message.sequence)
    }

    /// Notes that `request` is about to be sent; the state must be on disk before it is.
    pub fn order_task(&mut self, request: &Request, most: Credit) {
        self.order = Some(Order { request: request.hash(), most });
    }

    /// Notes that the ordered task will bring no receipt, because the operator refused it.
    pub fn withdraw(&mut self) {
        self.order = None;
    }

    /// The voucher for all receipts so far, drawn on `allocation`; signed only if it says more
    /// than the last. The state must be on disk before it is sent.
    pub fn voucher(&mut self, chain: ChainId, allocation: u64, key: &SecretKey) -> Signed<Voucher> {
        let same = |held: &&Signed<Voucher>| {
            let held = &held.message;
            held.sequence == self.position.sequence
                && held.allocation == allocation
                && held.session_key == key.public()
        };
        if let Some(held) = self.voucher.as_ref().filter(same) {
            return held.clone();
        }
        let voucher = Voucher {
            chain,
            payer: self.lane.payer,
            session_key: key.public(),
            operator: self.lane.operator,
            lane: self.lane.index,
            allocation,
            cumulative: self.position.cumulative,
            sequence: self.position.sequence,
            acknowledgement: self.acknowledgement,
        };
        let signed = voucher.sign(key);
        self.voucher = Some(signed.clone());
        signed
    }

    /// Takes the receipt of the open task. `times` are the payer's own, for the voucher.
    ///
    /// # Errors
    /// [`ReceiptError`]; the lane is then unchanged.
    pub fn accept(
        &mut self,
        receipt: &Signed<Receipt>,
        box_key: &PublicKey,
        times: Times,
    ) -> Result<(), ReceiptError> {
        let order = self.order.ok_or(ReceiptError::NotOrdered)?;
        let message = &receipt.message;
        if message.request != order.request || message.operator != self.lane.operator {
            return Err(ReceiptError::OtherRequest);
        }
        if message.fee > order.most {
            return Err(ReceiptError::Fee { fee: message.fee, most: order.most });
        }
        box_key
            .verify(Domain::Receipt, message, &receipt.signature)
            .map_err(|_| ReceiptError::Signature)?;
        self.position = self.position.after(message)?;
        self.acknowledgement = Some(times.acknowledge(self.position.receipt));
        self.order = None;
        Ok(())
    }

    /// Brings the lane to where both ends agree after a restart of either.
    ///
    /// # Errors
    /// [`ReceiptError`]: the payee's report contradicts what we hold. The lane must be left.
    pub fn resume(
        &mut self,
        report: &LaneReport,
        session_key: &PublicKey,
        box_key: &PublicKey,
    ) -> Result<(), ReceiptError> {
        if report.lane != self.lane {
            return Err(ReceiptError::OtherRequest);
        }
        if let Some(theirs) = report.voucher.as_ref().filter(|v| v.message.sequence > self.paid()) {
            self.adopt(theirs, session_key)?;
        }
        let known = self.position.sequence;
        for receipt in report.unpaid.iter().filter(|receipt| receipt.message.sequence > known) {
            self.accept(receipt, box_key, Times::default())?;
        }
        let theirs = report.unpaid.last().map(|receipt| receipt.message.sequence);
        let theirs = theirs.or(report.voucher.as_ref().map(|v| v.message.sequence)).unwrap_or(0);
        if theirs < self.position.sequence {
            // We hold receipts that the payee has lost: it cannot go on from ours.
            let found = self.position.sequence;
            return Err(ReceiptError::Sequence { expected: theirs, found });
        }
        // What was ordered and has no receipt by now was never done.
        self.order = None;
        Ok(())
    }

    /// Takes over a voucher of our own that we have lost: we signed it, so it was right.
    fn adopt(
        &mut self,
        theirs: &Signed<Voucher>,
        session_key: &PublicKey,
    ) -> Result<(), ReceiptError> {
        let voucher = &theirs.message;
        let ours = voucher.lane_id() == self.lane && voucher.session_key == *session_key;
        let holds = session_key.verify(Domain::Voucher, voucher, &theirs.signature);
        if !ours || holds.is_err() {
            return Err(ReceiptError::Signature);
        }
        if voucher.sequence > self.position.sequence {
            let receipt = voucher.acknowledgement.map_or(Digest::ZERO, |known| known.receipt);
            self.position =
                Position { sequence: voucher.sequence, cumulative: voucher.cumulative, receipt };
            self.acknowledgement = voucher.acknowledgement;
        }
        self.voucher = Some(theirs.clone());
        Ok(())
    }
}

/// The payer's own times of one task, in milliseconds; only differences mean anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// When the request left.
    pub sent: units::Millis,
    /// When the first token came.
    pub first: units::Millis,
    /// When the receipt came.
    pub done: units::Millis,
}

impl Times {
    fn acknowledge(self, receipt: Digest) -> Acknowledgement {
        Acknowledgement { receipt, t_sent: self.sent, t_first: self.first, t_done: self.done }
    }
}

/// The paid end. Rebuilt from receipts and the latest voucher after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payee {
    lane: LaneId,
    credit_limit: usize,
    voucher: Option<Signed<Voucher>>,
    /// The last position that is paid for, and those after it.
    positions: BTreeMap<u64, Position>,
    running: Option<u64>,
}

impl Payee {
    /// A lane without receipts.
    #[must_use]
    pub fn new(lane: LaneId, credit_limit: usize) -> Self {
        let positions = BTreeMap::from([(0, Position::START)]);
        Self { lane, credit_limit, voucher: None, positions, running: None }
    }

    /// The lane as it was: the latest voucher, and the receipts after it in order.
    ///
    /// # Errors
    /// [`ReceiptError`] if the records do not follow each other.
    pub fn restore<'a>(
        lane: LaneId,
        credit_limit: usize,
        voucher: Option<Signed<Voucher>>,
        unpaid: impl IntoIterator<Item = &'a Receipt>,
    ) -> Result<Self, ReceiptError> {
        let mut payee = Self::new(lane, credit_limit);
        if let Some(held) = &voucher {
            let held = &held.message;
            let receipt = held.acknowledgement.map_or(Digest::ZERO, |known| known.receipt);
            let paid = Position { sequence: held.sequence, cumulative: held.cumulative, receipt };
            payee.positions = BTreeMap::from([(paid.sequence, paid)]);
        }
        payee.voucher = voucher;
        for receipt in unpaid {
            payee.issue(receipt)?;
        }
        Ok(payee)
    }

    /// Where the lane stands.
    #[must_use]
    pub fn position(&self) -> Position {
        self.positions.values().next_back().copied().unwrap_or(Position::START)
    }

    /// The latest voucher.
    #[must_use]
    pub const fn latest_voucher(&self) -> Option<&Signed<Voucher>> {
        self.voucher.as_ref()
    }

    /// What receipts without a voucher add up to.
    #[must_use]
    pub fn unpaid(&self) -> Credit {
        let paid = self.voucher.as_ref().map_or(Credit::ZERO, |held| held.message.cumulative);
        self.position().cumulative.saturating_sub(paid)
    }

    /// Checks a voucher. Says whether it is new: then it must be on disk before
    /// [`Payee::take_voucher`].
    ///
    /// # Errors
    /// [`VoucherError`].
    pub fn check_voucher(
        &self,
        chain: ChainId,
        voucher: &Signed<Voucher>,
    ) -> Result<bool, VoucherError> {
        let message = &voucher.message;
        if message.chain != chain {
            return Err(VoucherError::WrongChain);
        }
        if message.lane_id() != self.lane {
            return Err(VoucherError::WrongLane);
        }
        let held = self.voucher.as_ref();
        if held.is_some_and(|held| held.message == *message) {
            return Ok(false);
        }
        self.check_amount(message)?;
        // The signature last: it costs the most.
        message
            .session_key
            .verify(Domain::Voucher, message, &voucher.signature)
            .map_err(|_| VoucherError::Signature)?;
        Ok(true)
    }

    fn check_amount(&self, voucher: &Voucher) -> Result<(), VoucherError> {
        let found = voucher.sequence;
        let held = self.voucher.as_ref().map_or(0, |held| held.message.sequence);
        if found < held {
            return Err(VoucherError::Stale { held, found });
        }
        let Some(due) = self.positions.get(&found) else {
            return Err(VoucherError::Ahead { issued: self.position().sequence, found });
        };
        if voucher.cumulative != due.cumulative {
            return Err(VoucherError::Amount { due: due.cumulative, found: voucher.cumulative });
        }
        let acknowledged = voucher.acknowledgement.map_or(Digest::ZERO, |known| known.receipt);
        if acknowledged != due.receipt {
            return Err(VoucherError::Acknowledgement { sequence: found });
        }
        Ok(())
    }

    /// Takes a voucher that was checked and is on disk.
    pub fn take_voucher(&mut self, voucher: Signed<Voucher>) {
        let paid = voucher.message.sequence;
        self.positions = self.positions.split_off(&paid);
        self.voucher = Some(voucher);
    }

    /// Whether a task may run now.
    ///
    /// # Errors
    /// [`AdmissionError`].
    pub fn admit(&self, sequence: u64) -> Result<(), AdmissionError> {
        if let Some(sequence) = self.running {
            return Err(AdmissionError::Running { sequence });
        }
        let expected = self.position().sequence.saturating_add(1);
        if sequence != expected {
            return Err(AdmissionError::Sequence { expected, found: sequence });
        }
        let unpaid = self.positions.len().saturating_sub(1);
        if unpaid >= self.credit_limit {
            return Err(AdmissionError::Unpaid { unpaid, limit: self.credit_limit });
        }
        Ok(())
    }

    /// Notes that an admitted task runs.
    pub fn begin(&mut self, sequence: u64) {
        self.running = Some(sequence);
    }

    /// Notes that the running task ends without a receipt.
    pub fn abandon(&mut self) {
        self.running = None;
    }

    /// Takes the receipt of the running task, which is on disk.
    ///
    /// # Errors
    /// [`ReceiptError`] if it is not the next of this lane.
    pub fn issue(&mut self, receipt: &Receipt) -> Result<(), ReceiptError> {
        let position = self.position().after(receipt)?;
        self.positions.insert(position.sequence, position);
        self.running = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
