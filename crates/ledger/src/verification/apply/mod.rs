//! Verification: the transactions, and what falls due.

use super::schema::Tx;
use crate::{
    context::{Context, Sender},
    error::Failure,
    payments,
};

/// Applies one transaction of this module.
pub(crate) fn apply(_: &mut Context<'_>, _: &Sender, _: &Tx) -> Result<(), Failure> {
    Err(super::Error::UnknownPoint.into())
}

/// Whether a claim may be filed.
pub(crate) fn admit(_: &Context<'_>, _: &payments::Tx) -> Result<(), Failure> {
    Ok(())
}

/// Draws.
pub(crate) fn begin_block(_: &mut Context<'_>) -> Result<(), Failure> {
    Ok(())
}

/// What falls due.
pub(crate) fn end_block(_: &mut Context<'_>) -> Result<(), Failure> {
    Ok(())
}
