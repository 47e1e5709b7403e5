//! Verification: the transactions, and what becomes of claims without anybody's doing.

mod auditors;
mod claims;
mod conflicts;
pub(super) mod content;
mod omissions;
mod penalties;
mod points;

pub(crate) use claims::{admit, begin_block};

use super::schema::Tx;
use crate::{
    context::{Context, Sender},
    error::Failure,
};

/// Applies one transaction of this module.
pub(crate) fn apply(ctx: &mut Context<'_>, sender: &Sender, tx: &Tx) -> Result<(), Failure> {
    let at = |operator: &_, epoch: &_, point: &_| (*operator, *epoch, *point);
    match tx {
        Tx::Enlist { key, amount, models, endpoint } => {
            auditors::enlist(ctx, sender.account, *key, *amount, models, endpoint)
        }
        Tx::Retire => auditors::retire(ctx, sender.account),
        Tx::Open(opening) => points::open(ctx, opening),
        Tx::Commit { operator, epoch, point, commitment } => {
            points::commit(ctx, sender, at(operator, epoch, point), *commitment)
        }
        Tx::Reveal { operator, epoch, point, finding, salt } => {
            points::reveal(ctx, sender, at(operator, epoch, point), finding, salt)
        }
        Tx::RevealTrace { operator, epoch, point, trace_root, salt } => {
            points::reveal_trace(ctx, at(operator, epoch, point), *trace_root, salt)
        }
        Tx::Demand { operator, epoch, point, reply } => {
            content::demand(ctx, sender, at(operator, epoch, point), *reply)
        }
        Tx::Deliver { operator, epoch, point, delivery } => {
            content::deliver(ctx, sender, at(operator, epoch, point), delivery)
        }
        Tx::Complain { operator, epoch, point, secret } => {
            content::complain(ctx, sender, at(operator, epoch, point), secret)
        }
        Tx::Conflict(certificate) => conflicts::file(ctx, sender.account, certificate),
        Tx::Answer { receipt, trace_root, salt } => {
            conflicts::answer(ctx, *receipt, *trace_root, salt)
        }
        Tx::Omission(omission) => omissions::file(ctx, sender.account, omission),
    }
}

/// Takes verdicts first, then what is due, then the verdicts that this has led to.
pub(crate) fn end_block(ctx: &mut Context<'_>) -> Result<(), Failure> {
    penalties::take_verdicts(ctx)?;
    points::look_at_due(ctx)?;
    conflicts::look_at_due(ctx)?;
    penalties::take_verdicts(ctx)?;
    auditors::leave(ctx)
}
