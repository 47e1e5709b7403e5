//! The paid end of a lane.
//!
//! Never here: allocations, the disk.

use super::{AdmissionError, Position, ReceiptError, VoucherError};
use crypto::{ChainId, Digest, Domain, Signed};
use ledger::payments::schema::{LaneId, Receipt, Voucher};
use std::collections::BTreeMap;
use units::Credit;

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
