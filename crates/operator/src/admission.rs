//! Whether a task is what it says and fits this box: everything that needs no lane.
//!
//! Rules: cheap checks first, hashing and signatures last; each refusal names its code, what was
//! found and what would do; nothing is looked up and nothing is kept. Never here: money.

use crate::node::{Node, Served};
use client::wire::{Refusal, RefusalCode, Task};
use crypto::Domain;
use ledger::payments::{messages::fee, schema::Request};
use model::{Job, Sampling, commit::input_commit, work_units};
use units::{Credit, Millis};

/// Longest deadline that is accepted.
pub(crate) const MAX_DEADLINE: Millis = Millis::new(600_000);

/// A task that fits.
#[derive(Debug)]
pub(crate) struct Fit<'a> {
    pub(crate) served: &'a Served,
    /// The most it can cost.
    pub(crate) most: Credit,
}

/// Holds a task against this box.
///
/// # Errors
/// The refusal to send.
pub(crate) fn check<'a>(node: &'a Node, task: &Task) -> Result<Fit<'a>, Refusal> {
    if node.is_stopping() {
        return refuse(RefusalCode::Stopping, "the box is stopping; ask another one");
    }
    let request = &task.request.message;
    check_parties(node, task)?;
    let served = check_model(node, request)?;
    check_mode(node, request)?;
    check_time(node, request)?;
    let ids = &task.ids;
    check_bounds(served, request, ids)?;
    if input_commit(&task.salt, ids) != request.body.input_commit {
        return refuse(
            RefusalCode::Request,
            "the input does not give the request's input_commit under the salt",
        );
    }
    let signed = request.session_key.verify(Domain::Request, request, &task.request.signature);
    if signed.is_err() {
        return refuse(RefusalCode::Request, "the request is not signed by its session key");
    }
    Ok(Fit { served, most: most(served, request, ids.len())? })
}

fn check_parties(node: &Node, task: &Task) -> Result<(), Refusal> {
    let request = &task.request.message;
    if request.body.chain != node.chain {
        let reason =
            format!("the request is for chain {}, this is {}", request.body.chain, node.chain);
        return refuse(RefusalCode::Request, &reason);
    }
    if request.operator != node.operator {
        let reason = format!("the request is for operator {}", request.operator);
        return refuse(RefusalCode::Request, &reason);
    }
    let voucher = &task.voucher.message;
    if voucher.lane_id() != request.lane_id() || voucher.session_key != request.session_key {
        return refuse(
            RefusalCode::Voucher,
            "request and voucher name different lanes or session keys",
        );
    }
    Ok(())
}

fn check_model<'a>(node: &'a Node, request: &Request) -> Result<&'a Served, Refusal> {
    let body = &request.body;
    let Some(served) = node.models.get(&body.model) else {
        let reason = format!("model {} is not served here; see the asks", body.model);
        return refuse(RefusalCode::Model, &reason);
    };
    let semantics = served.engine.model().manifest().semantics;
    if body.semantics != semantics {
        let reason = format!("semantics version {} is asked, {semantics} is run", body.semantics);
        return refuse(RefusalCode::Model, &reason);
    }
    if request.price != served.price {
        let reason = format!("the price is {}, the ask is {}", request.price, served.price);
        return refuse(RefusalCode::Price, &reason);
    }
    Ok(served)
}

fn check_mode(node: &Node, request: &Request) -> Result<(), Refusal> {
    let mode = request.audit_mode;
    if node.refuses.contains(&mode) {
        let reason = format!("no receipts of audit mode {} are given here", mode.name());
        return refuse(RefusalCode::AuditMode, &reason);
    }
    Ok(())
}

fn check_time(node: &Node, request: &Request) -> Result<(), Refusal> {
    if request.deadline.is_zero() || request.deadline > MAX_DEADLINE {
        let reason = format!("a deadline lies between 1 and {MAX_DEADLINE} ms");
        return refuse(RefusalCode::Deadline, &reason);
    }
    if !node.follower.is_fresh(request.freshness) {
        let newest = node.follower.seen().round;
        let reason = format!("round {} is not of the last 30 s; {newest} is", request.freshness);
        return refuse(RefusalCode::Freshness, &reason);
    }
    Ok(())
}

fn check_bounds(served: &Served, request: &Request, ids: &[u32]) -> Result<(), Refusal> {
    let body = &request.body;
    let facts = served.engine.model().facts();
    let job = Job {
        ids,
        sampling: sampling(request),
        seed: body.seed,
        max_tokens: body.max_tokens,
        stop: &body.stop,
    };
    if let Err(error) = job.check(facts) {
        return refuse(RefusalCode::Request, &error.to_string());
    }
    if facts.task == model::Task::Embed {
        // One task, one encoding: what means nothing must say nothing.
        let plain =
            body.max_tokens == 0 && body.stop.is_empty() && job.sampling == Sampling::GREEDY;
        return if plain {
            Ok(())
        } else {
            refuse(
                RefusalCode::Request,
                "an embedding takes max_tokens 0, no stop ids and sampling (0, 1000, 0)",
            )
        };
    }
    match body.stop.iter().find(|id| **id >= facts.vocabulary) {
        Some(id) => {
            let reason = format!("stop id {id} is not below {}", facts.vocabulary);
            refuse(RefusalCode::Request, &reason)
        }
        None => Ok(()),
    }
}

/// The sampling of a request, in the model's type.
pub(crate) const fn sampling(request: &Request) -> Sampling {
    let asked = request.body.sampling;
    Sampling {
        temperature_milli: asked.temperature_milli,
        top_p_milli: asked.top_p_milli,
        top_k: asked.top_k,
    }
}

/// The most a task can cost: `max_tokens`, or what the model's positions leave.
fn most(served: &Served, request: &Request, n_in: usize) -> Result<Credit, Refusal> {
    let facts = served.engine.model().facts();
    let n_in = u32::try_from(n_in).unwrap_or(u32::MAX);
    let room = facts.max_positions.saturating_sub(n_in).saturating_add(1);
    let n_out = match facts.task {
        model::Task::Embed => 1,
        model::Task::Generate => request.body.max_tokens.min(room),
    };
    fee(request.price, work_units(facts, n_in, n_out))
        .map_err(|_| Refusal::new(RefusalCode::Price, "the fee of this task does not fit"))
}

fn refuse<T>(code: RefusalCode, reason: &str) -> Result<T, Refusal> {
    Err(Refusal::new(code, reason))
}
