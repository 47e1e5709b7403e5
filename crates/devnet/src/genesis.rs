//! The devnet's genesis: who holds coin, which operators and test models are there from the start.
//!
//! Rules: made at the first start and kept, for another document is another chain; the price of
//! the coin is fixed, a test price. Never here: windows that differ from
//! `Params::devnet`.

use crate::{
    Error,
    identities::{Identities, OperatorKeys, account},
};
use crypto::SecretKey;
use ledger::{
    Genesis, Params,
    credits::PriceSource,
    genesis::{GenesisAccount, GenesisOperator, GenesisSession},
    staking::{Class, Profile, Registration},
};
use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};
use units::{BasisPoints, Coin, Credit, List, Millis, NANO, Text, UsdNano};

/// The chain's name.
const NAME: &str = "devnet";
/// Dollars of one coin, in billionths: ten cents, for ever.
const PRICE: UsdNano = UsdNano::new(NANO / 10);
/// Coin of the gateway's payer.
const PAYER_COIN: Coin = Coin::new(10_000_000 * NANO);
/// Coin of each owner and of the publisher.
const OWNER_COIN: Coin = Coin::new(100_000 * NANO);
/// Coin of the treasury.
const TREASURY: Coin = Coin::new(389_600_000 * NANO);
/// What each operator bonds.
const BOND: Coin = Coin::new(20_000 * NANO);
/// Receipts drawn from each claim.
const POINTS: u8 = 2;
/// Most a hot key may spend on fees.
const FEE_CAP: Coin = Coin::new(10_000 * NANO);
/// Most credits the gateway's hot key may back.
const SPEND_CAP: Credit = Credit::new(500_000 * NANO);
/// A hot key ends after ten years of the ledger's clock.
const SESSION_LIFE: Millis = Millis::new(10 * 365 * 86_400_000);

/// The document in `path`, made at the first call.
pub(crate) fn open(path: &Path, identities: &Identities) -> Result<Genesis, Error> {
    let file_error = |source| Error::File { path: path.to_owned(), source };
    let damaged = |reason: String| Error::Genesis { path: path.to_owned(), reason };
    if path.exists() {
        let text = fs::read(path).map_err(file_error)?;
        return serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()));
    }
    let genesis = create(identities, now()).map_err(damaged)?;
    let text = serde_json::to_vec_pretty(&genesis).map_err(|error| damaged(error.to_string()))?;
    let half = path.with_extension("new");
    fs::write(&half, text).and_then(|()| fs::rename(&half, path)).map_err(file_error)?;
    Ok(genesis)
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::new(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn create(identities: &Identities, time: Millis) -> Result<Genesis, String> {
    let mut accounts = vec![
        funded(&identities.payer, PAYER_COIN, &[(&identities.session, SPEND_CAP)])?,
        funded(&identities.publisher, OWNER_COIN, &[])?,
        owner(&identities.liar)?,
        funded(&identities.outsider, OWNER_COIN, &[(&identities.outsider_auditor, Credit::ZERO)])?,
    ];
    let mut operators = Vec::new();
    for keys in &identities.operators {
        accounts.push(owner(keys)?);
        operators.push(GenesisOperator {
            owner: account(&keys.owner),
            registration: registration(keys),
        });
    }
    let long = |error: units::TooLong| error.to_string();
    let mut params = Params::devnet();
    // Whoever tries one cheap task wants to see it settle.
    params.payments.cashable_minimum = Credit::new(1);
    // Whoever tries a liar wants to see it caught: every claim is audited.
    params.verification.leaves = POINTS;
    params.verification.audit_floor = BasisPoints::WHOLE;
    Ok(Genesis {
        name: Text::new(NAME).map_err(long)?,
        time,
        price: PriceSource::Fixed(PRICE),
        treasury: TREASURY,
        accounts: List::new(accounts).map_err(long)?,
        operators: List::new(operators).map_err(long)?,
        models: List::empty(),
        params,
    })
}

/// How an operator of a devnet enters. Its profile it writes itself.
pub(crate) fn registration(keys: &OperatorKeys) -> Registration {
    Registration {
        index: 0,
        box_key: keys.box_key.public(),
        class: Class::Small,
        profile: Profile::default(),
        bond: BOND,
    }
}

/// An operator's owner with its hot keys.
fn owner(keys: &OperatorKeys) -> Result<GenesisAccount, String> {
    let hot = [(&keys.box_key, Credit::ZERO), (&keys.auditor, Credit::ZERO)];
    funded(&keys.owner, OWNER_COIN, &hot)
}

/// An account with coin, and hot keys with a spending cap each.
fn funded(
    owner: &SecretKey,
    balance: Coin,
    hot: &[(&SecretKey, Credit)],
) -> Result<GenesisAccount, String> {
    let session = |&(key, spend_cap): &(&SecretKey, Credit)| GenesisSession {
        key: key.public(),
        fee_cap: FEE_CAP,
        spend_cap,
        expires: SESSION_LIFE,
    };
    let sessions = List::new(hot.iter().map(session).collect());
    let sessions = sessions.map_err(|error| error.to_string())?;
    Ok(GenesisAccount { account: account(owner), balance, sessions })
}
