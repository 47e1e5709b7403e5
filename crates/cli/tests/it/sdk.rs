//! The OpenAI Python SDK, unmodified, against a devnet.

use crate::network::Network;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The release that the gateway is held against.
const SDK: &str = "openai==2.54.0";

/// A Python with the SDK, in the build folder; made once through the machine's package client.
fn python() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openai-sdk");
    let python = folder.join("bin/python");
    let ready = |python: &Path| {
        let probe = Command::new(python).args(["-c", "import openai"]).output();
        probe.is_ok_and(|output| output.status.success())
    };
    if !ready(&python) {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).status().unwrap();
        assert!(made.success(), "python3 with venv is needed");
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", SDK];
        assert!(Command::new(&python).args(install).status().unwrap().success());
    }
    python
}

#[test]
#[ignore = "fetches the SDK through the machine's package client; `cargo xtask ci` starts it"]
fn sdk_of_openai_for_python_works_unmodified() {
    let folder = tempfile::tempdir().unwrap();
    let network = Network::start(folder.path());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/sdk.py");
    let output = Command::new(python())
        .arg(script)
        .args([&network.base_url, &network.api_key])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("all promises hold"), "{text}");
    network.interrupt();
}
