//! `selvedge devnet`: the whole network on this machine, until Ctrl-C.
//!
//! Rules: with `--json` one line on standard output when everything answers, and nothing else.
//! Never here: how the network is put together.

use crate::{
    home::{Connection, Home},
    hunt,
    output::{Failure, Output},
};
use anyhow::anyhow;
use devnet::{Config, Devnet, Event, Liar, PullProgress};
use indicatif::{ProgressBar, ProgressStyle};
use std::{env, net::SocketAddr, path::PathBuf, time::Duration};

/// Of `selvedge devnet`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder of the chain, the keys and the records [default: ~/.selvedge/devnet].
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<PathBuf>,
    /// Where the gateway listens; port 0 takes any free port.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where the node's interface listens; port 0 takes any free port.
    #[arg(long, default_value = "127.0.0.1:8090", value_name = "ADDRESS")]
    rpc_listen: SocketAddr,
    /// Fetch nothing; serve what is here already.
    #[arg(long)]
    offline: bool,
    /// Add somebody who does something wrong, let a consumer ask, and show how it is caught.
    #[arg(long, value_enum, value_name = "FAULT")]
    liar: Option<Fault>,
}

/// What somebody does wrong.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Fault {
    /// An operator runs another model than it says: a weight row is swapped.
    Weights,
    /// An operator says something else than it has computed.
    Output,
    /// An operator gives its first answer to everybody.
    Lazy,
    /// An operator serves, and answers no audit.
    Silent,
    /// An auditor copies a trace root that an honest operator leaks: it is bait.
    LeakedRoot,
    /// An operator says something else than it has computed, and an auditor vouches for it.
    ColludingAuditor,
    /// An account challenges right receipts of honest operators, again and again.
    GriefingChallenger,
}

impl From<Fault> for Liar {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Weights => Self::Weights,
            Fault::Output => Self::Output,
            Fault::Lazy => Self::Lazy,
            Fault::Silent => Self::Silent,
            Fault::LeakedRoot => Self::LeakedRoot,
            Fault::ColludingAuditor => Self::ColludingAuditor,
            Fault::GriefingChallenger => Self::GriefingChallenger,
        }
    }
}

/// Starts, says what to try, and waits for Ctrl-C.
pub(crate) async fn run(arguments: Arguments, home: &Home, output: &Output) -> Result<(), Failure> {
    let data_dir = arguments.data_dir.unwrap_or_else(|| home.devnet());
    let config = Config {
        api_key: api_key(&data_dir)?,
        data_dir,
        model_dir: home.models(),
        listen: arguments.listen,
        rpc_listen: arguments.rpc_listen,
        offline: arguments.offline,
        liar: arguments.liar.map(Liar::from),
    };
    let liar = config.liar;
    let api_key = config.api_key.clone();
    let mut progress = Progress::new(output);
    let network = devnet::start(config, &mut |event| progress.show(event)).await?;
    progress.finish();
    let connection = Connection {
        base_url: network.base_url(),
        api_key,
        rpc_url: network.rpc_url().to_owned(),
        models: network.models().iter().map(|model| model.name.clone()).collect(),
    };
    home.remember(&connection)?;
    output.result(&introduction(&network, &connection), &connection)?;
    let failed = tokio::select! {
        signal = tokio::signal::ctrl_c() => { signal?; false }
        () = network.stopped() => true,
        never = hunt::run(&network, liar, &connection, home, output), if liar.is_some() => {
            match never? {}
        }
    };
    output.note("\nstopping …");
    network.shutdown().await;
    if failed {
        return Err(anyhow!("the chain stopped by itself; SELVEDGE_LOG=info says why").into());
    }
    output.note("stopped; the same command goes on with the same chain");
    Ok(())
}

/// The devnet's API key, made at the first start and kept beside its other keys.
fn api_key(data_dir: &std::path::Path) -> Result<String, Failure> {
    let keystore = client::keystore::Keystore::open(data_dir.join("keys"))?;
    let public = keystore.load_or_create("api-key")?.public().to_string();
    Ok(format!("sk-dev-{}", &public[..32]))
}

fn introduction(network: &Devnet, connection: &Connection) -> String {
    let program = env::args().next().unwrap_or_else(|| "selvedge".to_owned());
    let models: Vec<String> = network
        .models()
        .iter()
        .map(|model| {
            let mark = if model.test { " (a test model: its answers mean nothing)" } else { "" };
            format!("    {}{mark}", model.name)
        })
        .collect();
    format!(
        "The network runs: chain {chain}

  base URL   {base}
  API key    {key}
  node       {rpc}
  models
{models}

Try, in another terminal:

  {program} embed \"a selvedge holds\" --save answer
  {program} chat \"What holds a cloth together?\"
  {program} receipt verify --from answer --wait settled --replay

Any OpenAI client works with that base URL and key. Ctrl-C stops; the next start goes on.",
        chain = network.chain_id(),
        base = connection.base_url,
        key = connection.api_key,
        rpc = connection.rpc_url,
        models = models.join("\n"),
    )
}

/// Shows what happens while the network starts.
struct Progress<'a> {
    output: &'a Output,
    bar: Option<ProgressBar>,
}

impl<'a> Progress<'a> {
    const fn new(output: &'a Output) -> Self {
        Self { output, bar: None }
    }

    fn show(&mut self, event: Event) {
        match event {
            Event::Pulling { name, step } => self.pull(&name, step),
            Event::Without { name, reason } => {
                self.finish();
                self.output.note(&format!("going on without {name}: {reason}"));
            }
            Event::Started { part } => {
                self.finish();
                self.output.note(&format!("started: {part}"));
            }
        }
    }

    fn pull(&mut self, name: &str, step: PullProgress) {
        show_pull(&mut self.bar, self.output, name, step);
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Shows one step of a pull on a bar that lives as long as the pull.
pub(crate) fn show_pull(
    bar: &mut Option<ProgressBar>,
    output: &Output,
    name: &str,
    step: PullProgress,
) {
    if output.is_json() {
        return;
    }
    let bar = bar.get_or_insert_with(|| {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    });
    match step {
        PullProgress::Downloading { package, bytes } => {
            bar.set_message(format!("{name}: fetching {package}, {} MB", bytes / 1_000_000));
        }
        PullProgress::Checking => bar.set_message(format!("{name}: checking its hash")),
        PullProgress::Licence { name: licence, .. } => {
            bar.suspend(|| output.note(&format!("{name} is used under {licence}")));
        }
        PullProgress::Importing { done, total } => {
            bar.set_style(ProgressStyle::default_bar());
            bar.set_length(total.try_into().unwrap_or(u64::MAX));
            bar.set_position(done.try_into().unwrap_or(u64::MAX));
            bar.set_message(format!("{name}: into integers"));
        }
        PullProgress::Ready => bar.set_message(format!("{name}: ready")),
    }
}
