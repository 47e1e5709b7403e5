//! The folder of one user: keys, models, the devnet, and how to reach the last one started.
//!
//! Rules: a flag beats the environment, the environment beats the file. Never here: secrets other
//! than the devnet's own API key.

use crate::output::Failure;
use anyhow::{Context as _, anyhow};
use crypto::AccountId;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// The file that devnet leaves for the other subcommands.
const CONNECTION: &str = "connection.json";

/// How to reach a gateway and a node. Also the line that `devnet --json` prints.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Connection {
    /// The gateway, up to and including `/v1`.
    pub(crate) base_url: String,
    /// A key it knows.
    pub(crate) api_key: String,
    /// The node's HTTP interface.
    pub(crate) rpc_url: String,
    /// Models that answer.
    pub(crate) models: Vec<String>,
}

/// The folder.
pub(crate) struct Home {
    folder: PathBuf,
}

impl Home {
    /// The given folder, or `~/.selvedge`. It is created when something is first put there.
    pub(crate) fn open(folder: Option<PathBuf>) -> Result<Self, Failure> {
        let user = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".selvedge"));
        let folder = folder.or_else(user).ok_or_else(|| {
            anyhow!("no home folder is known; say `--home FOLDER` or set SELVEDGE_HOME")
        })?;
        Ok(Self { folder })
    }

    /// The devnet's folder.
    pub(crate) fn devnet(&self) -> PathBuf {
        self.folder.join("devnet")
    }

    /// Imported models.
    pub(crate) fn models(&self) -> PathBuf {
        self.folder.join("models")
    }

    /// What an account's auditor keeps.
    pub(crate) fn auditor(&self, account: &AccountId) -> PathBuf {
        self.folder.join(format!("auditor-{account}"))
    }

    /// Secret keys.
    pub(crate) fn keys(&self) -> PathBuf {
        self.folder.join("keys")
    }

    /// Leaves word of a running network.
    pub(crate) fn remember(&self, connection: &Connection) -> Result<(), Failure> {
        let path = self.folder.join(CONNECTION);
        fs::create_dir_all(&self.folder)
            .and_then(|()| fs::write(&path, serde_json::to_vec_pretty(connection)?))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }

    /// The gateway and key to use.
    pub(crate) fn gateway(&self, flags: &GatewayFlags) -> Result<(String, String), Failure> {
        let known = self.last();
        let url = flags.base_url.clone().or_else(|| known.as_ref().map(|k| k.base_url.clone()));
        let key = flags.api_key.clone().or_else(|| known.as_ref().map(|k| k.api_key.clone()));
        match (url, key) {
            (Some(url), Some(key)) => Ok((url.trim_end_matches('/').to_owned(), key)),
            _ => Err(anyhow!(
                "no gateway is known; start `selvedge devnet`, or set OPENAI_BASE_URL and \
                 OPENAI_API_KEY"
            )
            .into()),
        }
    }

    /// The node to ask.
    pub(crate) fn node(&self, flag: Option<&String>) -> Result<String, Failure> {
        let known = || self.last().map(|known| known.rpc_url);
        flag.cloned().or_else(known).ok_or_else(|| {
            anyhow!("no node is known; start `selvedge devnet`, or say `--rpc-url URL`").into()
        })
    }

    fn last(&self) -> Option<Connection> {
        let text = fs::read(self.folder.join(CONNECTION)).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// Which gateway to ask, and with which key.
#[derive(clap::Args)]
pub(crate) struct GatewayFlags {
    /// The gateway's address, ending in /v1 [default: the last devnet].
    #[arg(long, env = "OPENAI_BASE_URL", value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// The key it knows you by.
    #[arg(long, env = "OPENAI_API_KEY", value_name = "KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,
}

/// Writes a file and names it in the error.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// Reads a file and names it in the error.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    Ok(fs::read(path).with_context(|| format!("cannot read {}", path.display()))?)
}

/// Keeps a request, its answer (the file's name and content) and the receipt's id in a folder:
/// what `receipt verify` compares.
pub(crate) fn save(
    folder: &Path,
    request: &Value,
    (name, answer): (&str, &[u8]),
    receipt: Option<&str>,
) -> Result<(), Failure> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    write(&folder.join("request.json"), serde_json::to_string_pretty(request)?.as_bytes())?;
    write(&folder.join(name), answer)?;
    write(&folder.join("receipt.txt"), receipt.unwrap_or_default().as_bytes())
}
