//! Imports of the small decoder from ONNX graphs, written here as exporters write them.

use engine::import::calibrate::{Wishes, import_path};
use engine::import::{ImportError, Source, import};
use proptest::prelude::*;

use crate::exporters::{EXPORTERS, Exporter, Flaw, HEAD, Writer};
use crate::llama::{
    BLOCKS, HIDDEN, KEY_HEADS, TEMPLATE, WIDTH, assert_config_refused, gguf, recipe, tensors,
};
use crate::onnx_twists::Twist;
use crate::write::{Numbers, Tensors, safetensors};

fn written(tensors: Tensors, exporter: Exporter, flaw: Option<Flaw>) -> Vec<u8> {
    let mut writer = Writer::new(tensors, exporter, flaw);
    let logits = writer.decoder();
    writer.graph.finish(&["input_ids", "attention_mask", "position_ids"], &[&logits])
}

fn onnx(tensors: Tensors, exporter: Exporter) -> Vec<u8> {
    written(tensors, exporter, None)
}

fn tokenizer() -> Vec<u8> {
    Source::read(&gguf(&tensors()).finish()).unwrap().tokenizer().unwrap()
}

fn id(file: &[u8]) -> String {
    import(file, Some(&tokenizer()), &recipe(), &mut |_, _| {}).unwrap().id().to_string()
}

/// The refusal of a decoder with this flaw.
fn refused(exporter: Exporter, flaw: Flaw) -> String {
    let file = written(tensors(), exporter, Some(flaw));
    let error = Source::read(&file).unwrap_err();
    assert!(matches!(error, ImportError::Op { .. }), "{exporter:?}, {flaw:?}: {error}");
    error.to_string()
}

#[test]
fn whatever_the_exporter_of_a_decoder_the_model_is_that_of_the_checkpoint() {
    let expected = id(&safetensors(&tensors()));
    for exporter in EXPORTERS {
        let file = onnx(tensors(), exporter);
        assert_eq!(id(&file), expected, "{exporter:?}");
        assert_eq!(Source::read(&file).unwrap().unused(), [] as [String; 0], "{exporter:?}");
    }
}

#[test]
fn logits_of_their_own_and_biases_are_found() {
    let mut tensors = tensors();
    let shape = tensors["model.embed_tokens.weight"].0.clone();
    Numbers(3).add(&mut tensors, "lm_head.weight", &shape, (0.4, 0.0));
    let key_width = HEAD * KEY_HEADS;
    for block in 0..BLOCKS {
        for (part, rows) in [
            ("self_attn.q_proj", WIDTH),
            ("self_attn.k_proj", key_width),
            ("self_attn.v_proj", key_width),
            ("self_attn.o_proj", WIDTH),
            ("mlp.gate_proj", HIDDEN),
            ("mlp.up_proj", HIDDEN),
            ("mlp.down_proj", WIDTH),
        ] {
            let name = format!("model.layers.{block}.{part}.bias");
            Numbers(rows as u32).add(&mut tensors, &name, &[rows], (0.1, 0.0));
        }
    }
    let expected = id(&safetensors(&tensors));
    for exporter in EXPORTERS {
        assert_eq!(id(&onnx(tensors.clone(), exporter)), expected, "{exporter:?}");
    }
}

#[test]
fn an_attention_that_is_not_the_decoders_is_refused_by_what_it_does() {
    for (flaw, expected) in [
        (Flaw::Halves, "a rotation of each head's first half against its second"),
        (Flaw::Scale, "scores over the root of a head's width"),
        (Flaw::Groups, "query heads that share key heads, neighbours first"),
        (Flaw::Open, "a mask by which a position sees itself and all before it"),
        (Flaw::Frequencies, "rotation frequencies base^(-i / pairs), without scaling"),
        // A position's own score tells that its query is turned and its key is not.
        (Flaw::Unturned, "scores over the root of a head's width"),
    ] {
        for exporter in [Exporter::Script, Exporter::Dynamo] {
            let error = refused(exporter, flaw);
            assert!(error.starts_with("Softmax (node_Softmax_"), "{flaw:?}: {error}");
            assert!(error.contains(expected), "{flaw:?}: {error}");
        }
    }
    let error = refused(Exporter::Script, Flaw::Window);
    assert!(error.starts_with("Sub (node_Sub_") && error.contains("all before it"), "{error}");
}

#[test]
fn a_fused_attention_with_other_attributes_is_refused() {
    for flaw in [Flaw::Window, Flaw::Neighbours, Flaw::Past] {
        let error = refused(Exporter::Builder, flaw);
        assert!(error.starts_with("GroupQueryAttention (node_"), "{flaw:?}: {error}");
        assert!(error.contains("whose value can be computed"), "{flaw:?}: {error}");
    }
    for exporter in [Exporter::Builder, Exporter::BuilderApart] {
        let error = refused(exporter, Flaw::Scale);
        assert!(error.contains("scores over the root of a head's width"), "{error}");
        let error = refused(exporter, Flaw::Frequencies);
        assert!(error.contains("without scaling"), "{error}");
        let error = refused(exporter, Flaw::Late);
        assert!(error.contains("(cos_cache) stands where cosines or sines"), "{error}");
    }
}

#[test]
fn a_decoder_of_many_blocks_takes_fewer_steps_than_there_may_be() {
    let mut tensors = tensors();
    let first: Vec<_> = tensors
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("model.layers.0.")?, tensor)))
        .map(|(part, tensor)| (part.to_owned(), tensor.clone()))
        .collect();
    for block in 0..80 {
        for (part, tensor) in &first {
            tensors.insert(format!("model.layers.{block}.{part}"), tensor.clone());
        }
    }
    for exporter in EXPORTERS {
        let file = onnx(tensors.clone(), exporter);
        let found = Source::read(&file);
        assert!(found.is_ok(), "{exporter:?}: {}", found.unwrap_err());
    }
}

#[test]
fn blocks_of_two_kinds_and_norms_of_queries_are_refused() {
    for exporter in [Exporter::Script, Exporter::Dynamo] {
        let error = refused(exporter, Flaw::Bases);
        assert!(error.contains("one kind of attention in all blocks"), "{error}");
        let error = refused(exporter, Flaw::QueryNorm);
        assert!(error.starts_with("ReduceMean (node_"), "{error}");
    }
}

#[test]
fn other_activations_and_norms_are_refused() {
    for exporter in EXPORTERS {
        let error = refused(exporter, Flaw::Gelu);
        assert!(error.starts_with("Mul (") && error.contains("a gate's SiLU"), "{error}");
        let error = refused(exporter, Flaw::Epsilon);
        assert!(error.contains("one epsilon in all norms"), "{error}");
    }
}

#[test]
fn an_input_that_nobody_knows_and_a_value_that_needs_itself_are_refused() {
    let masked = |mask: &dyn Fn(&mut Writer) -> String| {
        let twist = Twist { mask: &|writer, _| mask(writer), ..Twist::default() };
        Source::read(&twist.decoder()).unwrap_err().to_string()
    };
    let error = masked(&|_| "bias".to_owned());
    assert!(error.starts_with("an input or constant (bias) stands where an input"), "{error}");
    let error = masked(&|writer| {
        writer.graph.write("", "Neg", &["a"], &["b"], &[]);
        writer.graph.write("", "Neg", &["b"], &["a"], &[]);
        "a".to_owned()
    });
    assert!(error.contains("a value that does not need itself"), "{error}");
    let error = masked(&|writer| {
        let sizes = writer.graph.integers(&[1 << 40, 1 << 40]);
        writer.graph.node("ConstantOfShape", &[&sizes], &[])
    });
    assert!(error.starts_with("ConstantOfShape ("), "{error}");
}

#[test]
fn a_recipe_for_another_decoder_is_refused() {
    let file = onnx(tensors(), Exporter::Dynamo);
    let mut other = recipe();
    other.rope_base = Some(500_000.0);
    let error = import(&file, Some(&tokenizer()), &other, &mut |_, _| {}).unwrap_err();
    assert!(matches!(error, ImportError::Differs { .. }), "{error}");
}

#[test]
fn a_folder_as_an_exporter_leaves_it_gives_the_chat_model_of_the_gguf_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("model.onnx", &onnx(tensors(), Exporter::Optimizer));
    write("tokenizer.json", &tokenizer());
    write("tokenizer_config.json", b"{}");
    write("chat_template.jinja", TEMPLATE.as_bytes());
    let runtime = serde_json::json!({ "model": { "context_length": 128, "eos_token_id": [0] } });
    write("genai_config.json", runtime.to_string().as_bytes());
    let wishes = Wishes { licence: Some("MIT"), ..Wishes::default() };
    let from_runtime = import_path(folder.path(), &wishes, &mut |_, _, _| {}).unwrap();
    let mut config = serde_json::json!({
        "max_position_embeddings": 128, "eos_token_id": 0, "rope_theta": 10_000.0,
    });
    write("config.json", config.to_string().as_bytes());
    let from_config = import_path(folder.path(), &wishes, &mut |_, _, _| {}).unwrap();
    let alone = tempfile::tempdir().unwrap();
    let path = alone.path().join("small.gguf");
    std::fs::write(&path, gguf(&tensors()).finish()).unwrap();
    let from_file = import_path(&path, &wishes, &mut |_, _, _| {}).unwrap();
    assert_eq!(from_config.model.id(), from_file.model.id());
    assert_eq!(from_runtime.model.id(), from_file.model.id());
    assert_eq!(from_config.recipe.chat, from_file.recipe.chat);
    for (key, value) in [
        ("sliding_window", serde_json::json!(64)),
        ("rope_scaling", serde_json::json!({ "rope_type": "linear", "factor": 2.0 })),
    ] {
        assert_config_refused(folder.path(), &config, key, value.clone());
        let mut config = config.clone();
        config[key] = value;
        // Switched off, or nothing but a name for what every decoder does.
        config["use_sliding_window"] = false.into();
        config["rope_scaling"] = serde_json::json!({ "rope_type": "default" });
        write("config.json", config.to_string().as_bytes());
        assert!(import_path(folder.path(), &wishes, &mut |_, _, _| {}).is_ok(), "{key}");
    }
    config["rope_theta"] = 20_000.0.into();
    write("config.json", config.to_string().as_bytes());
    let error = import_path(folder.path(), &wishes, &mut |_, _, _| {}).unwrap_err().to_string();
    assert!(error.contains("rope_theta is 20000 there and 10000 in the graph"), "{error}");
}

#[test]
fn half_a_decoder_is_refused_where_it_ends() {
    let mut writer = Writer::new(tensors(), Exporter::Script, None);
    let table = writer.weight("model.embed_tokens.weight");
    let stream = writer.graph.node("Tanh", &["input_ids"], &[]);
    let [x, _] = writer.norm("model.norm", &stream, None);
    let turned = writer.graph.node("Transpose", &[&table], &[]);
    let logits = writer.graph.node("MatMul", &[&x, &turned], &[]);
    let error = Source::read(&writer.graph.finish(&["input_ids"], &[&logits])).unwrap_err();
    let error = error.to_string();
    assert!(error.starts_with("Tanh (node_Tanh_") && error.contains("stream"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_damaged_decoder_file_never_panics(
        at: prop::sample::Index, byte: u8, cut: bool, from_end: bool, exporter in 0..5_usize,
    ) {
        let mut file = onnx(tensors(), EXPORTERS[exporter]);
        // Most bytes are weights: half of the damage is done where ops stand.
        let limit = if from_end { 20_000.min(file.len()) } else { file.len() };
        let at = file.len() - 1 - at.index(limit);
        file[at] = byte;
        if cut {
            file.truncate(at);
        }
        let _model = import(&file, Some(&tokenizer()), &recipe(), &mut |_, _| {});
    }
}
