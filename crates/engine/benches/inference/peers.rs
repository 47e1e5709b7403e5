//! The engines that ours is held against: fetched and built once into `target/bench/peers` at
//! pinned versions, and driven over a pipe, so that all take turns on one machine.
//!
//! Where a peer cannot be had (no network, no compiler) the bench says so and goes on without it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use engine::catalog::Entry;
use engine::store::Store;

use crate::clock::Took;

const PYTHON_PACKAGES: [&str; 4] =
    ["onnxruntime==1.32.0", "onnx==1.23.2", "numpy==2.4.6", "safetensors==0.8.0"];
const BUILD_PACKAGES: [&str; 3] = ["cmake==4.4.5", "ninja==1.13.2", "scikit-build-core"];
const LLAMA: &str = "llama_cpp_python-0.3.36";

/// A peer that answers requests, one line each.
pub(crate) struct Peer {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Peer {
    fn start(command: &mut Command) -> Result<Self, String> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let (requests, answers) = (child.stdin.take(), child.stdout.take());
        let requests = requests.ok_or("no pipe")?;
        let answers = BufReader::new(answers.ok_or("no pipe")?);
        Ok(Self { child, requests, answers })
    }

    fn answer(&mut self) -> Result<String, String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).map_err(|error| error.to_string())?;
        Ok(line.trim().to_owned())
    }

    fn ask(&mut self, request: &str) -> Result<String, String> {
        writeln!(self.requests, "{request}").map_err(|error| error.to_string())?;
        self.answer()
    }

    /// Makes a request that has no result.
    pub(crate) fn tell(&mut self, request: &str) -> Result<(), String> {
        match self.ask(request)?.as_str() {
            "ok" => Ok(()),
            other => Err(format!("{request}: {other}")),
        }
    }

    /// What a request took.
    pub(crate) fn time(&mut self, request: &str) -> Took {
        let answer = self.ask(request).unwrap_or_default();
        let mut numbers = answer.split_whitespace().map_while(|number| number.parse().ok());
        let mut next = || numbers.next().unwrap_or(f64::NAN);
        Took { wall: next(), cpu: next() }
    }

    /// Its highest resident memory in megabytes, where the system tells.
    pub(crate) fn peak_megabytes(&self) -> Option<f64> {
        peak_megabytes(&self.child.id().to_string())
    }
}

/// The highest resident memory of a process in megabytes, where the system tells.
pub(crate) fn peak_megabytes(process: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1_000.0)
}

/// ONNX Runtime with MiniLM.
pub(crate) fn onnx_runtime(entry: &Entry) -> Result<Peer, String> {
    let folder = folder()?;
    let python = venv(&folder, &PYTHON_PACKAGES)?;
    let weights = folder.join("minilm.safetensors");
    source(entry, &weights)?;
    let script = bench_file("minilm_onnx.py");
    let mut peer = Peer::start(Command::new(python).arg(script).arg(weights).arg(&folder))?;
    match peer.answer()?.as_str() {
        "ready" => Ok(peer),
        other => Err(format!("onnxruntime: {other}")),
    }
}

/// llama.cpp, built for this processor, and its Q8_0 of the catalogue's file.
pub(crate) fn llama(entry: &Entry) -> Result<(Peer, PathBuf), String> {
    let folder = folder()?;
    let driver = folder.join("llama-driver");
    if !driver.exists() {
        build_llama(&folder, &driver)?;
    }
    let (original, quantised) = (folder.join("smollm2.gguf"), folder.join("smollm2-q8_0.gguf"));
    source(entry, &original)?;
    // What it allocates may have huge pages, as ours has.
    let mut command = Command::new(driver);
    let mut peer = Peer::start(command.env("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"))?;
    if !quantised.exists() {
        peer.tell(&format!("quantize {} {}", original.display(), quantised.display()))?;
    }
    Ok((peer, quantised))
}

fn build_llama(folder: &Path, driver: &Path) -> Result<(), String> {
    let python = venv(folder, &BUILD_PACKAGES)?;
    let package = LLAMA.replace("_python-", "-python==").replace('_', "-");
    let archive = folder.join(format!("{LLAMA}.tar.gz"));
    if !archive.exists() {
        let mut download = Command::new(&python);
        download.args(["-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation"]);
        done(download.args(["--no-binary", "llama-cpp-python", "-d"]).arg(folder).arg(package))?;
    }
    done(Command::new("tar").arg("xf").arg(&archive).arg("-C").arg(folder))?;
    let tree = folder.join(LLAMA).join("vendor/llama.cpp");
    let build = tree.join("build");
    let tool = |name: &str| python.with_file_name(name);
    let mut configure = Command::new(tool("cmake"));
    configure.arg("-B").arg(&build).arg("-S").arg(&tree).args(["-G", "Ninja"]);
    configure.arg(format!("-DCMAKE_MAKE_PROGRAM={}", tool("ninja").display()));
    done(configure.args([
        "-DCMAKE_BUILD_TYPE=Release",
        "-DGGML_NATIVE=ON",
        "-DBUILD_SHARED_LIBS=OFF",
        "-DLLAMA_CURL=OFF",
        "-DLLAMA_OPENSSL=OFF",
        "-DLLAMA_BUILD_TESTS=OFF",
        "-DLLAMA_BUILD_EXAMPLES=OFF",
        "-DLLAMA_BUILD_SERVER=OFF",
    ]))?;
    done(Command::new(tool("ninja")).arg("-C").arg(&build).arg("llama"))?;
    let mut compile = Command::new("g++");
    compile.args(["-O2", "-std=c++17", "-I"]).arg(tree.join("include"));
    compile.arg("-I").arg(tree.join("ggml/include")).arg(bench_file("llama.cpp"));
    compile.arg(build.join("src/libllama.a"));
    for library in ["libggml.a", "libggml-cpu.a", "libggml-base.a"] {
        compile.arg(build.join("ggml/src").join(library));
    }
    done(compile.args(["-fopenmp", "-lpthread", "-ldl", "-lm", "-o"]).arg(driver))
}

/// A file of this bench.
fn bench_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/inference").join(name)
}

/// Where peers live.
fn folder() -> Result<PathBuf, String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target"),
        PathBuf::from,
    );
    let folder = target.join("bench/peers");
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    Ok(folder)
}

/// The interpreter of a virtual environment that has the packages.
fn venv(folder: &Path, packages: &[&str]) -> Result<PathBuf, String> {
    let environment = folder.join("venv");
    let python = environment.join("bin/python");
    if !python.exists() {
        done(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
    }
    done(Command::new(&python).args(["-m", "pip", "install", "-q"]).args(packages))?;
    Ok(python)
}

/// The catalogue's original of a model, once fetched.
fn source(entry: &Entry, path: &Path) -> Result<(), String> {
    if path.exists() {
        return Ok(());
    }
    let recipe = entry.recipe().map_err(|error| error.to_string())?;
    let bytes = engine::download(entry, &recipe.source.weights);
    let bytes = bytes.map_err(|error| error.to_string())?;
    std::fs::write(path, bytes).map_err(|error| error.to_string())
}

/// Runs a command to its end.
fn done(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let last = complaint.lines().rev().take(3).collect::<Vec<_>>();
    Err(format!("{command:?} failed: {last:?}"))
}

/// The catalogue's entry and the model, fetched if need be.
pub(crate) fn pull(name: &str) -> engine::store::Loaded {
    let store = Store::open(Store::default_dir()).expect("the catalogue is built in");
    store.pull(name, &mut |_| {}).expect("the model can be fetched")
}
