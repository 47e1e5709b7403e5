//! What GGUF files call the tensors of published checkpoints, and how files order rows.

/// How a file orders the rows of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowOrder {
    /// As the checkpoint does.
    Plain,
    /// Rows lie as columns, from column `first` on of as many as `of`.
    Columns { first: usize, of: usize },
    /// The two rows that a rotation pairs stand side by side in each head.
    Pairs {
        /// The metadata key with the number of heads.
        heads: &'static str,
    },
}

const PAIRED: RowOrder = RowOrder::Pairs { heads: "llama.attention.head_count" };
const PAIRED_KEYS: RowOrder = RowOrder::Pairs { heads: "llama.attention.head_count_kv" };

/// Tensors of a block: in the checkpoint, in GGUF, and the order of rows there.
const BLOCK: [(&str, &str, RowOrder); 12] = [
    ("input_layernorm.weight", "attn_norm.weight", RowOrder::Plain),
    ("self_attn.q_proj.weight", "attn_q.weight", PAIRED),
    ("self_attn.q_proj.bias", "attn_q.bias", PAIRED),
    ("self_attn.k_proj.weight", "attn_k.weight", PAIRED_KEYS),
    ("self_attn.k_proj.bias", "attn_k.bias", PAIRED_KEYS),
    ("self_attn.v_proj.weight", "attn_v.weight", RowOrder::Plain),
    ("self_attn.v_proj.bias", "attn_v.bias", RowOrder::Plain),
    ("self_attn.o_proj.weight", "attn_output.weight", RowOrder::Plain),
    ("post_attention_layernorm.weight", "ffn_norm.weight", RowOrder::Plain),
    ("mlp.gate_proj.weight", "ffn_gate.weight", RowOrder::Plain),
    ("mlp.up_proj.weight", "ffn_up.weight", RowOrder::Plain),
    ("mlp.down_proj.weight", "ffn_down.weight", RowOrder::Plain),
];

/// Tensors outside blocks.
const OUTSIDE: [(&str, &str); 3] = [
    ("model.embed_tokens.weight", "token_embd.weight"),
    ("model.norm.weight", "output_norm.weight"),
    ("lm_head.weight", "output.weight"),
];

/// The GGUF name of a llama checkpoint's tensor.
pub(super) fn llama_name(name: &str) -> Option<(String, RowOrder)> {
    if let Some((_, stored)) = OUTSIDE.iter().find(|(known, _)| *known == name) {
        return Some(((*stored).to_owned(), RowOrder::Plain));
    }
    let (block, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (_, stored, order) = BLOCK.iter().find(|(known, _, _)| *known == part)?;
    Some((format!("blk.{block}.{stored}"), *order))
}
