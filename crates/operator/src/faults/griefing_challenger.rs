//! Griefing challenger: says of right receipts that they are wrong, to cost honest operators work.
//!
//! It takes receipts from where everybody sees them: opened for an audit, on the ledger. It has no
//! run to show, so it makes no move and loses every line by its clock.

use client::{
    follow::Follower,
    rpc::{Rpc, RpcError},
    transactions::Sender,
};
use crypto::{AccountId, Domain, SecretKey, hash_of};
use ledger::{
    Call,
    disputes::{
        self,
        schema::{Finding, Subject},
    },
    payments::schema::Receipt,
    verification::POINTS,
};
use tokio::task::JoinHandle;

/// An account that challenges; stops when dropped.
#[derive(Debug)]
pub struct GriefingChallenger(JoinHandle<()>);

impl GriefingChallenger {
    /// Challenges that it files in all; the bond doubles with each that is open.
    pub const CHALLENGES: usize = 12;

    /// Starts to challenge in the name of `key`'s account.
    ///
    /// # Errors
    /// [`RpcError`] if the node does not answer at all.
    pub async fn start(rpc: Rpc, key: SecretKey) -> Result<Self, RpcError> {
        let follower = Follower::start(rpc.clone()).await?;
        let chain = rpc.status().await?.chain_id;
        let sender = Sender::new(rpc.clone(), chain, AccountId::new(key.public()), key);
        Ok(Self(tokio::spawn(grieve(rpc, follower, sender))))
    }
}

impl Drop for GriefingChallenger {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One challenge at every look at the chain.
async fn grieve(rpc: Rpc, mut follower: Follower, mut sender: Sender) {
    let mut filed = 0;
    while filed < GriefingChallenger::CHALLENGES {
        follower.next().await;
        let Ok(points) = rpc.records(&POINTS, &()).await else { continue };
        let opened: Vec<Subject> =
            points.into_iter().filter_map(|(_, point)| point.subject).collect();
        // One after the other, so that no operator is left in peace.
        let Some(subject) = opened.get(filed % opened.len().max(1)).cloned() else { continue };
        let finding = made_up(&subject.receipt.message, filed);
        let tx = disputes::Tx::Challenge { subject: Box::new(subject), finding };
        match sender.send(Call::Disputes(tx)).await {
            Ok(_) => filed += 1,
            Err(error) => tracing::info!(%error, "a made-up challenge was not taken"),
        }
    }
}

/// A finding of a run that never was.
fn made_up(receipt: &Receipt, number: usize) -> Finding {
    let Receipt { output_commit, n_out, finish, .. } = *receipt;
    let number = u64::try_from(number).unwrap_or(u64::MAX);
    let trace_root = hash_of(Domain::TraceLeaf, &(receipt.hash(), number));
    Finding { trace_root, output_commit, n_out, finish }
}
