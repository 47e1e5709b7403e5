//! Keeps one connection to one gateway: dials, serves, dials again, for ever.
//!
//! Rules: pauses double after each failure up to a bound and are spread, so that boxes do not
//! return in step after a gateway's restart; a connection that held for a while starts them
//! anew. Never here: what is said on a connection.

use crate::{
    Gateway, connection,
    node::{Node, Phase},
};
use link::{Dialer, TlsDialer};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// First pause.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A connection that held so long was a good one.
const GOOD: Duration = Duration::from_secs(10);

/// Serves `gateway` until the box stops.
pub(crate) async fn run(node: Arc<Node>, dialer: TlsDialer, gateway: Gateway) {
    let mut pause = PAUSE;
    while !node.is_stopping() {
        let started = Instant::now();
        let dialled = tokio::select! {
            dialled = dialer.dial(&gateway.address, gateway.key) => dialled,
            () = node.reached(Phase::Stopping) => return,
        };
        let ended = match dialled {
            Ok(connection) => connection::run(&node, &gateway, connection).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = ended {
            tracing::info!(gateway = gateway.address, %error, "no connection to a gateway");
        }
        if started.elapsed() >= GOOD {
            pause = PAUSE;
        }
        tokio::select! {
            () = tokio::time::sleep(spread(pause)) => {}
            () = node.reached(Phase::Stopping) => return,
        }
        pause = PAUSE_MAX.min(pause * 2);
    }
}

/// Between half the pause and the whole.
fn spread(pause: Duration) -> Duration {
    let mut byte = [0];
    // Without random bytes all boxes wait for the whole pause.
    let share = getrandom::fill(&mut byte).map_or(u32::from(u8::MAX), |()| byte[0].into());
    pause / 2 + pause * share / (2 * u32::from(u8::MAX))
}
