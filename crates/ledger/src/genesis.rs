//! The initial state, from a document that people can read and everybody can hash.
//!
//! Rules: genesis says everything the first block stands on, and goes through the same rules
//! as transactions do, so that no state exists that could not have been reached; the price of
//! the coin is fixed here until a feed exists, and every face calls it a test price. It does
//! not name the chain id, which is derived from its digest.
//! Never here: a default account, a key, a clock.

use crate::{
    accounts::{self, Pot, apply::Purse},
    clock::{NOW, Now},
    context::{Context, Sender},
    credits::{self, PriceSource},
    error::{Broken, Failure, Rejection},
    models,
    params::{OutOfBounds, Params},
    staking,
    store::{Overlay, State, View},
    tables::{CHAIN, PARAMS},
    verifier::Ports,
};
use borsh::{BorshDeserialize, BorshSerialize};
use crypto::{AccountId, ChainId, Digest, Domain, PublicKey, hash_of};
use serde::{Deserialize, Serialize};
use units::{Coin, Credit, Height, List, Millis, NANO, Round, Text};

/// Most coin there may ever be: 1,000 million.
pub const SUPPLY_CAP: Coin = Coin::new(1_000_000_000 * NANO);

/// Bounds of a genesis document.
const ACCOUNTS_MAX: usize = 100_000;
const OPERATORS_MAX: usize = 10_000;
const MODELS_MAX: usize = 100;
const SESSIONS_MAX: usize = 16;

/// What a chain starts from.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// The chain's name, for people.
    pub name: Text<64>,
    /// When it starts, in ms since 1970.
    pub time: Millis,
    /// Where the price of the coin comes from.
    pub price: PriceSource,
    /// Coin of the treasury.
    #[serde(default)]
    pub treasury: Coin,
    /// Who holds coin.
    #[serde(default)]
    pub accounts: List<GenesisAccount, ACCOUNTS_MAX>,
    /// Who serves from the first block; bonds come out of the owners' coin.
    #[serde(default)]
    pub operators: List<GenesisOperator, OPERATORS_MAX>,
    /// Models registered from the first block; deposits come out of the publishers' coin.
    #[serde(default)]
    pub models: List<GenesisModel, MODELS_MAX>,
    /// Everything else.
    #[serde(default)]
    pub params: Params,
}

/// An account at genesis.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisAccount {
    /// The owner's key.
    pub account: AccountId,
    /// Its coin.
    pub balance: Coin,
    /// Its hot keys.
    #[serde(default)]
    pub sessions: List<GenesisSession, SESSIONS_MAX>,
}

/// A session key at genesis.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisSession {
    /// The hot key.
    pub key: PublicKey,
    /// Most it may spend on fees.
    pub fee_cap: Coin,
    /// Most it may back in allocations.
    pub spend_cap: Credit,
    /// The clock from which it is no longer valid.
    pub expires: Millis,
}

/// An operator at genesis.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisOperator {
    /// Who owns it.
    pub owner: AccountId,
    /// How it is registered.
    pub registration: staking::Registration,
}

/// A model at genesis.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisModel {
    /// Whose account pays the deposit and owns the publisher's name.
    pub owner: AccountId,
    /// What is published.
    pub publication: models::Publication,
}

/// Why a genesis document makes no chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// A parameter.
    #[error(transparent)]
    Params(#[from] OutOfBounds),
    /// The price.
    #[error("the price of the coin must lie between 0.000001 and 1,000,000 USD")]
    Price,
    /// The supply.
    #[error("genesis makes {made}, more than the cap of {SUPPLY_CAP}")]
    Supply {
        /// What it would make.
        made: Coin,
    },
    /// An account stands twice.
    #[error("account {account} stands in genesis twice")]
    Twice {
        /// The account.
        account: AccountId,
    },
    /// A part that the rules for transactions refuse.
    #[error("{part} {index} is refused: {why}")]
    Refused {
        /// Which list.
        part: &'static str,
        /// Its place in the list, from 0.
        index: usize,
        /// The rule.
        why: Box<Rejection>,
    },
    /// The books do not close.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl Genesis {
    /// The document's digest, which the chain's anchor contains.
    #[must_use]
    pub fn digest(&self) -> Digest {
        hash_of(Domain::Genesis, self)
    }
}

impl State {
    /// The state before the first block.
    ///
    /// # Errors
    /// [`GenesisError`], which names the part and the rule.
    pub fn from_genesis(
        genesis: &Genesis,
        chain: ChainId,
        ports: &Ports<'_>,
    ) -> Result<Self, GenesisError> {
        genesis.params.check()?;
        genesis.price.check().map_err(|_| GenesisError::Price)?;
        let mut state = Self::default();
        state.commit(&frame(genesis, chain)?);
        let writes = {
            let now = Now { time: genesis.time, ..Now::default() };
            let overlay = Overlay::new(View::from(&state));
            let mut ctx = Context::open(overlay, now, *ports)?;
            credits::apply::open(&mut ctx, &genesis.price).map_err(broken)?;
            fund(&mut ctx, genesis)?;
            register(&mut ctx, genesis)?;
            ctx.close().0
        };
        state.commit(&writes);
        Ok(state)
    }
}

/// The records every handler relies on.
fn frame(genesis: &Genesis, chain: ChainId) -> Result<crate::store::Writes, Broken> {
    let empty = State::default();
    let mut overlay = Overlay::new(View::from(&empty));
    let now =
        Now { height: Height::ZERO, time: genesis.time, clock: Millis::ZERO, round: Round::ZERO };
    overlay.put(&CHAIN, &(), &chain)?;
    overlay.put(&PARAMS, &(), &genesis.params)?;
    overlay.put(&NOW, &(), &now)?;
    Ok(overlay.into_writes())
}

fn broken(failure: Failure) -> GenesisError {
    match failure {
        Failure::Broken(broken) => broken.into(),
        Failure::Rejected(why) => {
            GenesisError::Refused { part: "price", index: 0, why: Box::new(why) }
        }
    }
}

/// Names the part that a rule refuses.
fn named(part: &'static str, index: usize) -> impl Fn(Failure) -> GenesisError {
    move |failure| match failure {
        Failure::Broken(broken) => broken.into(),
        Failure::Rejected(why) => GenesisError::Refused { part, index, why: Box::new(why) },
    }
}

fn fund(ctx: &mut Context<'_>, genesis: &Genesis) -> Result<(), GenesisError> {
    let coin = genesis.accounts.iter().map(|account| account.balance);
    let made = Coin::total(coin.chain([genesis.treasury])).map_err(|_| Broken::Overflow)?;
    if made > SUPPLY_CAP {
        return Err(GenesisError::Supply { made });
    }
    accounts::apply::endow(ctx, Purse::Pot(Pot::Treasury), genesis.treasury)
        .map_err(named("treasury", 0))?;
    for (index, entry) in genesis.accounts.iter().enumerate() {
        let account = entry.account;
        if accounts::account(ctx, &account).map_err(Broken::from)?.is_some() {
            return Err(GenesisError::Twice { account });
        }
        let refused = named("account", index);
        accounts::apply::usable(*account.get()).map_err(|error| refused(error.into()))?;
        accounts::apply::endow(ctx, Purse::Account(account), entry.balance).map_err(&refused)?;
        for session in entry.sessions.iter() {
            accounts::apply::grant_session(
                ctx,
                account,
                session.key,
                session.fee_cap,
                session.spend_cap,
                session.expires,
            )
            .map_err(&refused)?;
        }
    }
    Ok(())
}

fn register(ctx: &mut Context<'_>, genesis: &Genesis) -> Result<(), GenesisError> {
    for (index, entry) in genesis.operators.iter().enumerate() {
        staking::apply::register(ctx, entry.owner, &entry.registration)
            .map_err(named("operator", index))?;
    }
    for (index, entry) in genesis.models.iter().enumerate() {
        let sender = Sender { account: entry.owner, signer: *entry.owner.get() };
        models::apply::publish(ctx, &sender, &entry.publication).map_err(named("model", index))?;
    }
    Ok(())
}
