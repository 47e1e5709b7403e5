//! Imports of small encoders made here: reproducible, bounded, and refused when they are broken.

use std::sync::Arc;

use engine::Job;
use engine::import::calibrate::accuracy::Accuracy;
use engine::import::calibrate::{Wishes, import_path, inspect_path};
use engine::import::{Architecture, ImportError, Recipe, Scales, SourceFiles};
use proptest::prelude::*;

use crate::support::{assert_certified, check};
use crate::write::{Numbers, Tensors, safetensors};

pub(crate) const WIDTH: usize = 32;
pub(crate) const HEADS: usize = 4;
const HIDDEN: usize = 48;
const WORDS: usize = 20;
pub(crate) const PLACES: usize = 12;

pub(crate) fn recipe() -> Recipe {
    Recipe {
        architecture: Architecture::Bert,
        source: SourceFiles {
            weights: "weights".to_owned(),
            tokenizer: Some("tokenizer".to_owned()),
            licence: None,
        },
        licence: "MIT".to_owned(),
        heads: HEADS as u32,
        key_heads: None,
        norm_epsilon: 1e-12,
        rope_base: None,
        max_input: 12,
        max_positions: None,
        stop_ids: Vec::new(),
        chat: None,
        scales: Scales { residual_bits: vec![16], headroom_milli: 25 },
        vectors: Vec::new(),
    }
}

/// A small encoder of two blocks with some plain weights.
pub(crate) fn tensors() -> Tensors {
    let mut tensors = Tensors::new();
    let mut numbers = Numbers(1);
    let mut add = |name: &str, shape: &[usize], scale: f32, offset: f32| {
        numbers.add(&mut tensors, name, shape, (scale, offset));
    };
    add("embeddings.word_embeddings.weight", &[WORDS, WIDTH], 0.1, 0.0);
    add("embeddings.position_embeddings.weight", &[PLACES, WIDTH], 0.05, 0.0);
    add("embeddings.token_type_embeddings.weight", &[2, WIDTH], 0.01, 0.0);
    let mut norms = vec!["embeddings.LayerNorm".to_owned()];
    for block in 0..2 {
        let name = |part: &str| format!("encoder.layer.{block}.{part}");
        for (part, outputs, inputs) in [
            ("attention.self.query", WIDTH, WIDTH),
            ("attention.self.key", WIDTH, WIDTH),
            ("attention.self.value", WIDTH, WIDTH),
            ("attention.output.dense", WIDTH, WIDTH),
            ("intermediate.dense", HIDDEN, WIDTH),
            ("output.dense", WIDTH, HIDDEN),
        ] {
            add(&format!("{}.weight", name(part)), &[outputs, inputs], 0.2, 0.0);
            add(&format!("{}.bias", name(part)), &[outputs], 0.1, 0.0);
        }
        norms.extend([name("attention.output.LayerNorm"), name("output.LayerNorm")]);
    }
    for norm in norms {
        add(&format!("{norm}.weight"), &[WIDTH], 0.2, 1.0);
        add(&format!("{norm}.bias"), &[WIDTH], 0.2, 0.0);
    }
    tensors
}

fn import(tensors: &Tensors) -> Result<model::Model, ImportError> {
    engine::import::import(&safetensors(tensors), Some(b"{}"), &recipe(), &mut |_, _| {})
}

#[test]
fn an_import_is_a_function_of_its_source() {
    let first = import(&tensors()).unwrap();
    let second = import(&tensors()).unwrap();
    assert_eq!(first.to_bytes(), second.to_bytes());
    expect_test::expect!["7801013b75dfcd87700cb0e56eb400cb6340ccd872e979ef340bce8dcce59a11"]
        .assert_eq(&first.id().to_string());
    let mut other = tensors();
    other.get_mut("encoder.layer.1.output.dense.weight").unwrap().1[0] += 0.5;
    assert_ne!(import(&other).unwrap().id(), first.id());
}

#[test]
fn every_op_of_an_import_is_certified_and_every_executor_agrees() {
    let model = Arc::new(import(&tensors()).unwrap());
    assert_certified(&model);
    check(&model, &[Job::embed(&[1, 5, 19, 2, 2]), Job::embed(&[3])]);
}

/// A folder as checkpoints are published: weights, tokenizer, configuration.
fn folder(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("model.safetensors", &safetensors(&tensors()));
    write("config.json", config.as_bytes());
    let mut vocab = serde_json::Map::new();
    for (id, word) in ["[UNK]", "the", "a", "cat", "is", "."].iter().enumerate() {
        vocab.insert((*word).to_owned(), id.into());
    }
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": { "type": "Whitespace" },
        "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]" },
    });
    write("tokenizer.json", tokenizer.to_string().as_bytes());
    folder
}

const CONFIG: &str = r#"{
    "model_type": "bert", "hidden_act": "gelu", "num_attention_heads": 4,
    "layer_norm_eps": 1e-12, "max_position_embeddings": 12,
    "position_embedding_type": "absolute"
}"#;

#[test]
fn a_published_folder_becomes_a_model_with_a_report() {
    let wishes = Wishes { licence: Some("MIT"), accuracy: true, threads: 1 };
    let folder = folder(CONFIG);
    assert_eq!(inspect_path(folder.path()).unwrap().heads, 4);
    // Calibration texts are longer than the twelve positions of this model.
    let made = import_path(folder.path(), &wishes, &mut |_, _, _| {}).unwrap();
    assert_eq!(made.report.ranges.len(), 2 * 6);
    assert!(made.report.ranges.iter().all(|range| range.seen <= range.certified * 1.01));
    let Some(Accuracy::Encoder(found)) = made.report.accuracy else {
        panic!("{:?}", made.report.accuracy)
    };
    assert!(found.texts > 10 && found.cosine_least > 0.995, "{found:?}");
}

#[test]
fn what_would_change_the_arithmetic_is_refused_by_name() {
    let refused = |config: &str| {
        let wishes = Wishes { licence: Some("MIT"), ..Wishes::default() };
        let folder = folder(config);
        import_path(folder.path(), &wishes, &mut |_, _, _| {}).unwrap_err().to_string()
    };
    let error = refused(&CONFIG.replace("gelu", "relu"));
    assert_eq!(
        error,
        "the model uses hidden_act = \"relu\", which cannot be imported; choose a model without it"
    );
    let error = refused(&CONFIG.replace("bert", "t5"));
    assert_eq!(error, "the architecture \"t5\" cannot be imported; known are: bert, llama");
    let error = refused(&CONFIG.replace("layer_norm_eps", "other"));
    assert!(error.contains("layer_norm_eps should be a number"), "{error}");
    assert!(refused("{").starts_with("config.json cannot be used"));
    let folder = folder(CONFIG);
    let error = import_path(folder.path(), &Wishes::default(), &mut |_, _, _| {}).unwrap_err();
    assert!(matches!(error, ImportError::NoLicence), "{error}");
    std::fs::write(folder.path().join("other.gguf"), b"").unwrap();
    let error = import_path(folder.path(), &Wishes::default(), &mut |_, _, _| {}).unwrap_err();
    assert!(error.to_string().contains("2 weight files lie there"), "{error}");
}

#[test]
fn a_missing_tensor_is_named() {
    let mut tensors = tensors();
    tensors.remove("encoder.layer.1.output.dense.bias");
    let error = import(&tensors).unwrap_err().to_string();
    assert_eq!(
        error,
        "the weight file has no tensor encoder.layer.1.output.dense.bias; fetch it and its \
         configuration again together"
    );
}

#[test]
fn a_tensor_of_another_shape_is_named() {
    let mut tensors = tensors();
    let tensor = tensors.get_mut("encoder.layer.0.output.dense.bias").unwrap();
    tensor.0 = vec![2, WIDTH / 2];
    assert!(matches!(import(&tensors), Err(ImportError::Tensor { .. })));
}

#[test]
fn numbers_that_are_none_are_refused() {
    for value in [f32::NAN, f32::INFINITY] {
        let mut tensors = tensors();
        tensors.get_mut("encoder.layer.0.output.dense.bias").unwrap().1[3] = value;
        assert!(matches!(import(&tensors), Err(ImportError::NotFinite { .. })));
    }
}

#[test]
fn a_recipe_without_room_for_rounding_is_refused() {
    let scales = Scales { residual_bits: vec![16], headroom_milli: 0 };
    let tight = Recipe { scales, ..recipe() };
    let refused =
        engine::import::import(&safetensors(&tensors()), Some(b"{}"), &tight, &mut |_, _| {});
    assert!(matches!(refused, Err(ImportError::Uncertified { .. })));
}

#[test]
fn weights_without_a_bound_are_refused() {
    let mut tensors = tensors();
    for value in &mut tensors.get_mut("encoder.layer.0.output.dense.weight").unwrap().1 {
        *value *= 1e30;
    }
    assert!(matches!(import(&tensors), Err(ImportError::Unbounded { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_damaged_weight_file_never_panics(at: prop::sample::Index, byte: u8, cut: bool) {
        let mut bytes = safetensors(&tensors());
        // Most of the structure lies in the first bytes.
        let at = at.index(bytes.len().min(6_000));
        bytes[at] = byte;
        if cut {
            bytes.truncate(at);
        }
        let _model = engine::import::import(&bytes, Some(b"{}"), &recipe(), &mut |_, _| {});
    }
}
