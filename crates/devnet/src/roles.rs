//! Operators, which audit too, and whoever a fault takes beside them.
//!
//! Rules: whoever comes later enters as on any network: it registers, bonds, enlists. Never here:
//! what a role does, what a fault does.

use crate::{
    Error, OPERATORS, genesis,
    identities::{Identities, OperatorKeys, account},
    liar::Parties,
    network::Config,
};
use client::{rpc::Rpc, transactions::Sender};
use crypto::{AccountId, ChainId, OperatorId, SecretKey};
use gateway::Gateway;
use ledger::{Call, staking};
use operator::{
    Auditing, Auditor, AuditorConfig, Operator, ServedModel,
    faults::{Fault, GriefingChallenger},
};
use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};
use units::{Coin, NANO};

/// What stands behind the findings of an operator that audits.
const AUDITOR_BOND: Coin = Coin::new(2_000 * NANO);
/// The same of an auditor with a fault: so much that it is drawn for nearly every receipt.
const OUTSIDER_BOND: Coin = Coin::new(20_000 * NANO);
/// Runs of one model at the same time, per box; they share passes.
const AT_ONCE: usize = 4;
/// Any free port of this machine.
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// All roles but chain and gateway.
#[derive(Default)]
pub(crate) struct Roles {
    operators: Vec<Operator>,
    auditor: Option<Auditor>,
    challenger: Option<GriefingChallenger>,
    /// The operator with a fault.
    pub(crate) liar: Option<OperatorId>,
    /// The account with a fault that owns no operator.
    pub(crate) outsider: Option<AccountId>,
}

impl Roles {
    /// How many boxes there are.
    pub(crate) const fn boxes(&self) -> usize {
        self.operators.len()
    }

    /// Stops all, and waits until everything is on disk.
    pub(crate) async fn shutdown(self) {
        drop(self.challenger);
        if let Some(auditor) = self.auditor {
            auditor.shutdown().await;
        }
        for operator in self.operators {
            operator.shutdown().await;
        }
    }
}

/// Where the roles find everybody.
pub(crate) struct Place<'a> {
    pub(crate) config: &'a Config,
    pub(crate) identities: &'a Identities,
    pub(crate) rpc: &'a Rpc,
    pub(crate) rpc_url: &'a str,
    pub(crate) chain: ChainId,
    pub(crate) gateway: &'a Gateway,
}

impl Place<'_> {
    /// Starts everybody.
    pub(crate) async fn fill(&self, models: Vec<ServedModel>) -> Result<Roles, Error> {
        let mut roles = Roles::default();
        for (index, keys) in (0..OPERATORS).zip(&self.identities.operators) {
            let operator = self.operator(index, keys, models.clone(), None).await?;
            if let Some(auditor) = operator.auditor() {
                self.enlist(auditor, &keys.owner, AUDITOR_BOND).await?;
            }
            roles.operators.push(operator);
        }
        if let Some(kind) = self.config.liar {
            let parties = Parties::of(kind, models.clone())?;
            self.add(&mut roles, parties, &models).await?;
        }
        Ok(roles)
    }

    /// Starts whoever a fault takes.
    async fn add(
        &self,
        roles: &mut Roles,
        parties: Parties,
        models: &[ServedModel],
    ) -> Result<(), Error> {
        let Identities { liar, outsider, .. } = self.identities;
        if let Some((fault, models)) = parties.operator {
            self.register(liar).await?;
            let operator = self.operator(OPERATORS, liar, models, Some(fault)).await?;
            roles.liar = Some(operator.id());
            roles.operators.push(operator);
        }
        if let Some(fault) = parties.auditor {
            let auditor = self.auditor(models, fault).await?;
            self.enlist(&auditor, outsider, OUTSIDER_BOND).await?;
            roles.outsider = Some(account(outsider));
            roles.auditor = Some(auditor);
        }
        if parties.challenges {
            let started = GriefingChallenger::start(self.rpc.clone(), outsider.clone()).await?;
            roles.outsider = Some(account(outsider));
            roles.challenger = Some(started);
        }
        Ok(())
    }

    fn sender(&self, key: &SecretKey) -> Sender {
        Sender::new(self.rpc.clone(), self.chain, account(key), key.clone())
    }

    async fn operator(
        &self,
        index: u32,
        keys: &OperatorKeys,
        models: Vec<ServedModel>,
        fault: Option<Arc<dyn Fault>>,
    ) -> Result<Operator, Error> {
        let gateway = operator::Gateway {
            address: self.gateway.link_addr().to_string(),
            key: self.identities.link.public(),
        };
        let auditing = Auditing { key: keys.auditor.clone(), listen: Some(ANY) };
        let started = operator::start(operator::Config {
            data_dir: self.config.data_dir.join(format!("operator-{index}")),
            owner: account(&keys.owner),
            index: 0,
            box_key: keys.box_key.clone(),
            rpc_url: self.rpc_url.to_owned(),
            gateways: vec![gateway],
            models,
            at_once: AT_ONCE,
            queue: operator::Config::QUEUE,
            credit_limit: operator::Config::CREDIT_LIMIT,
            refuses: Vec::new(),
            audit: fault.is_none().then_some(auditing),
            fault,
        });
        started.await.map_err(|source| Error::Operator { index, source })
    }

    /// An auditor that serves nothing.
    async fn auditor(
        &self,
        models: &[ServedModel],
        fault: Arc<dyn Fault>,
    ) -> Result<Auditor, Error> {
        let started = operator::start_auditor(AuditorConfig {
            data_dir: self.config.data_dir.join("outsider"),
            account: account(&self.identities.outsider),
            key: self.identities.outsider_auditor.clone(),
            rpc_url: self.rpc_url.to_owned(),
            listen: Some(ANY),
            engines: models.iter().map(|served| Arc::clone(&served.engine)).collect(),
            fault: Some(fault),
        });
        started.await.map_err(|source| Error::Auditor { source })
    }

    async fn enlist(&self, auditor: &Auditor, owner: &SecretKey, bond: Coin) -> Result<(), Error> {
        let enlisted = auditor.enlist(&mut self.sender(owner), bond).await;
        enlisted.map_err(|source| Error::Send { what: "enlist an auditor", source })
    }

    /// Registers an operator that was not there from the start, as any newcomer does.
    async fn register(&self, keys: &OperatorKeys) -> Result<(), Error> {
        let id = OperatorId::derive(&account(&keys.owner), 0);
        if self.rpc.record(&staking::OPERATORS, &id).await?.is_some() {
            return Ok(());
        }
        let call = Call::Staking(staking::Tx::Register(genesis::registration(keys)));
        let sent = self.sender(&keys.owner).send(call).await;
        sent.map(|_| ()).map_err(|source| Error::Send { what: "register an operator", source })
    }
}
