//! Bodies that clients send, good and bad.

use super::*;
use ledger::payments::schema::Sampling;
use preprocess::Role;
use serde_json::json;

fn hello() -> Value {
    json!({"model": "m", "messages": [{"role": "user", "content": "hello"}]})
}

/// A chat body with one more field.
fn with(name: &str, value: Value) -> Result<ChatRequest, BodyError> {
    let mut body = hello();
    body[name] = value;
    ChatRequest::read(body)
}

#[track_caller]
fn refuses(name: &str, value: Value, problem: Problem, param: &str) {
    let error = with(name, value).unwrap_err();
    assert_eq!((error.problem, error.param.as_deref()), (problem, Some(param)), "{error:?}");
    assert!(!error.hint.is_empty());
}

#[test]
fn a_plain_chat_body_has_openais_defaults() {
    let request = ChatRequest::read(hello()).unwrap();
    let plain = Sampling { temperature_milli: 1_000, top_p_milli: 1_000, top_k: 0 };
    assert_eq!(request.sampling, plain);
    assert_eq!((request.seed, request.max_tokens, request.stream), (None, None, false));
}

#[test]
fn decimals_become_thousandths() {
    assert_eq!(with("temperature", json!(0.7)).unwrap().sampling.temperature_milli, 700);
    assert_eq!(with("temperature", json!(0)).unwrap().sampling.temperature_milli, 0);
    assert_eq!(with("top_p", json!(0.9996)).unwrap().sampling.top_p_milli, 1_000);
}

#[test]
fn null_is_the_same_as_absent() {
    let plain = ChatRequest::read(hello()).unwrap();
    assert_eq!(with("temperature", Value::Null).unwrap(), plain);
    assert_eq!(with("a_field_of_tomorrow", Value::Null).unwrap(), plain);
}

#[test]
fn values_out_of_range_are_refused_by_name() {
    for value in [json!(-1), json!(0), json!(9_223_372_036_854_775_808_u64), json!("10")] {
        refuses("max_tokens", value, Problem::InvalidValue, "max_tokens");
    }
    refuses("n", json!(1_000_000), Problem::UnsupportedField, "n");
    refuses("temperature", json!(2.001), Problem::InvalidValue, "temperature");
    refuses("temperature", json!("hot"), Problem::InvalidValue, "temperature");
    refuses("top_p", json!(-0.1), Problem::InvalidValue, "top_p");
    refuses("top_k", json!(65_536), Problem::InvalidValue, "top_k");
    refuses("seed", json!(-1), Problem::InvalidValue, "seed");
    refuses("stream", json!("yes"), Problem::InvalidValue, "stream");
    refuses("stop", json!(["a", "b", "c", "d", "e"]), Problem::InvalidValue, "stop");
    refuses("stop", json!([""]), Problem::InvalidValue, "stop");
    refuses("stop", json!([1]), Problem::InvalidValue, "stop[0]");
    refuses("messages", json!([]), Problem::InvalidValue, "messages");
    refuses("messages", json!([{"role": "tool"}]), Problem::InvalidValue, "messages[0].role");
    refuses("messages", json!([{"role": "user"}]), Problem::MissingField, "messages[0].content");
    refuses("messages", json!([1]), Problem::InvalidValue, "messages[0]");
}

#[test]
fn fields_that_would_be_ignored_are_refused_by_name() {
    refuses("tools", json!([{"type": "function"}]), Problem::UnsupportedField, "tools");
    refuses("logprobs", json!(true), Problem::UnsupportedField, "logprobs");
    refuses("a_field_of_tomorrow", json!(1), Problem::UnsupportedField, "a_field_of_tomorrow");
    let options = json!({"include_usage": true, "extra": 1});
    refuses("stream_options", options, Problem::UnsupportedField, "stream_options.extra");
    assert!(with("n", json!(1)).is_ok());
    assert!(with("presence_penalty", json!(0.0)).is_ok());
}

#[test]
fn a_content_in_parts_is_its_texts_in_order() {
    let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    let request = with("messages", json!([{"role": "developer", "content": parts}])).unwrap();
    assert_eq!(request.messages[0].content, "ab");
    assert_eq!(request.messages[0].role, Role::System);
    let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]);
    refuses("messages", image, Problem::InvalidValue, "messages[0].content[0].type");
}

#[test]
fn embeddings_take_texts_and_ids_in_every_shape() {
    let items = |input: Value| {
        EmbeddingsRequest::read(json!({"model": "m", "input": input})).map(|request| request.items)
    };
    let text = |text: &str| Item::Text(text.into());
    assert_eq!(items(json!("a")).unwrap(), [text("a")]);
    assert_eq!(items(json!(["a", "b"])).unwrap(), [text("a"), text("b")]);
    assert_eq!(items(json!([1, 2])).unwrap(), [Item::Ids(vec![1, 2])]);
    assert_eq!(items(json!([[1], [2]])).unwrap(), [Item::Ids(vec![1]), Item::Ids(vec![2])]);
    assert_eq!(items(json!(vec!["x"; MAX_ITEMS])).unwrap().len(), MAX_ITEMS);
    for (input, param) in [
        (json!([]), "input"),
        (json!(7), "input"),
        (json!(vec!["x"; MAX_ITEMS + 1]), "input"),
        (json!([1, "a"]), "input[1]"),
        (json!(["a", 1]), "input[1]"),
        (json!([[]]), "input[0]"),
        (json!([-1]), "input[0]"),
        (json!([4_294_967_296_u64]), "input[0]"),
    ] {
        let error = items(input).unwrap_err();
        assert_eq!((error.problem, error.param.as_deref()), (Problem::InvalidValue, Some(param)));
    }
}
