//! The paying end of a lane.
//!
//! Never here: which lane a task takes, when a voucher is sent.

use super::{Position, ReceiptError};
use crate::wire::LaneReport;
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{ChainId, Digest, Domain, PublicKey, SecretKey, Signed};
use ledger::payments::schema::{Acknowledgement, LaneId, Receipt, Request, Voucher};
use units::{Credit, Millis};

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

    /// Whether the lane is not at rest: a receipt is unpaid, or a task was ordered whose end is not
    /// known.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.owes() || self.order.is_some()
    }

    /// The allocation that the last voucher draws on.
    #[must_use]
    pub fn allocation(&self) -> Option<u64> {
        self.voucher.as_ref().map(|voucher| voucher.message.allocation)
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
    pub sent: Millis,
    /// When the first token came.
    pub first: Millis,
    /// When the receipt came.
    pub done: Millis,
}

impl Times {
    fn acknowledge(self, receipt: Digest) -> Acknowledgement {
        Acknowledgement { receipt, t_sent: self.sent, t_first: self.first, t_done: self.done }
    }
}
