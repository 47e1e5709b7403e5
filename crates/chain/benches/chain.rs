//! Transfers per second through one embedded validator, beside what its signatures alone would
//! allow.
//!
//! Rules: both figures come from one run on one machine; transactions are signed beforehand;
//! a transfer counts once its caller has its answer, which means final, applied and on disk.

use chain::{Config, ValidatorKeys};
use crypto::{AccountId, ChainId, Domain, SecretKey, verify_batch};
use ledger::{
    Call, Genesis, Params, SignedTransaction, Transaction, accounts, credits::PriceSource,
    genesis::GenesisAccount,
};
use light::rpc::{Outcome, RpcError, TransactionResult};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    time::Instant,
};
use units::{Coin, Height, List, Millis, Nonce, Text, UsdNano};

/// Senders, each with its own account.
const SENDERS: u64 = 256;
/// Transfers of each.
const TRANSFERS: u64 = 128;
/// Callers at a time.
const CALLERS: u64 = 8;
/// Signatures in one batch of the baseline.
const BATCH: usize = 1_024;
/// The least share of the baseline.
const BAR: f64 = 0.5;

fn sender(index: u64) -> SecretKey {
    let mut seed = [3; 32];
    seed[..8].copy_from_slice(&index.to_le_bytes());
    SecretKey::from_seed(seed)
}

fn genesis() -> Genesis {
    let mut params = Params::default();
    params.block.pace = Millis::new(50);
    params.block.idle = Millis::new(50);
    let accounts = (0..SENDERS).map(|index| GenesisAccount {
        account: AccountId::new(sender(index).public()),
        balance: Coin::whole(100_000).expect("it fits"),
        sessions: List::default(),
    });
    Genesis {
        name: Text::new("bench").expect("it is short"),
        time: Millis::new(1_700_000_000_000),
        price: PriceSource::Fixed(UsdNano::new(1_000_000_000)),
        treasury: Coin::ZERO,
        accounts: List::new(accounts.collect()).expect("they are few"),
        operators: List::default(),
        models: List::default(),
        params,
    }
}

/// The transfers of every `CALLERS`-th sender, round by round of nonces.
fn transfers(chain: ChainId, caller: u64) -> Vec<Vec<SignedTransaction>> {
    let keys: Vec<_> = (caller..SENDERS).step_by(CALLERS as usize).map(sender).collect();
    let to = AccountId::new(sender(0).public());
    let sign = |key: &SecretKey, nonce| {
        let amount = Coin::whole(1).expect("it fits");
        let transaction = Transaction {
            chain,
            account: AccountId::new(key.public()),
            signer: key.public(),
            nonce: Nonce::new(nonce),
            valid_until: Height::new(5_000),
            call: Call::Accounts(accounts::Tx::Transfer { to, amount }),
        };
        let signature = key.sign(Domain::Transaction, &transaction);
        SignedTransaction { transaction, signature }
    };
    let rounds: Vec<_> = (0..TRANSFERS).collect();
    rounds
        .chunks(32)
        .map(|nonces| nonces.iter().flat_map(|n| keys.iter().map(|key| sign(key, *n))).collect())
        .collect()
}

fn post(stream: &mut TcpStream, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/transactions/batch HTTP/1.1\r\nhost: bench\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("the node listens");
    stream.write_all(body).expect("the node listens");
    let (mut reply, mut bytes) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        let read = stream.read(&mut bytes).expect("the node answers");
        assert_ne!(read, 0, "the node closed the connection");
        reply.extend_from_slice(&bytes[..read]);
        let Some(end) = reply.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&reply[..end]).to_lowercase();
        let length = head.split("content-length: ").nth(1).expect("answers have a length");
        let length: usize = length.lines().next().unwrap_or("").parse().expect("a number");
        if reply.len() >= end + 4 + length {
            return reply.split_off(end + 4);
        }
    }
}

fn call(address: SocketAddr, batches: &[Vec<SignedTransaction>]) -> u64 {
    let mut stream = TcpStream::connect(address).expect("the node listens");
    let mut applied = 0;
    for batch in batches {
        let reply = post(&mut stream, &borsh::to_vec(batch).expect("it has an encoding"));
        let results: Vec<Result<TransactionResult, RpcError>> =
            borsh::from_slice(&reply).expect("the answer decodes");
        let good = results.iter().flatten().filter(|r| r.outcome == Outcome::Applied);
        applied += good.count() as u64;
    }
    applied
}

/// Signatures per second that all cores check in batches, and nothing else.
fn baseline(chain: ChainId, cores: usize) -> f64 {
    let batch: Vec<_> = transfers(chain, 0)
        .concat()
        .into_iter()
        .cycle()
        .take(BATCH)
        .map(|s| (s.transaction.signer, s.transaction.id(), s.signature))
        .collect();
    let rounds = 12;
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                for _ in 0..rounds {
                    verify_batch(&batch).expect("the signatures are good");
                }
            });
        }
    });
    (BATCH * rounds * cores) as f64 / start.elapsed().as_secs_f64()
}

fn main() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = Config {
        dir: dir.path().into(),
        genesis: genesis(),
        keys: ValidatorKeys::from_secrets([7; 32], [8; 32]),
        rpc_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
    };
    let chain = chain::start(config).expect("the chain starts");
    let (id, address) = (chain.chain_id(), chain.rpc_addr());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load: Vec<_> = (0..CALLERS).map(|caller| transfers(id, caller)).collect();
    let base = baseline(id, cores);

    let start = Instant::now();
    let applied: u64 = std::thread::scope(|scope| {
        let callers: Vec<_> =
            load.iter().map(|batches| scope.spawn(move || call(address, batches))).collect();
        callers.into_iter().map(|caller| caller.join().expect("a caller")).sum()
    });
    let rate = applied as f64 / start.elapsed().as_secs_f64();
    assert_eq!(applied, SENDERS * TRANSFERS, "every transfer is applied");
    chain.shutdown().expect("the chain stops");
    report(rate, base);
}

fn report(rate: f64, base: f64) {
    let ratio = rate / base;
    let rows = serde_json::json!([
        { "name": "chain::transfers", "value": rate, "unit": "transfers/s", "bar": null,
          "holds": null, "baseline": null },
        { "name": "chain::batch_verify", "value": base, "unit": "signatures/s on all cores",
          "bar": null, "holds": null, "baseline": null },
        { "name": "chain::transfers/batch_verify", "value": ratio, "unit": "ratio", "bar": BAR,
          "holds": ratio >= BAR, "baseline": base },
    ]);
    let mut out = std::io::stdout();
    for row in rows.as_array().into_iter().flatten() {
        let (name, value) = (&row["name"], row["value"].as_f64().unwrap_or_default());
        let line = format!("{name:40} {value:14.2} {}  bar {}", row["unit"], row["bar"]);
        writeln!(out, "{line}").expect("standard output");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target"),
        PathBuf::from,
    );
    let dir = target.join("bench");
    fs::create_dir_all(&dir).expect("the target folder");
    fs::write(dir.join("chain.json"), rows.to_string()).expect("the target folder");
}
