//! The two test models, `tiny-test-chat` and `tiny-test-embed`: weights from a seed, a byte-level
//! tokenizer, a chat template. Real in form, meaningless in content; they need no download.

use model::tiny::{Vocabulary, decoder, encoder};
use model::{Model, ModelError};
use preprocess::{Config, DecodeRule, Form, Role, RoleMarkup, Template, VERSION, Vector};
use serde_json::{Value, json};
use units::{List, Text};

/// Control tokens, ids from 0 on.
const CONTROL: [&str; 4] = ["<|end|>", "<|system|>", "<|user|>", "<|assistant|>"];

/// Words that have a token of their own; each is built from its beginnings, letter by letter.
const WORDS: [&str; 40] = [
    "cloth", "thread", "weave", "warp", "weft", "loom", "edge", "hem", "wool", "linen", "yarn",
    "spin", "knot", "stitch", "fold", "dye", "blue", "red", "green", "white", "hand", "house",
    "river", "stone", "light", "night", "day", "road", "hill", "tree", "bird", "song", "the",
    "and", "is", "of", "in", "to", "from", "with",
];

/// The decoder.
///
/// # Errors
/// Never; the limits of a model are far away.
pub fn chat() -> Result<Model, ModelError> {
    let template = || -> Result<Template, units::TooLong> {
        let markup = |role, control: &str| {
            let (prefix, suffix) = (Text::new(control)?, Text::new(CONTROL[0])?);
            Ok(RoleMarkup { role, prefix, suffix })
        };
        Ok(Template {
            start: Text::new("")?,
            default_system: Text::new("Speak of cloth.")?,
            roles: List::new(vec![
                markup(Role::System, CONTROL[1])?,
                markup(Role::User, CONTROL[2])?,
                markup(Role::Assistant, CONTROL[3])?,
            ])?,
            answer: Text::new(CONTROL[3])?,
        })
    };
    let form = template().map(Form::Chat).map_err(|_| too_long())?;
    decoder(vocabulary(form, DecodeRule::ByteLevel, vec![0])?)
}

/// The encoder.
///
/// # Errors
/// Never; the limits of a model are far away.
pub fn embed() -> Result<Model, ModelError> {
    encoder(vocabulary(Form::Text, DecodeRule::None, Vec::new())?)
}

fn too_long() -> ModelError {
    ModelError::Shape { what: "the test models' configuration" }
}

fn vocabulary(
    form: Form,
    decode: DecodeRule,
    stop_ids: Vec<u32>,
) -> Result<Vocabulary, ModelError> {
    let entries = Entries::new();
    let tokenizer = entries.tokenizer().to_string().into_bytes();
    let vectors = [(" the loom", vec!["Ġthe", "Ġloom"]), ("é.", vec!["Ã", "©", "."])];
    let vectors = vectors.into_iter().map(|(text, tokens)| {
        let text = Text::new(text).map_err(|_| too_long())?;
        Ok(Vector { text, ids: List::new(entries.ids(&tokens)).map_err(|_| too_long())? })
    });
    let config = Config {
        tokenizer: List::new(tokenizer).map_err(|_| too_long())?,
        form,
        decode,
        vectors: List::new(vectors.collect::<Result<_, ModelError>>()?).map_err(|_| too_long())?,
    };
    Ok(Vocabulary {
        size: entries.count(),
        quiet: entries.quiet,
        stop_ids,
        preprocess: config.to_bytes(),
        preprocess_version: VERSION,
    })
}

/// The vocabulary: control tokens, bytes, beginnings of words, whole words.
struct Entries {
    tokens: Vec<String>,
    merges: Vec<(String, String)>,
    quiet: u32,
}

impl Entries {
    fn new() -> Self {
        let mut tokens: Vec<String> = CONTROL.iter().map(|token| (*token).to_owned()).collect();
        tokens.extend(byte_alphabet().map(String::from));
        let mut merges = Vec::new();
        let mut words = Vec::new();
        for word in WORDS {
            let mut begun = "Ġ".to_owned();
            for letter in word.chars() {
                let merge = (begun.clone(), letter.to_string());
                begun.push(letter);
                if !merges.contains(&merge) {
                    merges.push(merge);
                    if !tokens.contains(&begun) && begun.chars().count() <= word.chars().count() {
                        tokens.push(begun.clone());
                    }
                }
            }
            words.push(begun);
        }
        tokens.retain(|token| !words.contains(token));
        let quiet = u32::try_from(tokens.len()).unwrap_or(0);
        tokens.extend(words);
        Self { tokens, merges, quiet }
    }

    fn count(&self) -> u32 {
        u32::try_from(self.tokens.len()).unwrap_or(u32::MAX)
    }

    fn ids(&self, tokens: &[&str]) -> Vec<u32> {
        let ids = (0_u32..).zip(&self.tokens);
        let id = |token: &&str| ids.clone().find(|(_, entry)| entry == token).map(|(id, _)| id);
        tokens.iter().filter_map(id).collect()
    }

    /// A `tokenizer.json`.
    fn tokenizer(&self) -> Value {
        let control = (0_u32..).zip(CONTROL).map(|(id, content)| {
            json!({
                "id": id, "content": content, "special": true, "normalized": false,
                "single_word": false, "lstrip": false, "rstrip": false,
            })
        });
        let vocab: serde_json::Map<String, Value> =
            (0_u32..).zip(&self.tokens).map(|(id, token)| (token.clone(), id.into())).collect();
        let merges: Vec<Value> =
            self.merges.iter().map(|(left, right)| json!([left, right])).collect();
        let byte_level = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
            "use_regex": true,
        });
        json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": control.collect::<Vec<_>>(),
            "normalizer": null, "pre_tokenizer": byte_level, "post_processor": null,
            "decoder": byte_level,
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null,
                "continuing_subword_prefix": null, "end_of_word_suffix": null,
                "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": vocab, "merges": merges,
            },
        })
    }
}

/// The characters of the byte-level alphabet, by byte.
fn byte_alphabet() -> impl Iterator<Item = char> {
    let mut unprintable = '\u{100}'..='\u{1ff}';
    (0..=u8::MAX).map(move |byte| match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        _ => unprintable.next().unwrap_or(char::REPLACEMENT_CHARACTER),
    })
}
