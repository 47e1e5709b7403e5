//! What `selvedge devnet --liar` shows: a consumer asks, and the network finds the liar out.
//!
//! Rules: the consumer is an ordinary one, through the gateway's HTTP interface; what is shown are
//! the chain's own events. Never here: knowledge of who lies, but for the names that are printed.

use crate::{
    api::Api,
    home::{Connection, GatewayFlags, Home},
    output::{Failure, Output},
};
use client::rpc::Rpc;
use crypto::{AccountId, Digest, OperatorId};
use devnet::{Devnet, Liar};
use ledger::{
    disputes::{self, Backer, Party, Verdict},
    payments::schema::Receipt,
    verification::{self, Outcome},
};
use serde_json::json;
use std::{collections::BTreeMap, convert::Infallible, time::Duration};
use units::{Coin, Height};

/// Pause between two questions.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause after the node or the gateway failed.
const RETRY: Duration = Duration::from_secs(2);
/// Challengers whose bonds are remembered.
const MAX_BONDS: usize = 4_096;

/// Asks and shows until something fails for good, which nothing does.
pub(crate) async fn run(
    network: &Devnet,
    liar: Option<Liar>,
    connection: &Connection,
    home: &Home,
    output: &Output,
) -> Result<Infallible, Failure> {
    if let Some(liar) = liar {
        output.note(&format!("\n{}; a consumer asks once a second …", beginning(network, liar)));
    }
    let story = Story { outsider: network.outsider(), ..Story::default() };
    let flags = GatewayFlags {
        base_url: Some(connection.base_url.clone()),
        api_key: Some(connection.api_key.clone()),
    };
    let api = Api::new(home, &flags)?;
    let model = connection.models.iter().find(|name| name.contains("embed")).cloned();
    let model = model.or_else(|| connection.models.first().cloned()).unwrap_or_default();
    tokio::select! {
        never = ask(&api, &model) => match never {},
        never = watch(network.rpc_url(), story, output) => never,
    }
}

/// Who does what wrong.
fn beginning(network: &Devnet, liar: Liar) -> String {
    let operator = network.liar().map(|liar| format!("operator {liar}")).unwrap_or_default();
    let outsider = network.outsider().map(|account| account.to_string()).unwrap_or_default();
    match liar {
        Liar::Weights | Liar::Output | Liar::Lazy | Liar::Silent => format!("{operator} lies"),
        Liar::LeakedRoot => format!(
            "{operator} answers rightly and leaks false trace roots; auditor {outsider} copies \
             them instead of running the model"
        ),
        Liar::ColludingAuditor => {
            format!("{operator} lies, and auditor {outsider} vouches for it")
        }
        Liar::GriefingChallenger => {
            format!("account {outsider} challenges right receipts with findings it made up")
        }
    }
}

async fn ask(api: &Api, model: &str) -> Infallible {
    let mut number = 0_u64;
    loop {
        number += 1;
        let body = json!({ "model": model, "input": format!("question {number}") });
        // The liar may be gone from the router for a moment; the next question finds another box.
        api.post("/embeddings", &body).await.ok();
        tokio::time::sleep(PAUSE).await;
    }
}

/// Shows what the chain says from here on, as far as it belongs to the story.
pub(crate) async fn watch(
    rpc_url: &str,
    mut story: Story,
    output: &Output,
) -> Result<Infallible, Failure> {
    let rpc = Rpc::new(rpc_url)?;
    let mut next = rpc.status().await?.height;
    loop {
        let Ok(mut events) = rpc.events(next).await else {
            tokio::time::sleep(RETRY).await;
            continue;
        };
        while let Ok(block) = events.next().await {
            next = Height::new(block.height.get().saturating_add(1));
            for line in block.events.iter().filter_map(|event| story.told(event)) {
                output.note(&format!("block {}: {line}", block.height));
            }
        }
    }
}

/// What is told, and what has been told so far, as far as the rest depends on it.
#[derive(Default)]
pub(crate) struct Story {
    /// The one receipt that it is about, and its operator; without one, it is about all.
    receipt: Option<(Digest, OperatorId)>,
    /// Whose part in audits is told too.
    outsider: Option<AccountId>,
    /// Bonds behind open lines.
    bonds: BTreeMap<(Digest, u32), Vec<Backer>>,
}

impl Story {
    /// Of the disputes of one receipt.
    pub(crate) fn of(receipt: &Receipt) -> Self {
        Self { receipt: Some((receipt.hash(), receipt.operator)), ..Self::default() }
    }

    /// Whether an event belongs to the story.
    fn has(&self, event: &ledger::Event) -> bool {
        use disputes::Event as Dispute;
        let Some((own, own_operator)) = self.receipt else { return true };
        match event {
            ledger::Event::Disputes(
                Dispute::Challenged { receipt, .. }
                | Dispute::Moved { receipt, .. }
                | Dispute::Forked { receipt, .. }
                | Dispute::Closed { receipt, .. }
                | Dispute::Decided(Verdict { receipt, .. }),
            ) => *receipt == own,
            ledger::Event::Verification(verification::Event::Slashed { operator, .. }) => {
                *operator == own_operator
            }
            _ => false,
        }
    }

    /// What people are told of an event, if it has to do with the hunt.
    fn told(&mut self, event: &ledger::Event) -> Option<String> {
        match event {
            event if !self.has(event) => None,
            ledger::Event::Verification(event) => self.audit(event),
            ledger::Event::Disputes(event) => self.dispute(event),
            ledger::Event::Payments(ledger::payments::Event::ClaimVoid {
                operator, epoch, ..
            }) => {
                Some(format!("claim {epoch} of operator {operator} is void: nobody is paid for it"))
            }
            ledger::Event::Payments(ledger::payments::Event::Refunded {
                epoch,
                payer,
                amount,
                ..
            }) => Some(format!("{payer} has {amount} of claim {epoch} back in its deposit")),
            _ => None,
        }
    }

    fn audit(&self, event: &verification::Event) -> Option<String> {
        use verification::Event as Audit;
        Some(match event {
            Audit::PointDrawn { operator, epoch, point, .. } => {
                format!("receipt {point} of operator {operator}'s claim {epoch} is drawn")
            }
            Audit::AuditorDrawn { operator, epoch, point, auditor, .. }
                if Some(*auditor) == self.outsider =>
            {
                format!("auditor {auditor} is drawn for receipt {point} of {operator} {epoch}")
            }
            Audit::AuditPaid { auditor, amount } if Some(*auditor) == self.outsider => {
                format!("auditor {auditor} has shown its finding and is paid {amount}")
            }
            Audit::Mismatch { operator, receipt, auditor, .. } => {
                format!("auditor {auditor} finds receipt {receipt} of operator {operator} wrong")
            }
            Audit::PointEnded { operator, epoch, point, outcome: Outcome::Passed } => {
                format!("receipt {point} of operator {operator}'s claim {epoch} has passed")
            }
            Audit::Slashed { operator, fault, cause, spread, .. } => format!(
                "operator {operator} is slashed by {} for {cause:?}; `selvedge explain slash \
                 {operator} {fault}` shows the evidence",
                spread.taken
            ),
            _ => return None,
        })
    }

    fn dispute(&mut self, event: &disputes::Event) -> Option<String> {
        use disputes::Event as Dispute;
        Some(match event {
            Dispute::Challenged { receipt, operator, line, backer } => {
                if self.bonds.len() >= MAX_BONDS {
                    self.bonds.pop_first();
                }
                self.bonds.entry((*receipt, *line)).or_default().push(*backer);
                let Backer { account, bond, .. } = backer;
                format!(
                    "dispute of receipt {receipt} of operator {operator}: {account} puts {bond} \
                     behind its finding"
                )
            }
            Dispute::Moved { receipt, party, .. } => {
                format!("dispute of receipt {receipt}: a move of the {party:?}").to_lowercase()
            }
            Dispute::Forked { receipt, from, line, challenger } => {
                self.forked((*receipt, *from), *line, *challenger);
                return None;
            }
            Dispute::Decided(verdict) => {
                let line = verdict.line.map(|line| (verdict.receipt, line));
                let backers = line.and_then(|line| self.bonds.remove(&line)).unwrap_or_default();
                let lost = match verdict.loser {
                    Party::Defender => String::new(),
                    Party::Challenger => lost(&backers),
                };
                format!(
                    "dispute of receipt {}: the {:?} loses{lost}",
                    verdict.receipt, verdict.loser
                )
            }
            Dispute::Closed { receipt, line, .. } => {
                self.bonds.remove(&(*receipt, *line));
                return None;
            }
        })
    }

    /// A challenger goes on in a line of its own, and its bond with it.
    fn forked(&mut self, from: (Digest, u32), line: u32, challenger: AccountId) {
        let shared = self.bonds.remove(&from).unwrap_or_default();
        let (own, rest) = shared.into_iter().partition(|backer| backer.account == challenger);
        self.bonds.insert((from.0, line), own);
        self.bonds.insert(from, rest);
    }
}

/// Who loses what of its bond.
fn lost(backers: &[Backer]) -> String {
    let each = |backer: &Backer| {
        let Backer { account, bond, cost } = backer;
        let burned: Coin = bond.saturating_sub(*cost);
        format!("; {account} loses {bond}: {cost} to the operator, {burned} burned")
    };
    backers.iter().map(each).collect()
}
