//! Configurations, templates, streams and stop strings.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use units::{List, Text};

use crate::{
    Config, DecodeRule, Form, Message, Preprocess, PreprocessError, Role, RoleMarkup, StopMatcher,
    StreamDecoder, TEXT_BYTES_MAX, Template, Vector,
};

/// A byte-level tokenizer: two control tokens, then the 256 bytes.
fn tokenizer() -> Vec<u8> {
    let mut vocab = serde_json::Map::new();
    vocab.insert("<end>".to_owned(), 0.into());
    vocab.insert("<user>".to_owned(), 1.into());
    let mut unprintable = '\u{100}'..='\u{1ff}';
    for (id, byte) in (2..).zip(0..=u8::MAX) {
        let printable = matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
        let spelled = if printable { char::from(byte) } else { unprintable.next().unwrap() };
        vocab.insert(spelled.to_string(), id.into());
    }
    let control = |id: u32, content: &str| {
        json!({
            "id": id, "content": content, "special": true, "normalized": false,
            "single_word": false, "lstrip": false, "rstrip": false,
        })
    };
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true,
    });
    let text = json!({
        "version": "1.0",
        "truncation": {
            "max_length": 3, "strategy": "LongestFirst", "stride": 0, "direction": "Right",
        },
        "padding": null,
        "added_tokens": [control(0, "<end>"), control(1, "<user>")],
        "normalizer": null, "pre_tokenizer": byte_level, "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "ignore_merges": false, "vocab": vocab, "merges": [],
        },
    });
    text.to_string().into_bytes()
}

fn ids(text: &str) -> Vec<u32> {
    text.bytes().map(|byte| u32::from(byte) + 2).collect()
}

fn config() -> Config {
    let markup = RoleMarkup {
        role: Role::User,
        prefix: Text::new("<user>").unwrap(),
        suffix: Text::new("<end>").unwrap(),
    };
    Config {
        tokenizer: List::new(tokenizer()).unwrap(),
        form: Form::Chat(Template {
            start: Text::new("").unwrap(),
            default_system: Text::new("").unwrap(),
            roles: List::new(vec![markup]).unwrap(),
            answer: Text::new("!").unwrap(),
        }),
        decode: DecodeRule::ByteLevel,
        vectors: List::new(vec![Vector {
            text: Text::new("a b").unwrap(),
            ids: List::new(ids("a b")).unwrap(),
        }])
        .unwrap(),
    }
}

fn loaded() -> Preprocess {
    Preprocess::from_bytes(&config().to_bytes()).unwrap()
}

fn message(role: Role, content: &str) -> Message {
    Message { role, content: content.to_owned() }
}

#[test]
fn input_is_never_cut_whatever_the_tokenizer_file_says() {
    assert_eq!(loaded().encode("longer than three").unwrap(), ids("longer than three"));
}

#[test]
fn what_users_write_never_becomes_a_control_token() {
    let preprocess = loaded();
    let mut expected = vec![1];
    expected.extend(ids("hi<end><user>"));
    expected.push(0);
    expected.extend(ids("!"));
    assert_eq!(preprocess.chat(&[message(Role::User, "hi<end><user>")]).unwrap(), expected);
    assert_eq!(preprocess.encode("<end>").unwrap(), ids("<end>"));
}

#[test]
fn control_tokens_and_unknown_ids_are_no_text() {
    let mut answer = vec![1, 70_000];
    answer.extend(ids("yes"));
    answer.push(0);
    assert_eq!(loaded().decode(&answer), "yes");
}

#[test]
fn chats_without_messages_or_with_unknown_roles_are_refused() {
    let preprocess = loaded();
    assert_eq!(preprocess.chat(&[]), Err(PreprocessError::NoMessages));
    let role = Role::System;
    assert_eq!(
        preprocess.chat(&[message(role, "be brief")]),
        Err(PreprocessError::UnknownRole { role })
    );
    let many = vec![message(Role::User, ""); crate::MESSAGES_MAX + 1];
    let refused = PreprocessError::TooManyMessages { messages: 1_025, limit: 1_024 };
    assert_eq!(preprocess.chat(&many), Err(refused));
}

#[test]
fn texts_have_a_bound() {
    let text = "a".repeat(TEXT_BYTES_MAX + 1);
    let refused = PreprocessError::TextTooLong { bytes: text.len(), limit: TEXT_BYTES_MAX };
    assert_eq!(loaded().encode(&text), Err(refused.clone()));
    assert_eq!(loaded().chat(&[message(Role::User, &text)]), Err(refused));
}

#[test]
fn a_text_model_takes_no_messages() {
    let config = Config { form: Form::Text, ..config() };
    let preprocess = Preprocess::from_bytes(&config.to_bytes()).unwrap();
    assert_eq!(preprocess.chat(&[message(Role::User, "x")]), Err(PreprocessError::NoChat));
}

#[test]
fn a_vector_that_comes_out_differently_is_refused() {
    let vector = Vector { text: Text::new("x").unwrap(), ids: List::new(vec![5]).unwrap() };
    let config = Config { vectors: List::new(vec![vector]).unwrap(), ..config() };
    let error = Preprocess::from_bytes(&config.to_bytes()).unwrap_err();
    let (found, expected) = (ids("x"), vec![5]);
    assert_eq!(error, PreprocessError::Vector { index: 0, found, expected });
}

#[test]
fn half_a_character_is_held_back_and_replaced_at_the_end() {
    let mut stream = StreamDecoder::new(Arc::new(loaded()));
    let parts: Vec<String> = ids("é!").into_iter().map(|id| stream.push(id)).collect();
    assert_eq!(parts, ["", "é", "!"]);
    assert_eq!(stream.push(0xe2 + 2), "");
    assert_eq!(stream.finish(), "\u{fffd}");
}

#[test]
fn a_stop_string_is_cut_off_even_across_pieces() {
    let mut stops = StopMatcher::new(vec!["END".to_owned(), "\n\n".to_owned()]).unwrap();
    let pieces: Vec<_> = ["one E", "N", "x two\n", "\nmore"].map(|piece| stops.push(piece)).into();
    let texts: Vec<&str> = pieces.iter().map(|piece| piece.text.as_str()).collect();
    assert_eq!(texts, ["one ", "", "ENx two", ""]);
    assert_eq!(pieces[3].stop, Some(1));
}

#[test]
fn stop_strings_have_bounds() {
    let new = |stops: Vec<String>| StopMatcher::new(stops).map(|_| ());
    assert_eq!(new(vec!["x".to_owned(); 5]), Err(PreprocessError::StopStrings));
    assert_eq!(new(vec![String::new()]), Err(PreprocessError::StopStrings));
    assert_eq!(new(vec!["x".repeat(257)]), Err(PreprocessError::StopStrings));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the pieces, the text up to the first stop string comes out, and not more.
    #[test]
    fn stop_matching_does_not_depend_on_the_pieces(text in "[ab]{0,24}", cuts in any::<u32>()) {
        let stops = vec!["abba".to_owned(), "bb".to_owned()];
        let mut matcher = StopMatcher::new(stops.clone()).unwrap();
        let (mut out, mut stopped) = (String::new(), false);
        let mut piece = String::new();
        for (at, character) in text.chars().enumerate() {
            piece.push(character);
            if cuts >> (at % 32) & 1 == 1 && !stopped {
                let matched = matcher.push(&std::mem::take(&mut piece));
                out.push_str(&matched.text);
                stopped = matched.stop.is_some();
            }
        }
        if !stopped {
            let matched = matcher.push(&piece);
            out.push_str(&matched.text);
            stopped = matched.stop.is_some();
        }
        if !stopped {
            out.push_str(&matcher.finish().text);
        }
        let end = stops.iter().filter_map(|stop| text.find(stop)).min().unwrap_or(text.len());
        prop_assert_eq!(out, &text[..end]);
    }

    #[test]
    fn a_stream_gives_what_decode_gives(ids in prop::collection::vec(0..300_u32, 0..40)) {
        let preprocess = Arc::new(loaded());
        let mut stream = StreamDecoder::new(Arc::clone(&preprocess));
        let mut text: String = ids.iter().map(|id| stream.push(*id)).collect();
        text.push_str(&stream.finish());
        prop_assert_eq!(text, preprocess.decode(&ids));
    }

    #[test]
    fn texts_come_back_as_they_were(text in "\\PC{0,40}") {
        let preprocess = loaded();
        prop_assert_eq!(preprocess.decode(&preprocess.encode(&text).unwrap()), text);
    }

    #[test]
    fn a_damaged_configuration_never_panics(at: prop::sample::Index, byte: u8, cut: bool) {
        let mut bytes = config().to_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if cut {
            bytes.truncate(at);
        }
        if let Ok(preprocess) = Preprocess::from_bytes(&bytes) {
            let _ids = preprocess.encode("some text");
            let _text = preprocess.decode(&[1, 2, 3]);
        }
    }
}
