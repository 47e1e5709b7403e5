//! A devnet in a child process, and a plain HTTP client to talk to it.

use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(240);

/// The binary under test.
pub(crate) fn selvedge(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_selvedge"));
    command.env_remove("OPENAI_BASE_URL").env_remove("OPENAI_API_KEY");
    command.arg("--home").arg(home);
    command
}

/// Runs a subcommand with `--json` and gives its exit code and object.
pub(crate) fn json(home: &Path, arguments: &[&str]) -> (i32, Value) {
    let Output { status, stdout, stderr } =
        selvedge(home).arg("--json").args(arguments).output().unwrap();
    let text = String::from_utf8(stdout).unwrap();
    let object = serde_json::from_str(&text).unwrap_or_else(|error| {
        panic!("{arguments:?}: {error}: {text:?} {}", String::from_utf8_lossy(&stderr))
    });
    (status.code().unwrap(), object)
}

/// A running devnet.
pub(crate) struct Network {
    child: Mutex<Child>,
    home: PathBuf,
    pub(crate) base_url: String,
    pub(crate) api_key: String,
    pub(crate) rpc_url: String,
}

impl Network {
    /// Starts one in `home`, with the test models alone.
    pub(crate) fn start(home: &Path) -> Self {
        Self::start_with(home, &[])
    }

    /// The same with more flags.
    pub(crate) fn start_with(home: &Path, flags: &[&str]) -> Self {
        let mut child = selvedge(home)
            .args(["--json", "devnet", "--offline"])
            .args(flags)
            .args(["--listen", "127.0.0.1:0", "--rpc-listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("devnet did not get ready: {error}: {line:?}"));
        let text = |name: &str| ready[name].as_str().unwrap().to_owned();
        Self {
            child: Mutex::new(child),
            home: home.to_owned(),
            base_url: text("base_url"),
            api_key: text("api_key"),
            rpc_url: text("rpc_url"),
        }
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn interrupt(self) {
        let mut child = self.child.lock().unwrap();
        let id = child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        let status = child.wait().unwrap();
        assert!(status.success(), "Ctrl-C must stop cleanly: {status}");
    }

    /// Sends a body to the gateway; the status, the receipt id and the reply, or nothing if the
    /// connection broke.
    pub(crate) fn post(&self, path: &str, body: &Value) -> Option<Reply> {
        call(&self.base_url, "POST", path, &self.api_key, &body.to_string())
    }

    /// Asks the gateway.
    pub(crate) fn get(&self, path: &str) -> Option<Reply> {
        call(&self.base_url, "GET", path, &self.api_key, "")
    }

    /// What the ledger holds.
    pub(crate) fn query(&self, arguments: &[&str]) -> Value {
        let arguments = [&["query", "--rpc-url", &self.rpc_url], arguments].concat();
        let (code, object) = json(&self.home, &arguments);
        assert_eq!(code, 0, "{object}");
        object
    }

    /// Looks again and again until `look` finds something.
    pub(crate) fn wait_for<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(250));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // Already ended, or a test failed: either way nothing may be left running.
        if let Ok(child) = self.child.get_mut() {
            let _ended = child.kill();
            let _status = child.wait();
        }
    }
}

/// A reply of the gateway.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) receipt: Option<String>,
    pub(crate) body: Value,
}

fn call(base: &str, method: &str, path: &str, key: &str, body: &str) -> Option<Reply> {
    let rest = base.strip_prefix("http://").unwrap();
    let (host, prefix) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!(
        "{method} /{prefix}{path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).ok()?;
    let text = String::from_utf8_lossy(&reply).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    // A reply that was cut off is no reply.
    let body = serde_json::from_str(body).ok()?;
    Some(Reply { status, receipt: header("x-receipt-id"), body })
}
