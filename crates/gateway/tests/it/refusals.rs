//! Bad requests: each is refused by name, with a hint, and begins nothing.

use crate::world::{World, chat};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn bad_messages_are_refused_with_a_hint() {
    let world = World::new().await;
    let caller = world.caller();
    let path = "/v1/chat/completions";

    // Who asks.
    caller.with_key("sk-wrong").chat(&chat("x")).await.refuses(401, "invalid_api_key", None);
    let keyless = "GET /v1/models HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    caller.raw(keyless.as_bytes()).await.refuses(401, "missing_api_key", None);

    // Where and how.
    caller.get("/v1/nothing").await.refuses(404, "not_found", None);
    caller.get(path).await.refuses(405, "method_not_allowed", None);
    caller.get("/v1/receipts/task_0").await.refuses(404, "receipt_not_found", None);
    let head =
        caller.head("POST", path, &[("content-type", "text/plain"), ("content-length", "2")]);
    let typed = caller.raw(format!("{head}\r\n{{}}").as_bytes()).await;
    typed.refuses(415, "unsupported_media_type", None);
    let long = vec![b' '; (1 << 20) + 1];
    caller.post_with(path, &long, &[]).await.refuses(413, "body_too_large", None);
    let many = vec![("a", "b"); 64];
    assert_eq!(caller.post_with(path, b"{}", &many).await.status, 431);

    // What is not JSON.
    for (body, param) in [
        (&b"{"[..], None),
        (b"\xff\xfe", None),
        (b"{\"temperature\": NaN}", Some("temperature")),
        (b"{\"temperature\": 1e309}", Some("temperature")),
        (b"{\"model\": \"a\", \"model\": \"b\"}", Some("model")),
    ] {
        caller.post_with(path, body, &[]).await.refuses(400, "invalid_json", param);
    }
    let deep = format!("{{\"messages\": {}1{}}}", "[".repeat(70), "]".repeat(70));
    let reply = caller.post_with(path, deep.as_bytes(), &[]).await;
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (400, &json!("invalid_json")));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_fields_are_refused_by_name_with_a_hint() {
    let world = World::new().await;
    let caller = world.caller();
    let with = |name: &str, value: Value| {
        let mut body = chat("x");
        body[name] = value;
        body
    };
    for (body, status, code, param) in [
        (with("model", json!("gpt")), 404, "model_not_found", "model"),
        (with("model", json!("tiny-test-embed")), 400, "invalid_value", "model"),
        (with("messages", json!([])), 400, "invalid_value", "messages"),
        (with("max_tokens", json!(-1)), 400, "invalid_value", "max_tokens"),
        (with("max_tokens", json!("10")), 400, "invalid_value", "max_tokens"),
        (with("max_tokens", json!(1_u64 << 63)), 400, "invalid_value", "max_tokens"),
        (with("max_tokens", json!(4_000)), 400, "context_length_exceeded", "max_tokens"),
        (with("n", json!(1_000_000)), 400, "unsupported_field", "n"),
        (with("tools", json!([{}])), 400, "unsupported_field", "tools"),
        (chat(&"long ".repeat(20_000)), 400, "context_length_exceeded", "messages"),
    ] {
        caller.chat(&body).await.refuses(status, code, Some(param));
    }
    for (input, code, param) in [
        (json!(""), "invalid_value", "input[0]"),
        (json!([[999_999]]), "invalid_value", "input[0][0]"),
        (json!(vec!["x"; 257]), "invalid_value", "input"),
        (json!("long ".repeat(20_000)), "context_length_exceeded", "input[0]"),
    ] {
        let reply = caller.embed(&json!({"model": "tiny-test-embed", "input": input})).await;
        if reply.status != 200 {
            reply.refuses(400, code, Some(param));
        } else {
            assert_eq!(param, "input[0]", "only an empty text may still have tokens around it");
        }
    }

    // Odd texts are fine.
    for text in ["\u{0}", "\u{202e}abc", "🧵"] {
        let reply = caller.chat(&chat(text)).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_boxes_the_gateway_says_so_and_is_not_ready() {
    let world = World::empty().await;
    let caller = world.caller();
    caller.get("/ready").await.refuses(503, "overloaded", None);
    assert_eq!(caller.get("/health").await.status, 200);
    let reply = caller.chat(&chat("hello")).await;
    reply.refuses(503, "overloaded", None);
    assert_eq!(reply.headers["retry-after"], "1");
}
