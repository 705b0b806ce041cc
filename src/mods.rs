//! Ready-made mods for [`Mods`](crate::Mods): masks and changes of scores that others have found useful, and examples of
//! how to write one. Their WGSL is in `shaders/mods`.
//!
//! Query `i` stands at key `i + k_len - q_len`, its position, as in the built-in options.

use crate::shader::snippet::{Snippet, Word};
use crate::shader::{self, Const, with_const};

/// Scores as they are.
pub fn identity() -> Snippet {
    ready("mods/identity", &[])
}

/// Scores times a number.
pub fn scaled(factor: f32) -> Snippet {
    ready("mods/scaled", &[("FACTOR", factor.into())])
}

/// `cap · tanh(score / cap)` (Gemma 2, 2024).
pub fn softcap(cap: f32) -> Snippet {
    ready("mods/softcap", &[("CAP", cap.into())])
}

/// Linear biases (Press et al. 2021). Reads `slopes`, f32 (heads).
pub fn alibi() -> Snippet {
    ready("mods/alibi", &[]).buffer("slopes", Word::F32)
}

/// A bias by head and distance (Shaw et al. 2018; Raffel et al. 2020). Reads `bias`, f32 (heads, 2 · `reach` + 1): the
/// middle one is that of the query's own position, and keys further away than `reach` share the outermost.
pub fn relative_bias(reach: u32) -> Snippet {
    ready("mods/relative_bias", &[("REACH", reach.into())]).buffer("bias", Word::F32)
}

/// A query sees the keys up to its own position.
pub fn causal() -> Snippet {
    ready("mods/causal", &[])
}

/// A query sees so many keys before and after its own position.
pub fn window(left: u32, right: u32) -> Snippet {
    let side = |keys: u32| Const::from(keys.min(i32::MAX as u32));
    ready("mods/window", &[("LEFT", side(left)), ("RIGHT", side(right))])
}

/// Positions are in blocks of `size`, at least 1, and a query sees those of its own block.
pub fn block_diagonal(size: u32) -> Snippet {
    ready("mods/block_diagonal", &[("SIZE", size.max(1).into())])
}

/// A query sees a prefix, and the keys up to its own position (Raffel et al. 2020). Reads `prefix`, u32 (batch).
pub fn prefix_lm() -> Snippet {
    ready("mods/prefix_lm", &[]).buffer("prefix", Word::U32)
}

/// A query sees every `step`-th key, at least 1, before and after its own position (Longformer, Beltagy et al. 2020).
pub fn dilated(step: u32) -> Snippet {
    ready("mods/dilated", &[("STEP", step.max(1).into())])
}

/// Several documents in a sequence, each of which sees itself alone. Reads `documents`, u32 (batch, `k_len`): the number
/// of the document at each position.
pub fn documents() -> Snippet {
    ready("mods/documents", &[]).buffer("documents", Word::U32)
}

/// Every ready-made mod, with values for its numbers: for tests, and for listings.
pub fn all() -> Vec<Snippet> {
    vec![
        identity(),
        scaled(2.0),
        softcap(50.0),
        alibi(),
        relative_bias(16),
        causal(),
        window(17, 5),
        block_diagonal(48),
        prefix_lm(),
        dilated(3),
        documents(),
    ]
}

fn ready(name: &'static str, consts: &[(&'static str, Const)]) -> Snippet {
    let mut text = shader::file(name).expect("the file is listed").to_owned();
    for (name, value) in consts {
        text = with_const(&text, name, *value).expect("the file declares its numbers");
    }
    Snippet::new(name, text)
}
