//! What auditors and operators send each other under seals, at points of a [`super::network`].
//!
//! Rules: every key and every seal follows from names, so that a run replays. Never here: a rule of
//! the ledger.

use super::{
    account, digest,
    network::{PointKey, call},
};
use crypto::{SealSecret, seal};
use ledger::{
    Call, verification,
    verification::{Content, Delivery, Sealed, Tx},
};

/// The secret of an auditor's one-time key at a point.
pub(crate) fn reply_of(name: &str, point: PointKey) -> SealSecret {
    SealSecret::new(*digest(&format!("{name} {point:?}")).as_bytes())
}

/// An auditor's demand for content under its seal.
pub(crate) fn demanded(name: &str, key: PointKey) -> Call {
    let reply = Some(reply_of(name, key).key());
    let (operator, epoch, point) = key;
    call(Tx::Demand { operator, epoch, point, reply })
}

/// Content brought to an auditor under its seal.
pub(crate) fn brought(content: &Content, name: &str, key: PointKey) -> Call {
    let auditor = account(name);
    let context = verification::seal_context(&key, &auditor);
    let (bytes, random) = (borsh::to_vec(content).unwrap(), *digest(name).as_bytes());
    let sealed = seal::seal(&reply_of(name, key).key(), &context, &bytes, random).unwrap();
    let delivery = Delivery::Sealed { auditor, content: Sealed::new(sealed).unwrap() };
    let (operator, epoch, point) = key;
    call(Tx::Deliver { operator, epoch, point, delivery })
}
