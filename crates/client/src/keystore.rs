//! Secret keys on disk, one file each.
//!
//! Rules: a folder only its owner can enter, files only their owner can read, refused otherwise;
//! a key file is never overwritten, because a lost owner key is lost money; secret bytes are
//! wiped from memory and stand in no message or log.
//! Never here: passphrases (the file system guards the file), keys of validators.

use crypto::{Domain, PublicKey, SecretKey, hash};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// First line of a key file; another format is another line.
const HEADER: &str = "selvedge-key-1";
/// Largest key file: its three lines and some air.
const MAX_FILE_BYTES: u64 = 512;
/// Longest name of a key.
const MAX_NAME_BYTES: usize = 64;
const EXTENSION: &str = "key";

/// Why a key cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// The name would not be a plain file name.
    #[error("{name:?} is not a key name: use a-z, 0-9 and '-', at most {MAX_NAME_BYTES} bytes")]
    Name {
        /// What was given.
        name: String,
    },
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Its words.
        source: io::Error,
    },
    /// Others could read the file.
    #[error("{path} is readable by others (mode {mode:03o}): run chmod 600 on it")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is not a key file or was damaged.
    #[error("{path} is not an undamaged key file")]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// The machine gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(String),
}

/// A folder of keys.
#[derive(Debug, Clone)]
pub struct Keystore {
    folder: PathBuf,
}

impl Keystore {
    /// Opens the folder, creating it for its owner alone.
    ///
    /// # Errors
    /// [`KeystoreError::Io`].
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, KeystoreError> {
        let folder = folder.into();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|source| KeystoreError::Io { path: folder.clone(), source })?;
        Ok(Self { folder })
    }

    /// Makes a new key and its file.
    ///
    /// # Errors
    /// [`KeystoreError`]; in particular the file must not exist yet.
    pub fn create(&self, name: &str) -> Result<SecretKey, KeystoreError> {
        let path = self.path(name)?;
        let key = SecretKey::from_seed(*random_bytes()?);
        write_new(&path, &render(&key)).map_err(|source| KeystoreError::Io { path, source })?;
        Ok(key)
    }

    /// Reads a key.
    ///
    /// # Errors
    /// [`KeystoreError`].
    pub fn load(&self, name: &str) -> Result<SecretKey, KeystoreError> {
        let path = self.path(name)?;
        let failed = |source| KeystoreError::Io { path: path.clone(), source };
        let file = File::open(&path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeystoreError::Exposed { path, mode });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(failed)?;
        parse(&text).ok_or(KeystoreError::Format { path })
    }

    /// Reads a key, or makes it if there is none of this name.
    ///
    /// # Errors
    /// [`KeystoreError`].
    pub fn load_or_create(&self, name: &str) -> Result<SecretKey, KeystoreError> {
        match self.load(name) {
            Err(KeystoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.create(name)
            }
            other => other,
        }
    }

    /// Names and public halves of all keys, by name.
    ///
    /// # Errors
    /// [`KeystoreError`].
    pub fn list(&self) -> Result<Vec<(String, PublicKey)>, KeystoreError> {
        let failed = |source| KeystoreError::Io { path: self.folder.clone(), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                names.extend(path.file_stem().and_then(|name| name.to_str()).map(str::to_owned));
            }
        }
        names.sort();
        names.into_iter().map(|name| self.load(&name).map(|key| (name, key.public()))).collect()
    }

    fn path(&self, name: &str) -> Result<PathBuf, KeystoreError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(plain) {
            return Err(KeystoreError::Name { name: name.to_owned() });
        }
        Ok(self.folder.join(name).with_extension(EXTENSION))
    }
}

/// 32 bytes from the system, wiped when dropped.
///
/// # Errors
/// [`KeystoreError::Random`].
pub fn random_bytes() -> Result<Zeroizing<[u8; 32]>, KeystoreError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice())
        .map_err(|error| KeystoreError::Random(error.to_string()))?;
    Ok(bytes)
}

/// Writes a file that did not exist, and its folder's entry, down to the disk.
fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Header, secret, and a checksum so that a damaged file is not taken for another key.
fn render(key: &SecretKey) -> Zeroizing<String> {
    let seed = key.to_seed();
    let secret = Zeroizing::new(hex::encode(seed.as_slice()));
    let checksum = hash(Domain::KeyFile, &[seed.as_slice()]);
    Zeroizing::new(format!("{HEADER}\n{}\n{checksum}\n", secret.as_str()))
}

fn parse(text: &str) -> Option<SecretKey> {
    let mut lines = text.lines();
    let header = lines.next()?;
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(lines.next()?, seed.as_mut_slice()).ok()?;
    let checksum = hash(Domain::KeyFile, &[seed.as_slice()]).to_string();
    let whole = header == HEADER && lines.next() == Some(&checksum) && lines.next().is_none();
    whole.then(|| SecretKey::from_seed(*seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keystore() -> (tempfile::TempDir, Keystore) {
        let folder = tempfile::tempdir().unwrap();
        let keystore = Keystore::open(folder.path().join("keys")).unwrap();
        (folder, keystore)
    }

    #[test]
    fn a_key_that_was_made_is_read_back() {
        let (_folder, keystore) = keystore();
        let made = keystore.create("owner").unwrap();
        assert_eq!(keystore.load("owner").unwrap().public(), made.public());
        assert_eq!(keystore.load_or_create("owner").unwrap().public(), made.public());
        assert_eq!(keystore.list().unwrap(), [("owner".to_owned(), made.public())]);
        let mode = fs::metadata(keystore.path("owner").unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let (_folder, keystore) = keystore();
        let made = keystore.create("owner").unwrap();
        assert!(matches!(keystore.create("owner"), Err(KeystoreError::Io { .. })));
        assert_eq!(keystore.load("owner").unwrap().public(), made.public());
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let (_folder, keystore) = keystore();
        keystore.create("owner").unwrap();
        let path = keystore.path("owner").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = keystore.load("owner");
        assert!(matches!(refused, Err(KeystoreError::Exposed { mode: 0o640, .. })));
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let (_folder, keystore) = keystore();
        keystore.create("owner").unwrap();
        let path = keystore.path("owner").unwrap();
        let good = fs::read(&path).unwrap();
        for index in 0..good.len() - 1 {
            let mut bad = good.clone();
            bad[index] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(keystore.load("owner").is_err(), "byte {index}");
        }
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        let (_folder, keystore) = keystore();
        for name in ["", "../owner", "a/b", "A", "a.key", &"a".repeat(65)] {
            assert!(matches!(keystore.load(name), Err(KeystoreError::Name { .. })), "{name}");
        }
    }

    #[test]
    fn no_message_shows_a_secret() {
        let (_folder, keystore) = keystore();
        let key = keystore.create("owner").unwrap();
        let secret = hex::encode(key.to_seed().as_slice());
        assert!(!format!("{key:?}").contains(&secret));
    }
}
