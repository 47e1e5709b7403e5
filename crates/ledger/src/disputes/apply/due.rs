//! Disputes: what falls due at the end of a block.
//!
//! Rules: R11, R12, R14. Each block takes a bounded number of steps, oldest first.

use super::{
    super::{
        schema::{CLOSING, DISPUTES, DUE, FORGET, LINES},
        state::{Cause, Party, dispute, line, open_count},
    },
    lines,
};
use crate::{
    context::Context,
    error::{Broken, Failure},
    store::Read,
};
use crypto::Digest;

/// Most lines that one block closes because their receipt was proven wrong.
const CLOSED_PER_BLOCK: usize = 64;
/// Most lines whose time one block looks at.
const DUE_PER_BLOCK: usize = 128;
/// Most disputes that one block forgets.
const FORGOTTEN_PER_BLOCK: usize = 64;

/// Closes pointless lines, ends those whose party was silent, forgets old disputes.
pub(crate) fn end_block(ctx: &mut Context<'_>) -> Result<(), Failure> {
    close_proven(ctx)?;
    let clock = ctx.clock();
    for (key, ()) in ctx.scan(&DUE, &(), DUE_PER_BLOCK)? {
        if key.0 > clock {
            break;
        }
        look_at(ctx, key.1)?;
    }
    forget(ctx)
}

/// R14
fn close_proven(ctx: &mut Context<'_>) -> Result<(), Failure> {
    let mut left = CLOSED_PER_BLOCK;
    while let Some((receipt, ())) = ctx.scan(&CLOSING, &(), 1)?.pop() {
        let mut record = existing(ctx, receipt)?;
        let cause = record.proven.ok_or(Broken::Rule("a receipt is closing without a proof"))?;
        let lines = ctx.scan(&LINES, &receipt, left)?;
        left = left.saturating_sub(lines.len());
        for (key, line) in lines {
            lines::close(ctx, key, &mut record, &line, cause)?;
        }
        if record.open > 0 {
            break; // The rest follows in the next block.
        }
        ctx.remove(&CLOSING, &receipt);
    }
    Ok(())
}

/// R12: the party on turn has been silent, unless its time has grown since.
fn look_at(ctx: &mut Context<'_>, key: (Digest, u32)) -> Result<(), Failure> {
    let record = existing(ctx, key.0)?;
    let found = line(ctx, &key.0, key.1)?;
    let mut found = found.ok_or(Broken::Rule("a line is due that is not there"))?;
    if record.proven.is_some() {
        return Ok(()); // It waits to be closed.
    }
    let ends = lines::ends(ctx, &record, &found)?;
    if ends > ctx.clock() {
        ctx.remove(&DUE, &(found.due, key));
        found.due = ends;
        ctx.put(&DUE, &(ends, key), &())?;
        return ctx.put(&LINES, &key, &found);
    }
    let loser = found.phase.turn();
    let open = open_count(ctx, &record.receipt.operator)?;
    let flood = loser == Party::Defender && open > ctx.params().disputes.flood;
    lines::decide(ctx, key, record, &found, loser, Cause::NoAnswer { flood })
}

/// R14: a proof is kept for ever, so that no receipt is judged twice. What was decided in this
/// block is kept until the next, for whoever takes the verdict.
fn forget(ctx: &mut Context<'_>) -> Result<(), Failure> {
    let clock = ctx.clock();
    for (key, ()) in ctx.scan(&FORGET, &(), FORGOTTEN_PER_BLOCK)? {
        if key.0 >= clock {
            break;
        }
        ctx.remove(&FORGET, &key);
        let gone = dispute(ctx, &key.1)?;
        let gone = gone.is_some_and(|record| {
            record.open == 0 && record.proven.is_none() && record.ends <= clock
        });
        if gone {
            ctx.remove(&DISPUTES, &key.1);
        }
    }
    Ok(())
}

fn existing(ctx: &Context<'_>, receipt: Digest) -> Result<super::super::state::Dispute, Broken> {
    dispute(ctx, &receipt)?.ok_or(Broken::Rule("a line has no dispute"))
}
