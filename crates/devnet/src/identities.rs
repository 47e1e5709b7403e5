//! Who takes part: the keys of every role, made once and kept in the devnet's folder.
//!
//! Rules: each role has keys of its own, cold and hot, as on a real network. Never here: a key
//! derived from a name or a number, which a stranger could derive too.

use crate::{Error, OPERATORS};
use client::keystore::Keystore;
use crypto::{AccountId, SecretKey};
use std::path::Path;

/// One operator's keys.
pub(crate) struct OperatorKeys {
    /// Cold: owns the operator and is paid.
    pub(crate) owner: SecretKey,
    /// Hot: signs receipts and claims.
    pub(crate) box_key: SecretKey,
    /// Hot: signs what its auditor found.
    pub(crate) auditor: SecretKey,
}

/// All keys of a devnet but the validator's.
pub(crate) struct Identities {
    /// Publishes the models.
    pub(crate) publisher: SecretKey,
    /// Cold: holds the gateway's coin and credits.
    pub(crate) payer: SecretKey,
    /// Hot: signs requests and vouchers for the payer.
    pub(crate) session: SecretKey,
    /// Proves the gateway to boxes.
    pub(crate) link: SecretKey,
    /// In order of their index.
    pub(crate) operators: Vec<OperatorKeys>,
    /// Of the operator that is started with a fault, if one is asked for.
    pub(crate) liar: OperatorKeys,
    /// Cold: of the account beside all operators that a fault may need, as auditor or challenger.
    pub(crate) outsider: SecretKey,
    /// Hot: signs what its auditor found.
    pub(crate) outsider_auditor: SecretKey,
}

impl Identities {
    /// The keys in `folder`; those that are missing are made.
    pub(crate) fn open(folder: &Path) -> Result<Self, Error> {
        let keystore = Keystore::open(folder)?;
        let key = |name: &str| keystore.load_or_create(name);
        let operator = |index: u32| -> Result<OperatorKeys, Error> {
            Ok(OperatorKeys {
                owner: key(&format!("owner-{index}"))?,
                box_key: key(&format!("box-{index}"))?,
                auditor: key(&format!("auditor-{index}"))?,
            })
        };
        let operators = (0..OPERATORS).map(operator).collect::<Result<_, Error>>()?;
        let liar = operator(OPERATORS)?;
        Ok(Self {
            publisher: key("publisher")?,
            payer: key("payer")?,
            session: key("payer-session")?,
            link: key("gateway-link")?,
            operators,
            liar,
            outsider: key("outsider")?,
            outsider_auditor: key("outsider-auditor")?,
        })
    }
}

/// The account of a cold key.
pub(crate) fn account(key: &SecretKey) -> AccountId {
    AccountId::new(key.public())
}
