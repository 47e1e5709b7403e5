//! The secrets of a validator, and the scheme under which it votes.
//!
//! Rules: the identity (ed25519) names the validator in headers, the group secret (BLS12-381)
//! signs blocks and seeds; neither is derived from the other. Secrets are wiped when dropped and
//! never printed; their file is readable by its owner alone.
//! Never here: account or operator keys.

use crate::error::KeyError;
use commonware_codec::{Copying, DecodeExt as _, Encode as _};
use commonware_consensus::simplex::scheme::bls12381_threshold::vrf;
use commonware_cryptography::{
    bls12381::{
        dkg::feldman_desmedt::deal_anonymous,
        primitives::{
            group::Share,
            sharing::{Mode, Sharing},
            variant::MinSig,
        },
    },
    ed25519,
};
use commonware_utils::{N3f1, NZU32, ordered::Set};
use crypto::{PublicKey, SecretKey};
use light::{ChainAnchor, GroupKey};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use std::{fs, io::Write as _, path::Path};
use zeroize::Zeroizing;

/// A validator's identity as consensus knows it.
pub(crate) type PeerKey = ed25519::PublicKey;

/// Threshold signatures with a verifiable random seed per round.
pub(crate) type Scheme = vrf::Scheme<PeerKey, MinSig>;

/// Name of the key file inside the chain's folder.
const KEY_FILE: &str = "validator.key";

/// The secrets of one validator.
pub struct ValidatorKeys {
    identity: SecretKey,
    group: Zeroizing<[u8; 32]>,
}

impl ValidatorKeys {
    /// From 32 secret bytes for the identity and 32 for the group key.
    #[must_use]
    pub fn from_secrets(identity: [u8; 32], group: [u8; 32]) -> Self {
        Self { identity: SecretKey::from_seed(identity), group: Zeroizing::new(group) }
    }

    /// The keys in `dir`; at the first call they are drawn from the operating system.
    ///
    /// # Errors
    /// [`KeyError`] if the file cannot be read, written, or is no key file.
    pub fn open(dir: &Path) -> Result<Self, KeyError> {
        let path = dir.join(KEY_FILE);
        let io = |source| KeyError::Io { path: path.clone(), source };
        match fs::read_to_string(&path) {
            Ok(text) => {
                let text = Zeroizing::new(text);
                parse(&text).ok_or_else(|| KeyError::Malformed { path: path.clone() })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let mut secrets = Zeroizing::new([0; 64]);
                getrandom::fill(secrets.as_mut()).map_err(|source| KeyError::Entropy { source })?;
                let text = Zeroizing::new(hex::encode(*secrets));
                fs::create_dir_all(dir).map_err(io)?;
                write_secret(&path, &text).map_err(io)?;
                parse(&text).ok_or(KeyError::Malformed { path })
            }
            Err(error) => Err(io(error)),
        }
    }

    /// The validator's identity in headers.
    #[must_use]
    pub const fn identity(&self) -> PublicKey {
        self.identity.public()
    }

    /// The key under which a chain of this validator alone signs.
    #[must_use]
    pub fn group_key(&self) -> GroupKey {
        let (sharing, _) = self.dealing();
        let bytes = sharing.public().encode();
        GroupKey::new(<[u8; 96]>::try_from(bytes.as_ref()).expect("a G2 point has 96 bytes"))
    }

    /// The identity as consensus knows it.
    pub(crate) fn peer(&self) -> PeerKey {
        peer_key(&self.identity()).expect("a key made from a secret is valid")
    }

    /// The voting scheme of a chain whose only validator this is.
    pub(crate) fn scheme(&self, anchor: &ChainAnchor) -> Scheme {
        let (sharing, share) = self.dealing();
        let participants = Set::from_iter_dedup([self.peer()]);
        Scheme::signer(&anchor.namespace(), participants, sharing, share)
            .expect("a dealing fits its own share")
    }

    /// A dealing to one participant: its share is the whole secret.
    fn dealing(&self) -> (Sharing<MinSig>, Share) {
        let rng = ChaCha20Rng::from_seed(*self.group);
        let (sharing, mut shares) =
            deal_anonymous::<MinSig, N3f1>(rng, Mode::NonZeroCounter, NZU32!(1));
        (sharing, shares.remove(0))
    }
}

impl std::fmt::Debug for ValidatorKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ValidatorKeys({})", self.identity())
    }
}

/// A header's proposer as consensus knows it; `None` if the bytes are no key.
pub(crate) fn peer_key(key: &PublicKey) -> Option<PeerKey> {
    PeerKey::decode(Copying(key.as_bytes())).ok()
}

/// A consensus identity as headers name it.
pub(crate) fn public_key(key: &PeerKey) -> PublicKey {
    let bytes = key.encode();
    PublicKey::new(<[u8; 32]>::try_from(bytes.as_ref()).expect("an ed25519 key has 32 bytes"))
}

/// Reads 64 bytes of hex: the identity's secret, then the group key's.
fn parse(text: &str) -> Option<ValidatorKeys> {
    let mut secrets = Zeroizing::new([0; 64]);
    hex::decode_to_slice(text.trim(), secrets.as_mut()).ok()?;
    let (identity, group) = secrets.split_at(32);
    Some(ValidatorKeys::from_secrets(identity.try_into().ok()?, group.try_into().ok()?))
}

/// Creates a file that only its owner can read, and syncs it.
fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()
}
