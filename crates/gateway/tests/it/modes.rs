//! Who may see a request if its receipt is drawn.

use crate::world::{OWNERS, PATIENCE, World, account, chat};
use crypto::OperatorId;
use ledger::payments::{Audit, CLAIMS, messages::AuditMode};
use std::time::Duration;
use tokio::time::{sleep, timeout};

const HEADER: &str = "x-audit-mode";
const CHAT: &str = "/v1/chat/completions";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_says_who_may_see_it_and_its_bundle_and_claim_say_so_too() {
    let mut world = World::audited().await;
    world.start_box(OWNERS[0]).await;
    let body = chat("for nobody").to_string();
    let unknown = world.caller().post_with(CHAT, body.as_bytes(), &[(HEADER, "secret")]).await;
    unknown.refuses(400, "invalid_value", Some(HEADER));
    let twice = [(HEADER, "open"), (HEADER, "canary_only")];
    let twice = world.caller().post_with(CHAT, body.as_bytes(), &twice).await;
    twice.refuses(400, "invalid_value", Some(HEADER));
    let asked = [(HEADER, AuditMode::CanaryOnly.name())];
    let reply = world.caller().post_with(CHAT, body.as_bytes(), &asked).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let bundle = world.bundles(&reply.receipt()).await.remove(0);
    assert_eq!(bundle.request.message.audit_mode, AuditMode::CanaryOnly);
    let operator = OperatorId::derive(&account(OWNERS[0]), 0);
    let drawing = async {
        loop {
            let claims = world.rpc.records(&CLAIMS, &operator).await.unwrap();
            let ended = |audit| ![Audit::Pending, Audit::Running].contains(&audit);
            match claims.first() {
                Some((_, claim)) if ended(claim.audit) => return *claim,
                _ => sleep(Duration::from_millis(200)).await,
            }
        }
    };
    let claim = timeout(PATIENCE, drawing).await.expect("the drawn receipt is opened");
    assert!(claim.canary_only);
    assert_eq!(claim.audit, Audit::Unaudited, "it is opened and shown to nobody");
}
