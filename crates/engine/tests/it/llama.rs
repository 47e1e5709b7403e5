//! Imports of a small decoder made here, from safetensors and from GGUF.

use std::path::Path;
use std::sync::Arc;

use engine::import::calibrate::accuracy::Accuracy;
use engine::import::calibrate::{Stage, Wishes, import_path};
use engine::import::{Architecture, ImportError, Recipe, Scales, Source, SourceFiles, import};
use engine::{Job, Sampling};
use preprocess::Preprocess;
use proptest::prelude::*;
use serde_json::Value as Json;

use crate::support::{assert_certified, check};
use crate::write::{Gguf, Numbers, Tensors, safetensors};

pub(crate) const WIDTH: usize = 64;
pub(crate) const HIDDEN: usize = 96;
pub(crate) const HEADS: usize = 4;
pub(crate) const KEY_HEADS: usize = 2;
pub(crate) const BLOCKS: usize = 2;
pub(crate) const TEMPLATE: &str =
    "{{'<|im_start|>system\nBe kind.<|im_end|>\n'}}{{'<|im_start|>' + role}}";

/// The vocabulary: a control token, the byte alphabet's letters that English needs, a merge.
pub(crate) fn vocabulary() -> Vec<String> {
    let mut tokens = vec!["<|im_end|>".to_owned(), "<|im_start|>".to_owned()];
    tokens.extend(('!'..='~').map(String::from));
    tokens.extend(["Ġ", "Ċ", "th", "the", "Ġthe"].map(str::to_owned));
    tokens
}

pub(crate) fn tensors() -> Tensors {
    let mut tensors = Tensors::new();
    let mut numbers = Numbers(7);
    let mut add =
        |name: &str, shape: &[usize], range| numbers.add(&mut tensors, name, shape, range);
    let width = WIDTH / HEADS * KEY_HEADS;
    add("model.embed_tokens.weight", &[vocabulary().len(), WIDTH], (0.5, 0.0));
    add("model.norm.weight", &[WIDTH], (0.3, 1.0));
    for block in 0..BLOCKS {
        let name = |part: &str| format!("model.layers.{block}.{part}.weight");
        add(&name("input_layernorm"), &[WIDTH], (0.2, 1.0));
        add(&name("post_attention_layernorm"), &[WIDTH], (0.2, 1.0));
        add(&name("self_attn.q_proj"), &[WIDTH, WIDTH], (0.2, 0.0));
        add(&name("self_attn.k_proj"), &[width, WIDTH], (0.2, 0.0));
        add(&name("self_attn.v_proj"), &[width, WIDTH], (0.2, 0.0));
        add(&name("self_attn.o_proj"), &[WIDTH, WIDTH], (0.2, 0.0));
        add(&name("mlp.gate_proj"), &[HIDDEN, WIDTH], (0.2, 0.0));
        add(&name("mlp.up_proj"), &[HIDDEN, WIDTH], (0.2, 0.0));
        add(&name("mlp.down_proj"), &[WIDTH, HIDDEN], (0.2, 0.0));
    }
    tensors
}

/// The same floats as GGUF names and orders them: rows that a rotation pairs lie side by side.
pub(crate) fn gguf(tensors: &Tensors) -> Gguf {
    let mut file = Gguf::default()
        .string("general.architecture", "llama")
        .string("general.license", "mit")
        .integer("llama.context_length", 128)
        .integer("llama.attention.head_count", HEADS as u32)
        .integer("llama.attention.head_count_kv", KEY_HEADS as u32)
        .float("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .float("llama.rope.freq_base", 10_000.0)
        .string("tokenizer.ggml.model", "gpt2")
        .string("tokenizer.ggml.pre", "smollm")
        .strings("tokenizer.ggml.tokens", &vocabulary())
        .integers(
            "tokenizer.ggml.token_type",
            &(0..vocabulary().len()).map(|id| if id < 2 { 3 } else { 1 }).collect::<Vec<_>>(),
        )
        .strings("tokenizer.ggml.merges", &["t h", "th e", "Ġ the"].map(str::to_owned))
        .integer("tokenizer.ggml.eos_token_id", 0)
        .string("tokenizer.chat_template", TEMPLATE);
    for (name, (shape, data)) in tensors {
        let (stored, heads) = match name.as_str() {
            "model.embed_tokens.weight" => ("token_embd.weight".to_owned(), 0),
            "model.norm.weight" => ("output_norm.weight".to_owned(), 0),
            "lm_head.weight" => ("output.weight".to_owned(), 0),
            _ => {
                let rest = name.strip_prefix("model.layers.").unwrap();
                let (block, part) = rest.split_once('.').unwrap();
                let (part, heads) = match part.strip_suffix(".weight").unwrap() {
                    "input_layernorm" => ("attn_norm", 0),
                    "post_attention_layernorm" => ("ffn_norm", 0),
                    "self_attn.q_proj" => ("attn_q", HEADS),
                    "self_attn.k_proj" => ("attn_k", KEY_HEADS),
                    "self_attn.v_proj" => ("attn_v", 0),
                    "self_attn.o_proj" => ("attn_output", 0),
                    "mlp.gate_proj" => ("ffn_gate", 0),
                    "mlp.up_proj" => ("ffn_up", 0),
                    "mlp.down_proj" => ("ffn_down", 0),
                    other => panic!("{other}"),
                };
                (format!("blk.{block}.{part}.weight"), heads)
            }
        };
        let rows: Vec<&[f32]> = data.chunks(*shape.last().unwrap()).collect();
        let mut order: Vec<usize> = (0..rows.len()).collect();
        if let Some(width) = rows.len().checked_div(heads) {
            let from = |row: usize| row / width * width + row % 2 * (width / 2) + row % width / 2;
            order = order.into_iter().map(from).collect();
        }
        let bytes: Vec<u8> =
            order.iter().flat_map(|row| rows[*row]).flat_map(|x| x.to_le_bytes()).collect();
        let shape: Vec<u64> = shape.iter().map(|size| *size as u64).collect();
        file = file.tensor(&stored, &shape, 0, &bytes);
    }
    file
}

pub(crate) fn recipe() -> Recipe {
    Recipe {
        architecture: Architecture::Llama,
        licence: "MIT".to_owned(),
        heads: HEADS as u32,
        key_heads: Some(KEY_HEADS as u32),
        norm_epsilon: 1e-5,
        rope_base: Some(10_000.0),
        max_input: 100,
        max_positions: Some(128),
        stop_ids: vec![0],
        source: SourceFiles { weights: "weights".to_owned(), tokenizer: None, licence: None },
        scales: Scales { residual_bits: vec![16, 15], headroom_milli: 10 },
        chat: None,
        vectors: Vec::new(),
    }
}

fn no_progress(_: usize, _: usize) {}

#[test]
fn the_same_floats_make_the_same_model_whatever_file_carries_them() {
    let file = gguf(&tensors()).finish();
    let tokenizer = Source::read(&file).unwrap().tokenizer().unwrap();
    let from_gguf = import(&file, None, &recipe(), &mut no_progress).unwrap();
    let plain = safetensors(&tensors());
    let from_safetensors = import(&plain, Some(&tokenizer), &recipe(), &mut no_progress).unwrap();
    assert_eq!(from_gguf.id(), from_safetensors.id());
    expect_test::expect!["e1b3bd9612113320c7b277d16dbe0c1e2046bf9c1641a927d78be58991d1eff2"]
        .assert_eq(&from_gguf.id().to_string());
}

#[test]
fn every_op_of_a_decoder_is_certified_and_every_executor_agrees() {
    for untied in [false, true] {
        let mut tensors = tensors();
        if untied {
            let shape = [vocabulary().len(), WIDTH];
            Numbers(3).add(&mut tensors, "lm_head.weight", &shape, (0.4, 0.0));
        }
        let file = gguf(&tensors).finish();
        let model = Arc::new(import(&file, None, &recipe(), &mut no_progress).unwrap());
        assert_certified(&model);
        let job = |ids| Job { ids, sampling: Sampling::GREEDY, seed: 0, max_tokens: 9, stop: &[] };
        check(&model, &[job(&[1, 50, 70, 71, 9]), job(&[97])]);
    }
}

#[test]
fn a_tokenizer_of_a_gguf_file_cuts_digits_and_merges() {
    let file = gguf(&tensors()).finish();
    let model = import(&file, None, &recipe(), &mut no_progress).unwrap();
    let preprocess = Preprocess::from_bytes(model.preprocess()).unwrap();
    let tokens = vocabulary();
    let spelled = |text: &str| -> Vec<String> {
        let ids = preprocess.encode(text).unwrap();
        ids.into_iter().map(|id| tokens[id as usize].clone()).collect()
    };
    assert_eq!(spelled("the 42 the"), ["the", "Ġ", "4", "2", "Ġthe"]);
    assert_eq!(spelled("<|im_end|>").len(), 10, "what a user writes is no control token");
    let ids = preprocess.encode("the 42 the").unwrap();
    assert_eq!(preprocess.decode(&ids), "the 42 the");
}

#[test]
fn a_file_on_disk_becomes_recipe_model_and_report() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.gguf");
    std::fs::write(&path, gguf(&tensors()).finish()).unwrap();
    let wishes = Wishes { accuracy: true, threads: 1, ..Wishes::default() };
    let mut stages = Vec::new();
    let mut note = |stage, _, _| {
        if stages.last() != Some(&stage) {
            stages.push(stage);
        }
    };
    let made = import_path(&path, &wishes, &mut note).unwrap();
    assert_eq!(stages, [Stage::Calibrating, Stage::Quantising, Stage::Comparing]);
    assert_eq!(made.recipe.licence, "MIT");
    assert_eq!(made.recipe.chat.as_ref().unwrap().default_system, "Be kind.");
    assert_eq!(made.report.unused, [] as [String; 0]);
    // Embedding, then six ops of each block and its two additions.
    assert_eq!(made.report.ranges.len(), 1 + BLOCKS * 7);
    // The weights seen are floats, those certified rounded.
    for range in &made.report.ranges {
        assert!(range.seen > 0.0 && range.seen <= range.certified * 1.01, "{range:?}");
    }
    let written = Recipe::read(&made.recipe.write().unwrap()).unwrap();
    assert_eq!(written, made.recipe);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(import(&bytes, None, &written, &mut no_progress).unwrap().id(), made.model.id());
    let Some(Accuracy::Decoder(found)) = made.report.accuracy else {
        panic!("{:?}", made.report.accuracy)
    };
    assert!(found.tokens > 1_000 && found.divergence < 0.01, "{found:?}");
}

#[test]
fn a_published_folder_gives_the_model_of_the_gguf_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    let file = gguf(&tensors()).finish();
    let tokenizer = Source::read(&file).unwrap().tokenizer().unwrap();
    let config = serde_json::json!({
        "model_type": "llama", "hidden_act": "silu", "rope_scaling": null, "rope_theta": 10_000.0,
        "num_attention_heads": HEADS, "num_key_value_heads": KEY_HEADS, "rms_norm_eps": 1e-5,
        "max_position_embeddings": 128, "eos_token_id": 0,
    });
    let template = serde_json::json!({ "chat_template": TEMPLATE });
    write("model.safetensors", &safetensors(&tensors()));
    write("tokenizer.json", &tokenizer);
    write("config.json", config.to_string().as_bytes());
    write("tokenizer_config.json", template.to_string().as_bytes());
    let alone = tempfile::tempdir().unwrap();
    let path = alone.path().join("small.gguf");
    std::fs::write(&path, &file).unwrap();
    let wishes = Wishes { licence: Some("MIT"), ..Wishes::default() };
    let from_folder = import_path(folder.path(), &wishes, &mut |_, _, _| {}).unwrap();
    let from_file = import_path(&path, &wishes, &mut |_, _, _| {}).unwrap();
    assert_eq!(from_folder.model.id(), from_file.model.id());
    for (key, value) in [
        ("rope_scaling", serde_json::json!({ "type": "linear" })),
        ("rope_parameters", serde_json::json!({ "rope_type": "yarn" })),
        ("sliding_window", serde_json::json!(64)),
    ] {
        assert_config_refused(folder.path(), &config, key, value);
    }
}

/// The folder is refused for this in its configuration.
pub(crate) fn assert_config_refused(folder: &Path, config: &Json, key: &str, value: Json) {
    let mut config = config.clone();
    config[key] = value;
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let wishes = Wishes { licence: Some("MIT"), ..Wishes::default() };
    let error = import_path(folder, &wishes, &mut |_, _, _| {}).unwrap_err();
    assert!(matches!(error, ImportError::Config { .. }), "{error}");
    assert!(error.to_string().contains(key), "{error}");
}

#[test]
fn every_kind_of_numbers_that_is_read_is_told_by_its_gguf_type() {
    // 2.0 and -2.0 are exact in all of them.
    let two = half(2.0);
    let eight: Vec<u8> = [&two[..], &[1; 16], &[255; 16]].concat();
    let four: Vec<u8> = [&two[..], &[0x79; 16]].concat();
    let four_one: Vec<u8> = [&half(4.0)[..], &half(-2.0)[..], &[0x01; 16]].concat();
    let (plus, minus) = ([2.0_f32; 16], [-2.0_f32; 16]);
    let floats = [plus, minus].concat();
    let files: [(u32, Vec<u8>); 6] = [
        (0, floats.iter().flat_map(|x| x.to_le_bytes()).collect()),
        (1, floats.iter().flat_map(|x| half(*x)).collect()),
        (2, four),
        (3, four_one),
        (8, eight),
        (30, floats.iter().flat_map(|x| x.to_le_bytes()[2..].to_vec()).collect()),
    ];
    for (kind, data) in files {
        let file = Gguf::default().tensor("token_embd.weight", &[1, 32], kind, &data).finish();
        let source = Source::read(&file).unwrap();
        let (shape, found) = source.floats("model.embed_tokens.weight").unwrap();
        assert_eq!(shape, [1, 32]);
        assert_eq!(found, floats.iter().copied().map(f64::from).collect::<Vec<_>>(), "kind {kind}");
    }
    let file = Gguf::default().tensor("token_embd.weight", &[1, 32], 12, &[0; 200]).finish();
    let error = Source::read(&file).unwrap().floats("model.embed_tokens.weight").unwrap_err();
    assert!(error.to_string().contains("of GGUF type 12"), "{error}");
}

/// A 16-bit float of a power of two.
fn half(value: f32) -> [u8; 2] {
    let bits = value.to_bits();
    let exponent = ((bits >> 23 & 255) as u16 + 15 - 127) << 10;
    ((bits >> 16) as u16 & 0x8000 | exponent).to_le_bytes()
}

#[test]
fn what_a_gguf_file_lacks_or_has_beyond_the_architecture_is_named() {
    let refused = |file: Gguf| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, file.finish()).unwrap();
        import_path(&path, &Wishes::default(), &mut |_, _, _| {}).unwrap_err().to_string()
    };
    let start = Gguf::default().string("general.architecture", "mamba");
    assert_eq!(refused(start), "the architecture \"mamba\" cannot be imported; known are: llama");
    let scaled = gguf(&tensors()).string("llama.rope.scaling.type", "linear");
    assert!(refused(scaled).contains("scaled rotation frequencies"));
    let mut without = tensors();
    without.remove("model.layers.1.mlp.up_proj.weight");
    let error = refused(gguf(&without));
    let missing = "the weight file has no tensor model.layers.1.mlp.up_proj.weight; fetch";
    assert!(error.starts_with(missing), "{error}");
}

#[test]
fn counts_and_sizes_that_the_file_cannot_hold_allocate_nothing() {
    let start = |tensors: u64, keys: u64| {
        let mut out = b"GGUF".to_vec();
        out.extend(3_u32.to_le_bytes());
        out.extend(tensors.to_le_bytes());
        out.extend(keys.to_le_bytes());
        out
    };
    let reason = |bytes: &[u8]| Source::read(bytes).unwrap_err().to_string();
    assert!(reason(&start(u64::MAX, 0)).contains("18446744073709551615 tensors"));
    assert!(reason(&start(0, 1 << 40)).contains("keys are announced"));
    let array = |kind: u32, count: u64| {
        let mut value = kind.to_le_bytes().to_vec();
        value.extend(count.to_le_bytes());
        Gguf::default().key("bomb", 9, &value).finish()
    };
    assert!(reason(&array(8, 1 << 60)).contains("texts are announced"));
    assert!(reason(&array(10, 1 << 61)).contains("array elements are announced"));
    assert!(reason(&array(9, 1)).contains("an array of type 9"));
    let huge = gguf(&tensors()).tensor("blk.9.attn_q.weight", &[1 << 31, 1 << 31, 1 << 31], 0, &[]);
    let file = huge.finish();
    let source = Source::read(&file).unwrap();
    let error = source.floats("model.layers.9.self_attn.q_proj.weight").unwrap_err();
    assert!(matches!(error, ImportError::Tensor { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_damaged_gguf_file_never_panics(
        at: prop::sample::Index, byte: u8, cut: bool, in_head: bool,
    ) {
        let mut bytes = gguf(&tensors()).finish();
        let limit = if in_head { 5_000 } else { bytes.len() };
        let at = at.index(limit.min(bytes.len()));
        bytes[at] = byte;
        if cut {
            bytes.truncate(at);
        }
        if let Ok(model) = import(&bytes, None, &recipe(), &mut no_progress) {
            let _preprocess = Preprocess::from_bytes(model.preprocess());
        }
    }
}
