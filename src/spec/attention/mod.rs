//! Specs of the attention family.

mod append;
mod blocks;
mod cache;
mod cached;
mod merge;
mod mods;
mod rotary;
mod sequences;

pub use append::AppendSpec;
pub use blocks::BlockMask;
pub use cache::{CacheSpec, CacheView};
pub use cached::CachedAttentionSpec;
pub use merge::MergeSpec;
pub use mods::Mods;
pub(crate) use mods::Parts;
pub use rotary::{Rotary, RotaryPairs, RotateSpec};
pub use sequences::{CuSeqlens, Packed, Span};

use std::fmt;

use crate::spec::{at_least_one, elements, wrong};
use crate::{DType, SpecError};

/// The largest head dimension of keys and of values.
const MAX_HEAD_DIM: usize = 256;

/// Fails if keys or values are too wide.
fn check_dims(head_dim: usize, value_dim: usize) -> Result<(), SpecError> {
    match [("head_dim", head_dim), ("value_dim", value_dim)].into_iter().find(|(_, dim)| *dim > MAX_HEAD_DIM)
    {
        Some((name, dim)) => Err(wrong(name, &dim, format!("at most {MAX_HEAD_DIM}"))),
        None => Ok(()),
    }
}

/// Which keys around its own position a query sees; an absent side is unbounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Window {
    /// How many keys before the query's position.
    pub left: Option<usize>,
    /// How many keys after the query's position.
    pub right: Option<usize>,
}

/// Linear biases (Press et al. 2021): `-slope · |i + δ - j|` is added to the score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum Alibi {
    /// No bias.
    #[default]
    None,
    /// Slopes of shape (heads).
    PerHead,
    /// Slopes of shape (batch, heads).
    PerBatchHead,
}

/// Scaled dot-product attention.
///
/// Tensors: `q` (batch, `q_len`, heads, `head_dim`), `k` (batch, `k_len`, `kv_heads`, `head_dim`), `v` (batch, `k_len`,
/// `kv_heads`, `value_dim`) and `o` (batch, `q_len`, heads, `value_dim`) in `dtype`; the log-sum-exp of the scores, `lse`
/// (batch, heads, `q_len`), and the ALiBi slopes in f32. Query head `i` reads key head `i / (heads / kv_heads)`.
///
/// Options apply in this order: scale, softcap, ALiBi, masks. Positions are aligned to the bottom-right corner: query
/// `i` stands at key `i + δ` with `δ = k_len - q_len`. A row that sees no key has `o = 0` and `lse = -inf`.
///
/// Sequences of different lengths may be [`packed`](Self::packed) one after another instead, with no padding: `q`
/// (`total_q`, heads, `head_dim`) and so on, `lse` (heads, `total_q`).
///
/// Weights are dropped by a pure function of the seed, the batch, the head, the query and the key (Philox 4x32-10, Salmon
/// et al. 2011), the same forward and backward and on every adapter. A sink is a logit of a head that enters the sum of
/// exponentials alone, as in gpt-oss (2025); `lse` counts it, so that a row that sees no key has its sink there.
///
/// An infinity or a NaN stays within reach: one in a query touches its own row, one in a key or a value the rows that see
/// it.
///
/// Attention is Vaswani et al. 2017; shared key heads are Shazeer 2019 and Ainslie et al. 2023; the softcap is that of
/// Gemma 2 (2024).
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct AttentionSpec {
    /// Storage of `q`, `k`, `v` and `o`; scores and sums are f32.
    pub dtype: DType,
    /// Batch size.
    pub batch: usize,
    /// Queries of a batch; of the longest sequence where they are packed.
    pub q_len: usize,
    /// Keys of a batch; of the longest sequence where they are packed.
    pub k_len: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a query and a key, 1 to 256.
    pub head_dim: usize,
    /// Width of a value, 1 to 256.
    pub value_dim: usize,
    /// Whether a query sees only keys up to its own position.
    pub causal: bool,
    /// Which keys a query sees.
    pub window: Window,
    /// `score := c · tanh(score / c)`, for a positive `c`.
    pub softcap: Option<f32>,
    /// Linear biases.
    pub alibi: Alibi,
    /// Factor of the scores; `1 / sqrt(head_dim)` unless set.
    pub scale: Option<f32>,
    /// The share of weights that are dropped, from 0 to below 1; the others are divided by what is kept. The seed comes
    /// with each call.
    pub dropout: Option<f32>,
    /// Whether each head has a sink.
    pub sinks: bool,
    /// Sequences of different lengths, one after another.
    pub packed: Option<Packed>,
}

impl AttentionSpec {
    /// Plain attention with as many key heads as query heads and values as wide as keys.
    pub fn new(
        dtype: DType,
        batch: usize,
        (q_len, k_len): (usize, usize),
        heads: usize,
        head_dim: usize,
    ) -> Self {
        Self {
            dtype,
            batch,
            q_len,
            k_len,
            heads,
            kv_heads: heads,
            head_dim,
            value_dim: head_dim,
            causal: false,
            window: Window::default(),
            softcap: None,
            alibi: Alibi::None,
            scale: None,
            dropout: None,
            sinks: false,
            packed: None,
        }
    }

    /// A query sees only keys up to its own position.
    #[must_use]
    pub fn causal(self) -> Self {
        Self { causal: true, ..self }
    }

    /// Shares each key head among `heads / kv_heads` query heads.
    #[must_use]
    pub fn kv_heads(self, kv_heads: usize) -> Self {
        Self { kv_heads, ..self }
    }

    /// Gives values another width than keys.
    #[must_use]
    pub fn value_dim(self, value_dim: usize) -> Self {
        Self { value_dim, ..self }
    }

    /// Limits the keys that a query sees.
    #[must_use]
    pub fn window(self, left: Option<usize>, right: Option<usize>) -> Self {
        Self { window: Window { left, right }, ..self }
    }

    /// Caps scores softly at `±cap`.
    #[must_use]
    pub fn softcap(self, cap: f32) -> Self {
        Self { softcap: Some(cap), ..self }
    }

    /// Adds linear biases.
    #[must_use]
    pub fn alibi(self, alibi: Alibi) -> Self {
        Self { alibi, ..self }
    }

    /// Sets the factor of the scores.
    #[must_use]
    pub fn scale(self, scale: f32) -> Self {
        Self { scale: Some(scale), ..self }
    }

    /// Drops that share of the weights.
    #[must_use]
    pub fn dropout(self, share: f32) -> Self {
        Self { dropout: Some(share), ..self }
    }

    /// Gives each head a sink.
    #[must_use]
    pub fn sinks(self) -> Self {
        Self { sinks: true, ..self }
    }

    /// Packs sequences one after another: `batch` of them, with so many queries and keys together, `q_len` and `k_len` at
    /// most in one.
    #[must_use]
    pub fn packed(self, total_q: usize, total_k: usize) -> Self {
        Self { packed: Some(Packed { total_q, total_k }), ..self }
    }

    /// The random words under which a weight is dropped, of 2^32.
    pub fn drop_below(&self) -> u32 {
        let share = f64::from(self.dropout.unwrap_or(0.0));
        (share * 2_f64.powi(32)).round() as u32
    }

    /// The factor of weights that are kept.
    pub fn keep_factor(&self) -> f64 {
        1.0 / (1.0 - f64::from(self.dropout.unwrap_or(0.0)))
    }

    /// The factor of the scores.
    pub fn scale_or_default(&self) -> f32 {
        self.scale.unwrap_or_else(|| (1.0 / (self.head_dim as f64).sqrt()) as f32)
    }

    /// The keys that query `i` sees: from the first to before the second.
    pub fn keys_seen(&self, i: usize) -> (usize, usize) {
        self.keys_seen_of((self.q_len, self.k_len), i)
    }

    /// The same in a sequence of so many queries and keys.
    pub fn keys_seen_of(&self, (q_len, k_len): (usize, usize), i: usize) -> (usize, usize) {
        // i128 holds every difference of sizes, even an "unbounded" window of usize::MAX.
        let position = i as i128 + k_len as i128 - q_len as i128;
        let first = self.window.left.map_or(0, |left| position - left as i128);
        let right = if self.causal { Some(0) } else { None };
        let right = right.into_iter().chain(self.window.right).min();
        let end = right.map_or(k_len as i128, |right| position + right as i128 + 1);
        let clamp = |key: i128| key.clamp(0, k_len as i128) as usize;
        (clamp(first), clamp(end).max(clamp(first)))
    }

    /// Floating-point operations of the two products over the keys that are seen, a multiply and an add each.
    pub fn flops(&self) -> f64 {
        let seen: f64 =
            (0..self.q_len).map(|i| self.keys_seen(i)).map(|(first, end)| (end - first) as f64).sum();
        2.0 * (self.batch * self.heads) as f64 * (self.head_dim + self.value_dim) as f64 * seen
    }

    /// Bytes that must move at least: queries, keys and values in, the output and its log-sum-exp out.
    pub fn least_bytes(&self) -> u64 {
        let tensors = [self.q_shape(), self.k_shape(), self.v_shape(), self.o_shape()];
        let elements: usize = tensors.iter().map(|shape| shape.iter().product::<usize>()).sum();
        (elements * self.dtype.bytes() + 4 * self.rows()) as u64
    }

    /// Queries of all heads and sequences.
    pub fn rows(&self) -> usize {
        self.lse_shape().iter().product()
    }

    /// Sizes in front of a head's: (batch, length), or the total where sequences are packed.
    fn lengths(&self, length: usize, total: impl Fn(Packed) -> usize) -> Vec<usize> {
        self.packed.map_or_else(|| vec![self.batch, length], |packed| vec![total(packed)])
    }

    fn q_shape_of(&self, dim: usize) -> Vec<usize> {
        [self.lengths(self.q_len, |packed| packed.total_q), vec![self.heads, dim]].concat()
    }

    fn k_shape_of(&self, dim: usize) -> Vec<usize> {
        [self.lengths(self.k_len, |packed| packed.total_k), vec![self.kv_heads, dim]].concat()
    }

    /// Shape of `q`.
    pub fn q_shape(&self) -> Vec<usize> {
        self.q_shape_of(self.head_dim)
    }

    /// Shape of `k`.
    pub fn k_shape(&self) -> Vec<usize> {
        self.k_shape_of(self.head_dim)
    }

    /// Shape of `v`.
    pub fn v_shape(&self) -> Vec<usize> {
        self.k_shape_of(self.value_dim)
    }

    /// Shape of `o`.
    pub fn o_shape(&self) -> Vec<usize> {
        self.q_shape_of(self.value_dim)
    }

    /// Shape of `lse`.
    pub fn lse_shape(&self) -> Vec<usize> {
        match self.packed {
            None => vec![self.batch, self.heads, self.q_len],
            Some(packed) => vec![self.heads, packed.total_q],
        }
    }

    /// Shape of the probabilities: (batch, heads, `q_len`, `k_len`), or (heads, `total_q`, `k_len`) where sequences are
    /// packed.
    pub fn probabilities_shape(&self) -> Vec<usize> {
        [self.lse_shape(), vec![self.k_len]].concat()
    }

    /// Shape of the ALiBi slopes, if there are any.
    pub fn alibi_shape(&self) -> Vec<usize> {
        match self.alibi {
            Alibi::None => vec![],
            Alibi::PerHead => vec![self.heads],
            Alibi::PerBatchHead => vec![self.batch, self.heads],
        }
    }

    /// Fails if a size is 0 or too large, heads do not divide, or an option is not a number it can be.
    pub fn check(&self) -> Result<(), SpecError> {
        at_least_one(&[
            ("batch", self.batch),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("value_dim", self.value_dim),
        ])?;
        check_dims(self.head_dim, self.value_dim)?;
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(wrong("kv_heads", &self.kv_heads, format!("a divisor of heads = {}", self.heads)));
        }
        // Kernels compute in base 2, and take both times log2(e).
        let finite = |value: f32| (value * std::f32::consts::LOG2_E).is_finite();
        if let Some(cap) = self.softcap.filter(|&cap| !(finite(cap) && cap > 0.0)) {
            return Err(wrong("softcap", &cap, "a positive number below 2.3e38"));
        }
        if let Some(scale) = self.scale.filter(|&scale| !finite(scale)) {
            return Err(wrong("scale", &scale, "a number between -2.3e38 and 2.3e38"));
        }
        if let Some(share) = self.dropout.filter(|share| !(0.0..1.0).contains(share)) {
            return Err(wrong("dropout", &share, "a share from 0 to below 1"));
        }
        for (name, length) in [("q_len", self.q_len), ("k_len", self.k_len)] {
            elements(name, &[self.batch, length])?;
        }
        elements("q", &self.q_shape())?;
        elements("k", &self.k_shape())?;
        elements("v", &self.v_shape())?;
        elements("o", &self.o_shape())?;
        elements("lse", &self.lse_shape()).map(drop)
    }
}

impl fmt::Display for AttentionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dtype, batch, q_len, k_len, heads, kv_heads, head_dim, value_dim, .. } = self;
        write!(f, "attention {dtype} b {batch} s {q_len}")?;
        if k_len != q_len {
            write!(f, " × {k_len}")?;
        }
        write!(f, " h {heads}")?;
        if kv_heads != heads {
            write!(f, "/{kv_heads}")?;
        }
        write!(f, " d {head_dim}")?;
        if value_dim != head_dim {
            write!(f, "/{value_dim}")?;
        }
        if self.causal {
            write!(f, ", causal")?;
        }
        if self.window != Window::default() {
            let side = |side: Option<usize>| side.map_or("∞".to_owned(), |side| side.to_string());
            write!(f, ", window ({}, {})", side(self.window.left), side(self.window.right))?;
        }
        if let Some(cap) = self.softcap {
            write!(f, ", softcap {cap}")?;
        }
        match self.alibi {
            Alibi::None => {}
            Alibi::PerHead => write!(f, ", ALiBi")?,
            Alibi::PerBatchHead => write!(f, ", ALiBi by batch")?,
        }
        if let Some(scale) = self.scale {
            write!(f, ", scale {scale}")?;
        }
        if let Some(share) = self.dropout {
            write!(f, ", dropout {share}")?;
        }
        if self.sinks {
            write!(f, ", sinks")?;
        }
        if let Some(Packed { total_q, total_k }) = self.packed {
            write!(f, ", packed {total_q} × {total_k}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_seen_follow_the_bottom_right_corner() {
        let spec = AttentionSpec::new(DType::F32, 1, (4, 6), 1, 8);
        assert_eq!(spec.keys_seen(0), (0, 6));
        assert_eq!(spec.causal().keys_seen(0), (0, 3));
        assert_eq!(spec.causal().keys_seen(3), (0, 6));
        assert_eq!(spec.window(Some(1), Some(0)).keys_seen(2), (3, 5));
        assert_eq!(spec.window(Some(usize::MAX), Some(usize::MAX)).keys_seen(2), (0, 6));
        let dead = AttentionSpec::new(DType::F32, 1, (6, 4), 1, 8).causal();
        assert_eq!(dead.keys_seen(0), (0, 0), "a query before every key sees none");
    }

    #[test]
    fn impossible_specs_are_refused() {
        let spec = AttentionSpec::new(DType::F32, 2, (8, 8), 6, 64);
        assert!(spec.check().is_ok());
        for bad in [
            spec.kv_heads(4),
            spec.value_dim(257),
            spec.softcap(0.0),
            spec.softcap(f32::NAN),
            spec.scale(f32::INFINITY),
            spec.scale(3e38),
            spec.softcap(-1.0),
            spec.dropout(1.0),
            spec.dropout(-0.1),
            spec.dropout(f32::NAN),
            AttentionSpec { heads: 0, ..spec },
            AttentionSpec { batch: usize::MAX, ..spec },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
