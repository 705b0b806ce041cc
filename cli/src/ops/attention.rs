//! `attention`.

use std::fmt;
use std::str::FromStr;

use clap::Args;
use tilewise::ops::shaders;
use tilewise::plan::{AttentionBackwardPlan, AttentionPlan};
use tilewise::{
    Alibi, Attention, AttentionBackward, AttentionInputs, AttentionSpec, BlockMask, Caps, DType, Gpu, Mods,
    Window, by_dtype,
};

use super::attention_mods::ModOptions;
use super::{FromFile, FromSizes, Operation, Planned, cached_attention, fields};
use crate::args::dtype_parser;
use crate::failure::Failure;
use crate::tensors::{Output, Stored, TensorFile};

/// Scaled dot-product attention
#[derive(Debug, Args)]
pub struct Sizes {
    /// Storage of the tensors
    #[arg(long, default_value = "f16", value_parser = dtype_parser())]
    dtype: DType,
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Queries of a batch
    #[arg(long, default_value_t = 2048)]
    q_len: usize,
    /// Keys of a batch [default: as many as queries]
    #[arg(long)]
    k_len: Option<usize>,
    /// Query heads
    #[arg(long, default_value_t = 8)]
    heads: usize,
    /// Key and value heads; a divisor of the query heads [default: as many]
    #[arg(long)]
    kv_heads: Option<usize>,
    /// Width of a query and a key, 1 to 256
    #[arg(long, default_value_t = 64)]
    head_dim: usize,
    /// Width of a value, 1 to 256 [default: as wide as a key]
    #[arg(long)]
    value_dim: Option<usize>,
    /// Add linear biases, one slope a head
    #[arg(long)]
    alibi: bool,
    #[command(flatten)]
    mathematics: Mathematics,
}

/// Reads q, k, v, alibi_slopes and block_mask if there are any; writes o and lse, and dq, dk, dv where there is do
///
/// q (batch, q_len, heads, head_dim), k (batch, k_len, kv_heads, head_dim), v (batch, k_len, kv_heads, value_dim),
/// alibi_slopes (heads) or (batch, heads) in any of the types; o (batch, q_len, heads, value_dim), and lse (batch, heads,
/// q_len) in F32.
///
/// Or from a cache: k_cache and v_cache (slots, keys, kv_heads, dim), or (pages, page size, kv_heads, dim) with block_table
/// (batch, max_pages), in the type of q, or in I8 with k_scale and v_scale (kv_heads). cache_seqlens (batch) counts the keys
/// of each sequence, leftpad_k (batch) those of them that are padding, and cache_batch_idx (batch) says in which slot a
/// sequence lies. New keys and values k and v (batch, new keys, kv_heads, dim) are appended first, and the caches then written
/// too. rotary_cos and rotary_sin (positions, rotary dim / 2) turn new keys and queries.
///
/// do has the shape of o. block_mask (blocks of queries, blocks of keys), perhaps with heads or with batch and heads in
/// front, in any of the types; its blocks are of the size that --block says.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    mathematics: Mathematics,
    /// Turn neighbouring elements together, where rotary_cos and rotary_sin are given, instead of the two halves
    #[arg(long)]
    rotary_interleaved: bool,
    #[command(flatten)]
    mods: ModOptions,
}

// What no shape of a tensor says. Not a doc comment: clap would give it to the command.
#[derive(Clone, Copy, Debug, Args)]
struct Mathematics {
    /// A query sees only keys up to its own position (aligned to the bottom-right corner)
    #[arg(long)]
    causal: bool,
    /// Keys a query sees before and after its position; an empty side is unbounded: 17,5 or 17, or ,5
    #[arg(long, value_name = "LEFT,RIGHT", allow_hyphen_values = true)]
    window: Option<Sides>,
    /// Cap scores softly at ±CAP, a positive number
    #[arg(long, value_name = "CAP", allow_hyphen_values = true)]
    softcap: Option<f32>,
    /// Factor of the scores [default: 1/sqrt(head dim)]
    #[arg(long, allow_hyphen_values = true)]
    scale: Option<f32>,
}

/// A window as it is written: `17,5`.
#[derive(Clone, Copy, Debug)]
struct Sides(Window);

impl FromStr for Sides {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let side = |text: &str| match text.trim() {
            "" => Ok(None),
            number => number.parse().map(Some).map_err(|_| {
                format!(
                    "{number:?} is no number of keys; a window is LEFT,RIGHT, and an empty side is unbounded"
                )
            }),
        };
        let sides = text.split_once(',').ok_or("a window has two sides: 17,5 or 17, or ,5")?;
        Ok(Self(Window { left: side(sides.0)?, right: side(sides.1)? }))
    }
}

impl Mathematics {
    /// Adds the options to a spec.
    fn apply(self, spec: AttentionSpec) -> AttentionSpec {
        let window = self.window.map_or_else(Window::default, |sides| sides.0);
        AttentionSpec { causal: self.causal, window, softcap: self.softcap, scale: self.scale, ..spec }
    }
}

impl FromSizes for Sizes {
    fn operation(&self) -> Result<Box<dyn Operation>, Failure> {
        let lengths = (self.q_len, self.k_len.unwrap_or(self.q_len));
        let spec = AttentionSpec::new(self.dtype, self.batch, lengths, self.heads, self.head_dim)
            .kv_heads(self.kv_heads.unwrap_or(self.heads))
            .value_dim(self.value_dim.unwrap_or(self.head_dim))
            .alibi(if self.alibi { Alibi::PerHead } else { Alibi::None });
        let spec = self.mathematics.apply(spec);
        spec.check()?;
        Ok(Box::new(spec))
    }
}

/// Which biases these slopes make.
pub(super) fn alibi(slopes: Option<&Stored<'_>>) -> Alibi {
    match slopes.map(|slopes| slopes.shape.len()) {
        None => Alibi::None,
        Some(1) => Alibi::PerHead,
        Some(_) => Alibi::PerBatchHead,
    }
}

impl FromFile for Options {
    fn operation(&self, file: &TensorFile<'_>) -> Result<Box<dyn Operation>, Failure> {
        if cached_attention::is_cached(file) {
            let complete = |spec| self.mathematics.apply(spec);
            return cached_attention::operation(file, complete, self.rotary_interleaved);
        }
        if self.rotary_interleaved {
            let message = "--rotary-interleaved is for attention to a cache; there is no tensor \"k_cache\"";
            return Err(Failure::Input(message.to_owned()));
        }
        let (q, k, v) = (file.get("q")?, file.get("k")?, file.get("v")?);
        let slopes = file.find("alibi_slopes")?;
        k.expect_dtype_of(&q)?;
        v.expect_dtype_of(&q)?;
        let [batch, q_len, heads, head_dim] = q.sizes("batch, q_len, heads, head_dim")?;
        let [_, k_len, kv_heads, _] = k.sizes("batch, k_len, kv_heads, head_dim")?;
        let [_, _, _, value_dim] = v.sizes("batch, k_len, kv_heads, value_dim")?;
        let alibi = alibi(slopes.as_ref());
        let spec = AttentionSpec::new(q.dtype, batch, (q_len, k_len), heads, head_dim);
        let spec = self.mathematics.apply(spec.kv_heads(kv_heads).value_dim(value_dim).alibi(alibi));
        k.expect_shape(&spec.k_shape())?;
        v.expect_shape(&spec.v_shape())?;
        if let Some(slopes) = slopes {
            slopes.expect_shape(&spec.alibi_shape())?;
        }
        spec.check()?;
        let mods = self.mods.mods(file)?;
        if let Some(blocks) = &mods.blocks {
            blocks.check(&spec)?;
        }
        let backward = match file.find("do")? {
            None => false,
            Some(d_o) => {
                d_o.expect_dtype_of(&q)?;
                d_o.expect_shape(&spec.o_shape())?;
                mods.check_backward()?;
                true
            }
        };
        Ok(Box::new(OfFile { spec, mods, backward }))
    }
}

/// What a file and the options ask for.
#[derive(Debug)]
struct OfFile {
    spec: AttentionSpec,
    mods: Mods,
    /// Whether the gradient of the output is there, and so those of the inputs are asked for.
    backward: bool,
}

impl fmt::Display for OfFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spec.fmt(f)?;
        for snippet in self.mods.scores.iter().chain(&self.mods.masks) {
            write!(f, ", {}", snippet.name)?;
        }
        match self.mods.blocks.as_ref().map(BlockMask::block) {
            Some((queries, keys)) => write!(f, ", blocks of {queries} × {keys}"),
            None => Ok(()),
        }
    }
}

impl Operation for OfFile {
    fn fields(&self) -> serde_json::Value {
        fields(&self.spec)
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        let Self { spec, mods, backward } = self;
        let plan = AttentionPlan::with_mods(spec, mods, caps)?;
        let mut plans =
            vec![Planned::new("forward", &plan, |plan| shaders::attention_with_mods(plan, mods))?];
        if *backward {
            let plan = AttentionBackwardPlan::with_mods(spec, mods, caps)?;
            let shaders = |plan: &_| shaders::attention_backward_with_mods(plan, mods);
            plans.push(Planned::new("backward", &plan, shaders)?);
        }
        Ok(plans)
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        let Self { spec, mods, backward } = self;
        let buffers = ModOptions::upload(mods, gpu, file)?;
        let tables: Vec<_> = buffers.iter().map(|(name, buffer)| (name.as_str(), buffer.table())).collect();
        by_dtype!(spec.dtype, T => {
            let tensor = |name| file.upload::<T>(gpu, name);
            let (q, k, v) = (tensor("q")?, tensor("k")?, tensor("v")?);
            let slopes = file.upload_f32(gpu, "alibi_slopes")?;
            let inputs = AttentionInputs::new(&q, &k, &v).alibi(slopes.as_ref()).tables(&tables);
            let outputs = Attention::with_mods(gpu, *spec, mods)?.run(inputs)?;
            let mut written =
                vec![Output::download("o", &outputs.o)?, Output::download("lse", &outputs.lse)?];
            if *backward {
                let d_o = tensor("do")?;
                let found = AttentionBackward::with_mods(gpu, *spec, mods)?.run(inputs, &outputs, &d_o)?;
                written.push(Output::download("dq", &found.dq)?);
                written.push(Output::download("dk", &found.dk)?);
                written.push(Output::download("dv", &found.dv)?);
                if let Some(dalibi) = &found.dalibi {
                    written.push(Output::download("dalibi_slopes", dalibi)?);
                }
            }
            Ok(written)
        })
    }
}

impl Operation for AttentionSpec {
    fn fields(&self) -> serde_json::Value {
        fields(self)
    }

    fn plans(&self, caps: &Caps) -> Result<Vec<Planned>, Failure> {
        Ok(vec![Planned::new("forward", &AttentionPlan::new(self, caps)?, shaders::attention)?])
    }

    fn compute(&self, gpu: &Gpu, file: &TensorFile<'_>) -> Result<Vec<Output>, Failure> {
        OfFile { spec: *self, mods: Mods::new(), backward: false }.compute(gpu, file)
    }
}
