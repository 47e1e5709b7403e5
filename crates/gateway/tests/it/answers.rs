//! What a caller gets: chats whole and streamed, embeddings in every shape, bundles that verify.

use crate::world::{World, chat};
use base64::{Engine, engine::general_purpose::STANDARD};
use client::bundle::{Check, Level, verify};
use preprocess::Preprocess;
use serde_json::{Value, json};

/// Checks every bundle of a receipt against the caller's own body and answer.
async fn verified(world: &World, id: &str, model: &model::Model, body: &Value, answer: &str) {
    let preprocess = Preprocess::from_bytes(model.preprocess()).unwrap();
    let bundles = world.bundles(id).await;
    assert!(!bundles.is_empty());
    let body = body.to_string();
    for bundle in &bundles {
        let check = Check {
            model,
            preprocess: &preprocess,
            trusted: None,
            input: Some(body.as_bytes()),
            output: Some(answer.as_bytes()),
        };
        let report = verify(bundle, &check).unwrap();
        assert!(report.level >= Level::Signed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chats_are_answered_whole_and_in_pieces_with_receipts_that_verify() {
    let world = World::new().await;
    let caller = world.caller();

    let body = chat("hello");
    let whole = caller.chat(&body).await;
    assert_eq!(whole.status, 200, "{}", whole.text);
    let answer = whole.json();
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert!(answer["usage"]["cost"].as_f64().unwrap() > 0.0);
    assert_eq!(answer["receipt"]["id"], json!(whole.receipt()));
    verified(&world, &whole.receipt(), &world.models.chat, &body, &whole.text).await;

    // The same in pieces: the same text, since the seed is the same.
    let mut streamed = body.clone();
    streamed["stream"] = json!(true);
    streamed["stream_options"] = json!({"include_usage": true});
    let stream = caller.chat(&streamed).await;
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    let events = stream.events();
    let delta = |event: &Value| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned);
    assert_eq!(events.iter().filter_map(delta).collect::<String>(), text);
    let last = events.last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], answer["usage"]["completion_tokens"]);
    assert_eq!(last["receipt"]["id"], json!(stream.receipt()));
    assert!(stream.text.ends_with("data: [DONE]\n\n"));

    // A stop string ends the text before it, wherever tokens end.
    let middle: String = text.chars().skip(3).take(2).collect();
    let mut stopped = body.clone();
    stopped["stop"] = json!([middle]);
    let reply = caller.chat(&stopped).await;
    let cut = reply.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert_eq!(cut, text[..text.find(&middle).unwrap()]);
    assert_eq!(reply.json()["choices"][0]["finish_reason"], "stop");
    verified(&world, &reply.receipt(), &world.models.chat, &stopped, &reply.text).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embeddings_are_equal_in_every_shape_and_encoding() {
    let world = World::new().await;
    let caller = world.caller();
    let body = json!({"model": "tiny-test-embed", "input": ["a", "b", "a"]});
    let floats = caller.embed(&body).await;
    assert_eq!(floats.status, 200, "{}", floats.text);
    let rows: Vec<Vec<f32>> = floats.json()["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| serde_json::from_value(item["embedding"].clone()).unwrap())
        .collect();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0], rows[2]);
    assert_ne!(rows[0], rows[1]);
    verified(&world, &floats.receipt(), &world.models.embed, &body, &floats.text).await;
    let body = json!({"model": "tiny-test-embed", "input": "b", "encoding_format": "base64"});
    let base64 = caller.embed(&body).await;
    let bytes = STANDARD.decode(base64.json()["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let row: Vec<f32> =
        bytes.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    assert_eq!(row, rows[1]);
    verified(&world, &base64.receipt(), &world.models.embed, &body, &base64.text).await;

    // Token ids are taken as the model's own.
    let bundle = &world.bundles(&base64.receipt()).await[0];
    let ids = json!({"model": "tiny-test-embed", "input": bundle.input});
    let same = caller.embed(&ids).await.json()["data"][0]["embedding"].clone();
    assert_eq!(serde_json::from_value::<Vec<f32>>(same).unwrap(), rows[1]);

    // The list of models says what they are.
    let models = caller.get("/v1/models").await.json();
    assert_eq!(models["data"][0]["id"], "tiny-test-chat");
    assert_eq!(models["data"][0]["test_model"], json!(true));
    assert_eq!(models["data"][0]["pricing"]["nano_credits_per_unit"], json!("1000000"));
    assert_eq!(caller.get("/v1/models/tiny-test-embed").await.json()["operators"], json!(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_many_items_runs_on_many_lanes() {
    let world = World::new().await;
    let items: Vec<String> = (0..48).map(|index| format!("item {index}")).collect();
    let body = json!({"model": "tiny-test-embed", "input": items});
    let reply = world.caller().embed(&body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    let bundles = world.bundles(&reply.receipt()).await;
    assert_eq!(bundles.len(), 48);
    let lanes: std::collections::BTreeSet<u32> =
        bundles.iter().map(|bundle| bundle.request.message.lane).collect();
    assert!(lanes.len() > 1, "{lanes:?}");
    verified(&world, &reply.receipt(), &world.models.embed, &body, &reply.text).await;
}
