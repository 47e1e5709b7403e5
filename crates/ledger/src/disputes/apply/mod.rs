//! Disputes: the transactions, and what becomes of lines without anybody's doing.

mod due;
mod lines;
mod open;
mod play;

pub(crate) use due::end_block;
#[allow(unused_imports, reason = "for the rules of higher modules that name challengers")]
pub(crate) use open::{Backing, disputed, open};

use super::schema::Tx;
use crate::{
    context::{Context, Sender},
    error::Failure,
};

/// Applies one transaction of this module.
pub(crate) fn apply(ctx: &mut Context<'_>, sender: &Sender, tx: &Tx) -> Result<(), Failure> {
    match tx {
        Tx::Challenge { subject, finding } => {
            open(ctx, sender.account, subject, finding, Backing::Account)?;
            Ok(())
        }
        Tx::Play { receipt, line, play } => play::play(ctx, sender, *receipt, *line, play),
        Tx::Miscount { subject, length, count, top } => {
            open::miscount(ctx, sender.account, subject, *length, *count, top)
        }
        Tx::Foreign { subject, position, token, salt, proof } => {
            open::foreign(ctx, sender.account, subject, (*position, *token), salt, proof)
        }
    }
}
